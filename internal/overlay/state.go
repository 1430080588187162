//go:build linux

package overlay

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
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
}

// stat reads a path without its content. An absent path is no error.
func stat(p string, mode plan.Mode) (change.State, meta, error) {
	var st unix.Stat_t
	if err := unix.Lstat(p, &st); errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return change.State{}, meta{}, nil
	} else if err != nil {
		return change.State{}, meta{}, fmt.Errorf("stat %q: %w", p, err)
	}
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
	s.Xattrs, err = readXattrs(p, mode)
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
// module gives by its own rules.
func readXattrs(p string, mode plan.Mode) (map[string][]byte, error) {
	names, err := listXattrs(p)
	if err != nil || len(names) == 0 {
		return nil, err
	}
	prefix := overlayPrefix(mode)
	out := map[string][]byte{}
	for _, name := range names {
		as := name
		if rest, ok := strings.CutPrefix(name, prefix); ok {
			// What a script calls prefix+x is stored as prefix+"overlay."+x.
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
			return nil, fmt.Errorf("attribute %q of %q: %w", name, p, err)
		}
		out[as] = value
	}
	if len(out) == 0 {
		return nil, nil
	}
	return out, nil
}

func listXattrs(p string) ([]string, error) {
	buf := make([]byte, 1024)
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

// digest hashes a file and reports whether it holds a stub somewhere inside.
func digest(p string) (sum string, marked bool, err error) {
	f, err := openPlain(p)
	if err != nil {
		return "", false, err
	}
	defer f.Close()
	h := sha256.New()
	mark := []byte(stubMark)
	buf := make([]byte, 1<<20)
	keep := 0 // bytes from the last round, so that a mark across two is seen
	for {
		n, err := f.Read(buf[keep:])
		h.Write(buf[keep : keep+n])
		marked = marked || bytes.Contains(buf[:keep+n], mark)
		if end := keep + n; end >= len(mark) {
			keep = copy(buf, buf[end-len(mark)+1:end])
		} else {
			keep = end
		}
		if err == io.EOF {
			return hex.EncodeToString(h.Sum(nil)), marked, nil
		}
		if err != nil {
			return "", false, fmt.Errorf("read %q: %w", p, err)
		}
	}
}

func openPlain(p string) (*os.File, error) {
	return os.OpenFile(p, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
}
