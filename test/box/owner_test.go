package box

import (
	"strings"
	"testing"

	"github.com/bowline-sh/bowline/internal/testkit"
)

// TestOwners: of a box that another person or machine made, every command says whose it is
// before it does something, and those that take it do nothing without --force.
func TestOwners(t *testing.T) {
	t.Parallel()
	l := newLaptop(t)
	key, _ := testkit.ClientKey(t, l.home, "me")
	l.bowline("box", "create", "a", "-t", "dev1", "--image", testkit.BoxImage, "--no-git", "--authorized-keys", key+".pub")
	mine := strings.TrimSpace(l.must("sh", "-c", `echo "$(id -un)@$(hostname)"`))
	elsewhere := func(args ...string) (string, int) {
		return l.try("unshare", append([]string{"--uts", "sh", "-c", `hostname elsewhere; exec "$0" "$@"`, program}, args...)...)
	}
	for _, args := range [][]string{{"stop", "a"}, {"start", "a"}, {"rebuild", "a", "--yes"}, {"rm", "a", "--yes"}} {
		out, code := elsewhere(append([]string{"box", args[0], "-t", "dev1"}, args[1:]...)...)
		if code != 12 || !strings.Contains(out, "belongs to "+mine+", and you are ") || !strings.Contains(out, "'bowline box "+args[0]+" -t dev1 a --force'") {
			t.Errorf("%s: %d, %s", args[0], code, out)
		}
	}
	if out, code := elsewhere("box", "exec", "-t", "dev1", "a", "--", "hostname"); code != 0 || out != "bowline: box a belongs to "+mine+"\na\n" {
		t.Errorf("exec: %d, %q", code, out)
	}
	l.write("file", "text\n")
	if out, code := elsewhere("-q", "box", "cp", "-t", "dev1", "file", "a:"); code != 0 {
		t.Errorf("cp: %d, %s", code, out)
	}
	if out, code := elsewhere("box", "cp", "-t", "dev1", "a:file", "back"); code != 0 || strings.Count(out, "belongs to "+mine) != 1 {
		t.Errorf("cp: %d, %s", code, out)
	}
	if out, code := elsewhere("box", "create", "a", "-t", "dev1", "--image", testkit.BoxImage, "--no-git", "--authorized-keys", key+".pub"); code != 13 || !strings.Contains(out, "of "+mine) || strings.Contains(out, "box rm") {
		t.Errorf("create: %d, %s", code, out)
	}
	if out, code := elsewhere("box", "info", "-t", "dev1", "a"); code != 0 || strings.Contains(out, "belongs") || !strings.Contains(out, mine) {
		t.Errorf("info: %d, %s", code, out)
	}
	for _, args := range [][]string{{"rm", "", "--yes"}, {"stop", ""}, {"create", "", "--image", testkit.BoxImage}} {
		l.fails(2, []string{"the name of the box is empty"}, append([]string{"box", args[0], "-t", "dev1"}, args[1:]...)...)
	}
	l.fails(125, []string{`does not run it as "nobody-here"`}, "box", "exec", "-t", "dev1", "a", "--user", "nobody-here", "--", "id")
	l.fails(125, []string{`"A" is no NAME=VALUE`}, "box", "exec", "-t", "dev1", "a", "--env", "A", "--", "id")
	l.fails(125, []string{"more than one name"}, "box", "exec", "-t", "dev1", "a", "b", "--", "id")
	l.fails(2, []string{"is neither"}, "box", "logs", "-t", "dev1", "a", "--tail", "x")
	l.fails(2, []string{"is no port"}, "box", "port", "-t", "dev1", "0")
	l.fails(2, []string{"is no name of an account"}, "box", "setup", "-t", "dev1", "--user", "a b")
	l.fails(2, []string{"not an account for rootless"}, "box", "setup", "-t", "dev1", "--rootless", "--user", "root")
	if out := l.must("ssh", "a.dev1", "hostname"); out != "a\n" {
		t.Errorf("%q", out)
	}
	if out, code := elsewhere("box", "rm", "-t", "dev1", "a", "--yes", "--force"); code != 0 {
		t.Errorf("rm --force: %d, %s", code, out)
	}
	if out := l.bowline("box", "list", "-t", "dev1", "--all"); strings.Contains(out, " a ") {
		t.Errorf("%s", out)
	}
}
