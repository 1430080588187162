package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/audit"
	"github.com/bowline-sh/bowline/internal/caller"
	"github.com/bowline-sh/bowline/internal/frame"
	"github.com/bowline-sh/bowline/internal/helper"
	"github.com/bowline-sh/bowline/internal/policy"
	"github.com/bowline-sh/bowline/internal/store"
	"github.com/bowline-sh/bowline/internal/transport"
	"github.com/bowline-sh/bowline/plan"
	"github.com/bowline-sh/bowline/target"
)

// Detail is a session with its plan and decisions.
type Detail struct {
	store.Session
	Plan      plan.Plan
	Contents  map[string][]byte
	Decisions []plan.Approval
	Commands  []plan.Ran // that were run so far

	asRoot  bool
	request *helper.PlanRequest // what was asked of the target; nil if not known
}

// List returns sessions, newest first, after moving those whose time is over.
func (e *Engine) List(ctx context.Context, f store.Filter) ([]store.Session, error) {
	s, err := e.cfg.Store(ctx)
	if err != nil {
		return nil, err
	}
	list, err := s.List(ctx, f)
	for i, x := range list {
		list[i].Status = e.expire(ctx, s, x)
	}
	return list, err
}

// expire moves a session whose time is over and returns its status.
func (e *Engine) expire(ctx context.Context, s store.Store, x store.Session) plan.Status {
	now := e.cfg.Now()
	if (x.Status != plan.Pending && x.Status != plan.Approved) || !now.After(x.Expires) {
		return x.Status
	}
	if err := s.Move(ctx, x.ID, x.Status, plan.Expired, store.Update{Now: now}); err != nil {
		return x.Status // somebody else was faster; the next look shows it
	}
	return plan.Expired
}

// Get returns one session whole.
func (e *Engine) Get(ctx context.Context, id string) (Detail, error) {
	if err := plan.ValidID(id); err != nil {
		return Detail{}, diag.New(diag.Usage, "find session", "see 'bowline session list'", "%w", err)
	}
	s, err := e.cfg.Store(ctx)
	if err != nil {
		return Detail{}, err
	}
	x, err := s.Get(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return Detail{}, diag.New(diag.Usage, "find session", "see 'bowline session list'", "there is no session %s", id)
	}
	if err != nil {
		return Detail{}, err
	}
	x.Status = e.expire(ctx, s, x)
	var doc stored
	if err := json.Unmarshal(x.Plan, &doc); err != nil {
		return Detail{}, fmt.Errorf("read stored plan of %s: %w", id, err)
	}
	if sum, err := doc.Plan.Digest(); err != nil || sum != x.Digest {
		return Detail{}, diag.New(diag.Denied, "read session "+id, "plan it again with 'bowline plan'", "the stored plan is not the one that was made: its digest is %s, not %s", sum, x.Digest)
	}
	var ran []plan.Ran
	if len(x.Output) > 0 {
		if err := json.Unmarshal(x.Output, &ran); err != nil {
			return Detail{}, fmt.Errorf("read stored output of %s: %w", id, err)
		}
	}
	if doc.Request != nil {
		doc.Request.Script = x.Script
	}
	decisions, err := s.Decisions(ctx, id)
	return Detail{
		Session: x, Plan: doc.Plan, Contents: checked(doc.Contents), Decisions: decisions, Commands: ran, asRoot: doc.AsRoot, request: doc.Request,
	}, err
}

func illegal(verb string, d Detail) error {
	hint := "see 'bowline session show " + d.ID + "'"
	switch d.Status {
	case plan.Pending:
		hint = "approve it first: 'bowline approve " + d.ID + "'"
	case plan.Expired, plan.Rejected, plan.RolledBack, plan.Failed, plan.Cancelled:
		hint = "plan it again with 'bowline plan'"
	}
	return diag.New(diag.Denied, verb+" "+d.ID, hint, "the session is %s", d.Status)
}

func (e *Engine) recorded(ctx context.Context, verb string, d Detail, act func() error) error {
	id, err := e.cfg.Recorder.Begin(ctx, audit.Intent{Subject: audit.Subject{Verb: verb, Session: d.ID, Target: d.Target, HostKey: d.HostKey, Digests: map[string]string{"plan": d.Digest}}})
	if err != nil {
		return err
	}
	err = act()
	return errors.Join(err, e.end(ctx, id, audit.Outcome{Err: err}))
}

// permitted reports why the grant of the caller does not allow something that the policy
// is not asked about, or nil. Surfaces ask before; this holds where one forgets.
func (e *Engine) permitted(ctx context.Context, do, verb string, d Detail) error {
	if err := caller.Permit(ctx, do, d.Target); err != nil {
		return diag.New(diag.Denied, verb+" "+d.ID, "use another token, or have one made with 'bowline token create'", "%w", err)
	}
	return nil
}

// Cancel withdraws a session that was not applied.
func (e *Engine) Cancel(ctx context.Context, id, why string) error {
	d, err := e.Get(ctx, id)
	if err != nil {
		return err
	}
	return e.recorded(ctx, "cancel", d, func() error {
		if err := e.permitted(ctx, policy.Plan, "cancel", d); err != nil {
			return err
		}
		if !plan.CanMove(d.Status, plan.Cancelled) {
			return illegal("cancel", d)
		}
		s, err := e.cfg.Store(ctx)
		if err != nil {
			return err
		}
		return s.Move(ctx, id, d.Status, plan.Cancelled, store.Update{Now: e.cfg.Now(), Message: why})
	})
}

// Options are those of Apply, Resume and Rollback that apply.
type Options struct {
	// Confirm, with apply, is how long the target waits for Confirm before it takes
	// everything back; 0 for not at all.
	Confirm  time.Duration
	Force    bool
	DryRun   bool
	Rerun    bool
	Skip     bool
	Progress func(helper.Progress)
	// Begin, with resume, begins what the target was never told of. The target decides:
	// there an approval is used once.
	Begin bool

	follow bool // resume: begin nothing
}

// Apply carries out an approved session. See package apply for what the target
// checks first and what an error means there. Nothing is applied while the target is
// frozen, and the approval keeps.
func (e *Engine) Apply(ctx context.Context, id string, o Options) (helper.SessionResult, error) {
	return e.act(ctx, helper.VerbApply, id, o, plan.Approved)
}

// Resume finishes an apply that was broken off. While the target is frozen it only
// follows one that is still going on.
func (e *Engine) Resume(ctx context.Context, id string, o Options) (helper.SessionResult, error) {
	return e.act(ctx, helper.VerbResume, id, o, plan.Applying, plan.Partial)
}

// Rollback takes a session back. It is possible while the target is frozen.
func (e *Engine) Rollback(ctx context.Context, id string, o Options) (helper.SessionResult, error) {
	return e.act(ctx, helper.VerbRollback, id, o, plan.Executed, plan.Partial, plan.Applying)
}

func (e *Engine) act(ctx context.Context, verb, id string, o Options, from ...plan.Status) (helper.SessionResult, error) {
	d, err := e.Get(ctx, id)
	if err != nil {
		return helper.SessionResult{}, err
	}
	var res helper.SessionResult
	err = e.recorded(ctx, verb, d, func() error {
		if o.Confirm < 0 { // it would be none, and nobody asked for that
			return diag.New(diag.Usage, verb+" "+d.ID, "as in '--confirm 60s'", "a window of %v", o.Confirm)
		}
		allowed := false
		for _, s := range from {
			allowed = allowed || d.Status == s
		}
		if !allowed {
			return illegal(verb, d)
		}
		leave, err := e.enter(ctx, verb, d)
		if err != nil {
			return err
		}
		defer leave()
		frozen := e.frozen(d.Target)
		if frozen != nil && verb == helper.VerbApply {
			return frozen
		}
		o.follow = frozen != nil
		if verb == helper.VerbApply {
			if err := e.sufficient(d); err != nil {
				return err
			}
		}
		res, err = e.onTarget(ctx, verb, d, o)
		if o.follow && verb == helper.VerbResume && diag.KindOf(err) == diag.Refused {
			return errors.Join(frozen, err)
		}
		return err
	})
	return res, err
}

// onTarget moves the session in the store around the call on the target.
func (e *Engine) onTarget(ctx context.Context, verb string, d Detail, o Options) (helper.SessionResult, error) {
	t, err := e.cfg.Target(d.Target)
	if err != nil {
		return helper.SessionResult{}, err
	}
	s, err := e.cfg.Store(ctx)
	if err != nil {
		return helper.SessionResult{}, err
	}
	req := helper.SessionRequest{Session: d.ID, Head: e.head(ctx), Confirm: o.Confirm, Force: o.Force, DryRun: o.DryRun, Rerun: o.Rerun, Skip: o.Skip, Follow: o.follow}
	if verb == helper.VerbApply {
		a := approvalOf(d)
		req.Approval = &a
	}
	var res helper.SessionResult
	begun := false
	err = e.withHelper(ctx, t, d.asRoot, func(c *frame.Client, info transport.Info) error {
		if hostKey(info) != d.HostKey {
			return diag.New(diag.Conflict, verb, "plan it again with 'bowline plan'", "the target has another host key than the one it was planned for")
		}
		if verb == helper.VerbApply {
			// Not before the helper is there: what could not be reached is
			// still approved. Of two who apply at once one gets it here.
			if err := s.Move(ctx, d.ID, plan.Approved, plan.Applying, store.Update{Now: e.cfg.Now()}); err != nil {
				return err
			}
			d.Status = plan.Applying
		}
		if verb == helper.VerbResume && d.Status == plan.Partial {
			if err := s.Move(ctx, d.ID, plan.Partial, plan.Applying, store.Update{Now: e.cfg.Now()}); err != nil {
				return err
			}
			d.Status = plan.Applying
		}
		begun = true
		err := e.call(ctx, c, verb, req, &res, events(o.Progress, &res))
		if verb == helper.VerbResume && o.Begin && !o.follow && diag.KindOf(err) == diag.Refused && (res.Status == plan.Pending || res.Status == plan.Approved) {
			a := approvalOf(d)
			req.Approval = &a
			res = helper.SessionResult{}
			err = e.call(ctx, c, helper.VerbApply, req, &res, events(o.Progress, &res))
		}
		return err
	})
	if !begun {
		return res, err
	}
	if o.Confirm > 0 && diag.KindOf(err) == diag.Lost && ctx.Err() == nil {
		res, err = e.outlast(ctx, t, d, o, err)
	}
	to := standing(res.Status, err, verb == helper.VerbApply)
	return res, errors.Join(err, e.follow(ctx, s, d, to, res, err))
}

// outlast finds out how a window ended after the link was lost, which the change may
// have cut: it connects anew until the target answers or the window is long over.
func (e *Engine) outlast(ctx context.Context, t target.Target, d Detail, o Options, lost error) (helper.SessionResult, error) {
	const patience, between = time.Minute, 2 * time.Second
	ctx, cancel := context.WithTimeout(ctx, o.Confirm+patience)
	defer cancel()
	for {
		var res helper.SessionResult
		err := e.helperOn(ctx, t, d.asRoot, e.cfg.Links.Fresh, func(c *frame.Client, _ transport.Info) error {
			return e.call(ctx, c, helper.VerbResume, helper.SessionRequest{Session: d.ID}, &res, events(o.Progress, &res))
		})
		switch kind := diag.KindOf(err); {
		case err == nil && res.Status == plan.RolledBack:
			return res, diag.New(diag.Timeout, "apply session "+d.ID, "plan it again with 'bowline plan'", "the link was lost, nobody confirmed it, and everything was taken back")
		case err == nil || res.Status != "" || kind == diag.Partial || kind == diag.Denied:
			return res, err
		}
		select {
		case <-ctx.Done():
			return res, diag.New(diag.Lost, "apply session "+d.ID, "find out with 'bowline session resume "+d.ID+"'", "the target cannot be reached any more; unless it was confirmed, it has taken everything back: %w", lost)
		case <-time.After(between):
		}
	}
}

// Confirm tells the target, over a connection of its own, that a session which was
// applied with a window shall stay.
func (e *Engine) Confirm(ctx context.Context, id string) (helper.SessionResult, error) {
	d, err := e.Get(ctx, id)
	if err != nil {
		return helper.SessionResult{}, err
	}
	var res helper.SessionResult
	err = e.recorded(ctx, helper.VerbConfirm, d, func() error {
		leave, err := e.enter(ctx, helper.VerbConfirm, d)
		if err != nil {
			return err
		}
		defer leave()
		t, err := e.cfg.Target(d.Target)
		if err != nil {
			return err
		}
		err = e.helperOn(ctx, t, d.asRoot, e.cfg.Links.Fresh, func(c *frame.Client, info transport.Info) error {
			if hostKey(info) != d.HostKey {
				return diag.New(diag.Conflict, helper.VerbConfirm, "find out why", "the target has another host key than the one it was planned for")
			}
			return e.call(ctx, c, helper.VerbConfirm, helper.SessionRequest{Session: id}, &res, nil)
		})
		if err != nil {
			return err
		}
		s, err := e.cfg.Store(ctx)
		if err != nil {
			return err
		}
		// Whoever applied it and follows may have been faster.
		if err := s.Move(ctx, id, plan.Applying, plan.Executed, store.Update{Now: e.cfg.Now(), Message: "confirmed"}); err != nil && !errors.Is(err, store.ErrStale) {
			return err
		}
		return nil
	})
	return res, err
}

// events hands on progress, and keeps the result that comes before an error.
func events(progress func(helper.Progress), res *helper.SessionResult) func(json.RawMessage) {
	return func(m json.RawMessage) {
		var p helper.Progress
		if json.Unmarshal(m, &p) != nil { // an event that cannot be read is not shown
			return
		}
		if p.Result != nil {
			*res = *p.Result
			return
		}
		if progress != nil {
			progress(p)
		}
	}
}

// approvalOf returns the newest approval of d.
func approvalOf(d Detail) plan.Approval {
	var a plan.Approval
	for _, x := range d.Decisions {
		if !x.Reject {
			a = x
		}
	}
	return a
}

// follow brings the store to where the target says the session is.
func (e *Engine) follow(ctx context.Context, s store.Store, d Detail, to plan.Status, res helper.SessionResult, err error) error {
	u := store.Update{Now: e.cfg.Now(), Message: res.Message, Output: joined(d.Output, res.Commands)}
	if err != nil {
		u.Message = err.Error()
	}
	if to == "" || to == d.Status || !plan.CanMove(d.Status, to) {
		to = d.Status
	}
	ctx = context.WithoutCancel(ctx)
	if to == d.Status {
		return s.Note(ctx, d.ID, u)
	}
	err = s.Move(ctx, d.ID, d.Status, to, u)
	if errors.Is(err, store.ErrStale) { // whoever confirmed it, or followed it too, was faster
		if x, gerr := s.Get(ctx, d.ID); gerr == nil && x.Status == to {
			return s.Note(ctx, d.ID, u)
		}
	}
	return err
}

// standing is the status after a call that ended with err and left the target's
// session in status on; "" if nobody knows, and resume or rollback will find out.
// first says that before the call nothing had been applied.
func standing(on plan.Status, err error, first bool) plan.Status {
	kind := diag.KindOf(err)
	unused := on == plan.Pending || on == plan.Approved || on == plan.Rejected
	switch {
	case err == nil:
		return on
	case kind == diag.Partial:
		return plan.Partial
	case !first:
		if unused {
			return ""
		}
		return on
	case on == plan.Approved && (kind == diag.Conflict || kind == diag.Failure || kind == diag.Canceled):
		return plan.Approved // refused before the first effect; the approval was not used
	case unused && kind == diag.Refused && on != plan.Rejected:
		return plan.Approved // the target is frozen, and has not looked at the approval
	case unused:
		return plan.Failed
	case on != "":
		return on
	case kind == diag.Lost || kind == diag.Unreachable || kind == diag.Canceled || kind == diag.Conflict:
		return "" // Conflict: another process is at it
	default: // the target knows no such session, or will not have it
		return plan.Failed
	}
}

// joined adds commands that were run to those of earlier calls, as JSON.
func joined(before []byte, more []plan.Ran) []byte {
	var all []plan.Ran
	if len(before) > 0 && json.Unmarshal(before, &all) != nil {
		all = nil // of another version; what is new counts
	}
	if len(more) == 0 {
		return before
	}
	b, err := json.Marshal(append(all, more...))
	if err != nil {
		panic("engine: results cannot be encoded: " + err.Error()) // they are plain data
	}
	return b
}

// Drift compares the target with how the session left it.
func (e *Engine) Drift(ctx context.Context, id string) (helper.DriftResult, error) {
	var res helper.DriftResult
	d, err := e.Get(ctx, id)
	if err != nil {
		return res, err
	}
	err = e.recorded(ctx, helper.VerbDrift, d, func() error {
		t, err := e.cfg.Target(d.Target)
		if err != nil {
			return err
		}
		return e.withHelper(ctx, t, d.asRoot, func(c *frame.Client, info transport.Info) error {
			if hostKey(info) != d.HostKey {
				return diag.New(diag.Conflict, helper.VerbDrift, "plan it again with 'bowline plan'", "the target has another host key than the one it was planned for")
			}
			return e.call(ctx, c, helper.VerbDrift, helper.SessionRequest{Session: id}, &res, nil)
		})
	})
	res.Contents = checked(res.Contents)
	return res, err
}
