package box

import (
	"os"
	"strings"
	"testing"

	"github.com/bowline-sh/bowline/internal/testkit"
)

// TestRootless is the day of a box with the Podman of an account that is not root: its
// service is started on demand, and root in the box is nobody's on the server.
func TestRootless(t *testing.T) {
	t.Parallel()
	l := newLaptopFor(t, testkit.RootlessPodmanHost(t))
	key, _ := testkit.ClientKey(t, l.home, "me")
	l.repository("src/p")
	out := l.bowline("box", "create", "web", "-t", "dev1", "--image", testkit.BoxImage, "--authorized-keys", key+".pub")
	if _, err := os.Stat("/sys/fs/cgroup/memory"); err == nil && !strings.Contains(out, "the box has none") {
		t.Errorf("limits that are not held are not said: %s", out)
	}
	if out := l.bowline("box", "info", "-t", "dev1", "web"); !strings.Contains(out, "rootless") {
		t.Errorf("%s", out)
	}
	if out := l.bowline("target", "test", "dev1", "--boxes"); !strings.Contains(out, "as the account (rootless)") {
		t.Errorf("%s", out)
	}
	if out := l.must("ssh", "web.dev1", "id -un; cat /workspace/project/file; grep -h NoNewPrivs /proc/self/status"); out != "dev\none\nNoNewPrivs:\t1\n" {
		t.Errorf("%q", out)
	}
	if out := l.bowline("box", "exec", "-t", "dev1", "web", "--user", "root", "--", "sh", "-c", "read -r a b c </proc/self/uid_map; echo $a; [ $b != 0 ] && echo mapped"); out != "0\nmapped\n" {
		t.Errorf("%q", out)
	}
	l.fails(7, nil, "box", "exec", "-t", "dev1", "web", "--", "sh", "-c", "exit 7")
	l.fails(124, nil, "box", "exec", "-t", "dev1", "web", "--timeout", "3s", "--", "sleep", "6543")
	l.bowline("box", "stop", "-t", "dev1", "web")
	l.bowline("box", "start", "-t", "dev1", "web")
	l.bowline("box", "rebuild", "-t", "dev1", "web", "--yes")
	if out := l.must("ssh", "web.dev1", "cat /workspace/project/file; stat -c %U /workspace/project/file"); out != "one\ndev\n" {
		t.Errorf("%q", out)
	}
	l.bowline("box", "rm", "-t", "dev1", "web", "--yes")
	if out := l.onServer("podman ps -aq; podman volume ls -q"); out != "" {
		t.Errorf("left: %q", out)
	}
}
