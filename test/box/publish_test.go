package box

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
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
func TestPublished(t *testing.T) { // not parallel: other tests publish on this machine, too
	l := newLaptop(t)
	key, _ := testkit.ClientKey(t, l.home, "me")
	create := func(name string, more ...string) {
		l.bowline(append([]string{"box", "create", name, "-t", "dev1", "--image", testkit.BoxImage, "--no-git", "--authorized-keys", key + ".pub"}, more...)...)
	}
	create("a", "--publish", "server")
	l.bowline("box", "stop", "-t", "dev1", "a")
	create("b", "--publish", "server")
	create("c")
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
		want := []int{a, b}
		slices.Sort(want)
		graph := strings.TrimSpace(l.onServer("podman info --format '{{.Store.GraphRoot}}'"))
		if got := listening(t, graph); !slices.Equal(got, want) {
			t.Errorf("containers listen on %v, want %v", got, want)
		}
		var lines []string
		for line := range strings.Lines(l.onServer("podman ps --all --format '{{.Names}} {{.Ports}}'")) {
			lines = append(lines, strings.TrimSpace(line))
		}
		slices.Sort(lines)
		if got, want := strings.Join(lines, "\n"), fmt.Sprintf("bowline-a 0.0.0.0:%d->22/tcp\nbowline-b 0.0.0.0:%d->22/tcp\nbowline-c", a, b); got != want {
			t.Errorf("%q, want %q", got, want)
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

// listening lists the TCP ports that are held for containers of a Podman: by processes in
// whose environment is its directory.
func listening(t *testing.T, graph string) []int {
	t.Helper()
	out, err := exec.Command("ss", "-Hltnp").Output()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(graph)
	var list []int
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		holder := regexp.MustCompile(`"(conmon|rootlessport|slirp4netns|pasta)",pid=(\d+)`).FindStringSubmatch(line)
		if len(f) < 4 || holder == nil {
			continue
		}
		env, err := os.ReadFile("/proc/" + holder[2] + "/environ")
		argv, aerr := os.ReadFile("/proc/" + holder[2] + "/cmdline")
		if err != nil || aerr != nil || !strings.Contains(string(env)+string(argv), dir+"/") {
			continue
		}
		port, err := strconv.Atoi(f[3][strings.LastIndexByte(f[3], ':')+1:])
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, port)
	}
	slices.Sort(list)
	return slices.Compact(list)
}
