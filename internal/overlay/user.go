//go:build linux

package overlay

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/bowline-sh/bowline/diag"
)

// divideUser divides the tree for an unprivileged user namespace. There the mounts
// of the host are locked: none can be a lower layer while another mount lies below
// it. So a directory above a mount becomes a skeleton, an empty directory whose
// entries are laid one by one. Nobody can write to a skeleton; where the account
// could do so in earnest there is no dry run.
func (s *stage) divideUser(real []mount) error {
	s.label("changes to files of other owners cannot be previewed")
	s.label("owners other than the account are not shown")
	s.label("existing directories cannot be renamed (EXDEV)")
	s.label("ACLs that name other accounts cannot be set (EINVAL)")
	if err := unix.Mount(s.view.root, s.view.root, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind the root of the view: %w", err)
	}
	b := skeleton{stage: s, mounts: real, points: s.view.points}
	if err := b.dir("/"); err != nil {
		return err
	}
	for _, l := range s.layers {
		s.view.points = append(s.view.points, l.point)
	}
	if s.layerOf(meet) == nil {
		return os.MkdirAll(s.view.root+meet, 0o755)
	}
	return nil
}

// skeleton builds the directories above mounts.
type skeleton struct {
	stage  *stage
	mounts []mount
	points []string // of the host
}

// splits reports whether a mount lies below p.
func (b skeleton) splits(p string) bool {
	return slices.ContainsFunc(b.points, func(q string) bool { return q != p && q != meet && within(q, p) })
}

func (b skeleton) dir(p string) error {
	if unix.Access(p, unix.W_OK) == nil {
		return diag.New(diag.Sandbox, "lay the view", "plan as root with --as-root",
			"%s can be written by this account and has a mount below it", p)
	}
	entries, err := os.ReadDir(p)
	if errors.Is(err, fs.ErrPermission) {
		if unix.Access(p, unix.X_OK) == nil {
			return diag.New(diag.Sandbox, "lay the view", "plan as root with --as-root", "%s has a mount below it and cannot be listed", p)
		}
		return os.Chmod(b.stage.view.root+p, 0) // nor can the script look into it
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := b.entry(path.Join(p, e.Name()), e); err != nil {
			return err
		}
	}
	return nil
}

func (b skeleton) entry(p string, e fs.DirEntry) error {
	to := b.stage.view.root + p
	switch {
	case e.IsDir():
		if err := os.Mkdir(to, 0o755); err != nil {
			return err
		}
		switch {
		case slices.Contains(fresh, p):
			return nil
		case b.splits(p):
			return b.dir(p)
		}
		return b.stage.makeLayer(&layer{point: p, flags: b.flags(p)})
	case e.Type() == fs.ModeSymlink:
		target, err := os.Readlink(p)
		if err != nil {
			return err
		}
		return os.Symlink(target, to)
	case e.Type() == fs.ModeNamedPipe:
		return unix.Mkfifo(to, accessOf(p))
	case !e.Type().IsRegular():
		b.stage.label(p + " is left out")
		return nil
	}
	if err := os.WriteFile(to, nil, 0o600); err != nil {
		return err
	}
	if unix.Access(p, unix.W_OK) == nil {
		return b.stage.makeLayer(&layer{point: p, file: true, flags: b.flags(p)})
	}
	if err := unix.Mount(p, to, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s: %w", p, err)
	}
	return restrict(to, unix.MOUNT_ATTR_RDONLY)
}

// flags are those of the mount that p lies on.
func (b skeleton) flags(p string) uintptr {
	var on mount
	for _, m := range b.mounts {
		if within(p, m.point) && len(m.point) >= len(on.point) {
			on = m
		}
	}
	return mountFlags(on)
}
