package box

import (
	"net"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/bowline-sh/bowline/internal/testkit"
)

// TestConfined: what runs in a box reaches neither other boxes by an address nor Podman, by its path or an abstract socket of the server.
func TestConfined(t *testing.T) {
	t.Parallel()
	l := newLaptop(t)
	key, _ := testkit.ClientKey(t, l.home, "me")
	for _, name := range []string{"a", "b"} {
		l.bowline("box", "create", name, "-t", "dev1", "--image", testkit.BoxImage, "--no-git", "--authorized-keys", key+".pub", "--publish", "server")
	}
	in := func(name, script string, args ...string) string {
		out, _ := l.try(program, append([]string{"box", "exec", "-t", "dev1", name, "--timeout", "20s", "--", "bash", "-c", script, "bash"}, args...)...)
		return out
	}
	// reach says what sshd at an address answers, or that nobody does in three seconds.
	const reach = `(exec 3<>"/dev/tcp/$1/$2" && head -c 7 <&3 || echo none) 2>/dev/null & p=$!; for i in $(seq 30); do kill -0 $p 2>/dev/null || break; sleep 0.1; done; kill $p 2>/dev/null && echo none; :`
	// Each has a stack of its own, where its own address is all there is besides the way out,
	// which does not lead back to the server's loopback.
	for _, name := range []string{"a", "b"} {
		if out := in(name, `sed -n 's/^ *\(.*\): .*/\1/p' /proc/net/dev | sort; sed 1d /proc/net/route | while read -r name to via _; do echo "$name $to $via"; done | sort`); out != "lo\ntap0\ntap0 00000000 0202000A\ntap0 0002000A 00000000\n" {
			t.Errorf("%s: interfaces and routes %q", name, out)
		}
		if out := in(name, reach, "10.0.2.100", "22"); out != "SSH-2.0" {
			t.Fatalf("%s does not answer itself: %q", name, out)
		}
	}
	for _, port := range []int{l.server.Port, l.port("a")} {
		if out := in("b", reach, "10.0.2.2", strconv.Itoa(port)); out != "none\n" {
			t.Errorf("b reaches port %d of the server's loopback: %q", port, out)
		}
	}
	if got := l.onServer("podman inspect --format '{{.HostConfig.NetworkMode}} {{range .NetworkSettings.Networks}}{{.NetworkID}}{{end}}' bowline-a bowline-b"); strings.Count(got, "slirp4netns") != 2 || strings.Contains(got, "bridge") {
		t.Errorf("networks %q", got)
	}
	t.Run("podman", func(t *testing.T) {
		if out := in("a", `ls /run/podman /var/run/podman /run/user 2>/dev/null; grep -c podman /proc/net/unix; grep podman.sock /proc/self/mountinfo; :`); out != "0\n" {
			t.Errorf("%q", out)
		}
		// An abstract socket of the server's, as a service that listens on one has it.
		name := "\x00bowline-" + t.TempDir()
		abstract, err := net.Listen("unix", "@"+name[1:])
		if err != nil {
			t.Fatal(err)
		}
		defer abstract.Close()
		if out, err := exec.Command("grep", "-c", name[1:], "/proc/net/unix").Output(); err != nil || strings.TrimSpace(string(out)) == "0" {
			t.Fatalf("the socket cannot be seen here: %q, %v", out, err)
		}
		if out := in("a", `grep -c "$1" /proc/net/unix; :`, name[1:]); out != "0\n" {
			t.Errorf("abstract sockets of the server are seen: %q", out)
		}
	})
}
