//go:build unix

package local

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/bowline-sh/bowline/internal/transport"
	"github.com/bowline-sh/bowline/internal/transport/transporttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConnKeepsTransportContract(t *testing.T) {
	t.Cleanup(func() { killChildren(t) }) // the suite gives up programs that run on
	transporttest.Run(t, func(*testing.T) transport.Conn { return Dial() })
}

// killChildren kills what this process has started and not reaped.
func killChildren(t *testing.T) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			continue // it has ended
		}
		fields := strings.Fields(string(data[strings.LastIndex(string(data), ")")+1:]))
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(f)))
		if err == nil && len(fields) > 1 && fields[1] == strconv.Itoa(os.Getpid()) {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended meanwhile
		}
	}
}

func output(t *testing.T, line string) string {
	t.Helper()
	c := Dial()
	defer c.Close()
	p, err := c.Start(t.Context(), line)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	go func() { _, _ = io.Copy(io.Discard, p.Stderr()) }()
	_ = p.Stdin().Close()
	out, err := io.ReadAll(p.Stdout())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// TestEnvironment: nothing of the caller's reaches what starts the sandbox.
func TestEnvironment(t *testing.T) {
	t.Setenv("BOWLINE_SECRET", "secret")
	if out := output(t, "env"); strings.Contains(out, "secret") || !strings.Contains(out, "PATH=") {
		t.Errorf("environment:\n%s", out)
	}
}

// TestInherited: a descriptor that this process was given without close-on-exec
// goes no further.
func TestInherited(t *testing.T) {
	f, err := os.Open("/etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fd, err := unix.Dup(int(f.Fd())) // without close-on-exec
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if out := output(t, "ls -l /proc/self/fd"); strings.Contains(out, "passwd") {
		t.Errorf("descriptors:\n%s", out)
	}
}

// TestSession: the program leads a group of its own, so that killing it kills
// nobody else, and has no terminal.
func TestSession(t *testing.T) {
	fields := strings.Fields(output(t, "cut -d ' ' -f 1,5,6,7 /proc/$$/stat"))
	if len(fields) != 4 || fields[0] != fields[1] || fields[1] != fields[2] || fields[3] != "0" {
		t.Errorf("pid, group, session and terminal are %q", fields)
	}
}

// TestCloseIsALostLink: who waits is told, and the program sees its input end.
func TestCloseIsALostLink(t *testing.T) {
	c := Dial()
	p, err := c.Start(t.Context(), "cat; exit 3")
	if err != nil {
		t.Fatal(err)
	}
	ended := p.(*process).ended
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Wait(); !errors.Is(err, transport.ErrLost) {
		t.Errorf("Wait = %v", err)
	}
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Error("the program goes on")
	}
	if _, err := c.Start(t.Context(), "true"); !errors.Is(err, transport.ErrLost) {
		t.Errorf("Start after Close = %v", err)
	}
}
