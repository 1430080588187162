package copier_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bowline-sh/bowline/internal/transfer"
)

// nasty makes a tree of everything that has broken copies before.
func nasty(t *testing.T, dir string) {
	t.Helper()
	for name, data := range map[string][]byte{
		"empty":                    nil,
		"one":                      {0},
		"block":                    noise(transfer.Block, 1),
		"block+1":                  noise(transfer.Block+1, 2),
		"64k":                      noise(64<<10, 9),
		"big":                      noise(5<<20+17, 3),
		"new\nline":                []byte("x"),
		"tab\tand space ":          []byte("x"),
		"-rf":                      []byte("x"),
		"'quoted' \"twice\" $(id)": []byte("x"),
		"back\\slash*?[x]":         []byte("x"),
		"not-utf8-\xff\xfe":        []byte("x"),
		"\x1b[31mred":              []byte("x"),
		"sub/deep/er/file":         []byte("deep"),
		"sub/.hidden":              []byte("h"),
		"readonly/file":            []byte("r"),
		"many-zeros":               make([]byte, 3<<20),
	} {
		write(t, filepath.Join(dir, name), data)
	}
	must(t, os.Mkdir(filepath.Join(dir, "nothing in here"), 0o711))
	must(t, os.Symlink("big", filepath.Join(dir, "link")))
	must(t, os.Symlink("/etc/shadow", filepath.Join(dir, "out")))
	must(t, os.Symlink("no\nwhere", filepath.Join(dir, "dangling")))
	must(t, os.Symlink("sub", filepath.Join(dir, "dirlink")))
	must(t, os.Link(filepath.Join(dir, "one"), filepath.Join(dir, "one-again")))
	must(t, unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600))
	must(t, os.Chmod(filepath.Join(dir, "one"), 0o751))
	must(t, os.Chmod(filepath.Join(dir, "empty"), 0o400))
	must(t, os.Chmod(filepath.Join(dir, "readonly"), 0o555))
	sparse, err := os.Create(filepath.Join(dir, "sparse"))
	must(t, err)
	_, err = sparse.WriteAt([]byte("end"), 64<<20)
	must(t, err)
	must(t, sparse.Close())
	old := time.Unix(1_000_000_000, 0)
	for _, n := range []string{"big", "sub/deep", "sub", "readonly", "."} {
		must(t, os.Chtimes(filepath.Join(dir, n), old, old))
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// ways are the two ways to a target.
var ways = []string{"web1", "bare"}

func TestRoundTrip(t *testing.T) {
	w := newWorld(t)
	nasty(t, filepath.Join(w.here, "tree"))
	for _, way := range ways {
		t.Run(way, func(t *testing.T) {
			w.t = t
			up := filepath.Join(w.far, way)
			res := w.cp(filepath.Join(w.here, "tree"), way+":"+up)
			for _, f := range res.Files {
				if f.Type == transfer.File && (f.Status != transfer.Verified || len(f.SHA256) != 64) {
					t.Errorf("%+v", f)
				}
			}
			if len(res.Notices) != 2 {
				t.Errorf("notices %q, want one about the fifo and one about hard links", res.Notices)
			}
			down := filepath.Join(w.here, "back-"+way)
			w.cp(way+":"+up, down)
			sameTree(t, filepath.Join(w.here, "tree"), up)
			sameTree(t, up, down)
			for _, dir := range []string{up, down} {
				noTemps(t, dir)
				var st unix.Stat_t
				must(t, unix.Stat(filepath.Join(dir, "sparse"), &st))
				if st.Blocks*512 > 1<<20 {
					t.Errorf("%s/sparse takes %d bytes", dir, st.Blocks*512)
				}
			}
			// Once more, over what is there.
			w.cp(filepath.Join(w.here, "tree")+"/.", way+":"+up)
			noTemps(t, up)
			old := time.Unix(1_000_000_000, 0)
			for _, n := range []string{"sub", "readonly", "."} { // of what is there, directories keep their own time
				must(t, os.Chtimes(filepath.Join(up, n), old, old))
			}
			must(t, os.Chtimes(filepath.Join(up, "sub/deep/er"), old, timeOf(t, filepath.Join(down, "sub/deep/er"))))
			sameTree(t, down, up)
		})
	}
}

func TestOneFile(t *testing.T) {
	w := newWorld(t)
	src := filepath.Join(w.here, "file")
	write(t, src, []byte("hello"))
	for _, way := range ways {
		t.Run(way, func(t *testing.T) {
			w.t = t
			dst := filepath.Join(w.far, way+"-copy")
			w.cp(src, way+":"+dst)
			got, err := os.ReadFile(dst)
			if err != nil || !bytes.Equal(got, []byte("hello")) {
				t.Errorf("%q, %v", got, err)
			}
			if way == "bare" { // SFTP starts at the account's real home
				return
			}
			w.cp(src, way+":.")
			if _, err := os.Stat(filepath.Join(w.home, "file")); err != nil {
				t.Error(err)
			}
		})
	}
}

func timeOf(t *testing.T, p string) time.Time {
	t.Helper()
	info, err := os.Stat(p)
	must(t, err)
	return info.ModTime()
}
