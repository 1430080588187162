package box

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bowline-sh/bowline/internal/testkit"
)

// TestCopy copies to and from boxes, and from a box that means harm.
func TestCopy(t *testing.T) {
	t.Parallel()
	l := newLaptop(t)
	key, _ := testkit.ClientKey(t, l.home, "me")
	for _, name := range []string{"a", "b"} {
		l.bowline("box", "create", name, "-t", "dev1", "--image", testkit.BoxImage, "--authorized-keys", key+".pub")
	}
	l.write("tree/one", "one\n")
	l.write("tree/a b;$(id)/two", strings.Repeat("two\n", 100000))
	l.must("ln", "-s", "one", "tree/link")

	t.Run("there and back", func(t *testing.T) {
		if out := l.bowline("box", "cp", "-t", "dev1", "-r", "tree", "a:"); !strings.Contains(out, "2 files, ") || !strings.Contains(out, "verified") {
			t.Errorf("%q", out)
		}
		if out := l.must("ssh", "a.dev1", "cd tree; stat -c %U:%F one link; cat link"); out != "dev:regular file\ndev:symbolic link\none\n" {
			t.Errorf("%q", out)
		}
		l.bowline("box", "cp", "-t", "dev1", "-r", "a:tree", "b:/workspace/copied")
		l.bowline("box", "cp", "-t", "dev1", "-r", "b:/workspace/copied", "back")
		l.must("diff", "-r", "--no-dereference", "tree", "back")
		l.fails(1, []string{"permission denied"}, "box", "cp", "-t", "dev1", "tree/one", "a:/etc/one")
		l.fails(2, []string{"neither side is a box"}, "box", "cp", "-t", "dev1", "tree/one", "two")
		l.fails(2, []string{"there is no box zz"}, "box", "cp", "-t", "dev1", "tree/one", "zz:")
	})
	t.Run("a box that means harm", func(t *testing.T) {
		// A directory of the destination that is a link to elsewhere, and one in the box.
		l.write("outside/kept", "kept\n")
		l.must("mkdir", "into")
		l.must("ln", "-s", filepath.Join(l.home, "outside"), "into/sub")
		l.bowline("box", "exec", "-t", "dev1", "a", "--cwd", "/home/dev", "--", "sh", "-c", "mkdir -p evil/sub; echo bad >evil/sub/kept; ln -s ../../outside evil/up; printf x >'evil/..\\x'; echo 'n' >\"evil/a\nb\"")
		l.fails(1, []string{`"sub" is in the way`}, "box", "cp", "-t", "dev1", "-r", "a:evil/.", "into")
		if got := l.read("outside/kept"); got != "kept\n" {
			t.Errorf("written through a link: %q", got)
		}
		if list, err := os.ReadDir(filepath.Join(l.home, "outside")); err != nil || len(list) != 1 {
			t.Errorf("%v, %v", list, err)
		}
		if link, err := os.Readlink(filepath.Join(l.home, "into/up")); err != nil || link != "../../outside" {
			t.Errorf("a link is no link: %q, %v", link, err)
		}
	})
	t.Run("one that is stopped", func(t *testing.T) {
		l.bowline("box", "stop", "-t", "dev1", "b")
		l.fails(12, []string{"the box is exited", "bowline box start"}, "box", "cp", "-t", "dev1", "tree/one", "b:")
	})
	t.Run("record", func(t *testing.T) {
		if out := l.bowline("audit", "list", "--json"); !strings.Contains(out, `"box.cp"`) || !strings.Contains(out, `"target":"b.dev1","argv":["cp","tree/one","b.dev1:."]`) {
			t.Errorf("%s", out)
		}
	})
}
