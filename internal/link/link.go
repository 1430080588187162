package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/bowline-sh/bowline/internal/frame"
	"github.com/bowline-sh/bowline/internal/transport"
)

// slots is how many sessions a connection has for commands and a helper: sshd's default
// MaxSessions of 10 (sshd_config(5)), less one for killing what overran. One of them is
// kept for a helper until it is known that there is none.
const slots = 9

// How long to wait between tries when the target is out of sessions.
const (
	minWait    = 5 * time.Millisecond
	maxWait    = 200 * time.Millisecond
	refusedFor = 3 * time.Second
)

// Link is one authenticated connection shared by its holders. It implements
// [transport.Conn] except for Close, which belongs to the pool. Methods may be
// called concurrently.
type Link struct {
	conn transport.Conn // immutable
	free chan struct{}  // one token per slot

	mu      sync.Mutex // guards the fields below
	holders int
	retired bool
	live    int           // processes that were started and not yet closed
	starts  int           // processes that were ever started
	freed   chan struct{} // closed when one of them is
	used    bool          // a command has run
	looking bool          // a helper is being looked for, or there is none
	helper  *frame.Client // running at the far end, or nil
}

func newLink(conn transport.Conn) *Link {
	l := &Link{conn: conn, free: make(chan struct{}, slots), freed: make(chan struct{})}
	for range slots - 1 { // the last is a helper's, until it is known that there is none
		l.free <- struct{}{}
	}
	return l
}

func (l *Link) acquire() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.retired {
		return false
	}
	select {
	case <-l.conn.Done():
		return false
	default:
	}
	l.holders++
	return true
}

// Release gives the link back. The last holder of a retired link closes it.
func (l *Link) Release() {
	l.mu.Lock()
	l.holders--
	last := l.retired && l.holders == 0
	l.mu.Unlock()
	if last {
		_ = l.conn.Close() // nobody is left to be told
	}
}

// Retire keeps the link from being handed out again. It is closed when its last
// holder releases it.
func (l *Link) Retire() {
	l.mu.Lock()
	l.retired = true
	idle := l.holders == 0
	l.mu.Unlock()
	if idle {
		_ = l.conn.Close()
	}
}

func (l *Link) close() error {
	l.mu.Lock()
	l.retired = true
	l.mu.Unlock()
	return l.conn.Close()
}

// Info describes the far side.
func (l *Link) Info() transport.Info { return l.conn.Info() }

// Done is closed when the connection is no longer usable.
func (l *Link) Done() <-chan struct{} { return l.conn.Done() }

// Close does nothing: the pool owns the connection. Use Release.
func (l *Link) Close() error { return nil }

// Start waits for a free slot and starts line. If the target refuses a session
// nothing was started, and the call tries again when another process of this
// link has ended, or after a short while: sshd frees a session only after both
// the program and its channel are gone. A target that refuses even a single
// session for refusedFor gives an error.
func (l *Link) Start(ctx context.Context, line string) (transport.Process, error) {
	return l.begin(ctx, func() (transport.Process, error) { return l.conn.Start(ctx, line) })
}

// Subsystem is Start for a subsystem; see [transport.Subsystems].
func (l *Link) Subsystem(ctx context.Context, name string) (transport.Process, error) {
	c, ok := l.conn.(transport.Subsystems)
	if !ok {
		return nil, transport.ErrNoSubsystem
	}
	return l.begin(ctx, func() (transport.Process, error) { return c.Subsystem(ctx, name) })
}

// Dial connects to a socket as seen from the target: a path for network "unix",
// "host:port" for "tcp" (RFC 4254, section 7; streamlocal of OpenSSH's PROTOCOL, section
// 2.4). It takes no session of the target. An error wraps transport.ErrLost if the
// connection broke.
func (l *Link) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	d, ok := l.conn.(interface {
		Dial(ctx context.Context, network, addr string) (net.Conn, error)
	})
	if !ok {
		return nil, errors.New("this kind of link reaches no sockets of its target")
	}
	return d.Dial(ctx, network, addr)
}

// Keep starts a process that stays as long as the connection does, which may be longer than
// this program runs, or finds the one that was started before, and returns the first line
// that it printed. With only none is started, and "" means that there is none. ok is false
// where connections end with this program.
func (l *Link) Keep(ctx context.Context, line string, only bool) (first string, ok bool, err error) {
	k, ok := l.conn.(interface {
		Keep(ctx context.Context, line string, only bool) (string, error)
	})
	if !ok {
		return "", false, nil
	}
	first, err = k.Keep(ctx, line, only)
	return first, true, err
}

func (l *Link) begin(ctx context.Context, open func() (transport.Process, error)) (transport.Process, error) {
	select {
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-l.conn.Done():
		return nil, fmt.Errorf("wait for a free session: %w", transport.ErrLost)
	case <-l.free:
	}
	proc, err := l.start(ctx, open)
	if err != nil {
		l.free <- struct{}{}
		return nil, err
	}
	l.addLive(1)
	return &process{Process: proc, link: l}, nil
}

func (l *Link) start(ctx context.Context, open func() (transport.Process, error)) (transport.Process, error) {
	wait := minWait
	var alone time.Duration // since the link last did anything
	var seen int
	for {
		freed := l.nextFreed()
		proc, err := open()
		if !errors.Is(err, transport.ErrBusy) {
			return proc, err
		}
		if live, starts := l.activity(); live > 0 || starts != seen {
			alone, seen = 0, starts
		} else if alone += wait; alone > refusedFor {
			return nil, fmt.Errorf("the target refuses every session: %w", err)
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil, context.Cause(ctx)
		case <-l.conn.Done():
			timer.Stop()
			return nil, fmt.Errorf("wait for a free session: %w", transport.ErrLost)
		case <-freed:
			timer.Stop()
		case <-timer.C:
		}
		wait = min(2*wait, maxWait)
	}
}

// Helper returns the client of a helper that runs at the far end, or nil. The
// second call on a link begins to look for one that is placed there already: who
// runs one command need not wait for it, and who runs many soon has it.
func (l *Link) Helper(find func(context.Context, transport.Conn) (*frame.Client, error)) *frame.Client {
	if c, ok := l.conn.(interface{ Helper() *frame.Client }); ok { // a link of another process, with its helper
		return c.Helper()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.helper != nil {
		select {
		case <-l.helper.Done():
			l.helper = nil
		default:
			return l.helper
		}
	}
	if !l.used {
		l.used = true
		return nil
	}
	if !l.looking {
		l.looking = true
		go l.findHelper(find)
	}
	return nil
}

// findHelper starts the helper in the slot that was left for it, however long the
// commands of the others take, and which it keeps. It ends when the connection does at
// the latest.
func (l *Link) findHelper(find func(context.Context, transport.Conn) (*frame.Client, error)) {
	c, err := find(context.Background(), l.conn)
	if err != nil {
		l.free <- struct{}{} // commands go on without
		return
	}
	l.mu.Lock()
	l.helper = c
	l.mu.Unlock()
	<-c.Done()
	l.free <- struct{}{}
}

// StartUrgent starts line in the session kept free for it, past the queue.
func (l *Link) StartUrgent(ctx context.Context, line string) (transport.Process, error) {
	if c, ok := l.conn.(interface {
		StartUrgent(context.Context, string) (transport.Process, error)
	}); ok { // a link of another process, with its own queue
		return c.StartUrgent(ctx, line)
	}
	return l.conn.Start(ctx, line)
}

// addLive counts a process that was started (1) or closed (-1).
func (l *Link) addLive(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.live += n
	if n > 0 {
		l.starts++
		return
	}
	close(l.freed)
	l.freed = make(chan struct{})
}

// activity tells how many processes there are now, and were ever started.
func (l *Link) activity() (live, starts int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.live, l.starts
}

func (l *Link) nextFreed() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.freed
}

// process gives its slot back when it is closed.
type process struct {
	transport.Process
	link *Link
	once sync.Once
}

func (p *process) Close() error {
	err := p.Process.Close()
	p.once.Do(func() {
		p.link.addLive(-1)
		p.link.free <- struct{}{}
	})
	return err
}
