//go:build linux

package apply

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/bowline-sh/bowline/change"
	"github.com/bowline-sh/bowline/internal/safepath"
	"github.com/bowline-sh/bowline/plan"
)

// Rollback brings everything the session touched back to what the checkpoint holds,
// and runs the undo commands in their places. A nil error means that it is so and
// durable. Kinds: Conflict: something changed since, or a later session rests on this
// one, nothing was touched; Partial: not finished, call it again. One that came to its
// end needs nothing more.
func (s *Session) Rollback(ctx context.Context, opts Options) (Outcome, error) {
	out := Outcome{Status: s.rec.Status, Total: len(s.plan.Ops)}
	unlock, err := s.Lock()
	if err != nil {
		return out, err
	}
	defer unlock()
	if out.Status = s.rec.Status; out.Status == plan.RolledBack { // it went on while nobody looked
		return out, nil
	}
	if !plan.CanMove(s.rec.Status, plan.RolledBack) {
		return out, s.illegal(plan.RolledBack)
	}
	e, err := s.reopen(ctx, opts, &out)
	if err != nil {
		return out, err
	}
	defer e.jf.Close()
	if !opts.Force {
		if err := s.inTheWay(ctx); err != nil {
			return out, err
		}
	}
	if out.Conflicts, err = e.m.drift(ctx, s.root, s.tempPrefix()); err != nil {
		return out, err
	}
	e.listCommands()
	if len(out.Conflicts) > 0 && !opts.Force {
		return out, s.conflictError("rollback", out.Conflicts)
	}
	if opts.DryRun {
		return out, nil
	}
	return e.finish(e.backward(ctx))
}

// listCommands notes what rollback cannot take back.
func (e *engine) listCommands() {
	for i, op := range e.m.plan.Ops {
		if c := op.Command; c != nil && e.m.commands[i+1][0].begun && len(c.Undo) == 0 {
			e.out.NoUndo = append(e.out.NoUndo, Ran{Op: i + 1, Argv: c.Argv, Exit: e.m.commands[i+1][0].exit})
		}
	}
}

func (e *engine) backward(ctx context.Context) error {
	e.undo = true
	// The status says that a rollback is under way before the journal does.
	if !e.s.rec.RollingBack {
		e.s.rec.RollingBack = true
		to := plan.Partial
		if err := e.do("status", func() error {
			if e.s.rec.Status == to {
				return e.s.save()
			}
			return e.s.move(to, e.opts.now())
		}); err != nil {
			return err
		}
	}
	if err := e.log(record{Kind: recRollback}, true); err != nil {
		return err
	}
	if err := e.cleanup(); err != nil {
		return err
	}
	var failed []error
	for k := len(e.m.stretches); k > 0; k-- {
		st := e.m.stretches[k-1]
		if st.Command != nil {
			if err := e.undoCommand(ctx, st.First+len(st.Changes), *st.Command, &failed); err != nil {
				return err
			}
		}
		if state := e.m.stretch[k]; state[0].b && !state[1].e {
			if err := e.stretch(ctx, k); err != nil {
				return err
			}
		}
	}
	if err := e.relink(); err != nil {
		return err
	}
	if err := e.restoreDirs(); err != nil {
		return err
	}
	if len(failed) > 0 {
		return errors.Join(failed...)
	}
	return e.log(record{Kind: recEnd}, true)
}

func (e *engine) undoCommand(ctx context.Context, op int, c plan.Command, failed *[]error) error {
	state := e.m.commands[op]
	undo, ok := undoOf(c)
	if !state[0].begun || !ok || state[1].ended && state[1].exit == 0 {
		return nil
	}
	if state[1].ended && e.opts.Force { // it failed before, and that is accepted
		e.out.Notes = append(e.out.Notes, fmt.Sprintf("operation %d: %q failed and was left", op, undo.Argv))
		return nil
	}
	ran, err := e.run(ctx, op, undo, nil)
	if err != nil {
		return err
	}
	if err := check(ctx); err != nil {
		return err
	}
	if ran.Exit != 0 {
		text := fmt.Sprintf("operation %d: %q, which takes it back, ended with exit code %d%s", op, undo.Argv, ran.Exit, note(ran.Note))
		e.out.Notes = append(e.out.Notes, text)
		if !e.opts.Force {
			*failed = append(*failed, errors.New(text))
		}
	}
	return nil
}

// relink makes the members of every group of hard links one inode again: the
// original one if any link to it is left, wherever.
func (e *engine) relink() error {
	e.devs, e.dirty = map[uint64]change.Path{}, map[change.Path]bool{}
	groups := slices.Collect(maps.Values(e.m.groups))
	slices.SortFunc(groups, func(a, b []change.Path) int { return change.ComparePaths(a[0], b[0]) })
	for _, g := range groups {
		for _, p := range g {
			if err := e.relinkOne(p, g); err != nil {
				return fmt.Errorf("hard link %q: %w", string(p), err)
			}
		}
	}
	return e.syncAll()
}

func (e *engine) relinkOne(p change.Path, group []change.Path) error {
	orig := e.m.tracks[p].orig
	now, err := e.m.stat(e.s.root, p, false)
	if err != nil || now.ID.SameInode(orig.ID) || now.Type != orig.State.Type {
		return err
	}
	d, name, err := e.s.root.Parent(p)
	if err != nil {
		return err
	}
	defer d.Close()
	n, info, err := e.linkSource(d, p, group)
	if err != nil {
		return err
	}
	if n == nil {
		e.out.Notes = append(e.out.Notes, fmt.Sprintf("%q had other hard links; its content is back, the links are not", string(p)))
		return nil
	}
	defer n.Close()
	if info.ID.SameInode(now.ID) {
		return nil
	}
	temp := e.prefix() + "link"
	if err := d.Unlink(temp); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	dir := change.Path(path.Dir(string(p)))
	if err := e.log(record{Kind: recDirs, Dirs: []change.Path{dir}}, true); err != nil {
		return err
	}
	if err := e.do("link", func() error { return n.LinkTo(d, temp) }); err != nil {
		return err
	}
	e.dirty[dir] = true
	return e.do("rename", func() error { return d.Rename(temp, d, name, safepath.Replace) })
}

// linkSource finds the inode that p shall be a link to: the original, if its content
// is the original, or else the first path of the group.
func (e *engine) linkSource(d *safepath.Dir, p change.Path, group []change.Path) (*safepath.Node, safepath.Info, error) {
	orig := e.m.tracks[p].orig
	try := func(n *safepath.Node, err error) (*safepath.Node, safepath.Info) {
		if err != nil {
			return nil, safepath.Info{}
		}
		info, err := n.Info(true)
		if err != nil || !info.Same(orig.State) {
			n.Close()
			return nil, safepath.Info{}
		}
		return n, info
	}
	if orig.Handle != "" {
		n, info := try(d.ByHandle(orig.Handle))
		if n != nil && info.ID.SameInode(orig.ID) {
			return n, info, nil
		}
		if n != nil {
			n.Close()
		}
	}
	var first *safepath.Node
	var firstInfo safepath.Info
	for _, q := range group {
		qd, name, err := e.s.root.Parent(q)
		if err != nil {
			return nil, safepath.Info{}, err
		}
		n, info := try(qd.Node(name))
		qd.Close()
		switch {
		case n == nil:
		case info.ID.SameInode(orig.ID):
			if first != nil {
				first.Close()
			}
			return n, info, nil
		case first == nil:
			first, firstInfo = n, info
		default:
			n.Close()
		}
	}
	if first != nil && len(group) < int(orig.State.NLink) && group[0] == p {
		e.out.Notes = append(e.out.Notes, fmt.Sprintf("%q had hard links outside the plan; they are not one file again", string(p)))
	}
	return first, firstInfo, nil
}

// restoreDirs gives every directory touched, or holding something touched, its
// time back, the deepest first.
func (e *engine) restoreDirs() error {
	e.devs = map[uint64]change.Path{}
	paths := slices.SortedFunc(maps.Keys(e.m.tracks), change.ComparePaths)
	entered := maps.Clone(e.m.dirs)
	for _, p := range paths {
		if e.m.tracks[p].touched {
			entered[p], entered[change.Path(path.Dir(string(p)))] = true, true
		}
	}
	for _, p := range slices.Backward(paths) {
		t := e.m.tracks[p]
		if t.orig.State.Type != change.Dir || !entered[p] {
			continue
		}
		d, err := e.s.root.Open(string(p))
		if gone(err) {
			continue // gone for reasons of others; nothing of ours is in it
		}
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.MTime != t.orig.State.MTime {
			err = e.do("restore time", func() error { return d.SetMTime(t.orig.State.MTime) })
			e.devs[info.ID.Dev] = p
		}
		if err = errors.Join(err, d.Close()); err != nil {
			return err
		}
	}
	return e.syncFS()
}
