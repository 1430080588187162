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

// Ended is how a process ended. Why is how it could not be started or followed: busy,
// lost, none (there is no such subsystem), or other text; "" for its exit.
type Ended struct {
	Exit transport.Exit `json:"exit"`
	Why  string         `json:"why,omitempty"`
}

// What Why may be besides text.
const (
	WhyBusy = "busy"
	WhyLost = "lost"
	WhyNone = "none"
)

// Err is the error of a process that did not end by itself, nil for an exit.
func (e Ended) Err() error {
	switch e.Why {
	case "":
		return nil
	case WhyBusy:
		return fmt.Errorf("start command: %w", transport.ErrBusy)
	case WhyNone:
		return transport.ErrNoSubsystem
	case WhyLost:
		return fmt.Errorf("run command: %w", transport.ErrLost)
	}
	return errors.New(e.Why)
}

// Why puts an error into the words of [Ended].
func Why(err error) string {
	switch {
	case errors.Is(err, transport.ErrBusy):
		return WhyBusy
	case errors.Is(err, transport.ErrNoSubsystem):
		return WhyNone
	case errors.Is(err, transport.ErrLost):
		return WhyLost
	}
	return err.Error()
}

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
	p, err := Open(ctx, End{c.client, "the server there is gone"}, verbStart, start{Line: line})
	if err != nil {
		return nil, err
	}
	return p, nil
}

// End is the client of the other end, and the words for it when it has gone.
type End struct {
	*frame.Client
	Gone string
}

// Open starts a process at the other end by a verb that its handler answers with
// [Follow] or with an [Ended]. Errors are those of [transport.Conn.Start].
func Open(ctx context.Context, c End, verb string, body any) (*Process, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	p := &Process{gone: c.Gone, accepted: make(chan struct{}), done: make(chan struct{})}
	call, err := c.Open(verb, body, func(json.RawMessage) { p.once.Do(func() { close(p.accepted) }) })
	if err != nil {
		return nil, fmt.Errorf("start command: %w: %w", transport.ErrLost, err)
	}
	p.Call = call
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

// Process is one at the other end; see [transport.Process].
type Process struct {
	Call     *frame.Call
	gone     string
	accepted chan struct{}
	once     sync.Once
	done     chan struct{} // closed when end and err are set
	end      Ended
	err      error
}

func (p *Process) wait() {
	p.err = p.Call.Wait(context.Background(), &p.end)
	close(p.done)
}

// failed is the error of a process that did not end by itself.
func (p *Process) failed() error {
	if p.err != nil {
		return fmt.Errorf("%s: %w: %w", p.gone, transport.ErrLost, p.err)
	}
	return p.end.Err()
}

// Stdin implements [transport.Process].
func (p *Process) Stdin() io.WriteCloser { return p.Call.Stdin }

// Stdout implements [transport.Process].
func (p *Process) Stdout() io.Reader { return p.Call.Stdout }

// Stderr implements [transport.Process].
func (p *Process) Stderr() io.Reader { return p.Call.Stderr }

// Wait implements [transport.Process].
func (p *Process) Wait() (transport.Exit, error) {
	<-p.done
	if p.err != nil || p.end.Why != "" {
		return transport.Exit{}, p.failed()
	}
	return p.end.Exit, nil
}

// Close implements [transport.Process].
func (p *Process) Close() error {
	p.Call.Cancel()
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
		p, err := conn.Start(ctx, body.Line)
		if err != nil {
			return Ended{Why: Why(err)}, nil
		}
		return Follow(ctx, r, p)
	})
}

// Follow hands on the streams of a process that was started for a request, and returns
// how it ended, an [Ended]. It closes p.
func Follow(ctx context.Context, r *frame.Request, p transport.Process) (any, error) {
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
	out.Go(func() { Pump(r.Stdout, p.Stdout()) })
	out.Go(func() { Pump(r.Stderr, p.Stderr()) })
	out.Wait()
	exit, err := p.Wait()
	if err != nil {
		return Ended{Why: Why(err)}, nil
	}
	return Ended{Exit: exit}, nil
}

// Pump copies output, and reads on where nobody wants it any more.
func Pump(to io.WriteCloser, from io.Reader) {
	if _, err := io.Copy(to, from); err != nil {
		_, _ = io.Copy(io.Discard, from)
	}
	_ = to.Close()
}
