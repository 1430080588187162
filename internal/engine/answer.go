package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/helper"
	"github.com/bowline-sh/bowline/plan"
)

// answers reports that p is no plan of what was asked for, or nil. The target makes the
// plan, and a target may lie: about what it would change, which nobody else can know, but
// not about what it was asked for. A plan that another host made under the name of this one
// would be reviewed, listed and permitted as that one's.
func answers(p plan.Plan, r helper.PlanRequest) error {
	script := sha256.Sum256(r.Script)
	argv := make([]string, len(r.Argv))
	for i, a := range r.Argv {
		argv[i] = string([]rune(string(a))) // as JSON has bytes that are no UTF-8
	}
	what := ""
	switch {
	case p.Session != r.Session:
		what = fmt.Sprintf("session %q, not %s", p.Session, r.Session)
	case p.Target != r.Target:
		what = fmt.Sprintf("target %q, not %s", p.Target, r.Target)
	case p.HostKey != r.HostKey:
		what = fmt.Sprintf("host key %q, not %s", p.HostKey, r.HostKey)
	case !p.Created.Equal(r.Created):
		what = "another time"
	case p.Script != hex.EncodeToString(script[:]):
		what = "another script"
	case !slices.Equal(p.Argv, argv):
		what = fmt.Sprintf("the arguments %q", p.Argv)
	}
	if what == "" {
		return nil
	}
	return diag.New(diag.Untrusted, "plan", "find out who controls the target; nothing was kept here", "the target sent a plan that was not asked for: of %s", what)
}
