//go:build linux

package apply

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/bowline-sh/bowline/change"
	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/checkpoint"
	"github.com/bowline-sh/bowline/internal/safepath"
)

// Conflict is a path that is not as it should be.
type Conflict struct {
	Path change.Path  `json:"path"`
	Why  string       `json:"why"`
	Want change.State `json:"want,omitzero"`
	Now  change.State `json:"now,omitzero"`
}

// why says in words what differs.
func why(want, now change.State) string {
	var out []string
	add := func(differs bool, word string) {
		if differs {
			out = append(out, word)
		}
	}
	switch {
	case want.Absent() && !now.Absent():
		return "appeared"
	case now.Absent() && !want.Absent():
		return "vanished"
	case want.Type != now.Type:
		return fmt.Sprintf("type: was %s, is %s", want.Type, now.Type)
	}
	add(want.SHA256 != now.SHA256, "content")
	add(want.Target != now.Target, "link target")
	add(want.Mode != now.Mode, fmt.Sprintf("mode: was %04o, is %04o", want.Mode, now.Mode))
	add(want.UID != now.UID || want.GID != now.GID, fmt.Sprintf("owner: was %d:%d, is %d:%d", want.UID, want.GID, now.UID, now.GID))
	add(want.Major != now.Major || want.Minor != now.Minor, "device")
	add(!maps.EqualFunc(want.Xattrs, now.Xattrs, slices.Equal[[]byte]), "extended attributes")
	return strings.Join(out, ", ")
}

// maxListed bounds the text of an error; Outcome has all conflicts.
const maxListed = 20

func (s *Session) conflictError(op string, cs []Conflict) error {
	var b strings.Builder
	for i, c := range cs {
		if i == maxListed {
			fmt.Fprintf(&b, "; and %d more", len(cs)-i)
			break
		}
		if i > 0 {
			b.WriteString("; ")
		}
		fmt.Fprintf(&b, "%q %s", string(c.Path), c.Why)
	}
	hint := "plan it again with 'bowline plan'"
	if op != "apply" {
		hint = "to overwrite what was changed since: 'bowline rollback --force " + s.name + "'"
	}
	return diag.New(diag.Conflict, op+" session "+s.name, hint, "changed by somebody else, nothing was touched: %s", b.String())
}

// base compares what the plan saw with what is there, for all stretches.
func (m *model) base(root *safepath.Root) ([]Conflict, error) {
	var out []Conflict
	sim := map[change.Path]change.State{}
	state := func(p change.Path) change.State {
		if s, ok := sim[p]; ok {
			return s
		}
		if t := m.tracks[p]; t != nil {
			return t.orig.State
		}
		return change.State{}
	}
	for _, st := range m.stretches {
		var gone []change.Path
		for _, c := range st.Changes {
			now, t := state(c.Path), m.tracks[c.Path]
			_, later := sim[c.Path]
			switch {
			case t.orig.Err != nil && !above(c.Path, func(p change.Path) bool { _, changed := sim[p]; return changed }):
				out = append(out, Conflict{Path: c.Path, Why: "type: a parent became a symbolic link", Want: c.Before})
			case later && !now.Same(c.Before):
				return nil, diag.New(diag.Refused, "apply", "plan it again with 'bowline plan'", "the plan contradicts itself at %q", string(c.Path))
			case !now.Same(c.Before) && change.Resolve(c.Before, now, c.After) == change.Conflict:
				out = append(out, Conflict{c.Path, why(c.Before, now), c.Before, now})
			}
			parent := change.Path(path.Dir(string(c.Path)))
			if !c.After.Absent() && state(parent).Type != change.Dir {
				out = append(out, Conflict{Path: parent, Why: why(change.State{Type: change.Dir}, state(parent)), Want: change.State{Type: change.Dir}, Now: state(parent)})
			}
			if src := state(c.Link); c.Link != "" && !src.Same(c.After) && src.Absent() {
				out = append(out, Conflict{c.Link, why(c.After, src), c.After, src})
			}
			if t.orig.State.Type == change.Dir && c.After.Type != change.Dir {
				gone = append(gone, c.Path)
			}
			sim[c.Path] = c.After
		}
		for _, dir := range gone {
			more, err := strangers(root, dir, func(p change.Path) bool { s, ok := sim[p]; return ok && s.Absent() })
			if err != nil {
				return nil, err
			}
			out = append(out, more...)
		}
	}
	return unique(out), nil
}

// above reports whether f holds for a parent of p, however far up. What is below a
// symbolic link that the plan itself makes, or replaces, is not there.
func above(p change.Path, f func(change.Path) bool) bool {
	for q := path.Dir(string(p)); q != "/"; q = path.Dir(q) {
		if f(change.Path(q)) {
			return true
		}
	}
	return false
}

func unique(cs []Conflict) []Conflict {
	seen := map[change.Path]bool{}
	return slices.DeleteFunc(cs, func(c Conflict) bool { was := seen[c.Path]; seen[c.Path] = true; return was })
}

// strangers returns what is in a directory that shall go away and is not known.
func strangers(root *safepath.Root, dir change.Path, known func(change.Path) bool) ([]Conflict, error) {
	d, err := root.Open(string(dir))
	if gone(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.Names()
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	var out []Conflict
	for _, name := range names {
		p := change.Path(path.Join(string(dir), name))
		if known(p) {
			continue
		}
		info, err := d.Stat(name, false)
		if err != nil {
			return nil, err
		}
		if !info.Absent() {
			out = append(out, Conflict{Path: p, Why: "appeared in a directory that goes away", Now: info.State})
		}
	}
	return out, nil
}

// drift compares everything touched with what it may be.
func (m *model) drift(ctx context.Context, root *safepath.Root, temp string) ([]Conflict, error) {
	var out []Conflict
	touched := func(p change.Path) bool {
		t := m.tracks[p]
		return t != nil && t.touched || strings.HasPrefix(path.Base(string(p)), temp)
	}
	for _, p := range slices.SortedFunc(maps.Keys(m.tracks), change.ComparePaths) {
		t := m.tracks[p]
		if !t.touched {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		info, ok, err := m.match(root, p)
		if errors.Is(err, safepath.ErrSymlink) {
			out, err = append(out, Conflict{Path: p, Why: "type: a parent became a symbolic link"}), nil
			continue
		}
		if err != nil {
			return nil, err
		}
		want := t.now[len(t.now)-1].state
		if !ok {
			out = append(out, Conflict{p, why(want, info.State), want, info.State})
		}
		if info.Type == change.Dir && t.orig.State.Type != change.Dir {
			more, err := strangers(root, p, touched)
			if err != nil {
				return nil, err
			}
			out = append(out, more...)
		}
		parent := m.tracks[change.Path(path.Dir(string(p)))]
		if parent != nil && !parent.touched && !t.orig.State.Absent() && info.Absent() {
			at, err := root.Stat(parent.orig.Path, false)
			if err != nil {
				return nil, err
			}
			if at.Type != change.Dir {
				out = append(out, Conflict{parent.orig.Path, why(parent.orig.State, at.State), parent.orig.State, at.State})
			}
		}
	}
	return unique(out), nil
}

// layerComplete checks every content that apply needs.
func (s *Session) layerComplete(ctx context.Context) error {
	need := map[string]bool{}
	for _, op := range s.plan.Ops {
		if c := op.Change; c != nil && c.After.Type == change.File && c.Link == "" && !onlyMetadata(*c) {
			need[c.After.SHA256] = true
		}
		if c := op.Command; c != nil && c.Stdin != "" {
			need[c.Stdin] = true
		}
	}
	for _, sha := range slices.Sorted(maps.Keys(need)) {
		if err := check(ctx); err != nil {
			return err
		}
		if err := checkpoint.VerifyBlob(s.layer, sha); err != nil {
			return s.altered("layer: %v", err)
		}
	}
	return nil
}

// Drift lists every path that is not as it should be: before apply compared with
// what the plan saw, later with what apply or rollback left.
func (s *Session) Drift(ctx context.Context) ([]Conflict, error) {
	if s.rec.Checkpoint == "" {
		m, _, err := s.look(ctx)
		if err != nil {
			return nil, err
		}
		return m.base(s.root)
	}
	m, err := s.sealed(ctx, false)
	if err != nil {
		return nil, err
	}
	_, f, err := s.openJournal(m)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return m.drift(ctx, s.root, s.tempPrefix())
}

func (s *Session) tempPrefix() string { return ".bowline-" + s.rec.Nonce + "-" }

// look builds the model from the tree as it is.
func (s *Session) look(ctx context.Context) (*model, []checkpoint.Entry, error) {
	entries, err := checkpoint.Look(ctx, s.root, wants(s.plan))
	if err != nil {
		return nil, nil, err
	}
	return newModel(s.plan, entries), entries, nil
}

// sealed builds the model from the checkpoint.
func (s *Session) sealed(ctx context.Context, verify bool) (*model, error) {
	man, err := checkpoint.Open(s.cp, s.rec.Checkpoint)
	if err == nil && verify {
		err = checkpoint.Verify(ctx, s.cp, man)
	}
	if err == nil && man.Plan != s.rec.Plan {
		err = checkpoint.ErrTampered
	}
	if errors.Is(err, checkpoint.ErrTampered) {
		return nil, s.altered("%v", err)
	}
	if err != nil {
		return nil, err
	}
	return newModel(s.plan, man.Entries), nil
}
