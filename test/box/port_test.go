package box

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bowline-sh/bowline/internal/testkit"
)

// TestPort forwards a port of a box: many connections at once, each side ending its own
// half, a port that nobody listens on, and the ends by Ctrl-C and by the box.
func TestPort(t *testing.T) {
	t.Parallel()
	l := newLaptop(t)
	key, _ := testkit.ClientKey(t, l.home, "me")
	l.bowline("box", "create", "a", "-t", "dev1", "--image", testkit.BoxImage, "--no-git", "--authorized-keys", key+".pub")
	echo := filepath.Join(l.home, "echo")
	build := exec.Command("go", "build", "-o", echo, "./testdata/echo")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	binary, err := os.Open(echo)
	if err != nil {
		t.Fatal(err)
	}
	defer binary.Close()
	serve := exec.CommandContext(t.Context(), program, "box", "exec", "-t", "dev1", "a", "--stdin", "--", "sh", "-c", "cat >/tmp/echo; chmod 755 /tmp/echo; exec /tmp/echo 7000")
	serve.Env, serve.Dir, serve.Stdin = l.env, l.dir, binary
	out, err := serve.StdoutPipe()
	if err == nil {
		err = serve.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "up\n" {
		t.Fatalf("%q, %v", line, err)
	}
	cmd, ports, errs := l.forward("a", "0:7000", "0:7001")
	t.Run("many", func(t *testing.T) {
		var done sync.WaitGroup
		for i := range 30 {
			done.Go(func() {
				sent := bytes.Repeat(fmt.Appendf(nil, "%d ", i), 100_000)
				if got, err := exchange(ports[7000], sent); err != nil || got != sum(sent) {
					t.Errorf("%d: %s, %v", i, got, err)
				}
			})
		}
		done.Wait()
	})
	t.Run("nobody listens", func(t *testing.T) {
		if got, err := exchange(ports[7001], []byte("x")); err == nil && got != sum(nil) {
			t.Errorf("%s", got)
		}
	})
	t.Run("taken", func(t *testing.T) {
		local := ports[7000][strings.LastIndexByte(ports[7000], ':')+1:]
		l.fails(13, []string{"address already in use", "'0:7000'"}, "box", "port", "-t", "dev1", "a", local+":7000")
	})
	t.Run("interrupted", func(t *testing.T) {
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v\n%s", err, errs)
		}
		if !strings.Contains(errs.String(), "port 7001 of the box takes no connection") {
			t.Errorf("%s", errs)
		}
		if out := l.bowline("box", "exec", "-t", "dev1", "a", "--user", "root", "--", "ls", "/etc/bowline"); strings.Contains(out, "forward") {
			t.Errorf("left: %s", out)
		}
	})
	t.Run("stopped", func(t *testing.T) {
		cmd, _, errs := l.forward("a", "0:7000")
		l.bowline("box", "stop", "-t", "dev1", "a")
		if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 1 || !strings.Contains(errs.String(), "the box is") || !strings.Contains(errs.String(), "bowline box start -t dev1 a") {
			t.Errorf("%v: %s", err, errs)
		}
		l.fails(12, []string{"the box is exited", "bowline box start"}, "box", "port", "-t", "dev1", "a", "0:7000")
	})
}

// forward starts 'box port' and waits for its addresses.
func (l *laptop) forward(name string, ports ...string) (*exec.Cmd, map[int]string, *bytes.Buffer) {
	l.t.Helper()
	cmd := exec.CommandContext(l.t.Context(), program, append([]string{"box", "port", "-t", "dev1", "--json", name}, ports...)...)
	cmd.Env, cmd.Dir = l.env, l.dir
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	var doc struct {
		Ports []struct {
			Remote  int
			Address string
		}
	}
	if err == nil {
		err = json.NewDecoder(out).Decode(&doc)
	}
	if err != nil {
		l.t.Fatalf("%v: %s", err, &errs)
	}
	at := map[int]string{}
	for _, p := range doc.Ports {
		at[p.Remote] = p.Address
	}
	return cmd, at, &errs
}

// exchange sends all, ends its half, and hashes what comes back.
func exchange(addr string, sent []byte) (string, error) {
	c, err := net.DialTimeout("tcp", addr, 10*time.Second)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return "", err
	}
	if _, err := c.Write(sent); err != nil {
		return "", err
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		return "", err
	}
	h := sha256.New()
	_, err = io.Copy(h, c)
	return hex.EncodeToString(h.Sum(nil)), err
}

func sum(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}
