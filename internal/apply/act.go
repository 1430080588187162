//go:build linux

package apply

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/bowline-sh/bowline/change"
	"github.com/bowline-sh/bowline/internal/safepath"
)

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
