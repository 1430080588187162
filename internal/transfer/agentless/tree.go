package agentless

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"time"

	"github.com/pkg/sftp"

	"github.com/bowline-sh/bowline/internal/transfer"
)

// tree is a transfer.FS over SFTP.
type tree struct {
	p    *Place
	base string
	dirs map[string]bool // parents that were seen to be directories
}

func (t *tree) Close() error { return nil }

// at returns the whole path of p, after every parent of it was seen to be a
// directory and no link.
func (t *tree) at(p string) (string, error) {
	if err := transfer.ValidPath(p); err != nil {
		return "", err
	}
	full := join(t.base, p)
	if err := t.p.rules.Check(full); err != nil {
		return "", err
	}
	return full, t.parent(path.Dir(p))
}

func (t *tree) parent(dir string) error {
	if t.dirs[dir] {
		return nil
	}
	if err := t.parent(path.Dir(dir)); err != nil {
		return err
	}
	fi, err := t.p.client.Lstat(join(t.base, dir))
	if err != nil {
		return err
	}
	if !fi.IsDir() {
		return fmt.Errorf("%q is in the way: it is no directory", join(t.base, dir))
	}
	t.dirs[dir] = true
	return nil
}

func infoOf(fi fs.FileInfo) transfer.Info {
	i := transfer.Info{Type: transfer.Other, Mode: uint32(fi.Mode().Perm()), MTime: fi.ModTime().UnixNano(), Size: fi.Size()}
	switch {
	case fi.Mode().IsRegular():
		i.Type = transfer.File
		// Nobody says where holes are; zeros are looked for.
		i.Sparse = i.Size >= transfer.Block
	case fi.IsDir():
		i.Type, i.Size = transfer.Dir, 0
	case fi.Mode()&fs.ModeSymlink != 0:
		i.Type, i.Size = transfer.Symlink, 0
	}
	if st, ok := fi.Sys().(*sftp.FileStat); ok {
		i.UID, i.GID = int(st.UID), int(st.GID)
	}
	return i
}

func (t *tree) Lstat(p string) (transfer.Info, error) {
	full, err := t.at(p)
	if err != nil {
		return transfer.Info{}, err
	}
	fi, err := t.p.client.Lstat(full)
	if err != nil {
		return transfer.Info{}, err
	}
	return infoOf(fi), nil
}

func (t *tree) Names(p string) ([]string, error) {
	full, err := t.at(p)
	if err != nil {
		return nil, err
	}
	list, err := t.p.client.ReadDir(full)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(list))
	for i, fi := range list {
		names[i] = fi.Name()
	}
	return names, nil
}

func (t *tree) Readlink(p string) (string, error) {
	full, err := t.at(p)
	if err != nil {
		return "", err
	}
	return t.p.client.ReadLink(full)
}

func (t *tree) Open(p string) (transfer.Content, error) {
	full, err := t.at(p)
	if err != nil {
		return nil, err
	}
	fi, err := t.p.client.Lstat(full)
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("%q is no regular file", full)
	}
	f, err := t.p.client.Open(full)
	if err != nil {
		return nil, err
	}
	return &content{f: f, p: t.p, full: full}, nil
}

// content reads a file of the target ahead.
type content struct {
	f    *sftp.File
	p    *Place
	full string
	pr   *io.PipeReader // nil before the first Read
}

// Sums is described at transfer.FarContent.
func (c *content) Sums(list []transfer.Chunk) ([][]byte, error) { return c.p.digests(c.full, list) }

// Sum is described at transfer.FarContent.
func (c *content) Sum() ([]byte, error) {
	sum, _, err := c.p.digest(c.full, -1)
	return sum[:], err
}

func (c *content) Read(b []byte) (int, error) {
	if c.pr == nil {
		pr, pw := io.Pipe()
		c.pr = pr
		go func() {
			_, err := c.f.WriteTo(pw)
			_ = pw.CloseWithError(err) // nil is the end of the file; never fails
		}()
	}
	return c.pr.Read(b)
}

func (c *content) Hole() int64 { return 0 }

var errOnce = errors.New("a file of a target without a helper is read once")

func (c *content) ReadAgain(off, n int64) (io.Reader, error) {
	return io.NewSectionReader(c.f, off, n), nil
}

func (c *content) GoTo(off int64) error {
	if c.pr != nil {
		return errOnce
	}
	_, err := c.f.Seek(off, io.SeekStart)
	return err
}

func (c *content) Info() (transfer.Info, error) {
	fi, err := c.f.Stat()
	if err != nil {
		return transfer.Info{}, err
	}
	return infoOf(fi), nil
}

func (c *content) Close() error {
	if c.pr != nil {
		_ = c.pr.Close() // ends WriteTo
	}
	return c.f.Close()
}

func (t *tree) Mkdir(p string) error {
	full, err := t.at(p)
	if err != nil {
		return err
	}
	if err := t.p.client.Mkdir(full); err != nil {
		return err
	}
	return t.p.client.Chmod(full, 0o700)
}

func (t *tree) Link(p, text string) error {
	full, err := t.at(p)
	if err != nil {
		return err
	}
	temp := path.Join(path.Dir(full), ".bowline-"+rand.Text()+".link")
	if err := t.p.client.Symlink(text, temp); err != nil {
		return err
	}
	if err := t.p.client.PosixRename(temp, full); err != nil {
		return errors.Join(err, t.p.client.Remove(temp))
	}
	return nil
}

func (t *tree) SetDir(p string, m transfer.Meta) error {
	full, err := t.at(p)
	if err != nil {
		return err
	}
	if err := t.chown(full, m); err != nil {
		return err
	}
	if err := t.p.client.Chmod(full, os.FileMode(m.Mode&0o777)); err != nil {
		return err
	}
	return t.times(full, m)
}

func (t *tree) times(full string, m transfer.Meta) error {
	if m.MTime == 0 {
		return nil
	}
	when := time.Unix(0, m.MTime)
	return t.p.client.Chtimes(full, when, when)
}

// chown sets the owner that was asked for; SFTP knows both halves only.
func (t *tree) chown(full string, m transfer.Meta) error {
	if m.UID < 0 && m.GID < 0 {
		return nil
	}
	fi, err := t.p.client.Lstat(full)
	if err != nil {
		return err
	}
	now := infoOf(fi)
	uid, gid := m.UID, m.GID
	if uid < 0 {
		uid = now.UID
	}
	if gid < 0 {
		gid = now.GID
	}
	return t.p.client.Chown(full, uid, gid)
}
