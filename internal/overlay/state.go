//go:build linux

package overlay

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bowline-sh/bowline/change"
	"github.com/bowline-sh/bowline/plan"
)

// meta is what the walk needs of a path besides its state.
type meta struct {
	dev, ino uint64
	size     int64
	ctime    unix.Timespec
	origin   []byte // what overlayfs says the file is a copy of; nil if nothing
}

// inode is the identity of a file. In the view a path that the script renamed
// without writing it still has the inode of the base.
type inode struct {
	dev, ino uint64
	base     bool
}

// stat reads a path without its content. An absent path is no error.
func stat(p string, mode plan.Mode) (change.State, meta, error) {
	var st unix.Stat_t
	if err := unix.Lstat(p, &st); err == unix.ENOENT || err == unix.ENOTDIR {
		return change.State{}, meta{}, nil
	} else if err != nil {
		return change.State{}, meta{}, fmt.Errorf("stat %q: %w", p, err)
	}
	return stateOf(p, &st, mode)
}

// stateOf is stat for a path whose status is known.
func stateOf(p string, st *unix.Stat_t, mode plan.Mode) (change.State, meta, error) {
	m := meta{dev: uint64(st.Dev), ino: st.Ino, size: st.Size, ctime: st.Ctim}
	s := change.State{Type: typeOf(st.Mode), Mode: st.Mode & 0o7777, UID: st.Uid, GID: st.Gid, MTime: st.Mtim.Nano()}
	switch s.Type {
	case change.File:
		s.Size = st.Size
	case change.Symlink:
		target, err := os.Readlink(p)
		if err != nil {
			return s, m, err
		}
		s.Mode, s.Target = 0, change.Path(target)
	case change.Char, change.Block:
		s.Major, s.Minor = unix.Major(uint64(st.Rdev)), unix.Minor(uint64(st.Rdev))
	case change.None:
		return s, m, fmt.Errorf("%q is of an unknown type, mode %o", p, st.Mode)
	}
	if s.Type != change.Dir && st.Nlink > 1 {
		s.NLink = uint32(st.Nlink)
	}
	var err error
	s.Xattrs, m.origin, err = readXattrs(p, mode)
	return s, m, err
}

func typeOf(mode uint32) change.Type {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return change.File
	case unix.S_IFDIR:
		return change.Dir
	case unix.S_IFLNK:
		return change.Symlink
	case unix.S_IFIFO:
		return change.Fifo
	case unix.S_IFCHR:
		return change.Char
	case unix.S_IFBLK:
		return change.Block
	case unix.S_IFSOCK:
		return change.Socket
	}
	return change.None
}

// overlayPrefix is where overlayfs keeps its own attributes of an upper layer.
func overlayPrefix(mode plan.Mode) string {
	if mode == plan.User {
		return "user.overlay."
	}
	return "trusted.overlay."
}

// readXattrs returns the extended attributes that belong to the state of a path:
// not those of overlayfs, nor labels and measurements that the host's security
// module gives by its own rules. Of the former it returns the origin.
func readXattrs(p string, mode plan.Mode) (_ map[string][]byte, origin []byte, _ error) {
	names, err := listXattrs(p)
	if err != nil || len(names) == 0 {
		return nil, nil, err
	}
	prefix := overlayPrefix(mode)
	out := map[string][]byte{}
	for _, name := range names {
		as := name
		if rest, ok := strings.CutPrefix(name, prefix); ok {
			// What a script calls prefix+x is stored as prefix+"overlay."+x.
			if rest == "origin" {
				if origin, err = getXattr(p, name); err != nil {
					return nil, nil, fmt.Errorf("attribute %q of %q: %w", name, p, err)
				}
			}
			if rest, ok = strings.CutPrefix(rest, "overlay."); !ok {
				continue
			}
			as = prefix + rest
		}
		switch {
		case name == "security.selinux", name == "security.ima", name == "security.evm", name == "security.SMACK64":
			continue
		case strings.HasPrefix(name, "system.") && !strings.HasPrefix(name, "system.posix_acl_"):
			continue
		}
		value, err := getXattr(p, name)
		if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.EPERM) {
			continue
		}
		if err != nil {
			return nil, nil, fmt.Errorf("attribute %q of %q: %w", name, p, err)
		}
		out[as] = value
	}
	if len(out) == 0 {
		return nil, origin, nil
	}
	return out, origin, nil
}

func listXattrs(p string) ([]string, error) {
	buf := make([]byte, 256) // on the stack
	for {
		n, err := unix.Llistxattr(p, buf)
		switch {
		case errors.Is(err, unix.ERANGE):
			buf = make([]byte, 4*len(buf))
		case errors.Is(err, unix.ENOTSUP), errors.Is(err, unix.EACCES), errors.Is(err, unix.ENOENT):
			return nil, nil
		case err != nil:
			return nil, fmt.Errorf("attributes of %q: %w", p, err)
		case n == 0:
			return nil, nil
		default:
			return strings.Split(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00"), nil
		}
	}
}

func getXattr(p, name string) ([]byte, error) {
	buf := make([]byte, 256)
	for {
		n, err := unix.Lgetxattr(p, name, buf)
		switch {
		case errors.Is(err, unix.ERANGE):
			buf = make([]byte, 8*len(buf))
		case err != nil:
			return nil, err
		default:
			return bytes.Clone(buf[:n]), nil
		}
	}
}

// hashed is what the content of a file says.
type hashed struct {
	sum    string
	stub   string // the program that the file is the stub of, or ""
	marked bool   // it holds the text of a stub somewhere
}

// digest reads a file through buf.
func digest(p string, buf []byte) (hashed, error) {
	fd, err := openPlain(p)
	if err != nil {
		return hashed{}, err
	}
	defer unix.Close(fd)
	h := sha256.New()
	out := hashed{}
	mark := []byte(stubMark)
	keep, total := 0, 0 // keep: bytes from the last round, so that a mark across two is seen
	for {
		n, err := readFull(fd, buf[keep:])
		if err != nil {
			return hashed{}, fmt.Errorf("read %q: %w", p, err)
		}
		full := keep+n == len(buf)
		h.Write(buf[keep : keep+n])
		out.marked = out.marked || bytes.Contains(buf[:keep+n], mark)
		if total += n; !full {
			if total <= keep+n {
				out.stub, _ = stubOf(buf[:total])
			}
			out.sum = hex.EncodeToString(h.Sum(nil))
			return out, nil
		}
		keep = copy(buf, buf[len(buf)-len(mark)+1:])
	}
}

// openPlain opens a file for reading. It is a bare descriptor: an os.File costs
// two more calls of the kernel for each.
func openPlain(p string) (int, error) {
	fd, err := unix.Open(p, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open %q: %w", p, err)
	}
	return fd, nil
}

// readFull fills b, or less of it at the end of the file.
func readFull(fd int, b []byte) (int, error) {
	n := 0
	for n < len(b) {
		m, err := unix.Read(fd, b[n:])
		switch {
		case err == unix.EINTR:
		case err != nil:
			return n, err
		case m == 0:
			return n, nil
		default:
			n += m
		}
	}
	return n, nil
}
