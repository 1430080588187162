package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// ErrNotSynced is wrapped by the one failure of [WriteFile] after which the
// new content is in place: the directory could not be synced.
var ErrNotSynced = errors.New("written, but not known to survive a power cut")

// maxLinks bounds a chain of symbolic links, as Linux does (path_resolution(7)).
const maxLinks = 40

// WriteFile makes data the content of the file at path, with exactly the
// permissions perm whatever the umask. See the package comment for what a nil
// and a non-nil error promise.
//
// If path is a symbolic link, the link stays and the file it leads to is
// replaced, or created if it is missing: a configuration may be linked into
// another directory. Callers for whom a link is an attack must refuse it
// first. Anything else that is not a regular file is refused.
func WriteFile(path string, data []byte, perm fs.FileMode) error {
	return writeFile(disk{}, path, data, perm)
}

// SyncDir makes the entries of a directory durable: files created in it,
// renamed into it or removed from it. It does nothing on Windows.
func SyncDir(dir string) error { return syncDir(dir) }

// Resolve follows the symbolic links at path itself, not those of its parents,
// and returns where the last one leads; the file there may be missing.
func Resolve(path string) (string, error) {
	for range maxLinks {
		info, err := os.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) {
			return path, nil
		}
		if err != nil {
			return "", err
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			return path, nil
		}
		next, err := os.Readlink(path)
		if err != nil {
			return "", err
		}
		if !filepath.IsAbs(next) {
			next = joinLink(path, next)
		}
		path = next
	}
	return "", fmt.Errorf("%q: more than %d symbolic links", path, maxLinks)
}

// joinLink appends a relative link to the directory it stands in. It does not
// clean the result: "a/../b" is not "b" if a is a link.
func joinLink(path, link string) string {
	dir, _ := filepath.Split(path)
	return dir + link
}

// system is the file system as writeFile uses it, so that tests can make each
// step fail.
type system interface {
	create(path string) (file, error) // for writing, new, 0600
	rename(from, to string) error
	remove(path string) error
	syncDir(path string) error
}

// file is the part of *os.File that writeFile uses.
type file interface {
	Write(p []byte) (int, error)
	Chmod(perm fs.FileMode) error
	Sync() error
	Close() error
}

func writeFile(sys system, path string, data []byte, perm fs.FileMode) error {
	path, err := replaceable(path)
	if err != nil {
		return err
	}
	temp, err := writeTemp(sys, path, data, perm)
	if err != nil {
		return err
	}
	if err := sys.rename(temp, path); err != nil {
		return errors.Join(err, sys.remove(temp))
	}
	if err := sys.syncDir(filepath.Dir(path)); err != nil {
		return fmt.Errorf("%q: %w: %w", path, ErrNotSynced, err)
	}
	return nil
}

// replaceable returns the path of the regular or missing file to replace.
func replaceable(path string) (string, error) {
	path, err := Resolve(path)
	if err != nil {
		return "", err
	}
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return path, nil
	case err != nil:
		return "", err
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("%q is not a regular file", path)
	}
	return path, nil
}

// writeTemp writes and syncs data beside path and returns the new file's name.
// On failure it leaves nothing behind.
func writeTemp(sys system, path string, data []byte, perm fs.FileMode) (string, error) {
	temp, f, err := createTemp(sys, path)
	if err != nil {
		return "", err
	}
	err = fill(f, data, perm)
	if err = errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(err, sys.remove(temp))
	}
	return temp, nil
}

func fill(f file, data []byte, perm fs.FileMode) error {
	if _, err := f.Write(data); err != nil {
		return err
	}
	// After the content, so that it is never readable by more than perm says.
	if err := f.Chmod(perm.Perm()); err != nil {
		return err
	}
	return f.Sync()
}
