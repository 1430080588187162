package box

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/bowline-sh/bowline/diag"
)

// Port is one of a box that is forwarded to this machine.
type Port struct {
	Remote int    // in the box, on its loopback
	Local  int    // on this machine's loopback; 0 lets the system choose
	Addr   string // where it can be reached, "127.0.0.1:8080"; filled in
}

// Forwarding is what Forward tells.
type Forwarding struct {
	Ready func([]Port) // called once, when connections are taken
	Note  func(string) // what a person should know; may hold text of the box
}

// Forward takes connections on this machine's loopback and hands each on to a port of a
// box, until ctx ends, which is no error. Kind lost: the box stopped, or the link dropped.
func (b *Boxes) Forward(ctx context.Context, on, name string, ports []Port, tell Forwarding) error {
	listeners, err := listen(ctx, ports)
	if err != nil {
		return err
	}
	defer closeAll(listeners)
	var argv []string
	for _, p := range ports {
		argv = append(argv, strconv.Itoa(p.Remote))
	}
	return b.On(ctx, Call{Target: on, Verb: "box.port", Box: name, Argv: argv}, func(ctx context.Context, s *Server) error {
		bx, err := s.running(ctx, name)
		if err != nil {
			return err
		}
		tunnel, err := s.tunnel(ctx, bx, ports)
		if err != nil {
			return err
		}
		tell.Ready(ports)
		return s.forward(ctx, bx, tunnel, forwards{ports, listeners, tell.Note})
	})
}

// listen opens what ports name, and fills in their addresses.
func listen(ctx context.Context, ports []Port) ([]net.Listener, error) {
	var out []net.Listener
	for i, p := range ports {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(p.Local)))
		if err != nil {
			closeAll(out)
			return nil, diag.New(diag.Conflict, "listen for port "+strconv.Itoa(p.Remote), fmt.Sprintf("let the system choose one: '0:%d'", p.Remote), "%w", err)
		}
		ports[i].Addr = l.Addr().String()
		out = append(out, l)
	}
	return out, nil
}

func closeAll(list []net.Listener) {
	for _, l := range list {
		_ = l.Close()
	}
}

// running returns a box that runs.
func (s *Server) running(ctx context.Context, name string) (Box, error) {
	b, err := s.Get(ctx, name)
	if err == nil && b.Status != "running" {
		err = diag.New(diag.Refused, "reach "+name, "start it: "+s.typed("start", name), "the box is %s", b.Status)
	}
	return b, err
}

// tunnelText serves one SSH connection that may forward to some ports and nothing else.
// Its arguments are a line for authorized_keys and a name for the file of that line, which
// the account must be able to read. The line holds a public key.
const tunnelText = `f=/etc/bowline/forward-$2
umask 022
trap 'rm -f "$f"' EXIT
printf '%s\n' "$1" >"$f" || exit 1
p=$(command -v sshd) || p=/usr/sbin/sshd
"$p" -i -f /etc/bowline/sshd_config -o "AuthorizedKeysFile=$f" -o AllowTcpForwarding=local`

// tunnelFor bounds how long a tunnel may take to stand, and to end.
const tunnelFor = 20 * time.Second

// tunnel is an SSH connection into a box, over the streams of a command there: channels of
// SSH have windows and half-close, however many they are. It logs in with a key that lives
// as long as it does.
func (s *Server) tunnel(ctx context.Context, b Box, ports []Port) (*tunnel, error) {
	host, err := s.hostKey(ctx, b.ID)
	if err != nil {
		return nil, err
	}
	hostKey, _, _, _, err := ssh.ParseAuthorizedKey([]byte(host.Public))
	if err != nil {
		return nil, err
	}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		return nil, err
	}
	line := "restrict,port-forwarding"
	for _, p := range ports {
		line += fmt.Sprintf(`,permitopen="localhost:%d"`, p.Remote)
	}
	line += " " + strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey())))
	near, far := net.Pipe()
	t := &tunnel{ended: make(chan struct{})}
	// It outlives ctx, to end in order: the command then takes its file away.
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	t.cancel = cancel
	said := capped{max: maxAnswer}
	go func() {
		defer close(t.ended)
		defer far.Close()
		_, t.err = s.exec(run, inside{b.ID, "root"}, ExecRequest{Argv: []string{"/bin/sh", "-c", tunnelText, "sh", line, rand.Text()}, Stdin: far, Stdout: far, Stderr: &said})
	}()
	stop := context.AfterFunc(ctx, func() { near.Close() })
	timer := time.AfterFunc(tunnelFor, func() { near.Close() })
	conn, channels, requests, err := ssh.NewClientConn(near, b.Name, &ssh.ClientConfig{User: b.User, HostKeyCallback: ssh.FixedHostKey(hostKey), Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}})
	stop()
	timer.Stop()
	if err != nil {
		near.Close()
		t.end()
		return nil, diag.New(diag.Failure, "reach ports of "+b.Name, "the image needs OpenSSH's sshd", "%w", errors.Join(err, t.err, context.Cause(ctx)))
	}
	t.client = ssh.NewClient(conn, channels, requests)
	return t, nil
}

// tunnel is the connection of Forward to a box.
type tunnel struct {
	client *ssh.Client
	cancel context.CancelFunc
	ended  chan struct{} // closed when the command in the box is over, and err is set
	err    error
}

// close ends the connection, and what serves it in the box.
func (t *tunnel) close() {
	_ = t.client.Close()
	t.end()
}

func (t *tunnel) end() {
	select {
	case <-t.ended:
	case <-time.After(tunnelFor):
	}
	t.cancel()
	<-t.ended
}

// forwards are ports with their listeners.
type forwards struct {
	ports     []Port
	listeners []net.Listener
	note      func(string)
}

// forward serves until ctx or the tunnel ends.
func (s *Server) forward(ctx context.Context, b Box, t *tunnel, f forwards) error {
	defer t.close()
	var serving sync.WaitGroup
	defer serving.Wait()
	defer closeAll(f.listeners)
	conns, cancel := context.WithCancel(ctx)
	defer cancel()
	for i, l := range f.listeners {
		serving.Go(func() { f.serve(conns, l, t.client, f.ports[i].Remote) })
	}
	broken := make(chan struct{})
	go func() {
		_ = t.client.Wait() // how it ended is asked below
		close(broken)
	}()
	select {
	case <-ctx.Done():
		return nil
	case <-broken:
		return s.whyBroken(ctx, b, t.err)
	}
}

// whyBroken says why a tunnel ended that nobody closed.
func (s *Server) whyBroken(ctx context.Context, b Box, err error) error {
	ctx, cancel := context.WithTimeout(ctx, tunnelFor)
	defer cancel()
	now, gerr := s.Get(ctx, b.Name)
	switch {
	case gerr == nil && now.ID == b.ID && now.Status != "running":
		return diag.New(diag.Lost, "forward ports of "+b.Name, "start it and forward again: "+s.typed("start", b.Name), "the box is %s", now.Status)
	case gerr == nil && now.ID != b.ID:
		return diag.New(diag.Lost, "forward ports of "+b.Name, "forward again", "the box was rebuilt")
	case diag.KindOf(gerr) == diag.Usage:
		return diag.New(diag.Lost, "forward ports of "+b.Name, "see 'bowline box list'", "the box was removed")
	}
	return diag.New(diag.Lost, "forward ports of "+b.Name, "forward again", "the way into the box broke: %w", errors.Join(err, gerr, errors.New("the connection ended")))
}

// serve hands on the connections of a listener until it is closed, and waits for them.
func (f forwards) serve(ctx context.Context, l net.Listener, c *ssh.Client, port int) {
	var open sync.WaitGroup
	defer open.Wait()
	var once sync.Once
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		open.Go(func() {
			defer conn.Close()
			far, err := c.DialContext(ctx, "tcp", net.JoinHostPort("localhost", strconv.Itoa(port)))
			if err != nil {
				once.Do(func() { f.note(fmt.Sprintf("port %d of the box takes no connection: %v", port, err)) })
				return
			}
			defer far.Close()
			defer context.AfterFunc(ctx, func() { _ = errors.Join(conn.Close(), far.Close()) })()
			both(conn, far)
		})
	}
}

// both copies either way until both sides have ended theirs, each by itself.
func both(a, b net.Conn) {
	var done sync.WaitGroup
	one := func(to, from net.Conn) {
		_, err := io.Copy(to, from)
		if half, ok := to.(interface{ CloseWrite() error }); ok && err == nil {
			_ = half.CloseWrite()
			return
		}
		_ = errors.Join(a.Close(), b.Close()) // one way is broken: so is the other
	}
	done.Go(func() { one(a, b) })
	done.Go(func() { one(b, a) })
	done.Wait()
}
