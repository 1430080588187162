package helper

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/bowline-sh/bowline/change"
	"github.com/bowline-sh/bowline/plan"
)

// again runs the script of a session once more without the operations that keep
// leaves out, to find out what becomes of the others.
type again struct {
	ctx    context.Context
	parent string
	req    PlanRequest
	keep   func(op int) bool
}

// notes says what differs. A second run that cannot be made or fails is a note too:
// the selection itself does not depend on it.
func (a again) notes(whole plan.Plan) []string {
	withheld, untried := whole.Withheld(a.keep)
	var out []string
	if len(untried) > 0 {
		out = append(out, "what depends on operations "+plan.Numbers(untried)+" was not tried out: kept operations change the same paths or lie in them")
	}
	if len(withheld) == 0 {
		return out
	}
	found, err := a.compare(whole, withheld)
	if err != nil {
		return append(out, "the script was not run again without what is left out: "+err.Error())
	}
	return append(out, found...)
}

// compare runs the script again. What differs in a run in which nothing is withheld
// as well, differs by itself.
func (a again) compare(whole plan.Plan, withheld change.Changeset) ([]string, error) {
	if hex.EncodeToString(sum(a.req.Script)) != whole.Script {
		return nil, errors.New("it is not the script that was planned")
	}
	second, err := a.run(withheld)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, w := range second.Warnings {
		if !slices.Contains(whole.Warnings, w) {
			out = append(out, w)
		}
	}
	missing := whole.Missing(second, a.keep)
	if len(missing) == 0 && second.Exit == whole.Exit {
		return out, nil
	}
	control, err := a.run(nil)
	if err != nil {
		return nil, err
	}
	byItself := whole.Missing(control, a.keep)
	missing = slices.DeleteFunc(missing, func(n int) bool { return slices.Contains(byItself, n) })
	return append(out, otherwise{whole.Session, missing, byItself, whole.Exit, second.Exit}.notes()...), nil
}

// otherwise is what a second run did otherwise than the first. Operations are those
// of the whole session.
type otherwise struct {
	session           string
	missing, byItself []int
	exit, now         int
}

func (o otherwise) notes() []string {
	var out []string
	said := "run again without what is left out, the script "
	switch ops := "operations " + plan.Numbers(o.missing) + " of " + o.session; {
	case o.exit != o.now && len(o.missing) > 0:
		out = append(out, fmt.Sprintf("%sends with %d, not %d, and does not do %s: they depend on it, or come after the failure", said, o.now, o.exit, ops))
	case o.exit != o.now:
		out = append(out, fmt.Sprintf("%sends with %d, not %d", said, o.now, o.exit))
	case len(o.missing) > 0:
		out = append(out, said+"does not do "+ops+", or does them otherwise: they depend on it")
	}
	if len(o.byItself) > 0 {
		out = append(out, "operations "+plan.Numbers(o.byItself)+" of "+o.session+" are different each time the script is run: what they depend on was not found out")
	}
	return out
}

// run makes a dry run of which only the plan remains.
func (a again) run(withheld change.Changeset) (plan.Plan, error) {
	work, err := os.MkdirTemp(a.parent, ".new-")
	if err != nil {
		return plan.Plan{}, err
	}
	defer os.RemoveAll(work)
	res, err := dryRun{req: a.req, work: work, withhold: withheld}.run(a.ctx)
	return res.Plan, err
}
