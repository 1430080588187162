//go:build linux

package circle

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bowline-sh/bowline/internal/overlay"
)

// node is everything a file system keeps of a path but when it was read and when
// its inode changed.
type node struct {
	what  string // type, mode, owner, device, size, content, link target, attributes
	links uint64 // of what is not a directory
	inode [2]uint64
	mtime int64
	dir   bool
	file  bool
}

// read returns what is at p, and false if there is nothing.
func read(p string) (node, bool, error) {
	var st unix.Stat_t
	if err := unix.Lstat(p, &st); errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return node{}, false, nil
	} else if err != nil {
		return node{}, false, err
	}
	n := node{inode: [2]uint64{st.Dev, st.Ino}, mtime: st.Mtim.Nano(), dir: st.Mode&unix.S_IFMT == unix.S_IFDIR, file: st.Mode&unix.S_IFMT == unix.S_IFREG}
	n.what = fmt.Sprintf("%07o %d:%d", st.Mode, st.Uid, st.Gid)
	if !n.dir {
		n.links = uint64(st.Nlink)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		sum, err := digest(p)
		if err != nil {
			return n, false, err
		}
		n.what += fmt.Sprintf(" %d bytes %.12s", st.Size, sum)
	case unix.S_IFLNK:
		to, err := os.Readlink(p)
		if err != nil {
			return n, false, err
		}
		n.what += fmt.Sprintf(" -> %q", to)
	case unix.S_IFCHR, unix.S_IFBLK:
		n.what += fmt.Sprintf(" device %d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
	}
	x, err := attributes(p)
	n.what += x
	return n, true, err
}

func digest(p string) (string, error) {
	f, err := os.Open(p)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	return hex.EncodeToString(h.Sum(nil)), err
}

// attributes lists the extended attributes, among them ACLs and capabilities.
func attributes(p string) (string, error) {
	names := make([]byte, 64<<10)
	n, err := unix.Llistxattr(p, names)
	if errors.Is(err, unix.ENOTSUP) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	list := strings.Split(strings.TrimSuffix(string(names[:n]), "\x00"), "\x00")
	slices.Sort(list)
	out := ""
	for _, name := range list {
		if name == "" {
			continue
		}
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(p, name, value)
		if err != nil {
			return "", err
		}
		out += fmt.Sprintf(" %s=%q", name, value[:n])
	}
	return out, nil
}

// ours are the directories that Bowline keeps on a target, the only ones that a
// plan, an apply or a rollback leaves behind.
var ours = []string{"/root/.cache/bowline", "/root/.local/share/bowline"}

// at returns what an untouched world has.
func (w *world) at(t testing.TB) func(p string) (node, bool) {
	return func(p string) (node, bool) {
		n, there, err := read(w.root(p))
		if err != nil {
			t.Fatalf("read %q: %v", p, err)
		}
		return n, there
	}
}

func isOurs(p string) bool {
	return slices.ContainsFunc(ours, func(d string) bool { return p == d || strings.HasPrefix(p, d+"/") })
}

// paths are those of a world in which it may differ from any other: its layer, with
// what of the machine's root is hidden by it, and its play directory.
func (w *world) paths(t testing.TB) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	err := filepath.WalkDir(w.upper(), func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel := path.Clean("/" + strings.TrimPrefix(p, w.upper()))
		out[rel] = true
		if hides(p, d) {
			below(rel, out)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := walk(w.root(play), play, out); err != nil {
		t.Fatal(err)
	}
	return out
}

// hides reports whether an entry of a layer hides what is below it: a whiteout, an
// opaque directory, or one that is another than it was.
func hides(p string, d fs.DirEntry) bool {
	if !d.IsDir() {
		return true
	}
	buf := make([]byte, 4096)
	for _, name := range []string{"trusted.overlay.opaque", "trusted.overlay.redirect"} {
		if n, err := unix.Lgetxattr(p, name, buf); err == nil && !bytes.Equal(buf[:n], []byte("x")) {
			return true
		}
	}
	return false
}

func below(p string, out map[string]bool) {
	_ = walk(p, p, out) // what cannot be read is not there
}

// walk adds every path below dir under the name as.
func walk(dir, as string, out map[string]bool) error {
	return filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		out[as+strings.TrimPrefix(p, dir)] = true
		return nil
	})
}

// rule says how two trees are compared.
type rule struct {
	// exact compares all times. Otherwise they are compared as documented, the first
	// tree being what the script made and the second what was applied:
	//
	//   - a time that the script did not choose is the time of applying
	//   - what has the state it had before keeps its time, but for a file whose
	//     time the script chose
	//   - the time of a directory that was there before is not planned
	exact bool
	was   func(p string) (node, bool) // before the script
	since [2]int64                    // when the script and the plan began
	skip  func(p string, dir bool) bool
}

// compare returns what differs between two worlds.
func compare(t testing.TB, a, b *world, r rule) []string {
	t.Helper()
	paths := a.paths(t)
	maps.Copy(paths, b.paths(t))
	// A directory renamed in one of them has paths below it that no layer lists.
	for _, w := range []*world{a, b} {
		for p := range maps.Clone(paths) {
			if fi, err := os.Lstat(w.root(p)); err == nil && fi.IsDir() && redirected(w, p) {
				if err := walk(w.root(p), p, paths); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	list := slices.Sorted(maps.Keys(paths))
	groups := [2]map[[2]uint64]string{{}, {}}
	var out []string
	for _, p := range list {
		if isOurs(p) {
			continue
		}
		out = append(out, comparePath(t, [2]*world{a, b}, p, r, groups)...)
	}
	return out
}

func redirected(w *world, p string) bool {
	buf := make([]byte, 4096)
	n, err := unix.Lgetxattr(w.upper()+p, "trusted.overlay.redirect", buf)
	return err == nil && n > 0
}

func comparePath(t testing.TB, w [2]*world, p string, r rule, groups [2]map[[2]uint64]string) []string {
	var n [2]node
	var there [2]bool
	for i := range w {
		var err error
		if n[i], there[i], err = read(w[i].root(p)); err != nil {
			t.Fatalf("read %q: %v", p, err)
		}
	}
	if !there[0] && !there[1] || r.skip != nil && r.skip(p, n[0].dir || n[1].dir) {
		return nil
	}
	var text [2]string
	for i := range w {
		text[i] = "nothing"
		if there[i] {
			text[i] = n[i].what
			if !n[i].dir {
				if _, ok := groups[i][n[i].inode]; !ok {
					groups[i][n[i].inode] = p
				}
				text[i] += fmt.Sprintf(" %d links, first %q", n[i].links, groups[i][n[i].inode])
			}
		}
	}
	if text[0] == text[1] && (!there[0] || r.timely(p, n)) {
		return nil
	}
	return []string{fmt.Sprintf("%q\n\t%s at %d\n\t%s at %d", p, text[0], n[0].mtime, text[1], n[1].mtime)}
}

// timely reports whether the times of a path are as the rule says.
func (r rule) timely(p string, n [2]node) bool {
	if n[0].mtime == n[1].mtime {
		return true
	}
	if r.exact {
		return false
	}
	chosen := n[0].mtime < r.since[0]
	was, there := r.was(p)
	if there && (was.dir && n[0].dir || was.what == n[0].what && was.mtime == n[1].mtime && !(chosen && n[0].file)) {
		return true
	}
	return !chosen && n[1].mtime >= r.since[1]
}

// volatile reports whether plans leave a path out, as documented in package
// overlay.
func volatile(p string, dir bool) bool {
	for _, rule := range overlay.DefaultVolatile() {
		glob, files := strings.CutPrefix(rule, "files:")
		if (p == glob || strings.HasPrefix(p, glob+"/")) && !(files && dir) {
			return true
		}
	}
	return false
}

// same fails the test if two worlds differ.
func same(t testing.TB, what string, a, b *world, r rule) {
	t.Helper()
	if diff := compare(t, a, b, r); len(diff) > 0 {
		t.Errorf("%s:\n%s", what, strings.Join(diff[:min(len(diff), 40)], "\n"))
	}
}
