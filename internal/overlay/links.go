//go:build linux

package overlay

import (
	"bytes"
	"encoding/hex"
	"io/fs"
	"path"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/bowline-sh/bowline/change"
	"github.com/bowline-sh/bowline/plan"
)

// origin is a file handle as overlayfs stores it: struct ovl_fb of
// fs/overlayfs/overlayfs.h, with version 0, magic 0xfb, length, flags, type, the
// uuid of the file system and the handle.
type origin struct {
	kind   int32
	handle []byte
}

const (
	fbMagic  = 0xfb
	fbHeader = 5 + 16
)

// parseOrigin reads trusted.overlay.origin, or the name of an index entry once
// it is no longer hexadecimal.
func parseOrigin(b []byte) (origin, bool) {
	if len(b) <= fbHeader || b[0] != 0 || b[1] != fbMagic || int(b[2]) != len(b) {
		return origin{}, false
	}
	return origin{kind: int32(b[4]), handle: b[fbHeader:]}, true
}

// keeps reports whether an upper file with this origin is the copy of the inode
// that the base has at the same path.
func keeps(view string, of []byte) bool {
	from, ok := parseOrigin(of)
	if !ok {
		return false
	}
	h, _, err := unix.NameToHandleAt(unix.AT_FDCWD, view, 0)
	if err != nil {
		return false // not on the host, or without handles
	}
	return h.Type() == from.kind && bytes.HasPrefix(from.handle, h.Bytes()) && zero(from.handle[h.Size():])
}

// zero reports whether b is padding.
func zero(b []byte) bool { return len(bytes.Trim(b, "\x00")) == 0 }

// index looks at files of the base with several links that were written through
// one of them. The upper layer holds the names that were touched; the others
// change with them but are in the index only.
func (c *capture) index(l *layer) error {
	if c.mode == plan.User {
		return nil
	}
	names, err := readNames(l.work + "/index")
	if err != nil {
		return err
	}
	for _, name := range names {
		raw, err := hex.DecodeString(name)
		if err != nil {
			continue
		}
		from, ok := parseOrigin(raw)
		if !ok {
			continue
		}
		if err := c.indexed(l, l.work+"/index/"+name, from); err != nil {
			return err
		}
	}
	return nil
}

// indexed adds the untouched names of one such file to the view, if no touched
// one can stand for them.
func (c *capture) indexed(l *layer, file string, from origin) error {
	st, m, err := c.read(file)
	if err != nil || st.Absent() || st.Type == change.Dir || st.Type == change.Char && st.Major == 0 && st.Minor == 0 {
		return err
	}
	id := inode{dev: m.dev, ino: m.ino}
	for p, e := range c.prev {
		if _, touched := c.cur[p]; !touched && e.inode == id && e.keeper && !c.hidden(p) {
			c.cur[p] = &entry{state: st, content: file, inode: id, keeper: true}
		}
	}
	for _, e := range c.cur {
		if e.inode == id && e.keeper {
			return nil
		}
	}
	var base unix.Stat_t
	if err := statHandle(l.point, from, &base); err != nil {
		return nil // of the stubs, or gone from the host
	}
	return c.eachLink(l, base, func(p string) {
		if _, touched := c.cur[p]; !touched && !c.hidden(p) {
			c.cur[p] = &entry{state: st, content: file, inode: id, keeper: true}
		}
	})
}

// hidden reports whether a path of the base is not in the view.
func (c *capture) hidden(p string) bool {
	for dir := path.Dir(p); dir != "/"; dir = path.Dir(dir) {
		if e := c.cur[dir]; e != nil && e.state.Type != change.Dir {
			return true
		}
	}
	return false
}

func statHandle(point string, from origin, st *unix.Stat_t) error {
	fd, err := unix.Open(point, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	handle := from.handle
	for {
		got, err := unix.OpenByHandleAt(fd, unix.NewFileHandle(from.kind, handle), unix.O_PATH|unix.O_CLOEXEC)
		if err == nil {
			defer unix.Close(got)
			return unix.Fstat(got, st)
		}
		// overlayfs may pad the handle to four bytes.
		if len(handle) == 0 || handle[len(handle)-1] != 0 || len(from.handle)-len(handle) >= 3 {
			return err
		}
		handle = handle[:len(handle)-1]
	}
}

// linkSearch bounds the entries of the host that are looked at for the names of
// files with several links, in all of a dry run: half a second. A name that is not
// found changes with the others all the same, because the file is written in place;
// the plan says that it does not name it.
const linkSearch = 1 << 16

// eachLink calls found for every name that the base has of an inode. It looks
// near the names that were touched first, since links rarely lie far apart.
func (c *capture) eachLink(l *layer, want unix.Stat_t, found func(string)) error {
	left := int(want.Nlink)
	done := map[string]bool{}
	search := func(dir string) error {
		err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
			c.budget--
			switch {
			case left == 0 || c.budget <= 0:
				return fs.SkipAll
			case err != nil:
				return nil
			case d.IsDir():
				if done[p] || p != l.point && c.stage.view.point(p) {
					return fs.SkipDir
				}
				done[p] = true
				return nil
			}
			var st unix.Stat_t
			if unix.Lstat(p, &st) == nil && st.Ino == want.Ino && st.Dev == want.Dev {
				found(p)
				left--
			}
			return nil
		})
		return err
	}
	for p := range c.base {
		if st := c.base[p]; st.NLink > 1 && within(p, l.point) && left > 0 {
			if err := search(path.Dir(p)); err != nil {
				return err
			}
		}
	}
	if left > 0 && c.budget > 0 {
		if err := search(l.point); err != nil {
			return err
		}
	}
	if left > 0 {
		c.stage.warn("a file with %d hard links changed; %d of its names were not found", want.Nlink, left)
	}
	return nil
}
