//go:build unix

package warm_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/bowline-sh/bowline/internal/testkit"
	"github.com/bowline-sh/bowline/internal/transport"
	"github.com/bowline-sh/bowline/internal/warm"
)

// reacher is what a connection of the background process can besides.
type reacher interface {
	Dial(ctx context.Context, network, addr string) (net.Conn, error)
	Keep(ctx context.Context, line string, only bool) (string, error)
}

// reach returns a connection to the host as a new invocation gets it.
func (h *host) reach() reacher {
	h.t.Helper()
	return h.must(h.dial("1")).(reacher)
}

// echo is a socket of the target that answers with what it is sent, once the other side has
// ended its half. gone tells of each connection that has ended.
func (h *host) echo() (path string, gone chan struct{}) {
	h.t.Helper()
	path, gone = filepath.Join(testkit.Dir(h.t), "echo"), make(chan struct{}, 100)
	l, err := net.Listen("unix", path)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				b, err := io.ReadAll(c)
				if err == nil {
					_, _ = c.Write(b) // the client may be gone
				}
				c.Close()
				gone <- struct{}{}
			}()
		}
	}()
	return path, gone
}

// TestDial: connections to a socket of the target, each with its own halves, many at once,
// over one login.
func TestDial(t *testing.T) {
	h := newHost(t)
	h.serve("1", time.Minute)
	path, _ := h.echo()
	var all sync.WaitGroup
	for i := range 10 {
		r := h.reach()
		all.Go(func() {
			c, err := r.Dial(t.Context(), "unix", path)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			sent := bytes.Repeat([]byte(strconv.Itoa(i)), 300_000)
			_, werr := c.Write(sent)
			cerr := c.(interface{ CloseWrite() error }).CloseWrite()
			if got, err := io.ReadAll(c); errors.Join(werr, cerr, err) != nil || !bytes.Equal(got, sent) {
				t.Errorf("%d bytes of %d, %v", len(got), len(sent), errors.Join(werr, cerr, err))
			}
		})
	}
	all.Wait()
	if n := h.dials.Load(); n != 1 {
		t.Errorf("%d logins", n)
	}
}

// TestDialEnds: who closes a connection ends it at the far side, and so does an invocation
// that goes; a socket that is not there is an error of the target, not of the process.
func TestDialEnds(t *testing.T) {
	h := newHost(t)
	stop, ended := h.serve("1", time.Minute)
	path, gone := h.echo()
	dial := func(r reacher) net.Conn {
		t.Helper()
		c, err := r.Dial(t.Context(), "unix", path)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	wait := func(what string) {
		t.Helper()
		select {
		case <-gone:
		case <-time.After(20 * time.Second):
			t.Fatal("the far side goes on after " + what)
		}
	}
	if err := dial(h.reach()).Close(); err != nil {
		t.Error(err)
	}
	wait("Close")
	whole := h.must(h.dial("1"))
	dial(whole.(reacher))
	if err := whole.Close(); err != nil {
		t.Error(err)
	}
	wait("the end of an invocation")
	if _, err := h.reach().Dial(t.Context(), "unix", path+"-none"); err == nil || errors.Is(err, warm.ErrNone) {
		t.Errorf("no such socket: %v", err)
	}
	late, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.reach().Dial(late, "unix", path); !errors.Is(err, context.Canceled) {
		t.Errorf("after its end: %v", err)
	}
	r := h.reach()
	c := dial(r)
	stop()
	<-ended
	wait("the end of the process")
	if _, err := r.Dial(t.Context(), "unix", path); !errors.Is(err, transport.ErrLost) {
		t.Errorf("without a process: %v", err)
	}
	if b, err := io.ReadAll(c); err == nil && len(b) > 0 {
		t.Errorf("%q, %v", b, err)
	}
}

// TestDialAnothers: a socket of the target that the login may not use, and a process of
// another user that asks for a link.
func TestDialAnothers(t *testing.T) {
	testkit.Root(t)
	h := newHostOf(t, testkit.SSHD(t, testkit.LoginUser(testkit.User(t))))
	h.serve("1", time.Minute)
	path, _ := h.echo()
	if err := os.Chmod(path, 0o600); err != nil { // root's
		t.Fatal(err)
	}
	if c, err := h.reach().Dial(t.Context(), "unix", path); err == nil {
		t.Errorf("an account reaches root's socket: %v", c.Close())
	}
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := h.reach().Dial(t.Context(), "unix", path); err != nil {
		t.Errorf("one that it may use: %v", err)
	}
	dials := h.dials.Load()
	if err := errors.Join(os.Chmod(filepath.Dir(h.socket), 0o755), os.Chmod(h.socket, 0o777)); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(filepath.Dir(h.socket), 0o700)
	other := h.target
	other.Name = "other"
	line, err := json.Marshal(map[string]any{"op": "conn", "build": "1", "target": other})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(testkit.Tool(t, "ncat"), "-U", h.socket)
	cmd.Stdin = strings.NewReader(string(line) + "\n")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1, Gid: 1}}
	if out, err := cmd.Output(); len(out) > 0 || h.dials.Load() != dials {
		t.Errorf("another user got %q, %v, with %d logins", out, err, h.dials.Load()-dials)
	}
}

// TestKeep: a process is started once for all invocations, and ends with the link.
func TestKeep(t *testing.T) {
	h := newHost(t)
	h.serve("1", time.Minute)
	file := filepath.Join(testkit.Dir(t), "began")
	line := fmt.Sprintf("exec /bin/sh -c 'echo began >>%[1]s; echo \"I am $$\"; cat >/dev/null; echo ended >>%[1]s'", file)
	before := h.must(h.dial("1"))
	if first, err := before.(reacher).Keep(t.Context(), line, true); first != "" || errors.Join(err, before.Close()) != nil {
		t.Errorf("before it was started: %q, %v", first, err)
	}
	var all sync.WaitGroup
	firsts := make([]string, 10)
	clients := make([]transport.Conn, len(firsts))
	for i := range firsts {
		clients[i] = h.must(h.dial("1"))
		r := clients[i].(reacher)
		all.Go(func() {
			var err error
			if firsts[i], err = r.Keep(t.Context(), line, false); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for _, f := range firsts {
		if f != firsts[0] || !strings.HasPrefix(f, "I am ") {
			t.Errorf("%q and %q", f, firsts[0])
		}
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "began\n" {
		t.Errorf("it began %q, %v", b, err)
	}
	for _, c := range clients {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	last := h.must(h.dial("1"))
	if first, err := last.(reacher).Keep(t.Context(), line, false); first != firsts[0] || err != nil {
		t.Errorf("afterwards: %q, %v", first, err)
	}
	if err := errors.Join(last.Close(), (warm.Dialer{Socket: h.socket, Build: "1"}).Close(t.Context(), &h.target)); err != nil {
		t.Fatal(err)
	}
	await(t, "the process ends with the link", func() bool {
		b, err := os.ReadFile(file)
		return err == nil && string(b) == "began\nended\n"
	})
	await(t, "it is forgotten", func() bool {
		first, err := h.reach().Keep(t.Context(), line, true)
		return first == "" && err == nil
	})
}

// TestKeepFails: a process that says nothing is an error, and is tried again by who asks
// again; one that ended is not there any more.
func TestKeepFails(t *testing.T) {
	h := newHost(t)
	h.serve("1", time.Minute)
	r := h.reach()
	for range 2 {
		if first, err := r.Keep(t.Context(), "exit 3", false); err == nil || errors.Is(err, warm.ErrNone) {
			t.Errorf("it says nothing: %q, %v", first, err)
		}
	}
	if first, err := r.Keep(t.Context(), "echo short", false); first != "short" || err != nil {
		t.Errorf("%q, %v", first, err)
	}
	await(t, "one that ended is forgotten", func() bool {
		first, err := r.Keep(t.Context(), "echo short", true)
		return first == "" && err == nil
	})
	if first, err := r.Keep(t.Context(), "head -c 100000 /dev/zero | tr '\\0' x", false); err == nil {
		t.Errorf("a line without end: %d bytes", len(first))
	}
	late, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := r.Keep(late, "exec cat", false); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("one that does not begin: %v", err)
	}
}
