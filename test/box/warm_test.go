package box

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bowline-sh/bowline/internal/testkit"
)

// TestWarm: calls in a row share one login and one service of Podman, which end with the
// background process.
func TestWarm(t *testing.T) {
	t.Parallel()
	l := newLaptop(t)
	key, _ := testkit.ClientKey(t, l.home, "me")
	l.env = slices.DeleteFunc(l.env, func(kv string) bool { return kv == "BOWLINE_PERSIST=off" })
	t.Cleanup(func() {
		end := exec.Command(program, "link", "close", "--all")
		end.Env = l.env
		if out, err := end.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
	l.bowline("box", "create", "a", "-t", "dev1", "--image", testkit.BoxImage, "--no-git", "--authorized-keys", key+".pub")
	before := strings.Count(l.server.Log(), "Accepted publickey")
	for range 3 {
		if out := l.bowline("box", "exec", "-t", "dev1", "a", "--", "echo", "here"); out != "here\n" {
			t.Fatalf("%q", out)
		}
	}
	if after := strings.Count(l.server.Log(), "Accepted publickey"); after != before {
		t.Errorf("%d logins for three calls", after-before)
	}
	service := strings.Fields(l.bowline("box", "exec", "-t", "dev1", "a", "--", "true") + services(t, l))
	if len(service) != 1 {
		t.Errorf("services %q", service)
	}
	// Streams, and their ends, by way of the background process.
	if out, code := l.try("sh", "-c", `printf 'a\nb\n' | "$0" box exec -t dev1 a --stdin -- sh -c 'cat; echo c >&2; exit 5'`, program); code != 5 || out != "a\nb\nc\n" {
		t.Errorf("%d, %q", code, out)
	}
	// A time limit ends the command whatever is under way: the link, its start, or itself.
	for limit := 5 * time.Millisecond; limit < 2*time.Second; limit *= 2 {
		l.fails(124, nil, "box", "exec", "-t", "dev1", "a", "--timeout", limit.String(), "--", "sh", "-c", "sleep 5432 & sleep 5432")
	}
	if out := l.bowline("box", "exec", "-t", "dev1", "a", "--", "sh", "-c", "grep -l 543[2] /proc/[0-9]*/cmdline 2>/dev/null; :"); out != "" {
		t.Errorf("what ran out of time runs on: %q", out)
	}
	if out := l.must("ssh", "a.dev1", "hostname"); out != "a\n" {
		t.Errorf("%q", out)
	}
	l.must("ssh", "-O", "exit", "a.dev1")
	l.bowline("link", "close", "--all")
	for range 100 {
		if services(t, l) == "" {
			return
		}
		l.must("sleep", "0.05")
	}
	t.Errorf("services go on: %q", services(t, l))
}

// services lists those of the server that listen, by their sockets.
func services(t *testing.T, l *laptop) string {
	t.Helper()
	dir := strings.TrimSuffix(strings.TrimSpace(l.onServer("echo $HOME")), "/home")
	out, err := exec.Command("pgrep", "-f", "podman system service --time 0 unix://"+dir+"/").Output()
	if _, ok := err.(*exec.ExitError); err != nil && !ok {
		t.Fatal(err)
	}
	return string(out)
}
