//go:build linux

package safepath

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path"

	"golang.org/x/sys/unix"
)

// Close gives the handle back.
func (d *Dir) Close() error { return unix.Close(d.fd) }

// Path is the directory's path as it was opened.
func (d *Dir) Path() string { return d.path }

func (d *Dir) wrap(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %q: %w", op, path.Join(d.path, name), err)
}

func (d *Dir) do(op, name string, call func() error) error {
	if err := validName(name); err != nil {
		return err
	}
	_, err := retry(func() (struct{}, error) { return struct{}{}, call() })
	return d.wrap(op, name, err)
}

// Info returns the state of the directory itself.
func (d *Dir) Info() (Info, error) { return (&Node{d.fd, d.path}).Info(false) }

// Open opens the directory name below d.
func (d *Dir) Open(name string) (*Dir, error) {
	fd, err := d.open(name, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	return &Dir{fd, path.Join(d.path, name)}, nil
}

func (d *Dir) open(name string, flags int, perm uint32) (int, error) {
	if err := validName(name); err != nil {
		return -1, err
	}
	fd, err := retry(func() (int, error) {
		return unix.Openat(d.fd, name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, perm)
	})
	return fd, d.wrap("open", name, err)
}

// Create makes a new, empty file, 0600, for writing; it must not exist.
func (d *Dir) Create(name string) (*os.File, error) {
	return d.file(name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, 0o600)
}

// Append opens a file for reading and appending, making it with 0600.
func (d *Dir) Append(name string) (*os.File, error) {
	return d.file(name, unix.O_RDWR|unix.O_CREAT|unix.O_APPEND, 0o600)
}

// Read opens a regular file for reading; anything else is refused unopened.
func (d *Dir) Read(name string) (*os.File, error) {
	n, err := d.Node(name)
	if err != nil {
		return nil, err
	}
	defer n.Close()
	return n.Reopen(unix.O_RDONLY)
}

func (d *Dir) file(name string, flags int, perm uint32) (*os.File, error) {
	fd, err := d.open(name, flags|unix.O_NONBLOCK, perm)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), path.Join(d.path, name)), nil
}

// Mkdir makes a directory, 0700 whatever the umask and default ACL say.
func (d *Dir) Mkdir(name string) error {
	return d.do("mkdir", name, func() error { return unix.Mkdirat(d.fd, name, 0o700) })
}

// Symlink makes a symbolic link with the given text.
func (d *Dir) Symlink(name, text string) error {
	return d.do("symlink", name, func() error { return unix.Symlinkat(text, d.fd, name) })
}

// Mknod makes a fifo or device, 0600.
func (d *Dir) Mknod(name string, typ, major, minor uint32) error {
	return d.do("mknod", name, func() error { return unix.Mknodat(d.fd, name, typ|0o600, int(unix.Mkdev(major, minor))) })
}

// Link makes newName in to a hard link to name.
func (d *Dir) Link(name string, to *Dir, newName string) error {
	if err := validName(newName); err != nil {
		return err
	}
	return d.do("link", name, func() error { return unix.Linkat(d.fd, name, to.fd, newName, 0) })
}

// Unlink removes anything but a directory.
func (d *Dir) Unlink(name string) error {
	return d.do("unlink", name, func() error { return unix.Unlinkat(d.fd, name, 0) })
}

// Rmdir removes an empty directory.
func (d *Dir) Rmdir(name string) error {
	return d.do("rmdir", name, func() error { return unix.Unlinkat(d.fd, name, unix.AT_REMOVEDIR) })
}

// How Rename treats what has the new name.
const (
	Replace   = 0
	NoReplace = unix.RENAME_NOREPLACE // fail with EEXIST
	Exchange  = unix.RENAME_EXCHANGE  // it gets the old name
)

// Rename moves name to newName in to. A file system that does not know NoReplace
// or Exchange answers EINVAL (renameat2(2)).
func (d *Dir) Rename(name string, to *Dir, newName string, how uint) error {
	if err := validName(newName); err != nil {
		return err
	}
	return d.do("rename", name, func() error { return unix.Renameat2(d.fd, name, to.fd, newName, how) })
}

// Names lists the directory, unsorted.
func (d *Dir) Names() ([]string, error) {
	f, err := d.real()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	return names, d.wrap("read", "", err)
}

// real reopens d for reading: an O_PATH handle can be neither listed nor synced.
func (d *Dir) real() (*os.File, error) {
	fd, err := retry(func() (int, error) {
		return unix.Openat(d.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return nil, d.wrap("open", "", err)
	}
	return os.NewFile(uintptr(fd), d.path), nil
}

// Sync makes the entries of d durable. File systems without it, which POSIX
// allows, count as synced.
func (d *Dir) Sync() error {
	f, err := d.real()
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOTSUP) {
		return d.wrap("sync", "", err)
	}
	return nil
}

// SyncFS makes everything on the file system of d durable.
func (d *Dir) SyncFS() error {
	f, err := d.real()
	if err != nil {
		return err
	}
	defer f.Close()
	return d.wrap("syncfs", "", unix.Syncfs(int(f.Fd())))
}

// ReadFile returns the content of a regular file of at most limit bytes.
func (d *Dir) ReadFile(name string, limit int64) ([]byte, error) {
	f, err := d.Read(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, d.wrap("read", name, err)
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%q is larger than %d bytes", path.Join(d.path, name), limit)
	}
	return b, nil
}

// WriteFile replaces a file, 0600, so that a crash leaves the old content or the
// new: write, sync, rename, sync of the directory.
func (d *Dir) WriteFile(name string, data []byte) error {
	temp := "." + name + "." + rand.Text() + ".tmp"
	f, err := d.Create(temp)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = d.Rename(temp, d, name, Replace)
	}
	if err != nil {
		return errors.Join(err, d.Unlink(temp))
	}
	return d.Sync()
}
