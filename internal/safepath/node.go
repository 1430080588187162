//go:build linux

package safepath

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bowline-sh/bowline/change"
)

// Info is the state of a path and the identity of its inode.
type Info struct {
	change.State
	ID ID
}

// ID tells one version of an inode from another: any write and any change of
// metadata, by anyone, moves CTime.
type ID struct {
	Dev   uint64 `json:"dev"`
	Ino   uint64 `json:"ino"`
	CTime int64  `json:"ctime"`
	Size  int64  `json:"size"`
}

// SameInode reports whether both are the same inode, in whatever version.
func (i ID) SameInode(o ID) bool { return i.Ino != 0 && i.Dev == o.Dev && i.Ino == o.Ino }

// Node pins one inode, whatever becomes of its name.
type Node struct {
	fd   int
	path string
}

// Node opens name without following it and without any effect of opening.
func (d *Dir) Node(name string) (*Node, error) {
	fd, err := d.open(name, unix.O_PATH, 0)
	if err != nil {
		return nil, err
	}
	return &Node{fd, path.Join(d.path, name)}, nil
}

// Stat looks at name. A missing one is the zero Info and no error. With hash, the
// content of a regular file is read and its digest filled in.
func (d *Dir) Stat(name string, hash bool) (Info, error) {
	n, err := d.Node(name)
	if errors.Is(err, unix.ENOENT) {
		return Info{}, nil
	}
	if err != nil {
		return Info{}, err
	}
	defer n.Close()
	return n.Info(hash)
}

// Close gives the handle back.
func (n *Node) Close() error { return unix.Close(n.fd) }

func (n *Node) proc() string { return "/proc/self/fd/" + strconv.Itoa(n.fd) }

func (n *Node) wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %q: %w", op, n.path, err)
}

var types = map[uint32]change.Type{
	unix.S_IFREG: change.File, unix.S_IFDIR: change.Dir, unix.S_IFLNK: change.Symlink, unix.S_IFIFO: change.Fifo,
	unix.S_IFCHR: change.Char, unix.S_IFBLK: change.Block, unix.S_IFSOCK: change.Socket,
}

// Info returns the state of the inode.
func (n *Node) Info(hash bool) (Info, error) {
	var st unix.Stat_t
	if err := unix.Fstat(n.fd, &st); err != nil {
		return Info{}, n.wrap("stat", err)
	}
	s := change.State{Type: types[st.Mode&unix.S_IFMT], Mode: st.Mode & 0o7777, UID: st.Uid, GID: st.Gid, MTime: st.Mtim.Nano()}
	id := ID{Dev: st.Dev, Ino: st.Ino, CTime: st.Ctim.Nano(), Size: st.Size} //nolint:unconvert // types differ between architectures
	var err error
	switch s.Type {
	case change.File:
		s.Size = st.Size
		if st.Nlink > 1 {
			s.NLink = uint32(st.Nlink)
		}
		if hash {
			s.SHA256, s.Size, err = n.hash()
		}
	case change.Symlink:
		s.Mode = 0
		s.Target, err = n.readlink()
	case change.Char, change.Block:
		s.Major, s.Minor = unix.Major(st.Rdev), unix.Minor(st.Rdev)
	}
	if err != nil {
		return Info{}, err
	}
	s.Xattrs, err = n.xattrs()
	return Info{s, id}, err
}

func (n *Node) readlink() (change.Path, error) {
	for size := 256; ; size *= 2 {
		buf := make([]byte, size)
		c, err := unix.Readlinkat(n.fd, "", buf)
		if err != nil {
			return "", n.wrap("readlink", err)
		}
		if c < size {
			return change.Path(buf[:c]), nil
		}
	}
}

// Reopen opens the content of a regular file; anything else is refused.
func (n *Node) Reopen(flags int) (*os.File, error) {
	var st unix.Stat_t
	if err := unix.Fstat(n.fd, &st); err != nil {
		return nil, n.wrap("stat", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, fmt.Errorf("open %q: not a regular file", n.path)
	}
	fd, err := retry(func() (int, error) { return unix.Open(n.proc(), flags|unix.O_CLOEXEC|unix.O_NOATIME, 0) })
	if errors.Is(err, unix.EPERM) { // O_NOATIME is for owners
		fd, err = retry(func() (int, error) { return unix.Open(n.proc(), flags|unix.O_CLOEXEC, 0) })
	}
	if err != nil {
		return nil, n.wrap("open", err)
	}
	return os.NewFile(uintptr(fd), n.path), nil
}

func (n *Node) hash() (sum string, size int64, err error) {
	f, err := n.Reopen(unix.O_RDONLY)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	h := sha256.New()
	size, err = io.Copy(h, f)
	return hex.EncodeToString(h.Sum(nil)), size, err
}

const capability = "security.capability"

// Ignored reports whether an extended attribute is no part of a state: what
// overlayfs keeps for itself, and what the kernel computes per inode.
func Ignored(name string) bool {
	return strings.HasPrefix(name, "trusted.overlay.") || strings.HasPrefix(name, "user.overlay.") || name == "security.evm"
}

// noXattrs are the answers of file systems and types of file that have none.
func noXattrs(err error) bool { return errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.EPERM) }

func (n *Node) xattrs() (map[string][]byte, error) {
	names, err := growing(func(b []byte) (int, error) { return unix.Listxattr(n.proc(), b) })
	if noXattrs(err) || err == nil && len(names) == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, n.wrap("listxattr", err)
	}
	var out map[string][]byte
	for name := range strings.SplitSeq(strings.TrimSuffix(string(names), "\x00"), "\x00") {
		if Ignored(name) {
			continue
		}
		v, err := growing(func(b []byte) (int, error) { return unix.Getxattr(n.proc(), name, b) })
		if errors.Is(err, unix.ENODATA) {
			continue
		}
		if err != nil {
			return nil, n.wrap("getxattr "+name, err)
		}
		if out == nil {
			out = map[string][]byte{}
		}
		out[name] = v
	}
	return out, nil
}

// growing calls with ever larger buffers until the answer fits; xattrs are at most
// 64 KiB, lists of names too (xattr(7)).
func growing(call func([]byte) (int, error)) ([]byte, error) {
	for size := 256; ; size *= 4 {
		buf := make([]byte, size)
		c, err := retry(func() (int, error) { return call(buf) })
		if errors.Is(err, unix.ERANGE) && size < 1<<17 {
			continue
		}
		return buf[:max(c, 0)], err
	}
}

// SetMeta gives the inode exactly the owner, mode, xattrs and, unless it is 0, the
// modification time of s. The order matters: chown drops setuid and capabilities,
// an ACL changes the mode.
func (n *Node) SetMeta(s change.State) error {
	now, err := n.Info(false)
	if err != nil {
		return err
	}
	if now.UID != s.UID || now.GID != s.GID {
		if err := unix.Fchownat(n.fd, "", int(s.UID), int(s.GID), unix.AT_EMPTY_PATH); err != nil {
			return n.wrap("chown", err)
		}
		if now, err = n.Info(false); err != nil {
			return err
		}
	}
	if err := n.setXattrs(now.Xattrs, s.Xattrs); err != nil {
		return err
	}
	if s.Type != change.Symlink {
		if err := n.chmod(s.Mode); err != nil {
			return err
		}
	}
	if v, ok := s.Xattrs[capability]; ok && !bytes.Equal(v, now.Xattrs[capability]) {
		if err := unix.Setxattr(n.proc(), capability, v, 0); err != nil {
			return n.wrap("setxattr "+capability, err)
		}
	}
	if s.MTime == 0 {
		return nil
	}
	return n.SetMTime(s.MTime)
}

func (n *Node) chmod(mode uint32) error {
	var st unix.Stat_t
	if err := unix.Fstat(n.fd, &st); err != nil || st.Mode&0o7777 == mode {
		return n.wrap("stat", err)
	}
	return n.wrap("chmod", unix.Chmod(n.proc(), mode))
}

// SetMTime sets the modification time, in nanoseconds since 1970, and leaves the
// access time.
func (n *Node) SetMTime(ns int64) error {
	ts := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, unix.NsecToTimespec(ns)}
	return n.wrap("utimens", unix.UtimesNanoAt(unix.AT_FDCWD, n.proc(), ts, 0))
}

func (n *Node) setXattrs(now, want map[string][]byte) error {
	for name := range now {
		if _, keep := want[name]; !keep {
			if err := unix.Removexattr(n.proc(), name); err != nil && !errors.Is(err, unix.ENODATA) {
				return n.wrap("removexattr "+name, err)
			}
		}
	}
	var names []string
	for name, v := range want {
		if old, ok := now[name]; name != capability && (!ok || !bytes.Equal(old, v)) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		if err := unix.Setxattr(n.proc(), name, want[name], 0); err != nil {
			return n.wrap("setxattr "+name, err)
		}
	}
	return nil
}

// SetMTime sets the modification time of the directory itself.
func (d *Dir) SetMTime(ns int64) error { return (&Node{d.fd, d.path}).SetMTime(ns) }
