//go:build linux

package safepath

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/bowline-sh/bowline/change"
)

func openRoot(t testing.TB, dir string) *Root {
	t.Helper()
	r, err := OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestNoLinkLeadsAway(t *testing.T) {
	t.Parallel()
	top := t.TempDir()
	in, out := filepath.Join(top, "in"), filepath.Join(top, "out")
	must(t, os.MkdirAll(filepath.Join(in, "real"), 0o700))
	must(t, os.MkdirAll(filepath.Join(out, "d"), 0o700))
	must(t, os.WriteFile(filepath.Join(out, "d", "f"), []byte("secret"), 0o600))
	for name, text := range map[string]string{"abs": out, "rel": "../out", "inside": "real", "magic": "/proc/self/root" + out} {
		must(t, os.Symlink(text, filepath.Join(in, name)))
	}
	r := openRoot(t, in)
	for _, p := range []change.Path{"/abs/d/f", "/rel/d/f", "/inside/f", "/magic/d/f"} {
		if info, err := r.Stat(p, true); !errors.Is(err, ErrSymlink) && !errors.Is(err, unix.ENOTDIR) || !info.Absent() {
			t.Errorf("Stat(%q) = %v, %v", p, info, err)
		}
	}
	for _, p := range []change.Path{"/../out/d/f", "rel", "/", "/a//b", "/a/.."} {
		if d, _, err := r.Parent(p); err == nil {
			d.Close()
			t.Errorf("Parent(%q) was opened", p)
		}
	}
	d, err := r.Open("/real")
	must(t, err)
	defer d.Close()
	for _, name := range []string{"", ".", "..", "../x", "a/b", "a\x00"} {
		if d.Unlink(name) == nil || d.Mkdir(name) == nil {
			t.Errorf("name %q was taken", name)
		}
	}
}

// An attacker swaps a directory and a link to another place, for as long as we write.
func TestSymlinkSwap(t *testing.T) {
	t.Parallel()
	top := t.TempDir()
	in, out := filepath.Join(top, "in"), filepath.Join(top, "out")
	must(t, os.MkdirAll(filepath.Join(in, "d"), 0o700))
	must(t, os.Mkdir(out, 0o700))
	must(t, os.Symlink(out, filepath.Join(in, "evil")))
	attacker := openRoot(t, in)
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		dir, err := attacker.Open("/")
		if err != nil {
			return
		}
		defer dir.Close()
		for {
			select {
			case <-done:
				return
			default:
				dir.Rename("evil", dir, "d", Exchange)
			}
		}
	}()
	r := openRoot(t, in)
	made, refused := 0, 0
	for i := 0; i < 200_000 && (made < 500 || refused < 500); i++ {
		d, name, err := r.Parent("/d/f")
		if err != nil {
			refused++
			continue
		}
		f, err := d.Create("t")
		if err == nil {
			made++
			f.Close()
			n, err := d.Node("t")
			must(t, err)
			if err := n.SetMeta(change.State{Type: change.File, Mode: 0o644}); err != nil && os.Geteuid() == 0 {
				t.Error(err)
			}
			n.Close()
			must(t, d.Rename("t", d, name, Replace))
			must(t, d.Unlink(name))
		}
		d.Close()
	}
	close(done)
	<-stopped
	if names, err := os.ReadDir(out); err != nil || len(names) > 0 {
		t.Errorf("outside the root there is %v, %v", names, err)
	}
	if made == 0 || refused == 0 {
		t.Errorf("made %d, refused %d; the attack did not happen", made, refused)
	}
}

func TestSetMetaIsExact(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Fatal("changes owners; run as root")
	}
	dir, err := os.MkdirTemp("/dev/shm", "safepath")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	r := openRoot(t, dir)
	d, err := r.Open("/")
	must(t, err)
	defer d.Close()
	caps := []byte{1, 0, 0, 2, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	wants := []change.State{
		{Type: change.File, Mode: 0o4755, UID: 7, GID: 8, MTime: 1e18 + 5, Xattrs: map[string][]byte{capability: caps, "user.x": []byte("1"), "trusted.y": {}}},
		{Type: change.File, Mode: 0o2640, UID: 9, GID: 8, MTime: 5, Xattrs: map[string][]byte{"user.z": []byte("2")}},
		{Type: change.Dir, Mode: 0o1777, UID: 1, GID: 2, MTime: 6},
		{Type: change.Symlink, Target: "a\xff\nb", UID: 3, GID: 4, MTime: 7, Xattrs: map[string][]byte{"trusted.l": []byte("l")}},
		{Type: change.Fifo, Mode: 0o622, UID: 3, GID: 4, MTime: 8},
		{Type: change.Char, Mode: 0o666, Major: 1, Minor: 3, MTime: 9},
	}
	f, err := d.Create("file")
	must(t, err)
	must(t, f.Close())
	must(t, d.Mkdir("dir"))
	must(t, d.Symlink("symlink", "a\xff\nb"))
	must(t, d.Mknod("fifo", unix.S_IFIFO, 0, 0))
	must(t, d.Mknod("char", unix.S_IFCHR, 1, 3))
	for _, want := range wants {
		n, err := d.Node(string(want.Type))
		must(t, err)
		must(t, n.SetMeta(want))
		got, err := n.Info(false)
		must(t, err)
		n.Close()
		if diff := cmp.Diff(want, got.State); diff != "" {
			t.Errorf("%s (-want +got):\n%s", want.Type, diff)
		}
	}
}

func TestCopyKeepsHolesAndHashes(t *testing.T) {
	t.Parallel()
	top := t.TempDir()
	src := filepath.Join(top, "src")
	f, err := os.Create(src)
	must(t, err)
	_, err = f.WriteAt([]byte("begin"), 0)
	must(t, err)
	_, err = f.WriteAt([]byte("middle"), 8<<20)
	must(t, err)
	must(t, f.Truncate(64<<20))
	defer f.Close()
	r := openRoot(t, top)
	d, err := r.Open("/")
	must(t, err)
	defer d.Close()
	dst, err := d.Create("dst")
	must(t, err)
	sum, size, err := Copy(dst, f)
	must(t, err)
	must(t, dst.Close())
	want, err := d.Stat("src", true)
	must(t, err)
	got, err := d.Stat("dst", true)
	must(t, err)
	if sum != want.SHA256 || got.SHA256 != want.SHA256 || size != 64<<20 {
		t.Errorf("copied %d bytes as %s, there are %s; want %s", size, sum, got.SHA256, want.SHA256)
	}
	var st unix.Stat_t
	must(t, unix.Stat(filepath.Join(top, "dst"), &st))
	if st.Blocks*512 > 1<<20 {
		t.Errorf("the copy of a sparse file takes %d bytes", st.Blocks*512)
	}
}

func TestReadRefusesWhatIsNoFile(t *testing.T) {
	t.Parallel()
	top := t.TempDir()
	must(t, unix.Mkfifo(filepath.Join(top, "fifo"), 0o600))
	must(t, os.Symlink("/etc/passwd", filepath.Join(top, "link")))
	r := openRoot(t, top)
	d, err := r.Open("/")
	must(t, err)
	defer d.Close()
	for _, name := range []string{"fifo", "link", "missing"} {
		if f, err := d.Read(name); err == nil {
			f.Close()
			t.Errorf("%s was opened", name)
		}
	}
	must(t, d.WriteFile("big", make([]byte, 100)))
	if _, err := d.ReadFile("big", 99); err == nil {
		t.Error("a file above the limit was read")
	}
}

func TestHandleFindsAnInodeByItsOtherLink(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Fatal("opens by handle; run as root")
	}
	top := t.TempDir()
	must(t, os.WriteFile(filepath.Join(top, "a"), []byte("x"), 0o600))
	must(t, os.Link(filepath.Join(top, "a"), filepath.Join(top, "b")))
	r := openRoot(t, top)
	d, err := r.Open("/")
	must(t, err)
	defer d.Close()
	n, err := d.Node("a")
	must(t, err)
	h := n.Handle()
	before, err := n.Info(false)
	must(t, err)
	must(t, n.Close())
	must(t, d.Unlink("a"))
	n, err = d.ByHandle(h)
	must(t, err)
	defer n.Close()
	must(t, n.LinkTo(d, "a"))
	if after, err := d.Stat("a", false); err != nil || !after.ID.SameInode(before.ID) {
		t.Errorf("linked %+v, %v; want %+v", after.ID, err, before.ID)
	}
	for _, bad := range []string{"", "AAAA", "!", "AAAAAAAA"} {
		if n, err := d.ByHandle(bad); err == nil {
			n.Close()
			t.Errorf("handle %q was opened", bad)
		}
	}
}
