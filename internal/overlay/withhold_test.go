//go:build linux

package overlay

import (
	"os"
	"strings"
	"testing"

	"github.com/bowline-sh/bowline/change"
)

// withhold keeps the next dry run from making what the last one made at paths.
func withhold(from *dry, paths ...string) func(*Request) {
	return func(r *Request) {
		for _, op := range from.Ops {
			for _, p := range paths {
				if op.Change != nil && string(op.Change.Path) == p {
					r.Withhold = append(r.Withhold, *op.Change)
				}
			}
		}
	}
}

// TestWithhold runs scripts again without one of their changes: what depends on it
// does not come about, the rest does, and the host is as it was.
func TestWithhold(t *testing.T) {
	base := "/srv/bowline-withhold"
	if os.Geteuid() != 0 {
		base = t.TempDir()
	}
	for _, tt := range []struct{ name, script, path, want string }{
		{"new file read later", `echo x >new; cp new copy; echo y >other`, "new", "create other\n"},
		{"new directory", `mkdir d; echo 1 >d/f; echo y >other`, "d", "create other\n"},
		{"changed file", `sed -i s/1/2/ one; grep -q 2 one && touch seen; echo y >other`, "one", "create other\n"},
		{"appended in place", `echo 2 >>one; tail -n 1 one >last; echo y >other`, "one", "create last\ncreate other\n"},
		{"deleted file", `rm one; [ -e one ] || touch gone; echo y >other`, "one", "create other\n"},
		{"deleted directory", `rm -r dir; [ -e dir ] || touch gone`, "dir", ""},
		{"moved over", `echo n >t; mv t one; cmp -s one two || touch differs`, "one", "create t\n"},
		{"mode", `chmod 4755 one; [ -u one ] && touch setuid; echo y >other`, "one", "create other\n"},
		{"symlink made", `ln -s one link; cat link >copy 2>/dev/null; echo y >other`, "link", "create copy\ncreate other\n"},
		{"by another name", `ln one alias && echo 2 >>alias; echo 2 >>one; touch done`, "one", "create done\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := os.MkdirAll(base+"/dir/sub", 0o755); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.RemoveAll(base) })
			for _, name := range []string{"one", "two", "dir/f"} {
				if err := os.WriteFile(base+"/"+name, []byte("1\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			in := func(r *Request) { r.Dir = base; r.Volatile = []string{"/proc"} }
			first := must(t, tt.script, in)
			if !strings.Contains(first.summary(), base+"/"+tt.path+"\n") {
				t.Fatalf("the script does not touch %s: %s", tt.path, first.summary())
			}
			again := must(t, tt.script, in, withhold(first, base+"/"+tt.path))
			got := strings.ReplaceAll(again.summary(), base+"/", "")
			if got != tt.want {
				t.Errorf("without %s:\n%s, want\n%s\nwarnings %q, said %q", tt.path, got, tt.want, again.Warnings, again.errs.String())
			}
			if b, err := os.ReadFile(base + "/one"); err != nil || string(b) != "1\n" {
				t.Errorf("the host was changed: %q, %v", b, err)
			}
		})
	}
}

// TestWithholdRefuses: where a change cannot be withheld the result says so, and the
// script runs as before.
func TestWithholdRefuses(t *testing.T) {
	root(t)
	link := change.Change{Path: "/srv/bowline-link", Before: change.State{Type: change.Symlink, Target: "x"}}
	lost := change.Change{Path: "/srv/bowline-none/f", After: change.State{Type: change.File}}
	proc := change.Change{Path: "/proc", Before: change.State{Type: change.Dir}}
	if err := os.Symlink("x", string(link.Path)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(string(link.Path)) })
	d := must(t, `touch /srv/bowline-made`, func(r *Request) { r.Withhold = change.Changeset{link, lost, proc} })
	for _, c := range []change.Change{link, lost, proc} {
		if !strings.Contains(strings.Join(d.Warnings, "\n"), string(c.Path)+" could not be withheld") {
			t.Errorf("no word of %s: %q", c.Path, d.Warnings)
		}
	}
	if d.summary() != "create /srv/bowline-made\n" {
		t.Errorf("planned %q", d.summary())
	}
}
