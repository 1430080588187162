package box

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/bowline-sh/bowline/internal/testkit"
)

// port asks for the port of a box.
func (l *laptop) port(name string) int {
	l.t.Helper()
	var doc struct{ Box struct{ Port int } }
	if err := json.Unmarshal([]byte(l.bowline("box", "info", "-t", "dev1", name, "--json")), &doc); err != nil {
		l.t.Fatal(err)
	}
	return doc.Box.Port
}

// TestPublished: boxes that are published have ports of their own, also against stopped
// ones, are reached by the plain ssh alone, and nothing else listens for them.
func TestPublished(t *testing.T) {
	t.Parallel()
	l := newLaptop(t)
	key, _ := testkit.ClientKey(t, l.home, "me")
	make := func(name string, more ...string) {
		l.bowline(append([]string{"box", "create", name, "-t", "dev1", "--image", testkit.BoxImage, "--no-git", "--authorized-keys", key + ".pub"}, more...)...)
	}
	before := listening(t)
	make("a", "--publish", "server")
	l.bowline("box", "stop", "-t", "dev1", "a")
	make("b", "--publish", "server")
	make("c")
	l.bowline("box", "start", "-t", "dev1", "a")
	a, b := l.port("a"), l.port("b")
	if a < 2200 || a > 2299 || b < 2200 || b > 2299 || a == b || l.port("c") != 0 {
		t.Fatalf("ports %d and %d", a, b)
	}
	if out := l.bowline("box", "info", "-t", "dev1", "a"); !strings.Contains(out, fmt.Sprintf("ssh -p %d dev@127.0.0.1", a)) {
		t.Errorf("%q", out)
	}
	for _, name := range []string{"a", "b", "c"} {
		if out := l.must("ssh", name+".dev1", "hostname"); out != name+"\n" {
			t.Errorf("%s answers %q", name, out)
		}
	}
	t.Run("direct", func(t *testing.T) {
		entry := l.read(".config/bowline/ssh_config")
		if strings.Count(entry, "box connect") != 1 || strings.Count(entry, "ProxyCommand none") != 2 {
			t.Errorf("%s", entry)
		}
		pins := l.read(".config/bowline/box_known_hosts")
		pin := regexp.MustCompile(`(?m)^a\.dev1 (.*)$`).FindStringSubmatch(pins)[1]
		l.write("pins", fmt.Sprintf("[127.0.0.1]:%d %s\n", a, pin))
		bare := []string{"-F", "none", "-o", "UserKnownHostsFile=" + l.home + "/pins", "-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes", "-i", key, "dev@127.0.0.1"}
		ssh, err := exec.LookPath("ssh")
		if err != nil {
			t.Fatal(err)
		}
		if out := l.must(ssh, append([]string{"-p", fmt.Sprint(a)}, append(bare, "hostname")...)...); out != "a\n" {
			t.Errorf("%q", out)
		}
		// The key of a is not that of b.
		l.write("pins", fmt.Sprintf("[127.0.0.1]:%d %s\n", b, pin))
		if out, code := l.try(ssh, append([]string{"-p", fmt.Sprint(b)}, append(bare, "hostname")...)...); code != 255 || !strings.Contains(out, "IDENTIFICATION HAS CHANGED") {
			t.Errorf("b poses as a: %d, %q", code, out)
		}
	})
	t.Run("only those", func(t *testing.T) {
		want := fmt.Sprintf("/bowline-a 22:%d\n/bowline-b 22:%d\n/bowline-c \n", a, b)
		if out := l.server.Podman(t, "ps --all --sort names --format '/{{.Names}} {{.Ports}}'"); portsOf(out) != want {
			t.Errorf("%q, want %q", portsOf(out), want)
		}
		for _, p := range listening(t) {
			if p.container && p.port != a && p.port != b && l.server.Owns(p.pid) {
				t.Errorf("a container listens on %d", p.port)
			}
		}
	})
	t.Run("rebuild", func(t *testing.T) {
		l.bowline("box", "rebuild", "-t", "dev1", "a", "--yes")
		if l.port("a") != a {
			t.Errorf("port %d became %d", a, l.port("a"))
		}
		if out := l.must("ssh", "-S", "none", "a.dev1", "hostname"); out != "a\n" {
			t.Errorf("%q", out)
		}
	})
}

// listening lists the TCP ports of this machine.
func listening(t *testing.T) []string {
	t.Helper()
	out, err := exec.Command("ss", "-Hltn").Output()
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) > 3 {
			list = append(list, f[3][strings.LastIndexByte(f[3], ':')+1:])
		}
	}
	return list
}
