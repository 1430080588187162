//go:build linux

package overlay

import (
	"errors"
	"fmt"
	"os"
	"path"

	"golang.org/x/sys/unix"

	"github.com/bowline-sh/bowline/change"
)

// withhold keeps the script from making the change c, and from seeing it made:
//
//   - what is there can be read but not written, replaced, renamed or removed
//     (EROFS, EBUSY), since it is a read-only mount of itself;
//   - where nothing is yet stands something that cannot be used as what c makes: an
//     empty directory for a file, an empty file for a directory.
//
// The mount point is no part of the plan. It returns an error if that cannot be
// done at this path; then nothing was done.
func (s *stage) withhold(c change.Change) error {
	name := string(c.Path)
	if s.view.covers(name) {
		return errors.New("a file system begins there or below")
	}
	root, err := unix.Open(s.view.root, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open the view: %w", err)
	}
	defer unix.Close(root)
	if c.Before.Absent() {
		if err := placeholder(root, name, c.After.Type == change.Dir); err != nil {
			return err
		}
	}
	if err := mountReadOnly(root, name); err != nil {
		return err
	}
	s.view.points = append(s.view.points, name)
	return nil
}

// openIn opens a path of the view as a place. No symbolic link is followed: those of
// a plan's paths are the directories themselves.
func openIn(root int, name string) (int, error) {
	fd, err := unix.Openat2(root, "."+name, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_CLOEXEC | unix.O_NOFOLLOW, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return fd, nil
}

// placeholder makes what a script takes for neither a directory nor a file of its own.
func placeholder(root int, name string, forDir bool) error {
	dir, err := openIn(root, path.Dir(name))
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	if !forDir {
		return unix.Mkdirat(dir, path.Base(name), 0)
	}
	fd, err := unix.Openat(dir, path.Base(name), unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// mountReadOnly mounts what is at name over itself, read-only with all below it.
func mountReadOnly(root int, name string) error {
	at, err := openIn(root, name)
	if err != nil {
		return err
	}
	defer unix.Close(at)
	var st unix.Stat_t
	if err := unix.Fstat(at, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFLNK {
		return errors.New("it is a symbolic link")
	}
	tree, err := unix.OpenTree(at, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH|unix.AT_RECURSIVE)
	if err != nil {
		return fmt.Errorf("clone the mount: %w", err)
	}
	defer unix.Close(tree)
	err = unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
	if err != nil {
		return fmt.Errorf("make it read-only: %w", err)
	}
	err = unix.MoveMount(tree, "", at, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
	if err != nil {
		return fmt.Errorf("mount it: %w", err)
	}
	return nil
}

// withholdAll withholds what the order names and warns of what cannot be.
func (s *stage) withholdAll() {
	for _, c := range s.Withhold {
		if err := s.withhold(c); err != nil {
			s.warn("%s could not be withheld from the script: %v", c.Path, err)
		}
	}
}
