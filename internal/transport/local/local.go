//go:build unix

// Package local is the transport to this machine: the same shell line that
// would go to a login shell over SSH is given to /bin/sh here.
package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"sync"
	"syscall"

	"github.com/bowline-sh/bowline/internal/transport"
)

// Dial returns a connection to this machine. It needs no authentication and
// starts nothing.
func Dial() transport.Conn {
	return &conn{done: make(chan struct{}), live: map[*process]struct{}{}}
}

type conn struct {
	done chan struct{}

	mu     sync.Mutex // guards the fields below
	closed bool
	live   map[*process]struct{}
}

func (c *conn) Info() transport.Info {
	login := ""
	if u, err := user.Current(); err == nil {
		login = u.Username
	}
	return transport.Info{Address: "local", Login: login}
}

func (c *conn) Done() <-chan struct{} { return c.done }

// Close closes the streams of what still runs, as a dropped link would.
func (c *conn) Close() error {
	c.mu.Lock()
	live := c.live
	if !c.closed {
		c.closed = true
		close(c.done)
	}
	c.live = nil
	c.mu.Unlock()
	for p := range live {
		p.drop(transport.ErrLost)
	}
	return nil
}

// Start gives line to /bin/sh, in a session of its own. The environment is
// reduced to what a login has, so that nothing of the caller's leaks into what
// runs before the sandbox clears it.
func (c *conn) Start(ctx context.Context, line string) (transport.Process, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	cmd := exec.Command("/bin/sh", "-c", line)
	cmd.Env = []string{"PATH=" + searchPath(), "HOME=" + os.Getenv("HOME"), "SHELL=/bin/sh"}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	p := &process{cmd: cmd, conn: c, ended: make(chan struct{}), gone: make(chan struct{})}
	if err := p.open(); err != nil {
		return nil, fmt.Errorf("open pipes: %w", err)
	}
	sealInherited()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		p.closeAll()
		return nil, fmt.Errorf("connection is closed: %w", transport.ErrLost)
	}
	if err := cmd.Start(); err != nil {
		p.closeAll()
		return nil, fmt.Errorf("start /bin/sh: %w", err)
	}
	c.live[p] = struct{}{}
	p.closeFar()
	go p.reap()
	return p, nil
}

// searchPath is where bwrap is looked for: the caller's PATH, and the places
// that a login on a target would have.
func searchPath() string {
	const login = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
	if p := os.Getenv("PATH"); p != "" {
		return p + ":" + login
	}
	return login
}

type process struct {
	cmd  *exec.Cmd
	conn *conn

	stdin          *os.File // our ends
	stdout, stderr *os.File
	far            []*os.File // the program's ends, closed once it has started

	ended chan struct{} // closed when the program was reaped
	exit  transport.Exit

	once    sync.Once
	dropped error         // why it was given up; set before gone is closed
	gone    chan struct{} // closed when our ends are
}

func (p *process) open() error {
	var err error
	var in, out, errw *os.File
	if in, p.stdin, err = os.Pipe(); err != nil {
		return err
	}
	p.far = append(p.far, in)
	if p.stdout, out, err = os.Pipe(); err != nil {
		p.closeAll()
		return err
	}
	p.far = append(p.far, out)
	if p.stderr, errw, err = os.Pipe(); err != nil {
		p.closeAll()
		return err
	}
	p.far = append(p.far, errw)
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = in, out, errw
	return nil
}

func (p *process) closeFar() {
	for _, f := range p.far {
		_ = f.Close() // pipes: nothing to lose
	}
	p.far = nil
}

func (p *process) closeAll() {
	p.closeFar()
	for _, f := range []*os.File{p.stdin, p.stdout, p.stderr} {
		if f != nil {
			_ = f.Close()
		}
	}
}

func (p *process) reap() {
	err := p.cmd.Wait()
	p.exit = exitOf(p.cmd.ProcessState, err)
	close(p.ended)
	p.conn.mu.Lock()
	delete(p.conn.live, p)
	p.conn.mu.Unlock()
}

func exitOf(state *os.ProcessState, err error) transport.Exit {
	if state == nil {
		return transport.Exit{Code: 125}
	}
	ws, ok := state.Sys().(syscall.WaitStatus)
	switch {
	case ok && ws.Signaled():
		return transport.Exit{Code: 128 + int(ws.Signal()), Signal: signalName(ws.Signal())}
	case err == nil || ok:
		return transport.Exit{Code: state.ExitCode()}
	default:
		return transport.Exit{Code: 125}
	}
}

// signalName gives the names RFC 4254, section 6.10, uses for exit-signal.
func signalName(s syscall.Signal) string {
	names := map[syscall.Signal]string{syscall.SIGABRT: "ABRT", syscall.SIGALRM: "ALRM", syscall.SIGFPE: "FPE", syscall.SIGHUP: "HUP",
		syscall.SIGILL: "ILL", syscall.SIGINT: "INT", syscall.SIGKILL: "KILL", syscall.SIGPIPE: "PIPE", syscall.SIGQUIT: "QUIT",
		syscall.SIGSEGV: "SEGV", syscall.SIGTERM: "TERM", syscall.SIGUSR1: "USR1", syscall.SIGUSR2: "USR2"}
	if n, ok := names[s]; ok {
		return n
	}
	return fmt.Sprintf("%d", int(s))
}

func (p *process) Stdin() io.WriteCloser { return input{p.stdin} }
func (p *process) Stdout() io.Reader     { return eof{p.stdout} }
func (p *process) Stderr() io.Reader     { return eof{p.stderr} }

// input is a standard input that may be closed twice.
type input struct{ *os.File }

func (i input) Close() error {
	if err := i.File.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}

// eof turns "file already closed" into the end of the stream: Wait says why.
type eof struct{ f *os.File }

func (e eof) Read(b []byte) (int, error) {
	n, err := e.f.Read(b)
	if errors.Is(err, os.ErrClosed) {
		err = io.EOF
	}
	return n, err
}

func (p *process) Wait() (transport.Exit, error) {
	select {
	case <-p.ended:
		return p.exit, nil
	case <-p.gone:
	}
	select {
	case <-p.ended: // known, if both were ready
		return p.exit, nil
	default:
		return transport.Exit{}, p.dropped
	}
}

// errClosed is what Wait returns for a process that was given up.
var errClosed = errors.New("process was closed before it ended")

// Close closes our ends of the streams; a program that writes on gets SIGPIPE.
func (p *process) Close() error {
	p.drop(errClosed)
	return nil
}

func (p *process) drop(why error) {
	p.once.Do(func() {
		p.dropped = why
		close(p.gone)
		p.closeAll()
	})
}
