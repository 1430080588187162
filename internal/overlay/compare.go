//go:build linux

package overlay

import (
	"maps"
	"slices"
	"time"

	"github.com/bowline-sh/bowline/change"
	"github.com/bowline-sh/bowline/plan"
)

// compare returns what differs between the end of the last stretch and now.
func (c *capture) compare() (change.Changeset, error) {
	now := time.Now().Add(coarse)
	found := map[string]*change.Change{}
	paths := maps.Clone(c.cur)
	maps.Copy(paths, c.prev)
	for p := range paths {
		ch, err := c.compareOne(p, now)
		if err != nil {
			return nil, err
		}
		found[p] = ch
	}
	for _, group := range c.groups() {
		c.link(group, found)
	}
	out := change.Changeset{}
	for p, ch := range found {
		if ch.Link == "" && !differs(*ch) {
			continue
		}
		if c.drops(p, ch) {
			continue
		}
		c.judge(*ch)
		out = append(out, *ch)
	}
	change.Sort(out)
	return out, nil
}

// compareOne returns the change of p, which may be none.
func (c *capture) compareOne(p string, now time.Time) (*change.Change, error) {
	base, err := c.baseOf(p)
	if err != nil {
		return nil, err
	}
	ch := &change.Change{Path: change.Path(p), Before: base, After: base}
	if e := c.prev[p]; e != nil {
		ch.Before = e.state
		if e.keeper {
			ch.Before.NLink = base.NLink
		}
	}
	e := c.cur[p]
	if e == nil { // back to what it was
		ch.After.NLink = 0
		if ch.Before.Same(base) {
			ch.After.MTime = 0
		}
		return ch, nil
	}
	if !e.state.Absent() {
		e.state.NLink = 0
		if t := e.state.MTime; t >= c.window.UnixNano() && t <= now.UnixNano() {
			e.state.MTime = 0
		}
		if c.mode == plan.User && e.state.Type == base.Type && (int(e.state.UID) != c.stage.UID || int(e.state.GID) != c.stage.GID) {
			e.state.UID, e.state.GID = base.UID, base.GID // not ours to change
		}
	}
	ch.After = e.state
	ch.InPlace = e.keeper && (base.NLink > 1 || e.bound) && !ch.After.Absent()
	return ch, nil
}

// differs reports whether ch is a change without a link. A time alone counts for
// files, where a script that sets it means it.
func differs(ch change.Change) bool {
	return !ch.Before.Same(ch.After) || ch.After.Type == change.File && ch.After.MTime != 0 && ch.After.MTime != ch.Before.MTime
}

// drops reports whether the rules leave a change out.
func (c *capture) drops(p string, ch *change.Change) bool {
	switch c.rules.of(p) {
	case volatileAll:
		return true
	case state:
		return false
	}
	switch {
	case ch.After.Absent():
		return !c.parentGone(p)
	case ch.After.Type == change.Dir:
		return false
	}
	return true
}

func (c *capture) parentGone(p string) bool {
	e := c.cur[parent(p)]
	return e != nil && e.state.Absent()
}

// judge says what a plan with ch cannot promise.
func (c *capture) judge(ch change.Change) {
	if e := c.cur[string(ch.Path)]; e != nil && ch.After.Type == change.File {
		if e.marked {
			c.stage.warn("%q holds the stand-in of a deferred program", ch.Path)
		}
	}
	if c.mode == plan.User && ch.Before.NLink > 1 && ch.Before.Type == change.File {
		c.stage.warn("%q has other hard links; in this mode it cannot be seen whether they change with it, or were written through it before it went", ch.Path)
	}
}

func parent(p string) string {
	for i := len(p) - 1; i > 0; i-- {
		if p[i] == '/' {
			return p[:i]
		}
	}
	return "/"
}

// groups returns the paths of each inode that has more than one in the view.
func (c *capture) groups() [][]string {
	by := map[inode][]string{}
	for p, e := range c.cur {
		if e.inode != (inode{}) && c.rules.of(p) == state {
			by[e.inode] = append(by[e.inode], p)
		}
	}
	var out [][]string
	for _, g := range by {
		slices.SortFunc(g, func(a, b string) int { return change.ComparePaths(change.Path(a), change.Path(b)) })
		out = append(out, g)
	}
	return out
}

// link makes hard links of the changes of one inode.
func (c *capture) link(group []string, found map[string]*change.Change) {
	first := c.canonical(group)
	head := found[first]
	c.unlink(first, head)
	for _, p := range group {
		if p == first {
			continue
		}
		ch := found[p]
		switch {
		case !c.linked(p, first):
			ch.Link, ch.InPlace = head.Path, false
		case !differs(*head):
		case head.InPlace:
			ch.InPlace = true // changes with it, if all is well
		default:
			ch.Link, ch.InPlace = head.Path, false
		}
	}
}

// canonical is the path of group that the others shall be links to: one that had
// the inode before, if there is one.
func (c *capture) canonical(group []string) string {
	for _, p := range group {
		if c.cur[p].keeper {
			return p
		}
	}
	for _, p := range group {
		if e := c.prev[p]; e != nil && e.inode == c.cur[p].inode {
			return p
		}
	}
	return group[0]
}

// linked reports whether two paths of one inode were links of each other before
// this stretch.
func (c *capture) linked(p, q string) bool {
	a, b := c.prev[p], c.prev[q]
	if a != nil && b != nil && a.inode == b.inode && a.inode != (inode{}) {
		return true
	}
	return c.kept(p) && c.kept(q)
}

// kept reports whether p has had the inode of the base all along.
func (c *capture) kept(p string) bool {
	e := c.prev[p]
	return c.cur[p].keeper && (e == nil || e.keeper)
}

// unlink sees to it that a path which got an inode of its own, but no new state,
// is written anew: it must not change with its former links.
func (c *capture) unlink(p string, ch *change.Change) {
	if ch.InPlace || ch.After.Type != change.File || differs(*ch) || ch.Before.NLink < 2 || c.cur[p].keeper || c.mode == plan.User {
		return
	}
	if e := c.prev[p]; e != nil && e.inode == c.cur[p].inode {
		return
	}
	ch.After.MTime = time.Now().UnixNano()
	c.cur[p].state.MTime = ch.After.MTime
}
