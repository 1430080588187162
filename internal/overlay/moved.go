//go:build linux

package overlay

import (
	"encoding/hex"
	"io/fs"
	"path"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/bowline-sh/bowline/plan"
)

// findWritten notes which files of the base with several links have a copy: a name
// of one that was moved with its directory shows the copy too.
func (c *capture) findWritten(l *layer) error {
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
		var base, copied unix.Stat_t
		file := l.work + "/index/" + name
		if err := unix.Lstat(file, &copied); err != nil || copied.Mode&unix.S_IFMT == unix.S_IFDIR || copied.Mode&unix.S_IFMT == unix.S_IFCHR && copied.Rdev == 0 {
			continue
		}
		if err := statHandle(l.point, from, &base); err == nil {
			c.written[inode{base.Dev, base.Ino, true}] = file
		}
	}
	return nil
}

// stayed adds the names that stayed where they are of files of which others moved
// with their directories: the moved ones shall be links to them.
func (c *capture) stayed(l *layer) error {
	names := map[inode]int{}
	moved := map[inode]*entry{}
	for p, e := range c.cur {
		if e.base != (inode{}) && within(p, l.point) {
			names[e.base]++
			moved[e.base] = e
		}
	}
	want := map[inode]int{}
	for id, e := range moved {
		if int(e.state.NLink) > names[id] {
			want[id] = int(e.state.NLink)
		}
	}
	if len(want) == 0 {
		return nil
	}
	return c.eachName(l, want, func(p string, id inode) {
		if _, touched := c.cur[p]; !touched && !c.hidden(p) && c.rules.of(p) == state {
			e := *moved[id]
			e.base, e.content, e.keeper = inode{}, p, true
			c.cur[p] = &e
		}
	})
}

// eachName calls found for the names that the base has of inodes, of which want
// tells how many there are. Like [capture.eachLink] it looks near known names first.
func (c *capture) eachName(l *layer, want map[inode]int, found func(string, inode)) error {
	seen, left := map[string]bool{}, 0
	for _, n := range want {
		left += n
	}
	visit := func(p string, d fs.DirEntry, err error) error {
		c.budget--
		switch {
		case left == 0 || c.budget <= 0:
			return fs.SkipAll
		case err != nil:
			return nil // it went away
		case d.IsDir():
			if seen[p] || p != l.point && c.stage.view.point(p) {
				return fs.SkipDir
			}
			seen[p] = true
			return nil
		}
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil || want[inode{st.Dev, st.Ino, true}] == 0 {
			return nil
		}
		id := inode{st.Dev, st.Ino, true}
		want[id]--
		left--
		found(p, id)
		return nil
	}
	for p, st := range c.base {
		if st.NLink > 1 && within(p, l.point) {
			if err := filepath.WalkDir(path.Dir(p), visit); err != nil {
				return err
			}
		}
	}
	if err := filepath.WalkDir(l.point, visit); err != nil {
		return err
	}
	if left > 0 {
		c.stage.warn("files with other hard links were moved with their directories; %d of their names were not found", left)
	}
	return nil
}
