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

// Derive makes a session id below parent of the operations that keep names of the
// session from, which stays as it is. Contents are shared, not copied. A selection
// that cannot be carried out is refused (kind Refused) with the reasons, and nothing
// is made.
func Derive(parent, from, id string, keep func(op int) bool, now time.Time) (plan.Plan, error) {
	if err := errors.Join(plan.ValidID(from), plan.ValidID(id)); err != nil {
		return plan.Plan{}, diag.New(diag.Usage, "select operations", "", "%w", err)
	}
	s, err := Open(filepath.Join(parent, from), "/")
	if err != nil {
		return plan.Plan{}, err
	}
	defer s.Close()
	if s.rec.Status != plan.Pending {
		return plan.Plan{}, diag.New(diag.Refused, "select operations of "+from, "plan it again with 'bowline plan'", "it is %s", s.rec.Status)
	}
	p, deps := s.plan.Select(id, keep)
	if len(deps) > 0 {
		return plan.Plan{}, diag.New(diag.Refused, "select operations of "+from, "leave out the others too, or keep what they need; see 'bowline session show "+from+"'", "%s", reasons(deps))
	}
	if len(p.Ops) == 0 {
		return plan.Plan{}, diag.New(diag.Usage, "select operations of "+from, "reject it with 'bowline reject "+from+"'", "no operation is left")
	}
	p.Created = now
	if err := s.share(parent, p, now); err != nil {
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
