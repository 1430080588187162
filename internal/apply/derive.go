//go:build linux

package apply

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/plan"
)

// Selection is some operations of the session From, to be made the session ID.
type Selection struct {
	From, ID string
	Keep     func(op int) bool // from 1
	Now      time.Time
	// Note, if not nil, is asked what to warn of, when the selection can be carried out.
	Note func(whole plan.Plan) []string
}

// Derive makes a session below parent of a selection. The session it comes from stays
// as it is. Contents are shared, not copied. A selection that cannot be carried out is
// refused (kind Refused) with the reasons, and nothing is made.
func Derive(parent string, sel Selection) (plan.Plan, error) {
	if err := errors.Join(plan.ValidID(sel.From), plan.ValidID(sel.ID)); err != nil {
		return plan.Plan{}, diag.New(diag.Usage, "select operations", "", "%w", err)
	}
	s, err := Open(filepath.Join(parent, sel.From), "/")
	if err != nil {
		return plan.Plan{}, err
	}
	defer s.Close()
	op := "select operations of " + sel.From
	if s.rec.Status != plan.Pending {
		return plan.Plan{}, diag.New(diag.Refused, op, "plan it again with 'bowline plan'", "it is %s", s.rec.Status)
	}
	p, deps := s.plan.Select(sel.ID, sel.Keep)
	if len(deps) > 0 {
		return plan.Plan{}, diag.New(diag.Refused, op, "leave out the others too, or keep what they need; see 'bowline session show "+sel.From+"'", "%s", reasons(deps))
	}
	if len(p.Ops) == 0 {
		return plan.Plan{}, diag.New(diag.Usage, op, "reject it with 'bowline reject "+sel.From+"'", "no operation is left")
	}
	if sel.Note != nil {
		p.Warnings = append(p.Warnings, sel.Note(s.plan)...)
	}
	p.Created = sel.Now
	if err := s.share(parent, p, sel.Now); err != nil {
		return plan.Plan{}, err
	}
	return p, nil
}

func reasons(deps []plan.Dependency) string {
	var list []string
	for i, d := range deps {
		if i == maxListed {
			list = append(list, "and more")
			break
		}
		list = append(list, d.String())
	}
	return strings.Join(list, "; ")
}

// share makes the directory of p and links the contents it needs into it.
func (s *Session) share(parent string, p plan.Plan, now time.Time) error {
	dir, err := Create(parent, p, now)
	if err != nil {
		return err
	}
	o, err := Open(dir, "/")
	if err == nil {
		for _, sha := range p.Blobs() {
			if err = s.layer.Link(sha, o.layer, sha); err != nil && !errors.Is(err, unix.EEXIST) {
				break
			}
			err = nil
		}
		err = errors.Join(err, o.layer.Sync(), o.Close())
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	return nil
}
