package transfer

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"syscall"
	"time"
)

// osFS is an FS on this machine. Every directory is reached from the one above it
// through its handle and is seen to be the directory that Lstat saw, so that no
// link leads anywhere.
type osFS struct {
	base   string // canonical path of the top
	policy Policy
	dirs   map[string]*os.Root // open directories by path; "." is the top
	held   map[string]int      // of these, how many temporaries need them
}

// maxDirs bounds the open directories of one FS.
const maxDirs = 128

func (t *osFS) Close() error {
	var errs []error
	for _, d := range t.dirs {
		errs = append(errs, d.Close())
	}
	t.dirs = nil
	return errors.Join(errs...)
}

// dir returns the handle of a directory.
func (t *osFS) dir(p string) (*os.Root, error) {
	if d, ok := t.dirs[p]; ok {
		return d, nil
	}
	up, err := t.dir(path.Dir(p))
	if err != nil {
		return nil, err
	}
	d, err := enter(up, path.Base(p))
	if err != nil {
		return nil, err
	}
	if len(t.dirs) >= maxDirs {
		t.forget(p)
	}
	t.dirs[p] = d
	return d, nil
}

// forget closes the directories that are no parent of p.
func (t *osFS) forget(p string) {
	for k, d := range t.dirs {
		if k != "." && !Below(p, k) && t.held[k] == 0 {
			_ = d.Close() // was only read from
			delete(t.dirs, k)
		}
	}
}

// enter opens the directory name below d, if it is no link.
func enter(d *os.Root, name string) (*os.Root, error) {
	seen, err := d.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !seen.IsDir() {
		return nil, fmt.Errorf("%q is in the way: it is no directory", path.Join(filepath.ToSlash(d.Name()), name))
	}
	sub, err := d.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	got, err := sub.Stat(".")
	if err == nil && !os.SameFile(seen, got) {
		err = fmt.Errorf("%q was replaced while it was opened", name)
	}
	if err != nil {
		return nil, errors.Join(err, sub.Close())
	}
	return sub, nil
}

// at returns the directory that holds p and the last part of p.
func (t *osFS) at(p string) (*os.Root, string, error) {
	if err := ValidPath(p); err != nil {
		return nil, "", err
	}
	if err := t.policy.Check(path.Join(t.base, p)); err != nil {
		return nil, "", err
	}
	if p == "." {
		return t.dirs["."], ".", nil
	}
	d, err := t.dir(path.Dir(p))
	return d, path.Base(p), err
}

func (t *osFS) Lstat(p string) (Info, error) {
	d, name, err := t.at(p)
	if err != nil {
		return Info{}, err
	}
	fi, err := d.Lstat(name)
	if err != nil {
		return Info{}, err
	}
	return infoOf(fi), nil
}

func infoOf(fi fs.FileInfo) Info {
	i := Info{Type: Other, Mode: uint32(fi.Mode().Perm()), MTime: fi.ModTime().UnixNano(), Size: fi.Size()}
	switch {
	case fi.Mode().IsRegular():
		i.Type = File
	case fi.IsDir():
		i.Type, i.Size = Dir, 0
	case fi.Mode()&fs.ModeSymlink != 0:
		i.Type, i.Size = Symlink, 0
	}
	moreInfo(&i, fi)
	return i
}

func (t *osFS) Names(p string) ([]string, error) {
	if _, _, err := t.at(p); err != nil {
		return nil, err
	}
	d, err := t.dir(p)
	if err != nil {
		return nil, err
	}
	f, err := d.Open(".")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Readdirnames(-1)
}

func (t *osFS) Readlink(p string) (string, error) {
	d, name, err := t.at(p)
	if err != nil {
		return "", err
	}
	return d.Readlink(name)
}

func (t *osFS) Open(p string) (Content, error) {
	d, name, err := t.at(p)
	if err != nil {
		return nil, err
	}
	f, err := openRegular(d, name)
	if err != nil {
		return nil, err
	}
	return &osContent{f: f}, nil
}

// openRegular opens a regular file for reading, and nothing else: to open a fifo
// or a device has effects.
func openRegular(d *os.Root, name string) (*os.File, error) {
	seen, err := d.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !seen.Mode().IsRegular() {
		return nil, fmt.Errorf("%q is no regular file", name)
	}
	f, err := d.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	got, err := f.Stat()
	if err == nil && !os.SameFile(seen, got) {
		err = errors.New(changedMark)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

type osContent struct {
	f   *os.File
	off int64
}

func (c *osContent) Read(p []byte) (int, error) {
	n, err := c.f.ReadAt(p, c.off)
	c.off += int64(n)
	return n, err
}

func (c *osContent) Hole() int64 {
	n := holeAt(c.f, c.off)
	c.off += n
	return n
}

func (c *osContent) ReadAgain(off, n int64) (io.Reader, error) {
	return io.NewSectionReader(c.f, off, n), nil
}

func (c *osContent) GoTo(off int64) error { c.off = off; return nil }

func (c *osContent) Info() (Info, error) {
	fi, err := c.f.Stat()
	if err != nil {
		return Info{}, err
	}
	return infoOf(fi), nil
}

func (c *osContent) Close() error { return c.f.Close() }

func (t *osFS) Mkdir(p string) error {
	d, name, err := t.at(p)
	if err != nil {
		return err
	}
	return d.Mkdir(name, 0o700)
}

func (t *osFS) Link(p, text string) error {
	d, name, err := t.at(p)
	if err != nil {
		return err
	}
	temp := tempPrefix + rand.Text() + ".link"
	if err := d.Symlink(text, temp); err != nil {
		return err
	}
	if err := d.Rename(temp, name); err != nil {
		return errors.Join(err, d.Remove(temp))
	}
	return syncDir(d)
}

func (t *osFS) SetDir(p string, m Meta) error {
	if _, _, err := t.at(p); err != nil {
		return err
	}
	d, err := t.dir(p)
	if err != nil {
		return err
	}
	if m.UID >= 0 || m.GID >= 0 {
		if err := d.Lchown(".", m.UID, m.GID); err != nil {
			return err
		}
	}
	if err := d.Chmod(".", fs.FileMode(m.Mode&0o777)); err != nil {
		return err
	}
	when := time.Unix(0, m.MTime)
	if err := d.Chtimes(".", when, when); err != nil {
		return err
	}
	return syncDir(d)
}

// syncDir makes the names in d durable, where that can be done.
func syncDir(d *os.Root) error {
	f, err := d.Open(".")
	if err != nil {
		if errors.Is(err, fs.ErrPermission) { // may be written but not read
			return nil
		}
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, syscall.EINVAL) && !noDirSync {
		return err
	}
	return nil
}

func (t *osFS) Create(p string, o TempOptions) (Temp, error) {
	d, name, err := t.at(p)
	if err != nil {
		return nil, err
	}
	x := &osTemp{tree: t, dir: d, parent: path.Dir(p), name: name, temp: o.Name, locked: o.Resume, h: sha256.New()}
	if x.temp == "" {
		x.temp = tempPrefix + rand.Text() + ".part"
	}
	if err := x.open(o); err != nil {
		return nil, err
	}
	t.held[x.parent]++
	return x, nil
}
