// Package box holds boxes to their promises from outside: the built program, a real
// sshd, a real Podman, and the plain ssh and git.
package box

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bowline-sh/bowline/internal/testkit"
)

// program is the built bowline.
var program string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "bowline-box-")
	if err != nil {
		panic(err)
	}
	program = filepath.Join(dir, "bowline")
	if out, err := exec.Command("go", "build", "-o", program, "github.com/bowline-sh/bowline/cmd/bowline").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// laptop is a person's machine with a target dev1.
type laptop struct {
	t      *testing.T
	home   string
	server *testkit.Server
	env    []string
}

func newLaptop(t *testing.T) *laptop {
	t.Helper()
	l := &laptop{t: t, home: testkit.Dir(t), server: testkit.PodmanHost(t)}
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "SSH_AUTH_SOCK=") && !strings.HasPrefix(kv, "XDG_") && !strings.HasPrefix(kv, "HOME=") && !strings.HasPrefix(kv, "BOWLINE_") {
			l.env = append(l.env, kv)
		}
	}
	l.env = append(l.env, "HOME="+l.home, "XDG_RUNTIME_DIR="+l.home, "BOWLINE_PERSIST=off")
	s := l.server
	l.bowline("target", "add", "dev1", fmt.Sprintf("%s@%s:%d", s.User, s.Host, s.Port), "--key", s.ClientKeyFile, "--fingerprint", s.HostKeyFingerprint)
	l.append(".config/bowline/config.toml", "allow_loopback = true\n")
	return l
}

func (l *laptop) append(name, text string) {
	l.t.Helper()
	f, err := os.OpenFile(filepath.Join(l.home, name), os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteString(text)
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		l.t.Fatal(err)
	}
}

func (l *laptop) try(program string, args ...string) (string, int) {
	l.t.Helper()
	cmd := exec.CommandContext(l.t.Context(), program, args...)
	cmd.Env, cmd.Dir = l.env, l.home
	b, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		l.t.Fatal(err)
	}
	return string(b), cmd.ProcessState.ExitCode()
}

// bowline must succeed.
func (l *laptop) bowline(args ...string) string {
	l.t.Helper()
	out, code := l.try(program, args...)
	if code != 0 {
		l.t.Fatalf("bowline %q: exit code %d\n%s", args, code, out)
	}
	return out
}

// TestSSHThroughTheTarget reaches a box with the plain ssh; no port is open anywhere.
func TestSSHThroughTheTarget(t *testing.T) {
	l := newLaptop(t)
	key, pub := testkit.ClientKey(t, l.home, "me")
	_ = pub
	l.bowline("box", "create", "web", "-t", "dev1", "--image", testkit.BoxImage, "--authorized-keys", key+".pub")
	if out := l.bowline("box", "exec", "-t", "dev1", "web", "--", "id", "-un"); out != "dev\n" {
		t.Errorf("exec: %q", out)
	}
	out, code := l.try("ssh", "-F", "none", "-i", key, "-o", "ProxyCommand="+program+" box connect -t dev1 web", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile="+l.home+"/known", "dev@web", "id -un; cat /proc/self/status | grep NoNewPrivs")
	if code != 0 || !strings.Contains(out, "dev\nNoNewPrivs:\t1\n") {
		t.Errorf("ssh: %d, %q", code, out)
	}
	l.bowline("box", "rm", "-t", "dev1", "web", "--yes")
	if out := l.bowline("box", "list", "-t", "dev1"); strings.Contains(out, "web") {
		t.Errorf("left: %s", out)
	}
}
