// Package box holds boxes to their promises from outside: the built program, a real
// sshd, a real Podman, and the plain ssh and git.
package box

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/bowline-sh/bowline/internal/testkit"
)

// program is the built bowline.
var program string

func TestMain(m *testing.M) {
	// Most of the time one waits for sshd or Podman.
	flag.Parse()
	if err := flag.Set("test.parallel", "4"); err != nil {
		panic(err)
	}
	os.Exit(testkit.Main(m, &program))
}

// laptop is a person's machine with a target dev1.
type laptop struct {
	t      *testing.T
	home   string
	dir    string // where programs run
	server *testkit.Server
	env    []string
}

func newLaptop(t *testing.T) *laptop {
	t.Helper()
	return newLaptopFor(t, testkit.PodmanHost(t))
}

func newLaptopFor(t *testing.T, s *testkit.Server) *laptop {
	t.Helper()
	home := testkit.Dir(t)
	l := &laptop{t: t, home: home, dir: home, server: s}
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "SSH_AUTH_SOCK=") && !strings.HasPrefix(kv, "XDG_") && !strings.HasPrefix(kv, "HOME=") && !strings.HasPrefix(kv, "PATH=") && !strings.HasPrefix(kv, "BOWLINE_") {
			l.env = append(l.env, kv)
		}
	}
	// OpenSSH looks for the user's files where the password file says, not in HOME.
	bin := filepath.Join(l.home, "bin")
	ssh, err := exec.LookPath("ssh")
	if err == nil {
		err = os.MkdirAll(bin, 0o755)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(bin, "ssh"), []byte("#!/bin/sh\n[ -e \"$HOME/.ssh/config\" ] || exec "+ssh+" -F none \"$@\"\nexec "+ssh+" -F \"$HOME/.ssh/config\" \"$@\"\n"), 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	l.env = append(l.env, "PATH="+bin+":"+os.Getenv("PATH"), "HOME="+l.home, "XDG_RUNTIME_DIR="+l.home, "BOWLINE_PERSIST=off")
	l.addTarget()
	return l
}

// addTarget makes the server known as dev1.
func (l *laptop) addTarget() {
	l.t.Helper()
	s := l.server
	l.bowline("target", "add", "dev1", fmt.Sprintf("%s@%s:%d", s.User, s.Host, s.Port), "--key", s.ClientKeyFile, "--fingerprint", s.HostKeyFingerprint)
	l.append(".config/bowline/config.toml", "allow_loopback = true\n")
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

// find looks for a program as a shell of this laptop does.
func (l *laptop) find(name string) string {
	l.t.Helper()
	if own := filepath.Join(l.home, "bin", name); fileExists(own) {
		return own
	}
	path, err := exec.LookPath(name)
	if err != nil {
		l.t.Fatal(err)
	}
	return path
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func (l *laptop) read(name string) string {
	l.t.Helper()
	b, err := os.ReadFile(filepath.Join(l.home, name))
	if err != nil {
		l.t.Fatal(err)
	}
	return string(b)
}

func (l *laptop) write(name, text string) {
	l.t.Helper()
	path := filepath.Join(l.home, name)
	err := os.MkdirAll(filepath.Dir(path), 0o700)
	if err == nil {
		err = os.WriteFile(path, []byte(text), 0o600)
	}
	if err != nil {
		l.t.Fatal(err)
	}
}

// must run another program with success.
func (l *laptop) must(program string, args ...string) string {
	l.t.Helper()
	out, code := l.try(program, args...)
	if code != 0 {
		l.t.Fatalf("%s %q: exit code %d\n%s", program, args, code, out)
	}
	return out
}

// fails with a code and texts.
func (l *laptop) fails(code int, texts []string, args ...string) {
	l.t.Helper()
	out, got := l.try(program, args...)
	if got != code {
		l.t.Errorf("bowline %q: exit code %d, want %d\n%s", args, got, code, out)
	}
	for _, text := range texts {
		if !strings.Contains(out, text) {
			l.t.Errorf("bowline %q does not say %q:\n%s", args, text, out)
		}
	}
}

func (l *laptop) try(program string, args ...string) (string, int) {
	l.t.Helper()
	if filepath.Base(program) == program {
		program = l.find(program)
	}
	cmd := exec.CommandContext(l.t.Context(), program, args...)
	cmd.Env, cmd.Dir = l.env, l.dir
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

// TestThreeAtOnce makes boxes for two worktrees of one repository and one without git.
func TestThreeAtOnce(t *testing.T) {
	t.Parallel()
	newLaptop(t).threeAtOnce(t, testkit.BoxImage)
}

func (l *laptop) threeAtOnce(t *testing.T, image string) {
	key, _ := testkit.ClientKey(t, l.home, "me")
	l.repository("one")
	l.must("git", "worktree", "add", "-q", filepath.Join(l.home, "two"))
	create := func(name, dir string, more ...string) *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), program, append([]string{"box", "create", name, "-t", "dev1", "--image", image, "--authorized-keys", key + ".pub"}, more...)...)
		cmd.Env, cmd.Dir = l.env, filepath.Join(l.home, dir)
		return cmd
	}
	var done sync.WaitGroup
	for _, cmd := range []*exec.Cmd{create("a", "one"), create("b", "two"), create("c", "two", "--no-git")} {
		done.Go(func() {
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
	done.Wait()
	if out := l.must("git", "remote"); out != "a\nb\n" {
		t.Errorf("remotes %q", out)
	}
	for _, name := range []string{"a", "b", "c"} {
		if out := l.must("ssh", name+".dev1", "hostname"); out != name+"\n" {
			t.Errorf("%s answers %q", name, out)
		}
	}
	// A box that has the place of another is found out by its key.
	entries := l.read(".config/bowline/ssh_config")
	l.write(".config/bowline/ssh_config", strings.ReplaceAll(entries, "connect -t dev1 b\n", "connect -t dev1 a\n"))
	if out, code := l.try("ssh", "-S", "none", "b.dev1", "hostname"); code != 255 || !strings.Contains(out, "REMOTE HOST IDENTIFICATION HAS CHANGED") {
		t.Errorf("a poses as b: %d, %q", code, out)
	}
	l.write(".config/bowline/ssh_config", entries)
	l.bowline("box", "rm", "-t", "dev1", "b", "--yes", "--keep-volumes")
	if out := l.bowline("box", "prune", "-t", "dev1", "--older-than", "0s", "--yes"); strings.Count(out, "of box b") != 2 || strings.Contains(out, "container") {
		t.Errorf("%q", out)
	}
	if out := l.bowline("box", "prune", "-t", "dev1", "--older-than", "0s", "--volumes", "--yes"); strings.Count(out, "of box b") != 2 {
		t.Errorf("volumes that were kept went: %q", out)
	}
	if out := l.bowline("box", "prune", "-t", "dev1", "--older-than", "0s", "--volumes", "--yes"); out != "" {
		t.Errorf("left: %q", out)
	}
}
