// Package link keeps authenticated connections to targets and shares them.
//
// A [Pool] has at most one live [Link] per target. Concurrent users of a target
// share it; each command is one SSH channel, and a Link queues commands beyond
// what the target's sshd takes at once (MaxSessions). A Link that broke, or that
// an operation left in an unknown state, is never handed out again.
//
// Lock order: Pool.mu, then Link.mu. Neither is held across I/O.
package link

import (
	"context"
	"fmt"
	"sync"

	"github.com/bowline-sh/bowline/internal/transport"
	"github.com/bowline-sh/bowline/target"
)

// Dialer opens a connection to a target; it bounds its own time.
type Dialer func(ctx context.Context, t target.Target) (transport.Conn, error)

// Pool hands out links. Methods may be called concurrently.
type Pool struct {
	dial  Dialer // immutable
	fresh Dialer // immutable

	ctx  context.Context // of the dials; ends with Close
	stop context.CancelFunc

	mu     sync.Mutex // guards the fields below
	closed bool
	links  map[string]*entry
}

// entry is a link, or the dial that will make one.
type entry struct {
	ready chan struct{} // closed when link or err is set
	link  *Link
	err   error
}

// NewPool returns an empty pool. It dials nothing.
//
// fresh dials where a connection of its own is asked for; nil means as dial does.
func NewPool(dial, fresh Dialer) *Pool {
	if fresh == nil {
		fresh = dial
	}
	ctx, stop := context.WithCancel(context.Background())
	return &Pool{dial: dial, fresh: fresh, ctx: ctx, stop: stop, links: map[string]*entry{}}
}

// key tells connections apart: two targets with the same account on the same
// address may still differ in how they get there.
func key(t target.Target) string {
	return fmt.Sprintf("%q %q %q %d %q %q %q", t.Kind, t.Host, t.User, t.Port, t.KeyFile, t.Jump, t.KnownHosts)
}

// Get returns the link to t, dialling if there is none. Callers that ask while
// a dial is under way share its outcome. The dial goes on when ctx ends, so
// that one impatient caller does not fail the others. Every link from Get must
// be given back with [Link.Release].
func (p *Pool) Get(ctx context.Context, t target.Target) (*Link, error) {
	for {
		e, err := p.entry(ctx, t)
		if err != nil {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-e.ready:
		}
		if e.err != nil {
			return nil, e.err
		}
		if e.link.acquire() {
			return e.link, nil
		}
		p.forget(t, e) // it broke since; dial again
	}
}

// Fresh dials a link of its own, which nobody shares. It is closed when it is given
// back with [Link.Release].
func (p *Pool) Fresh(ctx context.Context, t target.Target) (*Link, error) {
	conn, err := p.fresh(ctx, t)
	if err != nil {
		return nil, err
	}
	l := newLink(conn)
	l.acquire()
	l.Retire()
	return l, nil
}

func (p *Pool) entry(ctx context.Context, t target.Target) (*entry, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, fmt.Errorf("pool of links is closed: %w", transport.ErrLost)
	}
	k := key(t)
	if e := p.links[k]; e != nil {
		return e, nil
	}
	e := &entry{ready: make(chan struct{})}
	p.links[k] = e
	go p.open(context.WithoutCancel(ctx), t, e)
	return e, nil
}

func (p *Pool) open(ctx context.Context, t target.Target, e *entry) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(p.ctx, cancel)()
	conn, err := p.dial(ctx, t)
	if err != nil {
		e.err = err
		p.forget(t, e) // before ready, so that a later Get dials anew
		close(e.ready)
		return
	}
	e.link = newLink(conn)
	close(e.ready)
	p.mu.Lock()
	closed := p.closed
	p.mu.Unlock()
	if closed {
		e.link.Retire()
		return
	}
	<-conn.Done()
	p.forget(t, e)
}

func (p *Pool) forget(t target.Target, e *entry) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if k := key(t); p.links[k] == e {
		delete(p.links, k)
	}
}

// Len is how many links there are, those being dialled included.
func (p *Pool) Len() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.links)
}

// Drop closes the link to t, if there is one, when its last user gives it back.
func (p *Pool) Drop(t target.Target) {
	p.mu.Lock()
	e := p.links[key(t)]
	p.mu.Unlock()
	if e == nil {
		return
	}
	<-e.ready
	if e.link != nil {
		p.forget(t, e)
		e.link.Retire()
	}
}

// Close closes all links; what runs on them is lost. Dials under way are ended.
func (p *Pool) Close() error {
	p.stop()
	p.mu.Lock()
	p.closed = true
	entries := p.links
	p.links = map[string]*entry{}
	p.mu.Unlock()
	var first error
	for _, e := range entries {
		<-e.ready
		if e.link == nil {
			continue
		}
		if err := e.link.close(); err != nil && first == nil {
			first = err
		}
	}
	return first
}
