//go:build unix

package warm

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/bowline-sh/bowline/internal/frame"
	"github.com/bowline-sh/bowline/internal/transport"
	"github.com/bowline-sh/bowline/internal/transport/framed"
	"github.com/bowline-sh/bowline/target"
)

// Dialer reaches the background process, and starts it if there is none.
type Dialer struct {
	Socket string
	Build  string
	// Spawn starts the process detached, and returns without waiting for it. nil:
	// never start one.
	Spawn func() error
}

// spawnWait bounds the wait for a new process to listen; it takes some 10 ms.
const spawnWait = 3 * time.Second

// Dial returns a connection to t that the process holds. An error that wraps ErrNone
// means that the caller must do without; any other is why the process could not dial.
func (d Dialer) Dial(ctx context.Context, t target.Target) (transport.Conn, error) {
	sock, rep, err := d.ask(ctx, request{Op: "conn", Target: &t})
	if err != nil {
		return nil, err
	}
	if rep.Error != nil {
		return nil, errors.Join(rep.Error.err(), sock.Close())
	}
	c, _, err := frame.NewClient(sock.r, sock)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %w", ErrNone, err), sock.Close())
	}
	return &conn{d: d, t: t, c: c, sock: sock, info: rep.Info}, nil
}

// Links lists what the process keeps open; none if there is no process.
func (d Dialer) Links(ctx context.Context) (links []Link, pid int, err error) {
	rep, err := d.order(ctx, request{Op: "list"})
	return rep.Links, rep.PID, err
}

// Close ends the link to t, or with nil the process and all its links.
func (d Dialer) Close(ctx context.Context, t *target.Target) error {
	_, err := d.order(ctx, request{Op: "close", Target: t, All: t == nil})
	return err
}

// order asks a process that runs already. Without one it does nothing.
func (d Dialer) order(ctx context.Context, req request) (reply, error) {
	d.Spawn = nil
	sock, rep, err := d.ask(ctx, req)
	if errors.Is(err, ErrNone) {
		return reply{}, nil
	}
	if err != nil {
		return reply{}, err
	}
	return rep, sock.Close()
}

// socket is a connection to the process, and what was read ahead of it.
type socket struct {
	net.Conn
	r *bufio.Reader
}

// ask connects, starting the process if need be, and exchanges the first lines. One of
// another build goes away, and a new one is started.
func (d Dialer) ask(ctx context.Context, req request) (*socket, reply, error) {
	req.Build = d.Build
	for attempt := 0; ; attempt++ {
		sock, err := d.connect(ctx)
		if err != nil {
			return nil, reply{}, fmt.Errorf("%w: %w", ErrNone, err)
		}
		rep, err := exchange(ctx, sock, req)
		if err == nil && !rep.Stale {
			return sock, rep, nil
		}
		_ = sock.Close()
		if err != nil || attempt > 0 {
			return nil, reply{}, fmt.Errorf("%w: it does not answer as it should (%w)", ErrNone, errors.Join(err, ctx.Err()))
		}
	}
}

// exchange sends a request and reads the reply. A dial that the reply waits for ends when
// ctx does.
func exchange(ctx context.Context, sock *socket, req request) (reply, error) {
	var rep reply
	stop := context.AfterFunc(ctx, func() { _ = sock.Close() })
	defer stop()
	b, err := json.Marshal(req)
	if err != nil {
		return rep, err
	}
	if _, err := sock.Write(append(b, '\n')); err != nil {
		return rep, err
	}
	line, err := sock.r.ReadBytes('\n')
	if err != nil {
		return rep, err
	}
	return rep, json.Unmarshal(line, &rep)
}

func (d Dialer) connect(ctx context.Context) (*socket, error) {
	const longest = 100 // sun_path has 108 bytes, see unix(7); 104 on BSD
	if len(d.Socket) > longest {
		return nil, fmt.Errorf("the path %s is too long for a socket", d.Socket)
	}
	if err := private(filepath.Dir(d.Socket)); err != nil {
		return nil, err
	}
	c, err := dialSocket(ctx, d.Socket)
	if err == nil || d.Spawn == nil {
		return c, err
	}
	if err := d.Spawn(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, spawnWait)
	defer cancel()
	for {
		if c, err := dialSocket(ctx, d.Socket); err == nil {
			return c, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("the background process did not start: %w", context.Cause(ctx))
		case <-time.After(2 * time.Millisecond):
		}
	}
}

func dialSocket(ctx context.Context, path string) (*socket, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode().Type() != os.ModeSocket || ownerOf(info) != os.Geteuid() {
		return nil, fmt.Errorf("%s is not a socket of ours", path)
	}
	c, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	if err := samePeer(c); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return &socket{c, bufio.NewReaderSize(c, 2*frame.MaxPayload)}, nil
}

// conn is a connection that the process holds; see [transport.Conn].
type conn struct {
	d    Dialer
	t    target.Target
	c    *frame.Client
	sock *socket
	info transport.Info

	once   sync.Once
	helper *frame.Client
}

var (
	_ transport.Conn       = (*conn)(nil)
	_ transport.Subsystems = (*conn)(nil)
)

func (c *conn) Info() transport.Info  { return c.info }
func (c *conn) Done() <-chan struct{} { return c.c.Done() }

func (c *conn) Close() error {
	_ = c.sock.Close() // the process lets go of what we started
	<-c.c.Done()
	if c.helper != nil {
		_ = c.helper.Close()
	}
	return nil
}

// Helper returns a client of the helper that the process runs at the far end, or nil.
func (c *conn) Helper() *frame.Client {
	c.once.Do(func() {
		sock, rep, err := c.d.ask(context.Background(), request{Op: "helper", Target: &c.t})
		if err != nil {
			return
		}
		if rep.OK {
			if h, _, err := frame.NewClient(sock.r, sock); err == nil {
				c.helper = h
				return
			}
		}
		_ = sock.Close()
	})
	return c.helper
}

func (c *conn) Start(ctx context.Context, line string) (transport.Process, error) {
	return c.open(ctx, verbStart, start{Line: line})
}

// StartUrgent is for processes that end others, see [link.Link.StartUrgent].
func (c *conn) StartUrgent(ctx context.Context, line string) (transport.Process, error) {
	return c.open(ctx, verbStart, start{Line: line, Urgent: true})
}

func (c *conn) Subsystem(ctx context.Context, name string) (transport.Process, error) {
	return c.open(ctx, verbSubsystem, start{Line: name})
}

// end is the background process.
func (c *conn) end() framed.End {
	return framed.End{Client: c.c, Gone: "the background process that held the link is gone"}
}

func (c *conn) open(ctx context.Context, verb string, body any) (transport.Process, error) {
	p, err := framed.Open(ctx, c.end(), verb, body)
	if err != nil {
		return nil, err
	}
	return p, nil
}

// Dial connects to a socket as seen from the target, see [link.Link.Dial].
func (c *conn) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	p, err := framed.Open(ctx, c.end(), verbDial, dial{network, addr})
	if err != nil {
		return nil, err
	}
	return stream{p, target.Target{Name: c.t.Name}}, nil
}

// Keep starts a process that stays as long as the link does, or finds the one that was
// started before, and returns the first line that it printed; with only it starts none, and
// "" means that there is none.
func (c *conn) Keep(ctx context.Context, line string, only bool) (string, error) {
	call, err := c.c.Open(verbKeep, keep{line, only}, nil)
	if err != nil {
		return "", fmt.Errorf("keep a process: %w: %w", transport.ErrLost, err)
	}
	var res said
	if err := call.Wait(ctx, &res); err != nil {
		call.Cancel()
		if ctx.Err() != nil { // whatever the process said to that
			err = context.Cause(ctx)
		}
		return "", fmt.Errorf("keep a process: %w", err)
	}
	if res.Why != "" {
		return "", framed.Ended{Why: res.Why}.Err()
	}
	return res.First, nil
}

// stream is a connection that the background process carries. It has no deadlines.
type stream struct {
	p  *framed.Process
	to target.Target
}

func (s stream) Read(b []byte) (int, error)       { return s.p.Call.Stdout.Read(b) }
func (s stream) Write(b []byte) (int, error)      { return s.p.Call.Stdin.Write(b) }
func (s stream) CloseWrite() error                { return s.p.Call.Stdin.Close() }
func (s stream) Close() error                     { return s.p.Close() }
func (s stream) LocalAddr() net.Addr              { return addr("local") }
func (s stream) RemoteAddr() net.Addr             { return addr(s.to.Name) }
func (s stream) SetDeadline(time.Time) error      { return errDeadline }
func (s stream) SetReadDeadline(time.Time) error  { return errDeadline }
func (s stream) SetWriteDeadline(time.Time) error { return errDeadline }

var errDeadline = errors.New("connections over a kept link have no deadlines")

type addr string

func (addr) Network() string  { return "warm" }
func (a addr) String() string { return string(a) }
