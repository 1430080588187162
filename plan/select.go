package plan

import (
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/bowline-sh/bowline/change"
)

// Dependency says that a kept operation cannot be carried out without one that was
// left out. Numbers are those of the whole plan, from 1.
type Dependency struct {
	Op  int    `json:"op"`
	On  int    `json:"on"`
	Why string `json:"why"`
}

func (d Dependency) String() string {
	return fmt.Sprintf("operation %d needs operation %d: %s", d.Op, d.On, d.Why)
}

// Select returns the plan of the operations that keep names, in their order, as a
// plan of its own for the session id. It is found by carrying out the kept ones in
// thought: each must start from the state it was captured from. With dependencies the
// plan is not to be used.
//
// What a deferred command needs of the files cannot be seen here, only what files
// need of each other.
func (p Plan) Select(id string, keep func(op int) bool) (Plan, []Dependency) {
	sel := selection{now: map[change.Path]change.State{}, left: map[change.Path]int{}}
	q := p
	q.Session, q.Ops, q.From = id, nil, p.Session
	for _, st := range p.Stretches() {
		sel.stretch(p, st.First, st.First+len(st.Changes)-1, keep)
	}
	var out []string
	apart := false // a command was left out since the last kept operation
	for i, op := range p.Ops {
		apart = apart || op.Apart
		if !keep(i + 1) {
			apart = apart || op.Command != nil
			out = append(out, strconv.Itoa(i+1))
			continue
		}
		op.Apart = apart && op.Change != nil && len(q.Ops) > 0 && q.Ops[len(q.Ops)-1].Command == nil
		q.Ops = append(q.Ops, op)
		apart = false
	}
	q.Warnings = append(append([]string{}, p.Warnings...), "left out of "+p.Session+": operations "+strings.Join(out, ", "))
	return q, sel.deps
}

// selection is the state of the paths of a plan after the kept operations so far.
type selection struct {
	now  map[change.Path]change.State
	left map[change.Path]int // the last operation on it that was left out
	deps []Dependency
}

func (s *selection) need(op int, on change.Path, why string) {
	if n := s.left[on]; n > 0 {
		s.deps = append(s.deps, Dependency{op, n, why})
	}
}

// stretch carries out the operations first to last, which are all changes.
func (s *selection) stretch(p Plan, first, last int, keep func(int) bool) {
	for n := first; n <= last; n++ {
		c := *p.Ops[n-1].Change
		if _, seen := s.now[c.Path]; !seen {
			s.now[c.Path] = c.Before
		}
		if keep(n) {
			s.change(n, c)
			s.names(p, n, first, last, keep)
			s.now[c.Path] = c.After
			delete(s.left, c.Path)
			continue
		}
		s.left[c.Path] = n
	}
	for n := first; n <= last; n++ { // in any order within the stretch
		if c := p.Ops[n-1].Change; keep(n) {
			s.place(n, *c)
		}
	}
}

// change checks that c starts from the state it was captured from.
func (s *selection) change(n int, c change.Change) {
	if !s.now[c.Path].Same(c.Before) {
		s.need(n, c.Path, "it starts from what that one makes of "+string(c.Path))
	}
}

// place checks what is around a path at the end of its stretch: the directory it lies
// in, the file it is a link to, and what lies in a directory that goes away.
func (s *selection) place(n int, c change.Change) {
	dir := change.Path(path.Dir(string(c.Path)))
	if st, known := s.now[dir]; known && !c.After.Absent() && st.Type != change.Dir {
		s.need(n, dir, "it lies in the directory "+string(dir))
	}
	if st, known := s.now[c.Link]; c.Link != "" && known && !st.Same(c.After) {
		s.need(n, c.Link, "it is a hard link to "+string(c.Link))
	}
	if c.Before.Type != change.Dir || c.After.Type == change.Dir {
		return
	}
	for below, op := range s.left {
		if strings.HasPrefix(string(below), string(c.Path)+"/") && !s.now[below].Absent() {
			s.deps = append(s.deps, Dependency{n, op, "the directory " + string(c.Path) + " is not empty without it"})
		}
	}
}

// names checks the other names of a file that is changed in its inode: the plan lists
// each, and none can be left out.
func (s *selection) names(p Plan, n, first, last int, keep func(int) bool) {
	c := p.Ops[n-1].Change
	if !c.InPlace || c.Before.NLink < 2 {
		return
	}
	for m := first; m <= last; m++ {
		o := p.Ops[m-1].Change
		if m != n && !keep(m) && o.InPlace && o.Before.NLink == c.Before.NLink && o.Before.Same(c.Before) && o.After.Same(c.After) {
			s.deps = append(s.deps, Dependency{n, m, "they may be names of one file"})
		}
	}
}
