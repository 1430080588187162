package engine

import (
	"context"
	"crypto/rand"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/caller"
	"github.com/bowline-sh/bowline/internal/policy"
	"github.com/bowline-sh/bowline/internal/store"
	"github.com/bowline-sh/bowline/plan"
)

// Decision is what a person decides.
type Decision struct {
	Digest string // of the plan that was read; "" means the plan as it is stored now
	Effect string // of the class that was read; "" if it was no class
	Reject bool
	Reason string
}

// Decide stores a person's approval or rejection of exactly the plan that d names.
func (e *Engine) Decide(ctx context.Context, id string, what Decision) (plan.Approval, error) {
	verb := "approve"
	to := plan.Approved
	if what.Reject {
		verb, to = "reject", plan.Rejected
	}
	d, err := e.Get(ctx, id)
	if err != nil {
		return plan.Approval{}, err
	}
	now := e.cfg.Now().UTC()
	who := e.caller(ctx)
	a := plan.Approval{ID: rand.Text(), Session: id, Digest: d.Digest, HostKey: d.HostKey, User: who.User, Host: e.cfg.Host, Reject: what.Reject, Reason: what.Reason,
		Created: now, Expires: now.Add(plan.DefaultTTL)}
	err = e.recorded(ctx, verb, d, func() error {
		if who.Surface == caller.MCP && !what.Reject {
			return diag.New(diag.Denied, "approve "+id, "a person types 'bowline review "+id+"'", "no model approves: only a person does, outside of MCP")
		}
		if err := what.names(verb, d); err != nil {
			return err
		}
		if !what.Reject {
			return e.approve(ctx, d, &a)
		}
		if err := e.permitted(ctx, policy.Approve, verb, d); err != nil {
			return err
		}
		if !plan.CanMove(d.Status, to) {
			return illegal(verb, d)
		}
		s, err := e.cfg.Store(ctx)
		if err != nil {
			return err
		}
		if err := s.Decide(ctx, a); err != nil {
			return err
		}
		return s.Move(ctx, id, d.Status, to, store.Update{Now: now, Expires: a.Expires, Message: what.Reason})
	})
	return a, err
}

// names reports that the plan of d is not the one that was read, or nil. The effect is
// taken from the plan anew, not from what the store says of it.
func (what Decision) names(verb string, d Detail) error {
	hint := "read it again with 'bowline session show " + d.ID + "'"
	if what.Digest != "" && what.Digest != d.Digest {
		return diag.New(diag.Conflict, verb, hint, "the plan has the digest %s, not the %s you named", d.Digest, what.Digest)
	}
	if what.Effect == "" {
		return nil
	}
	effect, err := d.Plan.Effect()
	if err == nil && effect != what.Effect {
		err = diag.New(diag.Conflict, verb+" "+d.ID, hint, "its effect is %s, not that of the class, %s", effect, what.Effect)
	}
	return err
}

// approver holds an approval to the rules, and signs it.
func (e *Engine) approver(ctx context.Context, d Detail, a *plan.Approval) error {
	if e.cfg.Rules.TwoPerson && a.User == d.User {
		return diag.New(diag.Denied, "approve "+d.ID, "ask somebody else to type 'bowline approve "+d.ID+"'", "%s asked for it, and approval.two_person wants another person to approve it", d.User)
	}
	if caller.From(ctx, caller.Caller{}).Grant != nil {
		// The key here is of whoever runs this process, and would speak for anybody.
		if e.cfg.Rules.RequireSignature {
			return diag.New(diag.Denied, "approve "+d.ID, "sign it with your own key, where it is: 'bowline approve "+d.ID+"' with the same store", "it must be signed, and no server signs for a person")
		}
		return nil
	}
	if e.cfg.Rules.Key == nil {
		if e.cfg.Rules.RequireSignature {
			return diag.New(diag.Denied, "approve "+d.ID, "", "it must be signed, and there is no way to sign here")
		}
		return nil
	}
	return e.Holding(ctx, func(e *Engine) error {
		var err error
		a.Signature, a.KeyID, err = e.sign(a.Statement(len(d.Plan.Ops)))
		return err
	})
}
