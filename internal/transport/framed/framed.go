// Package framed carries the processes of one connection over a stream of bytes, in
// calls of package frame: what a client starts at one end runs on the connection that
// the other end lends.
package framed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/bowline-sh/bowline/internal/frame"
	"github.com/bowline-sh/bowline/internal/transport"
)

// start is the body of verbStart.
type start struct {
	Line string `json:"line"`
}

const verbStart = "start"

// ended is its result. Why is how the process could not be started or followed: busy,
// lost, or other text; "" for its exit.
type ended struct {
	Exit transport.Exit `json:"exit"`
	Why  string         `json:"why,omitempty"`
}

const (
	whyBusy = "busy"
	whyLost = "lost"
)

// Conn is a [transport.Conn] whose processes run at the other end of a stream.
type Conn struct {
	client *frame.Client
	stream io.Closer
	info   transport.Info
}

var _ transport.Conn = (*Conn)(nil)

// NewConn returns a connection over a stream at whose other end [Serve] was called. It
// reads r until it ends, and closes the stream when it is closed.
func NewConn(r io.Reader, stream io.WriteCloser, info transport.Info) (*Conn, error) {
	c, banner, err := frame.NewClient(r, stream)
	if err != nil {
		return nil, fmt.Errorf("the other end does not speak our protocol (it began with %.60q): %w", banner, err)
	}
	return &Conn{client: c, stream: stream, info: info}, nil
}

// Info describes the far side.
func (c *Conn) Info() transport.Info { return c.info }

// Done is closed when the connection is no longer usable.
func (c *Conn) Done() <-chan struct{} { return c.client.Done() }

// Close ends the connection.
func (c *Conn) Close() error {
	_ = c.stream.Close() // the other end lets go of what was started
	<-c.client.Done()
	return nil
}

// Start implements [transport.Conn].
func (c *Conn) Start(ctx context.Context, line string) (transport.Process, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	p := &process{accepted: make(chan struct{}), done: make(chan struct{})}
	call, err := c.client.Open(verbStart, start{Line: line}, func(json.RawMessage) { p.once.Do(func() { close(p.accepted) }) })
	if err != nil {
		return nil, fmt.Errorf("start command: %w: %w", transport.ErrLost, err)
	}
	p.call = call
	go p.wait()
	select {
	case <-p.accepted:
		return p, nil
	case <-p.done:
		if p.end.Why == "" && p.err == nil { // it ended at once
			return p, nil
		}
		return nil, p.failed()
	case <-ctx.Done():
		_ = p.Close()
		return nil, fmt.Errorf("start command: %w", context.Cause(ctx))
	}
}

// process is one at the other end.
type process struct {
	call     *frame.Call
	accepted chan struct{}
	once     sync.Once
	done     chan struct{} // closed when end and err are set
	end      ended
	err      error
}

func (p *process) wait() {
	p.err = p.call.Wait(context.Background(), &p.end)
	close(p.done)
}

// failed is the error of a process that did not end by itself.
func (p *process) failed() error {
	switch {
	case p.err != nil:
		return fmt.Errorf("run command: %w: %w", transport.ErrLost, p.err)
	case p.end.Why == whyBusy:
		return fmt.Errorf("start command: %w", transport.ErrBusy)
	case p.end.Why == whyLost:
		return fmt.Errorf("run command: %w", transport.ErrLost)
	}
	return errors.New(p.end.Why)
}

func (p *process) Stdin() io.WriteCloser { return p.call.Stdin }
func (p *process) Stdout() io.Reader     { return p.call.Stdout }
func (p *process) Stderr() io.Reader     { return p.call.Stderr }

func (p *process) Wait() (transport.Exit, error) {
	<-p.done
	if p.err != nil || p.end.Why != "" {
		return transport.Exit{}, p.failed()
	}
	return p.end.Exit, nil
}

func (p *process) Close() error {
	p.call.Cancel()
	return nil
}

// Serve lends conn to the client at the other end of rw, until that end closes it or ctx
// ends. What the client started is given up then, as if a link had dropped.
func Serve(ctx context.Context, rw io.ReadWriter, conn transport.Conn) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	return frame.Serve(ctx, rw, rw, func(ctx context.Context, r *frame.Request) (any, error) {
		var body start
		if err := r.Decode(&body); err != nil || r.Verb != verbStart {
			return nil, fmt.Errorf("unknown request %.20q", r.Verb)
		}
		return follow(ctx, r, conn, body.Line)
	})
}

// follow runs one process and hands on its streams.
func follow(ctx context.Context, r *frame.Request, conn transport.Conn, line string) (any, error) {
	p, err := conn.Start(ctx, line)
	if err != nil {
		return ended{Why: why(err)}, nil
	}
	defer p.Close()
	defer context.AfterFunc(ctx, func() { _ = p.Close() })()
	if err := r.Event(struct{}{}); err != nil { // it was accepted
		return nil, err
	}
	go func() {
		_, _ = io.Copy(p.Stdin(), r.Stdin) // either side may stop first
		_ = p.Stdin().Close()
	}()
	var out sync.WaitGroup
	out.Go(func() { pump(r.Stdout, p.Stdout()) })
	out.Go(func() { pump(r.Stderr, p.Stderr()) })
	out.Wait()
	exit, err := p.Wait()
	if err != nil {
		return ended{Why: why(err)}, nil
	}
	return ended{Exit: exit}, nil
}

// pump copies output, and reads on where nobody wants it any more.
func pump(to io.WriteCloser, from io.Reader) {
	if _, err := io.Copy(to, from); err != nil {
		_, _ = io.Copy(io.Discard, from)
	}
	_ = to.Close()
}

func why(err error) string {
	switch {
	case errors.Is(err, transport.ErrBusy):
		return whyBusy
	case errors.Is(err, transport.ErrLost):
		return whyLost
	}
	return err.Error()
}
