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
	"strings"
	"time"

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
	case sameContent && (s.InPlace || now.NLink <= 1 || now.Same(s.After) || e.undo && t.orig.ID.SameInode(now.ID)):
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
		if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOTDIR) || p == "/" {
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

// act carries out one step.
func (e *engine) act(it *item) error {
	if it.how == howSkip || it.how == howDirMeta && e.undo || it.skip {
		return nil
	}
	d, name, err := e.s.root.Parent(it.Path)
	if err != nil {
		return err
	}
	defer d.Close()
	now, err := d.Stat(name, false)
	if err != nil {
		return err
	}
	if now.ID != it.now.ID { // an earlier step of ours, or somebody else
		var ok bool
		if now, ok, err = e.m.match(e.s.root, it.Path); err != nil || !ok && !e.opts.Force {
			return errors.Join(err, errIf(!ok, errChanged))
		}
		it.now = now
		if how := e.decide(it.step, now); how == howSkip || it.how == howInPlace && how == howMeta {
			it.how = how
		}
	}
	e.dirty[change.Path(d.Path())] = true
	switch it.how {
	case howDelete:
		return e.delete(d, name, it)
	case howLink:
		return e.link(d, name, it)
	case howMeta:
		return e.meta(d, name, it)
	case howInPlace:
		return e.inPlace(d, name, it)
	case howNew:
		return e.put(d, name, it)
	case howDirMeta: // children may need the new rights
		return e.openUp(d, name, it)
	}
	return nil
}

func errIf(cond bool, err error) error {
	if cond {
		return err
	}
	return nil
}

func (e *engine) delete(d *safepath.Dir, name string, it *item) error {
	err := e.do("delete", func() error { return remove(d, name, it.now.Type) })
	if errors.Is(err, unix.ENOTEMPTY) && e.opts.Force {
		it.skip = true
		e.out.Notes = append(e.out.Notes, fmt.Sprintf("%q was left: it holds what the session did not make", string(it.Path)))
		return nil
	}
	return err
}

func remove(d *safepath.Dir, name string, t change.Type) error {
	if t == change.Dir {
		return d.Rmdir(name)
	}
	return d.Unlink(name)
}

// put renames what was staged into place.
func (e *engine) put(d *safepath.Dir, name string, it *item) error {
	from, err := e.open(it.stage)
	if err != nil {
		return err
	}
	defer from.Close()
	return e.swap(from, d, name, it)
}

// swap moves the temporary file of it to name, without a moment in which nothing is
// there.
func (e *engine) swap(from, d *safepath.Dir, name string, it *item) error {
	temp, how := e.temp(it.op), uint(safepath.Replace)
	switch {
	case it.now.Absent():
		how = safepath.NoReplace
	case it.now.Type == change.Dir || it.After.Type == change.Dir:
		how = safepath.Exchange
	}
	err := e.do("rename", func() error { return from.Rename(temp, d, name, how) })
	if errors.Is(err, unix.EINVAL) && how != safepath.Replace { // the file system cannot
		err = e.do("rename", func() error {
			if how == safepath.Exchange {
				if err := remove(d, name, it.now.Type); err != nil {
					return err
				}
			}
			return from.Rename(temp, d, name, safepath.Replace)
		})
		how = safepath.Replace
	}
	if err != nil {
		return err
	}
	if how == safepath.Exchange {
		err = e.do("remove old", func() error { return remove(from, temp, it.now.Type) })
		if errors.Is(err, unix.ENOTEMPTY) { // somebody put something into it
			return errors.Join(err, from.Rename(temp, d, name, safepath.Exchange))
		}
	}
	return err
}

// link makes name a hard link to the path that it.Link leads to.
func (e *engine) link(d *safepath.Dir, name string, it *item) error {
	src, srcName, err := e.s.root.Parent(e.linkRoot(it))
	if err != nil {
		return err
	}
	defer src.Close()
	have, err := src.Stat(srcName, false)
	if err != nil {
		return err
	}
	if have.ID.SameInode(it.now.ID) {
		it.staged = have.ID
		return nil
	}
	if have.Type != it.After.Type {
		return fmt.Errorf("hard link to %q: %w", string(it.Link), errChanged)
	}
	temp := e.temp(it.op)
	if err := e.do("link", func() error { return src.Link(srcName, d, temp) }); err != nil {
		return err
	}
	it.staged = have.ID
	return e.swap(d, d, name, it)
}

// linkRoot follows links to links of the same stretch.
func (e *engine) linkRoot(it *item) change.Path {
	links := map[change.Path]change.Path{}
	for _, st := range e.m.stretches {
		if it.op >= st.First && it.op < st.First+len(st.Changes) {
			for _, c := range st.Changes {
				links[c.Path] = c.Link
			}
		}
	}
	p := it.Link
	for range len(links) {
		next := links[p]
		if next == "" {
			break
		}
		p = next
	}
	return p
}

func (e *engine) meta(d *safepath.Dir, name string, it *item) error {
	e.devs[it.now.ID.Dev] = change.Path(d.Path())
	return e.do("metadata", func() error { return setMeta(d, name, it.After) })
}

func setMeta(d *safepath.Dir, name string, s change.State) error {
	n, err := d.Node(name)
	if err != nil {
		return err
	}
	defer n.Close()
	now, err := n.Info(false)
	if err != nil {
		return err
	}
	if now.Type != s.Type {
		return errChanged
	}
	return n.SetMeta(s)
}

func (e *engine) openUp(d *safepath.Dir, name string, it *item) error {
	if os.Geteuid() == 0 {
		return nil
	}
	s := it.now.State
	s.Mode |= it.After.Mode | 0o700
	s.MTime = 0
	return e.do("open directory", func() error { return setMeta(d, name, s) })
}

func (e *engine) inPlace(d *safepath.Dir, name string, it *item) error {
	if err := e.log(record{Kind: recInPlace, Op: it.op, ID: &it.now.ID}, true); err != nil {
		return err
	}
	n, err := d.Node(name)
	if err != nil {
		return err
	}
	defer n.Close()
	dst, err := n.Reopen(unix.O_RDWR)
	if err != nil {
		return err
	}
	defer dst.Close()
	src, err := e.content(it.After.SHA256)
	if err != nil {
		return err
	}
	defer src.Close()
	e.devs[it.now.ID.Dev] = change.Path(d.Path())
	err = e.do("overwrite", func() error {
		e.out.Syncs++
		got, err := safepath.Overwrite(dst, src)
		if err == nil && got != it.After.SHA256 {
			err = fmt.Errorf("%w: content %s has digest %s", ErrTampered, it.After.SHA256, got)
		}
		return err
	})
	if err != nil {
		return err
	}
	return e.do("metadata", func() error { return n.SetMeta(it.After) })
}

// finished verifies that the path is as it shall be, and notes what it is now.
func (e *engine) finished(it *item) error {
	info, err := e.s.root.Stat(it.Path, it.how == howInPlace)
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

// movesParent reports whether a change moves the time of its directory.
func movesParent(c change.Change) bool {
	return c.Before.Absent() || c.After.Absent() || c.Before.Type != c.After.Type || c.Link != ""
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
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
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
		for p != "/" && (errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR)) { // removed by a step
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
