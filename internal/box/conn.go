package box

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/client"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/transport"
)

// Conn is a box as a [transport.Conn]: processes are commands of its account, with
// /bin/sh in the place of a login shell. It ends with the Server that it is of. What
// copies files to targets copies them to boxes over it.
type Conn struct {
	server *Server
	box    Box
	once   sync.Once
	done   chan struct{}
}

// Conn returns a connection to a box that runs.
func (s *Server) Conn(ctx context.Context, name string) (*Conn, error) {
	b, err := s.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	if b.Status != "running" {
		return nil, diag.New(diag.Refused, "reach "+name, "start it: 'bowline box start "+name+"'", "the box is %s", b.Status)
	}
	return &Conn{server: s, box: b, done: make(chan struct{})}, nil
}

// Start is described at transport.Conn.
func (c *Conn) Start(ctx context.Context, line string) (transport.Process, error) {
	return c.start(ctx, []string{"/bin/sh", "-c", line})
}

// sftpText runs the server for SFTP where images have it: Debian, Fedora, Arch, Alpine.
const sftpText = `for p in /usr/lib/openssh/sftp-server /usr/libexec/openssh/sftp-server /usr/lib/ssh/sftp-server /usr/libexec/sftp-server; do [ ! -x "$p" ] || exec "$p"; done; exit 127`

// Subsystem is described at transport.Subsystems.
func (c *Conn) Subsystem(ctx context.Context, name string) (transport.Process, error) {
	if name != "sftp" {
		return nil, transport.ErrNoSubsystem
	}
	return c.start(ctx, []string{"/bin/sh", "-c", sftpText})
}

func (c *Conn) start(ctx context.Context, argv []string) (transport.Process, error) {
	home := "/home/" + c.box.User
	created, err := c.server.api.ExecCreate(ctx, c.box.ID, client.ExecCreateOptions{
		Cmd: argv, User: c.box.User, WorkingDir: home, Env: []string{"HOME=" + home, "USER=" + c.box.User}, AttachStdin: true, AttachStdout: true, AttachStderr: true,
	})
	if err != nil {
		return nil, failed("run in the box", err)
	}
	attached, err := c.server.api.ExecAttach(ctx, created.ID, client.ExecAttachOptions{})
	if err != nil {
		return nil, failed("run in the box", err)
	}
	p := &process{server: c.server, id: created.ID, conn: attached.HijackedResponse, over: make(chan struct{})}
	var out, errs *io.PipeWriter
	p.stdout, out = io.Pipe()
	p.stderr, errs = io.Pipe()
	go func() {
		_, p.err = stdcopy.StdCopy(out, errs, p.conn.Reader)
		out.CloseWithError(p.err)
		errs.CloseWithError(p.err)
		close(p.over)
	}()
	return p, nil
}

// Info names the box; its address is that of its server.
func (c *Conn) Info() transport.Info {
	return transport.Info{Address: "box " + c.box.Name, Login: c.box.User}
}

// Done is described at transport.Conn.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Close is described at transport.Conn.
func (c *Conn) Close() error {
	c.once.Do(func() { close(c.done) })
	return nil
}

// process is a command of a Conn.
type process struct {
	server         *Server
	id             string
	conn           client.HijackedResponse
	stdout, stderr *io.PipeReader

	over chan struct{} // closed when both streams have ended
	err  error         // how; read it after over
}

func (p *process) Stdin() io.WriteCloser { return execInput{p.conn} }
func (p *process) Stdout() io.Reader     { return p.stdout }
func (p *process) Stderr() io.Reader     { return p.stderr }

// Wait is described at transport.Process.
func (p *process) Wait() (transport.Exit, error) {
	<-p.over
	if p.err != nil {
		return transport.Exit{}, errors.Join(transport.ErrLost, p.err)
	}
	code, err := p.server.ended(context.Background(), p.id) // which has a deadline of its own
	if err != nil {
		return transport.Exit{}, errors.Join(transport.ErrLost, err)
	}
	return transport.Exit{Code: code}, nil
}

// Close is described at transport.Process.
func (p *process) Close() error {
	p.conn.Close()
	_ = p.stdout.Close() // a reader, which has no errors
	_ = p.stderr.Close()
	return nil
}

// execInput is the standard input of a command.
type execInput struct{ conn client.HijackedResponse }

func (i execInput) Write(b []byte) (int, error) { return i.conn.Conn.Write(b) }

func (i execInput) Close() error { return i.conn.CloseWrite() }
