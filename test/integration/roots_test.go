package integration

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
)

// TestCopyRoots: a link below the roots, as one that comes between a look and the copy,
// leads neither a read nor a write out of them.
func TestCopyRoots(t *testing.T) {
	s, _, _ := site(t)
	c := openWith(t, "", s)
	base := t.TempDir()
	root, outside, far := filepath.Join(base, "root"), filepath.Join(base, "outside"), filepath.Join(base, "far")
	for _, d := range []string{root, outside, far} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{outside + "/secret", root + "/plain", far + "/file"} {
		if err := os.WriteFile(f, []byte("text\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for from, to := range map[string]string{root + "/link": outside, root + "/one": outside + "/secret"} {
		if err := os.Symlink(to, from); err != nil {
			t.Fatal(err)
		}
	}
	up := func(p string) error {
		_, err := c.Copy(t.Context(), bowline.CopyRequest{Sources: []bowline.CopyLocation{{Path: p}}, Dest: bowline.CopyLocation{Target: "t0", Path: far + "/got"}, Roots: []string{root}})
		return err
	}
	for _, p := range []string{"/link/secret", "/one", "/../outside/secret"} {
		if err := up(root + p); diag.KindOf(err) != diag.Refused {
			t.Errorf("%s is read: %v", p, err)
		}
		if _, err := os.Lstat(far + "/got"); err == nil {
			t.Errorf("%s arrived", p)
		}
	}
	if err := up(root + "/plain"); err != nil {
		t.Error(err)
	}
	down := func(p string) error {
		_, err := c.Copy(t.Context(), bowline.CopyRequest{Sources: []bowline.CopyLocation{{Target: "t0", Path: far + "/file"}}, Dest: bowline.CopyLocation{Path: p}, Roots: []string{root}})
		return err
	}
	for _, p := range []string{"/link/new", "/link", "/../outside/new"} {
		if err := down(root + p); diag.KindOf(err) != diag.Refused {
			t.Errorf("%s is written: %v", p, err)
		}
	}
	if list, err := os.ReadDir(outside); err != nil || len(list) != 1 {
		t.Errorf("outside holds %v, %v", list, err)
	}
	if err := down(root + "/new"); err != nil {
		t.Error(err)
	}
}
