//go:build linux

package apply

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bowline-sh/bowline/change"
	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/plan"
)

// Later lists the sessions beside this one that were applied after it, are still in
// effect, and changed something it changed, newest first. The order is that of
// used-approvals, which no clock can upset. A session that cannot be read counts as
// not in effect: it cannot be rolled back either.
func (s *Session) Later(ctx context.Context) ([]string, error) {
	order, err := s.applied()
	if err != nil {
		return nil, err
	}
	own := slices.Index(order, s.name)
	var out []string
	for i := len(order) - 1; i > own && own >= 0; i-- {
		if err := check(ctx); err != nil {
			return nil, err
		}
		if s.overlaps(order[i]) {
			out = append(out, order[i])
		}
	}
	return out, nil
}

// applied lists the sessions of used-approvals, oldest first.
func (s *Session) applied() ([]string, error) {
	d, err := s.base.Open("/")
	if err != nil {
		return nil, err
	}
	defer d.Close()
	b, err := d.ReadFile(usedFile, maxFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var out []string
	for line := range strings.Lines(string(b)) {
		if _, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " "); ok && plan.ValidID(name) == nil {
			out = append(out, name)
		}
	}
	return out, nil
}

func (s *Session) overlaps(name string) bool {
	o, err := s.beside(name)
	if err != nil {
		return false
	}
	switch o.rec.Status {
	case plan.Executed, plan.Partial, plan.Applying:
		return overlap(s.plan, o.plan)
	}
	return false
}

// beside reads another session's record and plan. Nothing else of it is open.
func (s *Session) beside(name string) (*Session, error) {
	d, err := s.base.Open("/" + name)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	o := &Session{dir: d, name: name, path: filepath.Join(filepath.Dir(s.path), name)}
	return o, o.load()
}

// overlap reports whether q changes a path that p changes, or something in a
// directory that p makes.
func overlap(p, q plan.Plan) bool {
	paths, made := map[change.Path]bool{}, map[change.Path]bool{}
	for _, op := range p.Ops {
		if c := op.Change; c != nil {
			paths[c.Path] = true
			made[c.Path] = made[c.Path] || c.Before.Absent() && c.After.Type == change.Dir
		}
	}
	for _, op := range q.Ops {
		if op.Change == nil {
			continue
		}
		if paths[op.Change.Path] {
			return true
		}
		for dir := path.Dir(string(op.Change.Path)); dir != "/"; dir = path.Dir(dir) {
			if made[change.Path(dir)] {
				return true
			}
		}
	}
	return false
}

// inTheWay refuses a rollback that would take away what later sessions rest on.
func (s *Session) inTheWay(ctx context.Context) error {
	later, err := s.Later(ctx)
	if err != nil || len(later) == 0 {
		return err
	}
	var hint strings.Builder
	for _, name := range append(later, s.name) {
		hint.WriteString("in this order: 'bowline rollback " + name + "'\n")
	}
	return diag.New(diag.Conflict, "rollback session "+s.name, strings.TrimSuffix(hint.String(), "\n"),
		"nothing was touched: %s changed the same files later and must be rolled back first", strings.Join(later, ", "))
}
