package ssh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/bowline-sh/bowline/internal/transport"
)

// Conn is an authenticated connection to a target. It keeps the contract of
// [transport.Conn].
type Conn struct {
	client *ssh.Client
	info   transport.Info
	done   chan struct{} // closed by watch
	over   chan struct{} // closed by the first Close
	once   sync.Once     // for over

	// mu guards the fields below. It is not held across I/O.
	mu     sync.Mutex
	closed bool  // by Close, or found lost
	cause  error // why the connection was given up, nil if the peer ended it

	// work counts the goroutines of the connection. Start adds to it under mu
	// while closed is false, so that Close can wait.
	work sync.WaitGroup
}

var _ transport.Conn = (*Conn)(nil)

// newConn starts to watch over client, which it owns.
func newConn(client *ssh.Client, info transport.Info, keepAlive time.Duration) *Conn {
	c := &Conn{client: client, info: info, done: make(chan struct{}), over: make(chan struct{})}
	c.work.Add(2)
	go c.watch()
	go c.keepAlive(keepAlive)
	return c
}

// Client returns the connection for what [transport.Conn] does not offer: SFTP,
// forwarded sockets. It must not be closed.
func (c *Conn) Client() *ssh.Client { return c.client }

// Info describes the far side. It does no I/O.
func (c *Conn) Info() transport.Info { return c.info }

// Done is closed when the connection is no longer usable.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Close ends the connection and waits for its goroutines. It is idempotent.
func (c *Conn) Close() error {
	c.giveUp(net.ErrClosed)
	c.once.Do(func() { close(c.over) })
	c.work.Wait()
	return nil
}

// Err says why the connection ended: nil while it lives, [net.ErrClosed] after
// Close, else an error wrapping [transport.ErrLost].
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case !c.closed:
		return nil
	case errors.Is(c.cause, net.ErrClosed):
		return c.cause
	}
	return lost(c.cause)
}

// lost wraps transport.ErrLost, with the cause if there is one to tell.
func lost(cause error) error {
	if cause == nil || errors.Is(cause, io.EOF) {
		return transport.ErrLost
	}
	return fmt.Errorf("%w: %w", transport.ErrLost, cleanError{cause})
}

// giveUp closes the socket; the first cause stays.
func (c *Conn) giveUp(cause error) {
	c.mu.Lock()
	if !c.closed {
		c.closed, c.cause = true, cause
	}
	c.mu.Unlock()
	_ = c.client.Close() // already broken, or told by watch
}

// watch closes done when the connection ends, by whatever hand.
func (c *Conn) watch() {
	defer c.work.Done()
	err := c.client.Wait()
	c.giveUp(err)
	close(c.done)
}

// keepAlive asks the peer for a sign of life in each interval and closes the
// connection after three without one. Any answer will do; OpenSSH answers that
// it does not know the request.
func (c *Conn) keepAlive(interval time.Duration) {
	defer c.work.Done()
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	answers := make(chan struct{}, 1)
	waiting, missed := false, 0
	for {
		select {
		case <-c.done:
			return
		case <-answers:
			waiting, missed = false, 0
		case <-ticker.C:
			if !waiting {
				waiting = true
				c.ping(answers)
				continue
			}
			if missed++; missed >= keepAliveMisses {
				c.giveUp(fmt.Errorf("no answer to keep-alives for %v", keepAliveMisses*interval))
			}
		}
	}
}

// ping sends one keep-alive; answers has room for its answer.
func (c *Conn) ping(answers chan<- struct{}) {
	c.begin(func() {
		if _, _, err := c.client.SendRequest("keepalive@openssh.com", true, nil); err == nil {
			answers <- struct{}{}
		}
	})
}

// begin runs f in a goroutine that Close waits for. It reports false, and runs
// nothing, if the connection has ended.
func (c *Conn) begin(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.work.Go(f)
	return true
}

// Start runs line with the login shell of the account; see [transport.Conn].
func (c *Conn) Start(ctx context.Context, line string) (transport.Process, error) {
	p, err := c.open(ctx, ask{"exec", line, errors.New("the target refuses to run commands for this account")})
	if err != nil {
		return nil, fmt.Errorf("start command: %w", err)
	}
	return p, nil
}

// Subsystem implements [transport.Subsystems].
func (c *Conn) Subsystem(ctx context.Context, name string) (transport.Process, error) {
	p, err := c.open(ctx, ask{"subsystem", name, transport.ErrNoSubsystem})
	if err != nil {
		return nil, fmt.Errorf("start subsystem %s: %w", name, err)
	}
	return p, nil
}

// ask is a request of RFC 4254, section 6.5, with one string, and what it means that
// it is refused.
type ask struct {
	request, text string
	refused       error
}

// open starts what is asked for in a channel of its own.
func (c *Conn) open(ctx context.Context, a ask) (*process, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	if strings.ContainsRune(a.text, 0) {
		// OpenSSH ends the connection over it; others would run what stands
		// before it, less than was shown.
		return nil, errors.New("it holds a NUL byte")
	}
	type outcome struct {
		p   *process
		err error
	}
	started := make(chan outcome)
	ok := c.begin(func() {
		p, err := c.start(a)
		select {
		case started <- outcome{p, err}:
		case <-ctx.Done():
			if p != nil {
				p.Close()
			}
		}
	})
	if !ok {
		return nil, c.Err()
	}
	select {
	case o := <-started:
		return o.p, o.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// start opens a channel and asks.
func (c *Conn) start(a ask) (*process, error) {
	channel, requests, err := c.session()
	if err != nil {
		return nil, c.openError(err)
	}
	p := newProcess(c, channel)
	if !c.begin(func() { p.watch(requests) }) {
		go ssh.DiscardRequests(requests) // already closed: it ends at once
		return nil, c.Err()
	}
	accepted, err := channel.SendRequest(a.request, true, ssh.Marshal(struct{ Text string }{a.text}))
	if err != nil {
		p.Close()
		return nil, lost(err)
	}
	if !accepted {
		p.Close()
		return nil, a.refused
	}
	return p, nil
}

// session opens a channel. A channel that x/crypto adds while its reader ends is never
// answered (mux.loop drops all channels before it closes the connection), so the end of
// the connection is an answer, too; what waits then is left behind.
func (c *Conn) session() (ssh.Channel, <-chan *ssh.Request, error) {
	type opened struct {
		channel  ssh.Channel
		requests <-chan *ssh.Request
		err      error
	}
	answer := make(chan opened, 1)
	go func() {
		channel, requests, err := c.client.OpenChannel("session", nil)
		answer <- opened{channel, requests, err}
	}()
	select {
	case o := <-answer:
		return o.channel, o.requests, o.err
	case <-c.done:
		return nil, nil, io.EOF
	}
}

// openError says what it means that no channel could be opened. sshd answers
// "open failed" beyond its MaxSessions.
func (c *Conn) openError(err error) error {
	refused, ok := errors.AsType[*ssh.OpenChannelError](err)
	switch {
	case !ok:
		return lost(err)
	case refused.Reason == ssh.ConnectionFailed, refused.Reason == ssh.ResourceShortage:
		return fmt.Errorf("%w: %w", transport.ErrBusy, cleanError{refused})
	}
	return fmt.Errorf("the target refuses to run commands for this account: %w", cleanError{refused})
}

// Dial connects to a socket as seen from the target, see link.Link.
func (c *Conn) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := make(chan struct{})
	defer close(stop)
	go func() { // as in session
		select {
		case <-c.done:
			cancel()
		case <-stop:
		}
	}()
	conn, err := c.client.DialContext(ctx, network, addr)
	if err == nil {
		return conn, nil
	}
	if c.Err() != nil {
		return nil, fmt.Errorf("%w: %w", transport.ErrLost, err)
	}
	return nil, fmt.Errorf("%s on the target: %w", addr, err)
}
