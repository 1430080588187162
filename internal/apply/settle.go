//go:build linux

package apply

import (
	"errors"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bowline-sh/bowline/change"
	"github.com/bowline-sh/bowline/internal/safepath"
)

// keepTimes gives directories that only held temporary files their time back: a
// file that was written in earnest would not have moved it.
func (e *engine) keepTimes(items []*item) error {
	listed, moving := map[change.Path]bool{}, map[change.Path]bool{}
	for _, it := range items {
		listed[it.Path] = true
		if movesParent(it.Change) {
			moving[change.Path(path.Dir(string(it.Path)))] = true
		}
	}
	moved := e.m.moved(items)
	for p := range e.m.dirs { // also those of a run that was broken off
		if t := e.m.tracks[p]; !e.undo && t != nil && !t.touched && !moved[p] && t.orig.State.Type == change.Dir {
			e.times[p] = t.orig.State.MTime
		}
	}
	for p, mtime := range e.times {
		if listed[p] || moving[p] {
			continue
		}
		d, err := e.s.root.Open(string(p))
		if gone(err) {
			continue
		}
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.MTime != mtime {
			err = e.do("keep time", func() error { return d.SetMTime(mtime) })
		}
		if err = errors.Join(err, d.Close()); err != nil {
			return err
		}
	}
	return nil
}

// gone reports whether a directory could not be opened because there is none now.
func gone(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, safepath.ErrSymlink)
}

// movesParent reports whether a change moves the time of its directory.
func movesParent(c change.Change) bool {
	return c.Before.Absent() || c.After.Absent() || c.Before.Type != c.After.Type
}

// moved returns the directories whose time stretches before that of items moved.
func (m *model) moved(items []*item) map[change.Path]bool {
	out := map[change.Path]bool{}
	for _, st := range m.stretches {
		if len(items) > 0 && st.First+len(st.Changes) > items[0].op {
			break
		}
		for _, c := range st.Changes {
			if movesParent(c) {
				out[change.Path(path.Dir(string(c.Path)))] = true
			}
		}
	}
	return out
}

// fewDirs is where syncing the whole file system becomes cheaper than directory
// after directory.
const fewDirs = 16

func (e *engine) syncAll() error {
	dirs := make([]change.Path, 0, len(e.dirty))
	for p := range e.dirty {
		dirs = append(dirs, p)
	}
	slices.Sort(dirs)
	for _, p := range dirs {
		d, err := e.s.root.Open(string(p))
		if gone(err) {
			continue // removed by a later step; its parent is dirty too
		}
		if err != nil {
			return err
		}
		if len(dirs) <= fewDirs {
			e.out.Syncs++
			err = e.do("sync directory", d.Sync)
		} else {
			var info safepath.Info
			info, err = d.Info()
			e.devs[info.ID.Dev] = p
		}
		if err = errors.Join(err, d.Close()); err != nil {
			return err
		}
	}
	return e.syncFS()
}

// syncFS syncs every file system that has something unsynced.
func (e *engine) syncFS() error {
	for dev, p := range e.devs {
		d, err := e.s.root.Open(string(p))
		for p != "/" && gone(err) { // removed by a step
			p = change.Path(path.Dir(string(p)))
			d, err = e.s.root.Open(string(p))
		}
		if err != nil {
			return err
		}
		e.out.Syncs++
		err = e.do("sync file system", d.SyncFS)
		if err = errors.Join(err, d.Close()); err != nil {
			return err
		}
		delete(e.devs, dev)
	}
	return nil
}

// cleanup removes temporary files of this session wherever the journal says that
// there may be some.
func (e *engine) cleanup() error {
	var errs error
	for p := range e.m.dirs {
		d, err := e.s.root.Open(string(p))
		if err != nil {
			continue // gone, or not ours any more
		}
		errs = errors.Join(errs, e.sweep(d), d.Close())
	}
	return errs
}

func (e *engine) sweep(d *safepath.Dir) error {
	names, err := d.Names()
	if err != nil {
		return err
	}
	var errs error
	for _, name := range names {
		if !strings.HasPrefix(name, e.prefix()) {
			continue
		}
		info, err := d.Stat(name, false)
		if err == nil && info.Type == change.Dir {
			if sub, err := d.Open(name); err == nil {
				errs = errors.Join(errs, e.sweep(sub), sub.Close())
			}
		}
		errs = errors.Join(errs, err, e.do("clean up", func() error { return remove(d, name, info.Type) }))
	}
	return errs
}

// Event is progress.
type Event struct {
	Op    int  // from 1
	Total int  // operations in the plan
	Undo  bool // of a rollback
	Path  change.Path
	Argv  []string // of a command
	Did   string
}

func (o Options) progress(ev Event) {
	if o.Progress != nil {
		o.Progress(ev)
	}
}

func (o Options) now() time.Time {
	if o.Now != nil {
		return o.Now()
	}
	return time.Now()
}
