//go:build linux

package safepath

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bowline-sh/bowline/change"
)

// ErrSymlink means that a parent of the path is a symbolic link, or leads out of
// the tree.
var ErrSymlink = errors.New("a parent is a symbolic link")

// Root is the top of a tree.
type Root struct {
	fd   int
	path string
}

// OpenRoot opens the directory at p. Links in p itself are followed: it comes from
// whoever runs this program, not from a plan.
func OpenRoot(p string) (*Root, error) {
	fd, err := retry(func() (int, error) { return unix.Open(p, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return nil, fmt.Errorf("open %q: %w", p, err)
	}
	return &Root{fd, p}, nil
}

// Close gives the handle back.
func (r *Root) Close() error { return unix.Close(r.fd) }

// Dir is a directory below a root.
type Dir struct {
	fd   int
	path string
}

const beneath = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS

// Open opens the directory at the absolute path dir; "/" is the root itself.
func (r *Root) Open(dir string) (*Dir, error) {
	rel := strings.TrimPrefix(path.Clean("/"+dir), "/")
	if rel == "" {
		rel = "."
	}
	fd, err := retry(func() (int, error) {
		return unix.Openat2(r.fd, rel, &unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: beneath})
	})
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.EXDEV) {
		err = fmt.Errorf("%w: %w", ErrSymlink, err)
	}
	if err != nil {
		return nil, fmt.Errorf("open %q: %w", dir, err)
	}
	return &Dir{fd, dir}, nil
}

// Parent opens the directory that holds p and returns the last component of p.
func (r *Root) Parent(p change.Path) (*Dir, string, error) {
	if err := p.Valid(); err != nil {
		return nil, "", err
	}
	dir, name := path.Split(string(p))
	d, err := r.Open(path.Clean(dir))
	return d, name, err
}

// Stat looks at p. A missing path, or one with a missing parent, is the zero Info
// and no error; a parent that is a file counts as missing.
func (r *Root) Stat(p change.Path, hash bool) (Info, error) {
	if p == "/" {
		d, err := r.Open("/")
		if err != nil {
			return Info{}, err
		}
		defer d.Close()
		return (&Node{d.fd, "/"}).Info(hash)
	}
	d, name, err := r.Parent(p)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) && !errors.Is(err, ErrSymlink) {
		return Info{}, nil
	}
	if err != nil {
		return Info{}, err
	}
	defer d.Close()
	return d.Stat(name, hash)
}

// retry repeats a call that a signal, or a rename elsewhere in the tree
// (openat2(2), EAGAIN), broke off.
func retry[T any](call func() (T, error)) (T, error) {
	for {
		v, err := call()
		if !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.EAGAIN) {
			return v, err
		}
	}
}

func validName(name string) error {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return fmt.Errorf("%q is not a name", name)
	}
	return nil
}
