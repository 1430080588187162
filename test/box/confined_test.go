package box

import (
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/bowline-sh/bowline/internal/testkit"
)

// TestConfined: what runs in a box reaches neither other boxes, by their addresses or
// ports of the server, nor Podman, by its path or an abstract socket of the server.
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
	address := strings.TrimSpace(in("a", `while read -r word address _; do case $word/$address in "|--"/*) last=$address;; 32/host) case $last in 127.*) ;; *) echo "$last"; break;; esac;; esac; done </proc/net/fib_trie`))
	gateway := address[:strings.LastIndexByte(address, '.')] + ".1"
	if out := in("a", reach, address, "22"); out != "SSH-2.0" {
		t.Fatalf("a at %s does not answer itself: %q", address, out)
	}
	port := l.port("a")
	for _, to := range [][2]string{{address, "22"}, {gateway, "22222"}} {
		if out := in("b", reach, to[0], to[1]); out != "none\n" {
			t.Errorf("b reaches %v: %q", to, out)
		}
	}
	if c, err := net.DialTimeout("tcp", net.JoinHostPort("127.0.0.1", itoa(port)), 5*time.Second); err != nil {
		t.Errorf("the server's side does not answer: %v", err)
	} else {
		c.Close()
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
		if out, err := exec.Command("grep", "-c", "bowline-", "/proc/net/unix").Output(); err != nil || strings.TrimSpace(string(out)) == "0" {
			t.Fatalf("the socket cannot be seen here: %q, %v", out, err)
		}
		if out := in("a", `grep -c bowline- /proc/net/unix; :`); out != "0\n" {
			t.Errorf("abstract sockets of the server are seen: %q", out)
		}
	})
}
