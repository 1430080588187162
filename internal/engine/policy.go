package engine

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/audit"
	"github.com/bowline-sh/bowline/internal/caller"
	"github.com/bowline-sh/bowline/internal/helper"
	"github.com/bowline-sh/bowline/internal/policy"
	"github.com/bowline-sh/bowline/internal/store"
	"github.com/bowline-sh/bowline/plan"
)

// byPolicy begins the user of a decision that a rule made. No login holds a colon.
const byPolicy = "policy:"

// enter asks the policy whether the caller may do verb with a session.
func (e *Engine) enter(ctx context.Context, verb string, d Detail) (leave func(), err error) {
	r := policy.Request{Do: policy.Apply, Target: d.Target}
	switch verb {
	case helper.VerbRollback:
		r.Do = policy.Rollback
	case helper.VerbSelect:
		r = planned(policy.Request{Target: d.Target, Script: d.Script, Argv: argvOf(d)})
	case helper.VerbResume, helper.VerbConfirm:
		r.Continues = true
	case policy.Approve:
		r.Do = policy.Approve
	}
	if d.request != nil {
		r.Profile = d.request.Profile.Name
	}
	return e.cfg.Gate.Enter(ctx, r)
}

// planned is the act of planning. Of a script, Argv are its arguments and no command.
func planned(r policy.Request) policy.Request {
	r.Do = policy.Plan
	if r.Script != nil {
		r.Argv = nil
	}
	return r
}

// argvOf is the command that was planned.
func argvOf(d Detail) []string {
	if d.request == nil {
		return nil
	}
	var out []string
	for _, a := range d.request.Argv {
		out = append(out, string(a))
	}
	return out
}

// judge asks the rules of effects, as they are now, about a session's plan.
func (e *Engine) judge(x store.Session, p plan.Plan, contents map[string][]byte) (policy.Judgement, error) {
	return e.cfg.Gate.Judge(policy.Planned{Plan: p, Contents: contents, Target: x.Target, Who: policy.Actor{User: x.User, Surface: x.Surface, Client: x.Client}})
}

// settle does with a new session what the rules of effects say: it is refused, approved,
// or left to a person, who is told if a model asked for it.
func (e *Engine) settle(ctx context.Context, p *Planned) error {
	j, err := e.judge(p.Session, p.Plan, p.Contents)
	if err != nil {
		return err
	}
	switch {
	case j.Outcome == policy.DenyPlan:
		return e.refuse(ctx, p, j)
	case j.Outcome == policy.AutoApprove && e.mayApproveItself(p.Plan):
		return e.decideByRule(ctx, &p.Session, j, false)
	case e.cfg.Notify != nil && p.Session.Surface == caller.MCP:
		e.cfg.Notify(p.Session)
	}
	return nil
}

// refuse ends a session whose plan the rules refuse. It stays to be read.
func (e *Engine) refuse(ctx context.Context, p *Planned, j policy.Judgement) error {
	id := p.Session.ID
	if err := e.decideByRule(ctx, &p.Session, j, true); err != nil {
		return err
	}
	return diag.New(diag.Refused, "plan", j.Hint+"\nread the plan with 'bowline session show "+id+"'", "the policy refuses this plan: rule %q (%s): %s", j.Rule, j.Source, j.Reason)
}

// mayApproveItself: a rule cannot sign, is no second person, and believes no dry run
// that says itself that it did not see all or did not end well.
func (e *Engine) mayApproveItself(p plan.Plan) bool {
	return !e.cfg.Rules.RequireSignature && e.cfg.Rules.Key == nil && !e.cfg.Rules.TwoPerson && p.Exit == 0 && len(p.Warnings) == 0 && !p.Truncated
}

// decideByRule stores a decision of a rule like one of a person, and moves the session.
func (e *Engine) decideByRule(ctx context.Context, x *store.Session, j policy.Judgement, reject bool) error {
	verb, to := policy.Approve, plan.Approved
	if reject {
		verb, to = "reject", plan.Rejected
	}
	now := e.cfg.Now().UTC()
	reason := "rule at " + j.Source + ": " + j.Reason
	a := plan.Approval{ID: rand.Text(), Session: x.ID, Digest: x.Digest, HostKey: x.HostKey, User: byPolicy + j.Rule, Host: e.cfg.Host, Reject: reject, Reason: reason,
		Created: now, Expires: now.Add(plan.DefaultTTL)}
	id, err := e.cfg.Recorder.Begin(ctx, audit.Intent{Text: a.User + ", " + reason, Subject: audit.Subject{Verb: verb, Session: x.ID, Target: x.Target, HostKey: x.HostKey,
		Digests: map[string]string{"plan": x.Digest}}})
	if err != nil {
		return err
	}
	err = e.store(ctx, x, a, to)
	if err == nil {
		x.Status, x.Message = to, reason
		if !reject {
			x.Expires = a.Expires
		}
	}
	return errors.Join(err, e.end(ctx, id, audit.Outcome{Err: err}))
}

func (e *Engine) store(ctx context.Context, x *store.Session, a plan.Approval, to plan.Status) error {
	s, err := e.cfg.Store(ctx)
	if err != nil {
		return err
	}
	if err := s.Decide(ctx, a); err != nil {
		return err
	}
	return s.Move(ctx, x.ID, x.Status, to, store.Update{Now: a.Created, Expires: a.Expires, Message: a.Reason})
}

// approve stores a person's approval a of d, and moves the session if nothing more is
// wanted.
func (e *Engine) approve(ctx context.Context, d Detail, a *plan.Approval) error {
	j, err := e.judge(d.Session, d.Plan, d.Contents)
	if err != nil {
		return err
	}
	more := d.Status == plan.Approved && j.Outcome == policy.RequireTwo && len(approvers(d, a.Created)) < 2
	if !more && !plan.CanMove(d.Status, plan.Approved) {
		return illegal(policy.Approve, d)
	}
	leave, err := e.enter(ctx, policy.Approve, d)
	if err != nil {
		return err
	}
	defer leave()
	if err := rulesOut(d, *a, j); err != nil {
		return err
	}
	if err := e.approver(ctx, d, a); err != nil {
		return err
	}
	s, err := e.cfg.Store(ctx)
	if err != nil {
		return err
	}
	if err := s.Decide(ctx, *a); err != nil {
		return err
	}
	// Read again: of two who approve at once, the later sees both.
	if d.Decisions, err = s.Decisions(ctx, d.ID); err != nil {
		return err
	}
	if have := approvers(d, a.Created); j.Outcome == policy.RequireTwo && len(have) < 2 {
		return s.Note(ctx, d.ID, store.Update{Now: a.Created, Message: "approved by " + strings.Join(have, ", ") + "; rule \"" + j.Rule + "\" wants one more person"})
	}
	if more {
		return s.Note(ctx, d.ID, store.Update{Now: a.Created, Message: "approved by two"})
	}
	u := store.Update{Now: a.Created, Expires: a.Expires}
	if j.Outcome == policy.RequireTwo {
		u.Message = "approved by " + strings.Join(approvers(d, a.Created), ", ")
	}
	err = s.Move(ctx, d.ID, d.Status, plan.Approved, u)
	if errors.Is(err, store.ErrStale) { // the other of two was faster
		if x, gerr := s.Get(ctx, d.ID); gerr == nil && x.Status == plan.Approved {
			return nil
		}
	}
	return err
}

// rulesOut says why the rules of effects forbid this approval.
func rulesOut(d Detail, a plan.Approval, j policy.Judgement) error {
	op := "approve " + d.ID
	switch {
	case strings.HasPrefix(a.User, byPolicy):
		return diag.New(diag.Denied, op, "", "%q is no person", a.User)
	case j.Outcome == policy.DenyPlan:
		return diag.New(diag.Denied, op, j.Hint, "the policy refuses this plan: rule %q (%s): %s", j.Rule, j.Source, j.Reason)
	case j.Outcome != policy.RequireTwo:
		return nil
	case a.User == d.User:
		return diag.New(diag.Denied, op, "ask two others to type 'bowline approve "+d.ID+"'", "rule %q (%s) wants two persons, and %s, who asked for it, does not count", j.Rule, j.Source, a.User)
	case slices.Contains(approvers(d, a.Created), a.User):
		return diag.New(diag.Denied, op, "ask another person to type 'bowline approve "+d.ID+"'", "rule %q (%s) wants two persons, and %s approved it already", j.Rule, j.Source, a.User)
	}
	return nil
}

// approvers are the persons whose approvals of d are good at the time now, each once,
// without whoever asked for it.
func approvers(d Detail, now time.Time) []string {
	var out []string
	for _, a := range d.Decisions {
		if !a.Reject && a.Digest == d.Digest && !now.After(a.Expires) && a.User != d.User && !strings.HasPrefix(a.User, byPolicy) && !slices.Contains(out, a.User) {
			out = append(out, a.User)
		}
	}
	return out
}

// sufficient reports whether what approved d still does, by the rules as they are now.
func (e *Engine) sufficient(d Detail) error {
	j, err := e.judge(d.Session, d.Plan, d.Contents)
	if err != nil {
		return err
	}
	op, again := "apply "+d.ID, "plan it again with 'bowline plan'"
	byRule := !slices.ContainsFunc(d.Decisions, func(a plan.Approval) bool { return !a.Reject && !strings.HasPrefix(a.User, byPolicy) })
	switch {
	case j.Outcome == policy.DenyPlan:
		return diag.New(diag.Refused, op, j.Hint, "the policy refuses this plan: rule %q (%s): %s", j.Rule, j.Source, j.Reason)
	case j.Outcome == policy.RequireTwo && len(approvers(d, e.cfg.Now())) < 2:
		return diag.New(diag.Denied, op, "ask another person to type 'bowline approve "+d.ID+"'", "rule %q (%s) wants two persons to approve it: %s", j.Rule, j.Source, j.Reason)
	case byRule && (j.Outcome != policy.AutoApprove || !e.mayApproveItself(d.Plan)):
		return diag.New(diag.Denied, op, again+", and approve it", "a rule approved it, and the rules have changed since: now a person must")
	}
	return nil
}
