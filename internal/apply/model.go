//go:build linux

package apply

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/bowline-sh/bowline/change"
	"github.com/bowline-sh/bowline/internal/checkpoint"
	"github.com/bowline-sh/bowline/internal/safepath"
	"github.com/bowline-sh/bowline/plan"
)

// Kinds of journal records.
const (
	recBegin      = "begin"       // the checkpoint is sealed, the approval is used
	recDirs       = "dirs"        // temporary files may appear in Dirs
	recStretch    = "stretch"     // its changes may be in effect from here on
	recInPlace    = "in-place"    // content of inode ID is being overwritten
	recDone       = "done"        // the operation is in effect, as ID
	recStretchEnd = "stretch-end" // all of the stretch is in effect and durable
	recCommand    = "command"     // the command is being started
	recCommandEnd = "command-end"
	recRollback   = "rollback" // from here on only backwards
	recEnd        = "end"
)

// record is one journal record. Undo says that it belongs to a rollback.
type record struct {
	Kind    string        `json:"kind"`
	At      time.Time     `json:"at,omitzero"`
	Undo    bool          `json:"undo,omitempty"`
	Stretch int           `json:"stretch,omitempty"` // from 1
	Op      int           `json:"op,omitempty"`      // from 1
	Dirs    []change.Path `json:"dirs,omitempty"`
	ID      *safepath.ID  `json:"id,omitempty"`
	SHA256  string        `json:"sha256,omitempty"` // of the content, read back or hashed while written
	Exit    int           `json:"exit,omitempty"`
	Note    string        `json:"note,omitempty"`
	Plan    string        `json:"plan,omitempty"`
	Sealed  string        `json:"sealed,omitempty"` // digest of the checkpoint
}

// known is a state a path may be in, and the inode if we saw it in that state.
type known struct {
	state change.State
	id    safepath.ID
}

// track is what one path was, and what it may be now.
type track struct {
	orig    checkpoint.Entry
	touched bool // by the plan; not only a parent or the source of a link
	now     []known
	torn    safepath.ID // an inode with half-written content of ours
}

// command is what is known of one deferred command, in one direction.
type command struct {
	begun, ended bool
	exit         int
	note         string
}

func (c command) interrupted() bool { return c.begun && !c.ended }

// step is one change in the direction it is carried out.
type step struct {
	op int
	change.Change
}

// model is where a session stands: the checkpoint, the plan and the journal put
// together.
type model struct {
	plan      plan.Plan
	stretches []plan.Stretch
	tracks    map[change.Path]*track
	before    [][]change.State                // of each change of each stretch
	inplace   map[[2]uint64]*track            // what inodes that a change writes into may be
	linked    map[change.Path]bool            // paths that become links of others
	groups    map[[2]uint64][]change.Path     // touched paths that were links of one inode
	commands  map[int]*[2]command             // by operation; forward and undo
	stretch   map[int]*[2]struct{ b, e bool } // by number; begun and ended, forward and undo
	dirs      map[change.Path]bool            // where temporary files may be
	doneOps   map[int]bool
	plandg    string
	sealed    string
	began     bool
	rolling   bool
}

func inode(id safepath.ID) [2]uint64 { return [2]uint64{id.Dev, id.Ino} }

func newModel(p plan.Plan, entries []checkpoint.Entry) *model {
	m := &model{
		plan: p, stretches: p.Stretches(), tracks: map[change.Path]*track{}, inplace: map[[2]uint64]*track{}, linked: map[change.Path]bool{},
		groups: map[[2]uint64][]change.Path{}, commands: map[int]*[2]command{}, stretch: map[int]*[2]struct{ b, e bool }{},
		dirs: map[change.Path]bool{}, doneOps: map[int]bool{},
	}
	for _, e := range entries {
		m.tracks[e.Path] = &track{orig: e, now: []known{{e.State, e.ID}}}
	}
	sim := map[change.Path]change.State{}
	for _, st := range m.stretches {
		before := make([]change.State, len(st.Changes))
		for i, c := range st.Changes {
			t := m.tracks[c.Path]
			if t == nil { // only without a checkpoint, to look at a plan
				t = &track{}
				m.tracks[c.Path] = t
			}
			if s, ok := sim[c.Path]; ok {
				before[i] = s
			} else {
				before[i] = t.orig.State
			}
			if !t.touched && t.orig.State.NLink > 1 {
				m.groups[inode(t.orig.ID)] = append(m.groups[inode(t.orig.ID)], c.Path)
			}
			t.touched = true
			if c.InPlace {
				m.writes(t.orig, c.After)
			}
			m.linked[c.Path] = m.linked[c.Path] || c.Link != ""
			sim[c.Path] = c.After
		}
		m.before = append(m.before, before)
	}
	for i, op := range p.Ops {
		if op.Command != nil {
			m.commands[i+1] = &[2]command{}
		}
	}
	for k := range m.stretches {
		m.stretch[k+1] = &[2]struct{ b, e bool }{}
	}
	return m
}

// writes notes that an inode gets a state in place.
func (m *model) writes(orig checkpoint.Entry, after change.State) {
	id := inode(orig.ID)
	if m.inplace[id] == nil {
		m.inplace[id] = &track{now: []known{{state: orig.State}}}
	}
	m.inplace[id].now = append(m.inplace[id].now, known{state: after})
}

// steps returns the changes of stretch k, from 1, in the order they are made.
func (m *model) steps(k int, undo bool) []step {
	st := m.stretches[k-1]
	ops := make(map[change.Path]int, len(st.Changes))
	cs := make(change.Changeset, len(st.Changes))
	for i, c := range st.Changes {
		ops[c.Path] = st.First + i
		if cs[i] = c; undo {
			cs[i] = change.Change{Path: c.Path, Before: c.After, After: m.before[k-1][i], InPlace: c.InPlace}
		}
	}
	if undo {
		change.Sort(cs)
	}
	out := make([]step, len(cs))
	for i, c := range cs {
		out[i] = step{ops[c.Path], c}
	}
	return out
}

// wants lists everything a plan touches; content is kept of what it overwrites or
// removes, and of what it links to a path that it changes again: rollback then passes
// through a state that has that content.
func wants(p plan.Plan) []checkpoint.Want {
	content, order := map[change.Path]bool{}, []change.Path{}
	note := func(path change.Path, keep bool) {
		if _, seen := content[path]; !seen {
			order = append(order, path)
		}
		content[path] = content[path] || keep
	}
	last := map[change.Path]int{}
	for i, op := range p.Ops {
		if c := op.Change; c != nil {
			last[c.Path] = i
		}
	}
	for i, op := range p.Ops {
		if c := op.Change; c != nil {
			note(c.Path, !onlyMetadata(*c))
			if c.Link != "" {
				note(c.Link, last[c.Path] > i)
			}
		}
	}
	out := make([]checkpoint.Want, len(order))
	for i, path := range order {
		out[i] = checkpoint.Want{Path: path, Content: content[path]}
	}
	return out
}

// onlyMetadata reports whether the inode and its content stay.
func onlyMetadata(c change.Change) bool {
	return c.Kind() == change.Metadata && (c.InPlace || c.Before.NLink <= 1)
}

func (m *model) replay(b []byte) error {
	var r record
	if err := json.Unmarshal(b, &r); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	return m.note(r)
}

func direction(undo bool) int {
	if undo {
		return 1
	}
	return 0
}

// note takes one record into account.
func (m *model) note(r record) error {
	d := direction(r.Undo)
	st, cmd := m.stretch[r.Stretch], m.commands[r.Op]
	switch r.Kind {
	case recBegin:
		m.began, m.plandg, m.sealed = true, r.Plan, r.Sealed
	case recDirs:
		for _, p := range r.Dirs {
			m.dirs[p] = true
		}
	case recStretch, recStretchEnd:
		if st == nil {
			return fmt.Errorf("journal: stretch %d is not in the plan", r.Stretch)
		}
		if r.Kind == recStretchEnd {
			st[d].e = true
			break
		}
		st[d].b = true
		for _, s := range m.steps(r.Stretch, r.Undo) {
			t := m.tracks[s.Path]
			t.now = append(t.now, known{state: s.After})
		}
	case recInPlace, recDone:
		return m.noteStep(r)
	case recCommand, recCommandEnd:
		if cmd == nil {
			return fmt.Errorf("journal: operation %d is no command", r.Op)
		}
		if cmd[d] = (command{begun: true}); r.Kind == recCommandEnd {
			cmd[d] = command{true, true, r.Exit, r.Note}
		}
	case recRollback:
		m.rolling = true
	case recEnd:
	default:
		return fmt.Errorf("journal: unknown record %q", r.Kind)
	}
	return nil
}

func (m *model) noteStep(r record) error {
	k := slices.IndexFunc(m.stretches, func(s plan.Stretch) bool { return r.Op >= s.First && r.Op < s.First+len(s.Changes) })
	if k < 0 || r.ID == nil {
		return fmt.Errorf("journal: operation %d is no change", r.Op)
	}
	i := r.Op - m.stretches[k].First
	c := m.stretches[k].Changes[i]
	t := m.tracks[c.Path]
	if r.Kind == recInPlace {
		t.torn = *r.ID
		return nil
	}
	state := c.After
	if r.Undo {
		state = m.before[k][i]
	}
	t.now, t.torn = []known{{state, *r.ID}}, safepath.ID{}
	m.doneOps[r.Op] = !r.Undo
	return nil
}

// stat looks at p. What is below a link that the plan itself makes or replaces is
// absent.
func (m *model) stat(root *safepath.Root, p change.Path, hash bool) (safepath.Info, error) {
	info, err := root.Stat(p, hash)
	if errors.Is(err, safepath.ErrSymlink) && above(p, func(q change.Path) bool { t := m.tracks[q]; return t != nil && t.touched }) {
		return safepath.Info{}, nil
	}
	return info, err
}

// match looks at p and reports whether it is as it may be.
func (m *model) match(root *safepath.Root, p change.Path) (safepath.Info, bool, error) {
	t := m.tracks[p]
	info, err := m.stat(root, p, false)
	if err != nil {
		return info, false, err
	}
	for _, k := range t.now {
		if k.id == info.ID && k.id.Ino != 0 && k.state.Type == info.Type {
			info.SHA256 = k.state.SHA256 // nobody touched the inode since we read it
			return info, true, nil
		}
	}
	if info.Type == change.File {
		if info, err = root.Stat(p, true); err != nil {
			return info, false, err
		}
	}
	return info, t.allows(info) || m.shared(p, info), nil
}

// shared reports whether p is a link of an inode that the plan writes into by
// another name, and that is in one of the states it gets.
func (m *model) shared(p change.Path, info safepath.Info) bool {
	of := m.inplace[inode(info.ID)]
	if of == nil || !m.linked[p] && !m.tracks[p].orig.ID.SameInode(info.ID) {
		return false
	}
	for _, t := range m.tracks {
		if info.Type == change.File && t.torn.SameInode(info.ID) {
			return true
		}
	}
	return of.allows(info)
}

func (t *track) allows(info safepath.Info) bool {
	if info.Type == change.File && t.torn.SameInode(info.ID) {
		return true
	}
	for i, a := range t.now {
		if a.state.Same(info.State) {
			return true
		}
		if a.state.Type == change.Dir && len(t.now) > 1 { // made, but not finished
			open := a.state
			open.Mode |= 0o700
			if between(info.State, a.state, open) {
				return true
			}
		}
		for _, b := range t.now[:i] {
			if between(info.State, a.state, b.state) {
				return true
			}
		}
	}
	return false
}

// between reports whether x is what SetMeta leaves when it is broken off on the way
// from a to b or back.
func between(x, a, b change.State) bool {
	if x.Absent() || x.Type != a.Type || x.Type != b.Type || a.SHA256 != b.SHA256 || x.SHA256 != a.SHA256 ||
		a.Target != b.Target || x.Target != a.Target || x.Major != a.Major || x.Minor != a.Minor {
		return false
	}
	of := func(v, p, q uint32) bool { return v == p || v == q }
	const dropped, group = 0o6000, 0o070 // by chown, and set by an ACL
	if !of(x.UID, a.UID, b.UID) || !of(x.GID, a.GID, b.GID) || !of(x.Mode&group, a.Mode&group, b.Mode&group) ||
		!of(x.Mode&^(dropped|group), a.Mode&^(dropped|group), b.Mode&^(dropped|group)) {
		return false
	}
	for name, v := range x.Xattrs {
		if av, ok := a.Xattrs[name]; ok && bytes.Equal(av, v) {
			continue
		}
		if bv, ok := b.Xattrs[name]; !ok || !bytes.Equal(bv, v) {
			return false
		}
	}
	return true
}
