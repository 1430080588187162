//go:build linux

package apply

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// randomScript generates scripts that change a small tree in all ways.
func randomScript() *rapid.Generator[string] {
	n := 0
	paths := rapid.SampledFrom([]string{"a", "b", "c", "a/b", "a/c", "b/a", "a/b/c", "c/a", "c/a/b", "d"})
	action := rapid.Custom(func(r *rapid.T) string {
		n++
		p, q := paths.Draw(r, "path"), paths.Draw(r, "other")
		return []string{
			fmt.Sprintf("mkdir -p %s", p),
			fmt.Sprintf("echo %d >%s", n, p),
			fmt.Sprintf("echo %d >%s", n, p),
			fmt.Sprintf("rm -rf %s", p),
			fmt.Sprintf("ln -sfn to%d %s", n, p),
			fmt.Sprintf("[ -f %s ] && ! [ -L %s ] && ln -fT %s %s", p, p, p, q),
			fmt.Sprintf("mv -fT %s %s", p, q),
			fmt.Sprintf("chmod %o %s", 0o500+n%256, p),
			fmt.Sprintf("chown -h %d:%d %s", n%9, n%7, p),
			fmt.Sprintf("rm -f %s && mkfifo %s", p, p),
			fmt.Sprintf("touch -hc -d @%d %s", n, p),
			fmt.Sprintf("echo %d >.n && mv -fT .n %s || rm -f .n", n, p),
		}[rapid.IntRange(0, 11).Draw(r, "what")]
	})
	// >file must not open a fifo, which would wait for a reader.
	return rapid.Custom(func(r *rapid.T) string {
		var b strings.Builder
		for _, a := range rapid.SliceOfN(action, 1, 12).Draw(r, "actions") {
			if _, p, ok := strings.Cut(a, " >"); ok && !strings.Contains(p, " ") {
				a = "[ -p " + p + " ] || " + a
			}
			b.WriteString("(" + a + ") 2>/dev/null || true\n")
		}
		return b.String()
	})
}

// Whatever a script does to whatever tree: apply gives what it gave, rollback gives
// what was.
func TestRandomTrees(t *testing.T) {
	root(t)
	script := randomScript()
	rapid.Check(t, func(r *rapid.T) {
		first, second, third := script.Draw(r, "start"), script.Draw(r, "one"), script.Draw(r, "two")
		t.Run("tree", func(t *testing.T) {
			f := setup(t, first, second, third)
			f.apply(t)
			wantApplied(t, f)
			f.rollback(t)
			wantTree(t, f.host, f.before)
		})
		if t.Failed() {
			r.Fatalf("start:\n%s\none:\n%s\ntwo:\n%s", first, second, third)
		}
	})
}
