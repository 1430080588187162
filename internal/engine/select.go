package engine

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/frame"
	"github.com/bowline-sh/bowline/internal/helper"
	"github.com/bowline-sh/bowline/internal/store"
	"github.com/bowline-sh/bowline/internal/transport"
	"github.com/bowline-sh/bowline/plan"
)

// Selection is some operations of a plan.
type Selection struct {
	Keep []int // from 1
	// Quick leaves out running the script again, by which is found what else depends on
	// the operations that are left out.
	Quick bool
}

// Select makes a new pending session of some operations of a pending one. The old one
// stays as it is. A selection in which an operation lacks another that it needs is
// refused, with the reasons. What a second dry run, in which the script cannot do what
// is left out, does otherwise is among the warnings of the new plan.
func (e *Engine) Select(ctx context.Context, id string, sel Selection) (Planned, error) {
	keep := sel.Keep
	d, err := e.Get(ctx, id)
	if err != nil {
		return Planned{}, err
	}
	for _, n := range keep {
		if n < 1 || n > len(d.Plan.Ops) {
			return Planned{}, diag.New(diag.Usage, "select operations of "+id, "see 'bowline session show "+id+"'", "there is no operation %d; it has %d", n, len(d.Plan.Ops))
		}
	}
	var res helper.PlanResult
	var x store.Session
	err = e.recorded(ctx, helper.VerbSelect, d, func() error {
		if d.Status != plan.Pending {
			return illegal("select operations of", d)
		}
		if err := e.frozen(d.Target); err != nil {
			return err
		}
		leave, err := e.enter(ctx, helper.VerbSelect, d)
		if err != nil {
			return err
		}
		defer leave()
		t, err := e.cfg.Target(d.Target)
		if err != nil {
			return err
		}
		now := e.cfg.Now().UTC()
		fresh, err := newID(now, PlanRequest{Name: cmp.Or(d.Name, "part")}, sessionDigits)
		if err != nil {
			return err
		}
		err = e.withHelper(ctx, t, d.asRoot, func(c *frame.Client, _ transport.Info) error {
			return e.call(ctx, c, helper.VerbSelect, selectRequest(d, sel, fresh, now), &res, nil)
		})
		if err != nil {
			return err
		}
		if err := sameSelection(d.Plan, res.Plan, keep); err != nil {
			return err
		}
		// What the digest does not hold: whose it is.
		p := res.Plan
		if p.Session != fresh || p.Target != d.Target || p.From != d.ID || p.Created.After(e.cfg.Now().Add(time.Minute)) {
			return diag.New(diag.Untrusted, "select operations of "+id, "find out who controls the target; nothing was kept here", "the target sent a selection that was not asked for: %q of %q on %q", p.Session, p.From, p.Target)
		}
		res.Contents = d.Contents
		k := kept{Name: d.Name, Note: d.Note, Fleet: d.Fleet, AsRoot: d.asRoot}
		if d.request != nil {
			k.Request = *d.request
		}
		k.Request.Script = d.Script
		x, err = e.keep(ctx, k, res)
		return err
	})
	p := Planned{Session: x, Plan: res.Plan, Contents: res.Contents}
	if err != nil {
		return p, err
	}
	return p, e.settle(ctx, &p)
}

func selectRequest(d Detail, sel Selection, id string, now time.Time) helper.SelectRequest {
	r := helper.SelectRequest{Session: d.ID, New: id, Keep: sel.Keep, Created: now}
	if d.request != nil && !sel.Quick {
		again := *d.request
		again.Session = id
		r.Again = &again
	}
	return r
}

// sameSelection checks that the target selected what was asked for.
func sameSelection(whole, part plan.Plan, keep []int) error {
	want, deps := whole.Select(part.Session, func(n int) bool { return slices.Contains(keep, n) })
	a, err := want.Digest()
	if err != nil {
		return err
	}
	b, err := part.Digest()
	if err != nil {
		return err
	}
	if len(deps) > 0 || a != b {
		return diag.New(diag.Denied, "select operations", "plan it again with 'bowline plan'", "the target made another selection than was asked for: %s, not %s", b, a)
	}
	return nil
}
