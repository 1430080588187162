//go:build linux

package apply

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/bowline-sh/bowline/change"
	"github.com/bowline-sh/bowline/internal/checkpoint"
	"github.com/bowline-sh/bowline/internal/journal"
	"github.com/bowline-sh/bowline/internal/safepath"
)

// engine carries out steps in one direction.
type engine struct {
	s     *Session
	m     *model
	j     *journal.Journal
	jf    *os.File
	opts  Options
	undo  bool
	out   *Outcome
	calls int
	devs  map[uint64]change.Path // file systems with something unsynced, by a directory on it
	dirty map[change.Path]bool   // directories with unsynced entries
	times map[change.Path]int64  // of directories that held temporary files
}

// errChanged stops an operation whose path is not as it may be.
var errChanged = errors.New("somebody changed it meanwhile")

// do is every effect: tests make it fail or kill the process before or after.
func (e *engine) do(name string, call func() error) error {
	e.calls++
	if e.opts.fault == nil {
		return call()
	}
	n := e.calls
	if err := e.opts.fault(name, n, false); err != nil {
		return err
	}
	if err := call(); err != nil {
		return err
	}
	return e.opts.fault(name, n, true)
}

// log writes a record and takes it into account.
func (e *engine) log(r record, sync bool) error {
	r.Undo = e.undo
	if sync {
		r.At = e.opts.now()
	}
	err := e.do("journal "+r.Kind, func() error {
		if sync {
			e.out.Syncs++
			return e.j.Append(r)
		}
		return e.j.Write(r)
	})
	if err != nil {
		return err
	}
	return e.m.note(r)
}

// item is a step with what was found and what was prepared.
type item struct {
	step
	now    safepath.Info
	how    string
	stage  place
	staged safepath.ID
	skip   bool
}

// place is where a temporary file is: in a directory, or in a private one in it
// where the final directory does not exist yet.
type place struct {
	dir    change.Path
	holder string
}

// Ways to carry out a step.
const (
	howSkip    = "skip"
	howDelete  = "delete"
	howLink    = "link"
	howMeta    = "metadata"
	howDirMeta = "directory"
	howInPlace = "in place"
	howNew     = "new"
)

func (e *engine) decide(s step, now safepath.Info) string {
	t := e.m.tracks[s.Path]
	sameContent := now.Type == s.After.Type && now.SHA256 == s.After.SHA256 && now.Target == s.After.Target &&
		now.Major == s.After.Major && now.Minor == s.After.Minor
	switch {
	case now.Absent() && s.After.Absent():
		return howSkip
	case s.After.Absent():
		return howDelete
	case s.Link != "":
		return howLink
	case now.Type == change.Dir && s.After.Type == change.Dir:
		return howDirMeta
	case now.Same(s.After) && (s.After.MTime == 0 || s.After.MTime == now.MTime):
		return howSkip
	case sameContent && (s.InPlace || now.NLink <= 1 || e.undo || !t.orig.ID.SameInode(now.ID)):
		return howMeta
	case now.Type == change.File && s.After.Type == change.File && (s.InPlace || t.torn.SameInode(now.ID)):
		return howInPlace
	}
	return howNew
}

// stretch carries out the changes between two commands.
func (e *engine) stretch(ctx context.Context, k int) error {
	e.devs, e.dirty, e.times = map[uint64]change.Path{}, map[change.Path]bool{}, map[change.Path]int64{}
	items := make([]*item, 0)
	for _, s := range e.m.steps(k, e.undo) {
		if err := check(ctx); err != nil {
			return err
		}
		now, ok, err := e.m.match(e.s.root, s.Path)
		if err == nil && !ok && !e.opts.Force {
			err = errChanged
		}
		if err != nil {
			return e.opError(s, err)
		}
		items = append(items, &item{step: s, now: now, how: e.decide(s, now)})
	}
	if err := e.places(items); err != nil {
		return err
	}
	if err := e.log(record{Kind: recStretch, Stretch: k}, true); err != nil {
		return err
	}
	if err := e.stageAll(ctx, items); err != nil {
		return err
	}
	for _, it := range items {
		if err := check(ctx); err != nil {
			return err
		}
		if err := e.act(it); err != nil {
			return e.opError(it.step, err)
		}
		if it.how != howDirMeta && !(it.how == howNew && it.After.Type == change.Dir) {
			if err := e.finished(it); err != nil {
				return err
			}
		}
	}
	if err := e.removeHolders(items); err != nil {
		return err
	}
	if err := e.finishDirs(items); err != nil {
		return err
	}
	if err := e.keepTimes(items); err != nil {
		return err
	}
	if err := e.syncAll(); err != nil {
		return err
	}
	return e.log(record{Kind: recStretchEnd, Stretch: k}, true)
}

func (e *engine) opError(s step, err error) error {
	return fmt.Errorf("operation %d, %q: %w", s.op, string(s.Path), err)
}

func (e *engine) temp(op int) string {
	return e.prefix() + strconv.Itoa(op)
}

func (e *engine) prefix() string { return ".bowline-" + e.s.rec.Nonce + "-" }

// places decides where temporary files go, and notes it durably before there is any.
func (e *engine) places(items []*item) error {
	after := map[change.Path]change.Type{}
	for _, it := range items {
		after[it.Path] = it.After.Type
	}
	memo := map[change.Path]place{}
	var dirs []change.Path
	for _, it := range items {
		if it.how != howNew && it.how != howLink {
			continue
		}
		parent := change.Path(path.Dir(string(it.Path)))
		pl, ok := memo[parent]
		if !ok {
			var err error
			if pl, err = e.place(parent, after); err != nil {
				return e.opError(it.step, err)
			}
			memo[parent] = pl
			for _, d := range []change.Path{pl.dir, parent} {
				if !e.m.dirs[d] && !slices.Contains(dirs, d) {
					dirs = append(dirs, d)
				}
			}
		}
		it.stage = pl
	}
	for part := range slices.Chunk(dirs, 8) { // eight longest paths fit into a record
		if err := e.log(record{Kind: recDirs, Dirs: part}, false); err != nil {
			return err
		}
	}
	return nil
}

func (e *engine) place(parent change.Path, after map[change.Path]change.Type) (place, error) {
	holder := ""
	for p := parent; ; p = change.Path(path.Dir(string(p))) {
		d, err := e.s.root.Open(string(p))
		if err == nil {
			var info safepath.Info
			info, err = d.Info()
			e.times[p] = info.MTime
			err = errors.Join(err, d.Close())
		}
		typ, listed := after[p]
		if err == nil && (!listed || typ == change.Dir) {
			return place{p, holder}, nil
		}
		replaced := errors.Is(err, safepath.ErrSymlink) && (listed || above(p, func(q change.Path) bool { return after[q] == change.Dir }))
		if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOTDIR) && !replaced || p == "/" {
			return place{}, err
		}
		if typ != change.Dir { // neither there nor to be made
			return place{}, fmt.Errorf("its directory %q is gone: %w", string(p), unix.ENOENT)
		}
		holder = e.prefix() + "new"
	}
}

// open opens the directory of a place.
func (e *engine) open(pl place) (*safepath.Dir, error) {
	d, err := e.s.root.Open(string(pl.dir))
	if err != nil || pl.holder == "" {
		return d, err
	}
	defer d.Close()
	return d.Open(pl.holder)
}

func (e *engine) stageAll(ctx context.Context, items []*item) error {
	made := map[place]bool{}
	for _, it := range items {
		if it.how != howNew {
			continue
		}
		if err := check(ctx); err != nil {
			return err
		}
		if it.stage.holder != "" && !made[it.stage] {
			made[it.stage] = true
			if err := e.makeHolder(it.stage); err != nil {
				return e.opError(it.step, err)
			}
		}
		if err := e.stageOne(it); err != nil {
			return e.opError(it.step, err)
		}
	}
	return e.syncFS()
}

func (e *engine) makeHolder(pl place) error {
	d, err := e.s.root.Open(string(pl.dir))
	if err != nil {
		return err
	}
	defer d.Close()
	return e.do("mkdir holder", func() error { return d.Mkdir(pl.holder) })
}

// removeHolders removes the private directories, which are empty now.
func (e *engine) removeHolders(items []*item) error {
	gone := map[place]bool{}
	for _, it := range items {
		if it.how != howNew || it.stage.holder == "" || gone[it.stage] {
			continue
		}
		gone[it.stage] = true
		d, err := e.s.root.Open(string(it.stage.dir))
		if err != nil {
			return err
		}
		err = e.do("rmdir holder", func() error { return d.Rmdir(it.stage.holder) })
		if err = errors.Join(err, d.Close()); err != nil {
			return err
		}
	}
	return nil
}

// stageOne makes what shall be, under a temporary name.
func (e *engine) stageOne(it *item) error {
	d, err := e.open(it.stage)
	if err != nil {
		return err
	}
	defer d.Close()
	name := e.temp(it.op)
	if err := e.do("stage", func() error { return e.make(d, name, it) }); err != nil {
		return err
	}
	info, err := d.Stat(name, false)
	if err != nil {
		return err
	}
	it.staged = info.ID
	e.devs[info.ID.Dev] = it.stage.dir
	return nil
}

func (e *engine) make(d *safepath.Dir, name string, it *item) error {
	var err error
	want := it.After
	switch want.Type {
	case change.File:
		err = e.makeFile(d, name, want.SHA256)
	case change.Dir:
		want.Mode |= 0o700 // until its children are there
		err = d.Mkdir(name)
	case change.Symlink:
		err = d.Symlink(name, string(want.Target))
	case change.Fifo:
		err = d.Mknod(name, unix.S_IFIFO, 0, 0)
	case change.Char:
		err = d.Mknod(name, unix.S_IFCHR, want.Major, want.Minor)
	case change.Block:
		err = d.Mknod(name, unix.S_IFBLK, want.Major, want.Minor)
	case change.Socket:
		e.out.Notes = append(e.out.Notes, fmt.Sprintf("%q was a socket; the program that owns it makes it again", string(it.Path)))
		it.skip = true
		return nil
	}
	if err != nil {
		return err
	}
	n, err := d.Node(name)
	if err != nil {
		return err
	}
	defer n.Close()
	return n.SetMeta(want)
}

func (e *engine) makeFile(d *safepath.Dir, name, sha string) error {
	src, err := e.content(sha)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := d.Create(name)
	if err != nil {
		return err
	}
	got, _, err := safepath.Copy(dst, src)
	if err == nil && got != sha {
		err = fmt.Errorf("%w: content %s has digest %s", ErrTampered, sha, got)
	}
	return errors.Join(err, dst.Close())
}

// content opens what is kept under a digest, by the plan or by the checkpoint.
func (e *engine) content(sha string) (*os.File, error) {
	first, second := e.s.layer, e.s.cp
	if e.undo {
		first, second = second, first
	}
	f, err := first.Read(sha)
	if errors.Is(err, unix.ENOENT) {
		f, err = checkpoint.Blob(second, sha)
	}
	return f, err
}

// finished verifies that the path is as it shall be, and notes what it is now.
func (e *engine) finished(it *item) error {
	info, err := e.m.stat(e.s.root, it.Path, it.how == howInPlace)
	if err != nil {
		return e.opError(it.step, err)
	}
	if it.how != howInPlace { // the content was hashed while it was written or looked at
		info.SHA256 = it.After.SHA256
	}
	other := it.staged.Ino != 0 && !it.staged.SameInode(info.ID)
	if !it.skip && (!info.Same(it.After) || other) {
		return e.opError(it.step, fmt.Errorf("after the change it is not what was planned (%s): %w", why(it.After, info.State), errChanged))
	}
	if err := e.log(record{Kind: recDone, Op: it.op, ID: &info.ID, SHA256: info.SHA256}, false); err != nil {
		return err
	}
	e.out.count(e.undo)
	e.opts.progress(Event{Op: it.op, Total: len(e.m.plan.Ops), Undo: e.undo, Path: it.Path, Did: it.how})
	return nil
}

// finishDirs gives directories their mode and time after their children, the
// deepest first.
func (e *engine) finishDirs(items []*item) error {
	for _, it := range slices.Backward(items) {
		if it.how != howDirMeta && (it.how != howNew || it.After.Type != change.Dir) {
			continue
		}
		d, name, err := e.s.root.Parent(it.Path)
		if err != nil {
			return e.opError(it.step, err)
		}
		err = e.do("finish directory", func() error { return setMeta(d, name, it.After) })
		e.devs[it.now.ID.Dev] = change.Path(d.Path())
		if err = errors.Join(err, d.Close()); err != nil {
			return e.opError(it.step, err)
		}
		if err := e.finished(it); err != nil {
			return err
		}
	}
	delete(e.devs, 0) // new directories: their parents are dirty
	return nil
}
