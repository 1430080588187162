//go:build unix

package warm_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/bowline-sh/bowline/internal/helperbin"
	"github.com/bowline-sh/bowline/internal/link"
	"github.com/bowline-sh/bowline/internal/testkit"
	"github.com/bowline-sh/bowline/internal/transport"
	"github.com/bowline-sh/bowline/internal/transport/ssh"
	"github.com/bowline-sh/bowline/internal/transport/transporttest"
	"github.com/bowline-sh/bowline/internal/warm"
	"github.com/bowline-sh/bowline/target"
)

// host is a target, and a process that keeps links to it.
type host struct {
	t      *testing.T
	target target.Target
	socket string
	dials  atomic.Int32
	cfg    ssh.Config
}

func newHost(t *testing.T) *host {
	t.Helper()
	return newHostOf(t, testkit.SSHD(t))
}

func newHostOf(t *testing.T, s *testkit.Server) *host {
	t.Helper()
	h := &host{t: t, target: target.Target{Name: "web1", Kind: target.SSH, Host: s.Host, Port: s.Port, User: s.User, KeyFile: s.ClientKeyFile}}
	h.cfg = ssh.Config{KnownHosts: []string{s.KnownHostsFile(t)}, SSHConfig: "none", AgentSocket: "none"}
	dir := testkit.Dir(t)
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	h.socket = filepath.Join(dir, "s")
	return h
}

// serve starts the process, in this one, and returns what ends it and when it has ended.
func (h *host) serve(build string, idle time.Duration) (stop func(), ended chan struct{}) {
	h.t.Helper()
	dial := func(ctx context.Context, t target.Target) (transport.Conn, error) {
		h.dials.Add(1)
		return ssh.Dial(ctx, t, h.cfg)
	}
	s := &warm.Server{Socket: h.socket, Build: build, Idle: idle, Links: link.NewPool(dial, nil), Helpers: &link.Helpers{Binaries: new(helperbin.Set)}}
	ctx, cancel := context.WithCancel(context.Background())
	ended = make(chan struct{})
	go func() {
		defer close(ended)
		if err := s.Serve(ctx); err != nil {
			h.t.Error(err)
		}
	}()
	h.t.Cleanup(func() { cancel(); <-ended })
	h.listening()
	return cancel, ended
}

func (h *host) listening() {
	h.t.Helper()
	for range 3000 {
		if c, err := net.Dial("unix", h.socket); err == nil { // the file alone is there a moment sooner
			if err := c.Close(); err != nil {
				h.t.Error(err)
			}
			return
		}
		time.Sleep(time.Millisecond)
	}
	h.t.Fatal("the process does not listen")
}

func (h *host) dial(build string) (transport.Conn, error) {
	return warm.Dialer{Socket: h.socket, Build: build}.Dial(h.t.Context(), h.target)
}

func (h *host) must(c transport.Conn, err error) transport.Conn {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { c.Close() })
	return c
}

func TestContract(t *testing.T) {
	h := newHost(t)
	h.serve("1", time.Minute)
	transporttest.Run(t, func(t *testing.T) transport.Conn {
		c, err := h.dial("1")
		if err != nil {
			t.Fatal(err)
		}
		return c
	})
	if n := h.dials.Load(); n != 1 {
		t.Errorf("%d dials, want 1", n)
	}
}

// TestManyClients share one login.
func TestManyClients(t *testing.T) {
	h := newHost(t)
	h.serve("1", time.Minute)
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			c, err := h.dial("1")
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			want := fmt.Sprint(i)
			if out, _, exit := transporttest.Output(t, c, "echo "+want, ""); strings.TrimSpace(out) != want || exit.Code != 0 {
				t.Errorf("%q, %+v", out, exit)
			}
		})
	}
	all.Wait()
	if n := h.dials.Load(); n != 1 {
		t.Errorf("%d dials, want 1", n)
	}
	links, pid, err := warm.Dialer{Socket: h.socket, Build: "1"}.Links(t.Context())
	if err != nil || len(links) != 1 || links[0].Target != "web1" || pid != os.Getpid() {
		t.Errorf("%+v, %d, %v", links, pid, err)
	}
}

// TestClientLeaves: what it started is given up on the target.
func TestClientLeaves(t *testing.T) {
	h := newHost(t)
	h.serve("1", time.Minute)
	c := h.must(h.dial("1"))
	mark := fmt.Sprintf("%d.%d", 9000+os.Getpid()%1000, time.Now().UnixNano()%1e6)
	p, err := c.Start(t.Context(), "exec sh -c 'sleep "+mark+" & read x; kill $!'")
	if err != nil {
		t.Fatal(err)
	}
	runs := func() bool { return exec.Command("pgrep", "-f", "sleep "+mark).Run() == nil }
	await(t, "the command runs", runs)
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if _, err := p.Wait(); !errors.Is(err, transport.ErrLost) {
		t.Errorf("Wait = %v", err)
	}
	await(t, "the command ends", func() bool { return !runs() })
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("in vain: " + what)
		}
	}
}

// TestIdleEnds: links first, then the process with its socket.
func TestIdleEnds(t *testing.T) {
	h := newHost(t)
	_, ended := h.serve("1", 300*time.Millisecond)
	if err := h.must(h.dial("1")).Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Fatal("it stays")
	}
	if _, err := os.Lstat(h.socket); err == nil {
		t.Error("its socket stays")
	}
}

// TestUpgrade: a client of another build has the process replaced, and what the old one
// has under way comes to its end.
func TestUpgrade(t *testing.T) {
	h := newHost(t)
	_, ended := h.serve("1", time.Minute)
	old := h.must(h.dial("1"))
	p, err := old.Start(t.Context(), "read x; echo $x")
	if err != nil {
		t.Fatal(err)
	}
	spawned := 0
	d := warm.Dialer{Socket: h.socket, Build: "2", Spawn: func() error { spawned++; h.serve("2", time.Minute); return nil }}
	c, err := d.Dial(t.Context(), h.target)
	if err != nil || spawned != 1 {
		t.Fatalf("%v after %d spawns", err, spawned)
	}
	defer c.Close()
	if _, err := p.Stdin().Write([]byte("still here\n")); err != nil {
		t.Error(err)
	}
	buf := make([]byte, 64)
	if n, _ := p.Stdout().Read(buf); string(buf[:n]) != "still here\n" {
		t.Errorf("the old process gave %q", buf[:n])
	}
	if exit, err := p.Wait(); err != nil || exit.Code != 0 {
		t.Errorf("%+v, %v", exit, err)
	}
	if err := old.Close(); err != nil {
		t.Error(err)
	}
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Error("the old process stays")
	}
}

// TestKilled: a process that is gone in mid-command is a lost link, and its socket is in
// nobody's way.
func TestKilled(t *testing.T) {
	h := newHost(t)
	stop, ended := h.serve("1", time.Minute)
	c := h.must(h.dial("1"))
	p, err := c.Start(t.Context(), "sleep 60")
	if err != nil {
		t.Fatal(err)
	}
	stop()
	<-ended
	if _, err := p.Wait(); !errors.Is(err, transport.ErrLost) {
		t.Errorf("Wait = %v", err)
	}
	if _, err := c.Start(t.Context(), "true"); !errors.Is(err, transport.ErrLost) {
		t.Errorf("Start = %v", err)
	}
	// A socket that kill -9 left.
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err == nil {
		err = syscall.Bind(fd, &syscall.SockaddrUnix{Name: h.socket})
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Close(fd); err != nil {
		t.Fatal(err)
	}
	if _, err := h.dial("1"); !errors.Is(err, warm.ErrNone) {
		t.Errorf("dial to a dead socket = %v", err)
	}
	h.serve("1", time.Minute)
	h.must(warm.Dialer{Socket: h.socket, Build: "1", Spawn: func() error { return nil }}.Dial(t.Context(), h.target))
}

// TestOthersAreRefused: directories, sockets and peers of other users.
func TestOthersAreRefused(t *testing.T) {
	testkit.Root(t)
	h := newHost(t)
	dir := filepath.Dir(h.socket)
	h.serve("1", time.Minute)
	if err := os.Chown(h.socket, 1, 1); err != nil {
		t.Fatal(err)
	}
	if _, err := h.dial("1"); !errors.Is(err, warm.ErrNone) || !strings.Contains(err.Error(), "not a socket of ours") {
		t.Errorf("another's socket: %v", err)
	}
	if err := os.Chown(h.socket, 0, 0); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func() error{
		"writable":  func() error { return os.Chmod(dir, 0o777) },
		"another's": func() error { return os.Chown(dir, 1, 0) },
	} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		if _, err := h.dial("1"); !errors.Is(err, warm.ErrNone) || !strings.Contains(err.Error(), "must be yours") {
			t.Errorf("%s directory: %v", name, err)
		}
		if err := errors.Join(os.Chown(dir, 0, 0), os.Chmod(dir, 0o700)); err != nil {
			t.Fatal(err)
		}
	}
	// The process refuses a peer that is let in by the files.
	if err := errors.Join(os.Chmod(dir, 0o755), os.Chmod(h.socket, 0o777)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(testkit.Tool(t, "ncat"), "-U", h.socket)
	cmd.Stdin = strings.NewReader("{\"op\":\"list\",\"build\":\"1\"}\n")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1, Gid: 1}}
	if out, err := cmd.Output(); len(out) > 0 {
		t.Errorf("another user got an answer: %q, %v", out, err)
	}
	cmd = exec.Command(testkit.Tool(t, "ncat"), "-U", h.socket)
	cmd.Stdin = strings.NewReader("{\"op\":\"list\",\"build\":\"1\"}\n")
	if out, err := cmd.Output(); !strings.Contains(string(out), `"ok":true`) {
		t.Errorf("we got none: %q, %v", out, err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
}

// TestPlantedSocket: a socket that looks like ours, behind which another user listens. It
// gets no word of what we want.
func TestPlantedSocket(t *testing.T) {
	testkit.Root(t)
	h := newHost(t)
	dir := filepath.Dir(h.socket)
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	trap := exec.Command(testkit.Tool(t, "ncat"), "-l", "-k", "-U", h.socket)
	trap.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1, Gid: 1}}
	var heard strings.Builder
	trap.Stdout = &heard
	if err := trap.Start(); err != nil {
		t.Fatal(err)
	}
	h.listening()
	if err := errors.Join(os.Chown(h.socket, 0, 0), os.Chmod(dir, 0o700)); err != nil {
		t.Fatal(err)
	}
	spawned := 0
	d := warm.Dialer{Socket: h.socket, Build: "1", Spawn: func() error { spawned++; return errors.New("no") }}
	if _, err := d.Dial(t.Context(), h.target); !errors.Is(err, warm.ErrNone) || !strings.Contains(err.Error(), "no") {
		t.Errorf("Dial = %v", err)
	}
	if _, err := h.dial("1"); !errors.Is(err, warm.ErrNone) || !strings.Contains(err.Error(), "belongs to uid 1") {
		t.Errorf("Dial = %v", err)
	}
	h.serve("1", time.Minute) // takes the place of what was planted
	await(t, "our process has the socket", func() bool {
		c, err := h.dial("1")
		return err == nil && c.Close() == nil
	})
	if err := trap.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = trap.Wait() // killed
	if heard.Len() > 0 || spawned != 1 {
		t.Errorf("it heard %q; %d spawns", heard.String(), spawned)
	}
}
