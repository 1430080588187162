package bowline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/engine"
	"github.com/bowline-sh/bowline/internal/fleet"
	"github.com/bowline-sh/bowline/plan"
)

// Fleet is one plan on many targets: a session each, in classes of one effect.
type Fleet struct {
	ID      string      // as it was asked for: of the fleet, or of one class
	Fleet   string      // of the fleet
	Classes []PlanClass // the largest first
}

// PlanClass is the sessions of a fleet that do the same: whoever reviews one has
// reviewed all. See plan.Plan.Effect for what that means.
type PlanClass struct {
	ID       string    // as 20261121-fix-nginx-a3f20c.9e1b77
	Effect   string    // digest
	Sessions []Session // in the order of planning, without their plans
	Example  Session   // the first of them, whole
}

// Idle reports whether there is nothing to do: the script changes nothing there and did
// not fail. Such sessions need no approval.
func (p PlanClass) Idle() bool { return len(p.Example.Plan.Ops) == 0 && p.Example.Plan.Exit == 0 }

// Targets are the names of the class's targets.
func (p PlanClass) Targets() []string {
	out := make([]string, len(p.Sessions))
	for i, s := range p.Sessions {
		out[i] = s.Target
	}
	return out
}

// Sessions are those of all classes, in the order of planning.
func (f Fleet) Sessions() []Session {
	var out []Session
	for _, p := range f.Classes {
		out = append(out, p.Sessions...)
	}
	slices.SortFunc(out, byID)
	return out
}

func byID(a, b Session) int {
	return cmp.Or(cmp.Compare(len(a.ID), len(b.ID)), strings.Compare(a.ID, b.ID))
}

// MemberResult is what came of one target of a fleet.
type MemberResult struct {
	Session Session       // as it was before; of a plan that could not be made only Target
	Result  SessionResult // of ApplyFleet and the like
	Class   Class
	Err     error
}

// FleetWatch is told of each target as it begins and as it ends, the latter exactly once.
// Its functions are called one at a time; either may be nil.
type FleetWatch struct {
	Began func(target string)
	Ended func(MemberResult)
}

// PlanFleet plans the same on many targets and returns the fleet of the sessions it made,
// whose ID is "" if it made none. Targets that could not be planned are in
// the report; an error means that nothing was begun, or that what was made cannot be
// read.
func (c *Client) PlanFleet(ctx context.Context, names []string, req PlanRequest, o FleetOptions, w FleetWatch) (Fleet, FleetReport, error) {
	opts, err := o.parse()
	if err != nil {
		return Fleet{}, FleetReport{}, err
	}
	if names, err = opts.Arrange(names); err != nil {
		return Fleet{}, FleetReport{}, diag.New(diag.Usage, "read order", "", "%w", err)
	}
	id, err := c.parts.Engine.NewFleet(engine.PlanRequest(req))
	if err != nil {
		return Fleet{}, FleetReport{}, err
	}
	number := make(map[string]int, len(names))
	for i, name := range names {
		if number[name] > 0 {
			return Fleet{}, FleetReport{}, diag.New(diag.Usage, "plan", "", "target %s is named twice", name)
		}
		number[name] = i + 1
	}
	tell := newTelling(w)
	fleet.Do(ctx, opts, names, func(ctx context.Context, name string) bool {
		tell.begin(name)
		one := req
		one.Target = name
		p, err := c.parts.Engine.Plan(ctx, engine.PlanRequest(one), engine.Member{Fleet: id, N: number[name]})
		s := sessionOf(p.Session)
		s.Target, s.Plan, s.Contents = name, p.Plan, p.Contents
		return tell.end(MemberResult{Session: s, Class: sessionClass(err), Err: err})
	}, func(name string) {
		tell.end(MemberResult{Session: Session{Target: name}, Class: ClassSkipped})
	})
	report := tell.report()
	report.Targets = names
	if len(report.Classes[ClassOK]) == 0 {
		return Fleet{}, report, nil
	}
	f, err := c.Fleet(context.WithoutCancel(ctx), id)
	return f, report, err
}

// sessionClass is classOf for what is done to sessions.
func sessionClass(err error) Class {
	switch diag.KindOf(err) {
	case diag.Timeout:
		return ClassTimedOut
	case diag.Conflict:
		return ClassConflict
	case diag.Partial:
		return ClassPartial
	case diag.Failure:
		return ClassFailed
	}
	return classOf(RunResult{}, err)
}

// telling counts what came of targets, and tells the caller one at a time.
type telling struct {
	watch FleetWatch

	mu  sync.Mutex // guards rep, and is held while the caller is told
	rep FleetReport
}

func newTelling(w FleetWatch) *telling {
	return &telling{watch: w, rep: FleetReport{Classes: map[Class][]string{}}}
}

func (t *telling) begin(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.watch.Began != nil {
		t.watch.Began(name)
	}
}

// end reports whether the target succeeded.
func (t *telling) end(r MemberResult) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rep.Classes[r.Class] = append(t.rep.Classes[r.Class], r.Session.Target)
	if r.Class != ClassLeftOut {
		t.rep.Targets = append(t.rep.Targets, r.Session.Target)
	}
	if t.watch.Ended != nil {
		t.watch.Ended(r)
	}
	return r.Class == ClassOK
}

func (t *telling) report() FleetReport {
	for _, list := range t.rep.Classes {
		slices.Sort(list)
	}
	return t.rep
}

// Fleet returns the fleet with an id, or the class of one.
func (c *Client) Fleet(ctx context.Context, id string) (Fleet, error) {
	fleetID, prefix, err := plan.ParseFleetID(id)
	if err != nil {
		return Fleet{}, diag.New(diag.Usage, "find session", "see 'bowline session list'", "%w", err)
	}
	list, err := c.parts.Engine.Fleet(ctx, fleetID)
	if err != nil {
		return Fleet{}, err
	}
	groups := map[string]*PlanClass{}
	for _, x := range list {
		if !plan.InClass(x.Effect, prefix) {
			continue
		}
		if groups[x.Effect] == nil {
			groups[x.Effect] = &PlanClass{ID: plan.ClassID(fleetID, x.Effect), Effect: x.Effect}
		}
		groups[x.Effect].Sessions = append(groups[x.Effect].Sessions, sessionOf(x))
	}
	switch {
	case len(groups) == 0:
		return Fleet{}, diag.New(diag.Usage, "find session", "see 'bowline session list'", "there is no session, fleet or class %s", id)
	case len(groups) > 1 && prefix != "":
		return Fleet{}, diag.New(diag.Usage, "find class", "name it with more digits: "+effects(groups), "%s means %d classes", id, len(groups))
	}
	f := Fleet{ID: id, Fleet: fleetID}
	for _, p := range groups {
		slices.SortFunc(p.Sessions, byID)
		if p.Example, err = c.example(ctx, *p); err != nil {
			return Fleet{}, err
		}
		f.Classes = append(f.Classes, *p)
	}
	slices.SortFunc(f.Classes, func(a, b PlanClass) int {
		return cmp.Or(cmp.Compare(len(b.Sessions), len(a.Sessions)), byID(a.Sessions[0], b.Sessions[0]))
	})
	return f, nil
}

func effects(groups map[string]*PlanClass) string {
	return strings.Join(slices.Sorted(maps.Keys(groups)), ", ")
}

// example reads the first session of a class, and checks that it is of it: what is shown
// stands for all the others.
func (c *Client) example(ctx context.Context, p PlanClass) (Session, error) {
	s, err := c.Session(ctx, p.Sessions[0].ID)
	if err != nil {
		return s, err
	}
	effect, err := s.Plan.Effect()
	if err == nil && effect != p.Effect {
		err = diag.New(diag.Denied, "read session "+s.ID, "plan it again with 'bowline plan'", "the stored plan is not of the class that it is listed in: its effect is %s", effect)
	}
	return s, err
}

// deciding is what ApproveFleet and RejectFleet share.
type deciding struct {
	verb     string
	from     []plan.Status
	decision engine.Decision
}

// ApproveFleet approves each session of a class that waits: one approval a session, for
// its own digest and host, signed one by one where approvals are. effect, if not "", must
// be the class's: it says that exactly this was read. The id of a fleet does where one of
// its classes waits; which of several were read nobody could tell.
//
// The results say of each session whether it is approved. An error without results means
// that none is; one with results, that the record of the whole could not be ended.
func (c *Client) ApproveFleet(ctx context.Context, id, effect string) ([]MemberResult, error) {
	f, err := c.Fleet(ctx, id)
	if err != nil {
		return nil, err
	}
	waiting := f.Waiting()
	switch {
	case len(waiting) == 0:
		return nil, diag.New(diag.Denied, "approve "+id, "see 'bowline session show "+id+"'", "no session of it waits for approval")
	case len(waiting) > 1:
		var words []string
		for _, p := range waiting {
			words = append(words, "'bowline approve "+p.ID+"'")
		}
		return nil, diag.New(diag.Usage, "approve "+id, "one class after the other: "+strings.Join(words, ", "), "%d classes of it wait for approval, and they do not do the same", len(waiting))
	}
	class := waiting[0]
	if effect != "" && effect != class.Effect {
		return nil, diag.New(diag.Conflict, "approve "+id, "read it again with 'bowline session show "+class.ID+"'", "the class has the digest %s, not the %s you named", class.Effect, effect)
	}
	return c.decide(ctx, class.ID, class.Sessions, deciding{"approve", []plan.Status{plan.Pending}, engine.Decision{Effect: class.Effect}})
}

// Waiting are the classes with a session that waits for approval, but those that are idle.
func (f Fleet) Waiting() []PlanClass {
	var out []PlanClass
	for _, p := range f.Classes {
		if !p.Idle() && slices.ContainsFunc(p.Sessions, func(s Session) bool { return s.Status == plan.Pending }) {
			out = append(out, p)
		}
	}
	return out
}

// RejectFleet ends the sessions of a fleet or class that were not applied. The results are
// as those of ApproveFleet.
func (c *Client) RejectFleet(ctx context.Context, id, reason string) ([]MemberResult, error) {
	f, err := c.Fleet(ctx, id)
	if err != nil {
		return nil, err
	}
	return c.decide(ctx, id, f.Sessions(), deciding{"reject", []plan.Status{plan.Pending, plan.Approved}, engine.Decision{Reject: true, Reason: reason}})
}

// decide decides on sessions one by one. When ctx ends, or a person who was asked
// something would not answer, the rest is skipped.
func (c *Client) decide(ctx context.Context, id string, sessions []Session, d deciding) ([]MemberResult, error) {
	var list []Session
	record := engine.Classed{Verb: d.verb, Class: id, Effect: d.decision.Effect, Digests: map[string]string{}}
	for _, s := range sessions {
		if slices.Contains(d.from, s.Status) {
			list = append(list, s)
			record.Digests[s.Target] = s.Digest
		}
	}
	if len(list) == 0 {
		return nil, diag.New(diag.Denied, d.verb+" "+id, "see 'bowline session show "+id+"'", "there is no session of it to %s", d.verb)
	}
	var out []MemberResult
	var noKey error
	err := c.parts.Engine.Recorded(ctx, record, func() error {
		each := func(e *engine.Engine) (err error) {
			out, err = decideEach(ctx, e, list, d.decision)
			return err
		}
		var err error
		if d.decision.Reject {
			err = each(c.parts.Engine)
		} else {
			err = c.parts.Engine.Holding(ctx, each)
		}
		if out == nil {
			noKey = err
		}
		return err
	})
	return out, errors.Join(noKey, err)
}

// decideEach decides on sessions one by one; its error counts those it did not.
func decideEach(ctx context.Context, e *engine.Engine, list []Session, decision engine.Decision) (out []MemberResult, err error) {
	failed, stopped := 0, false
	for _, s := range list {
		if stopped = stopped || ctx.Err() != nil; stopped {
			out = append(out, MemberResult{Session: s, Class: ClassSkipped})
			failed++
			continue
		}
		decision.Digest = s.Digest
		_, err := e.Decide(ctx, s.ID, decision)
		out = append(out, MemberResult{Session: s, Class: sessionClass(err), Err: err})
		stopped = diag.KindOf(err) == diag.Canceled || errors.Is(err, context.Canceled)
		if err != nil {
			failed++
		}
	}
	if failed > 0 {
		err = fmt.Errorf("%d of %d sessions were not decided on", failed, len(list))
	}
	return out, err
}

// fleetVerb is what is done to the sessions of a fleet.
type fleetVerb struct {
	name string
	from []plan.Status // those it is done to
	done plan.Status   // those that have it behind them
	// skip are left out in silence: a person decided, or there is nothing to do. All
	// others are refused.
	skip []plan.Status
	act  func(ctx context.Context, id string, o ApplyOptions) (SessionResult, error)
}

// ApplyFleet applies the approved sessions of a fleet or class, as Apply does each. With
// waves the first failure ends it after its wave: sessions that were not begun are
// skipped and stay approved, and calling it again goes on with them. Sessions that were
// applied before count as done; those that nobody approved, or that were applied in
// part, as refused, unless they are idle.
//
// An error means that nothing was begun.
func (c *Client) ApplyFleet(ctx context.Context, id string, a ApplyOptions, o FleetOptions, w FleetWatch) (FleetReport, error) {
	return c.actFleet(ctx, id, a, o, w, fleetVerb{name: "apply", from: []plan.Status{plan.Approved}, done: plan.Executed,
		skip: []plan.Status{plan.Rejected, plan.Cancelled, plan.RolledBack}, act: c.Apply})
}

// RollbackFleet takes back the sessions of a fleet or class that are in effect, as
// Rollback does each.
func (c *Client) RollbackFleet(ctx context.Context, id string, a ApplyOptions, o FleetOptions, w FleetWatch) (FleetReport, error) {
	return c.actFleet(ctx, id, a, o, w, fleetVerb{name: "rollback", from: []plan.Status{plan.Executed, plan.Partial, plan.Applying}, done: plan.RolledBack,
		skip: []plan.Status{plan.Pending, plan.Approved, plan.Rejected, plan.Cancelled, plan.Expired, plan.Failed}, act: c.Rollback})
}

// ResumeFleet finishes the sessions of a fleet or class whose apply was broken off.
func (c *Client) ResumeFleet(ctx context.Context, id string, a ApplyOptions, o FleetOptions, w FleetWatch) (FleetReport, error) {
	return c.actFleet(ctx, id, a, o, w, fleetVerb{name: "resume", from: []plan.Status{plan.Applying, plan.Partial}, done: plan.Executed,
		skip: []plan.Status{plan.Pending, plan.Approved, plan.Rejected, plan.Cancelled, plan.Expired, plan.Failed, plan.RolledBack}, act: c.Resume})
}

// ConfirmFleet confirms the sessions of a fleet or class that wait for it, each over a
// new connection.
func (c *Client) ConfirmFleet(ctx context.Context, id string, o FleetOptions, w FleetWatch) (FleetReport, error) {
	confirm := func(ctx context.Context, id string, _ ApplyOptions) (SessionResult, error) { return c.Confirm(ctx, id) }
	return c.actFleet(ctx, id, ApplyOptions{}, o, w, fleetVerb{name: "confirm", from: []plan.Status{plan.Applying}, done: plan.Executed,
		skip: []plan.Status{plan.Pending, plan.Approved, plan.Rejected, plan.Cancelled, plan.Expired, plan.Failed, plan.RolledBack, plan.Partial}, act: confirm})
}

func (c *Client) actFleet(ctx context.Context, id string, a ApplyOptions, o FleetOptions, w FleetWatch, v fleetVerb) (FleetReport, error) {
	opts, err := o.parse()
	if err != nil {
		return FleetReport{}, err
	}
	f, err := c.Fleet(ctx, id)
	if err != nil {
		return FleetReport{}, err
	}
	work, rest := v.sort(f)
	if len(work) == 0 && !slices.ContainsFunc(rest, func(r MemberResult) bool { return r.Err != nil }) {
		return FleetReport{}, diag.New(diag.Denied, v.name+" "+id, "see 'bowline session show "+id+"'", "there is nothing to %s: %s", v.name, statuses(f))
	}
	if work, err = arranged(work, opts); err != nil {
		return FleetReport{}, err
	}
	tell := newTelling(w)
	for _, r := range rest {
		tell.end(r)
	}
	sessions := make(map[string]Session, len(work))
	var ids []string
	for _, s := range work {
		ids, sessions[s.ID] = append(ids, s.ID), s
	}
	fleet.Do(ctx, opts, ids, func(ctx context.Context, id string) bool {
		s := sessions[id]
		tell.begin(s.Target)
		res, err := v.act(ctx, id, a)
		return tell.end(MemberResult{Session: s, Result: res, Class: sessionClass(err), Err: err})
	}, func(id string) {
		tell.end(MemberResult{Session: sessions[id], Class: ClassSkipped})
	})
	return tell.report(), nil
}

// sort tells the sessions of a fleet that are to be worked on from those of which the
// result is known before.
func (v fleetVerb) sort(f Fleet) (work []Session, rest []MemberResult) {
	idle := map[string]bool{}
	for _, p := range f.Classes {
		for _, s := range p.Sessions {
			idle[s.ID] = p.Idle()
		}
	}
	for _, s := range f.Sessions() {
		switch {
		case slices.Contains(v.from, s.Status):
			work = append(work, s)
		case s.Status == v.done:
			rest = append(rest, MemberResult{Session: s, Result: SessionResult{Status: s.Status}, Class: ClassOK})
		case slices.Contains(v.skip, s.Status), idle[s.ID]:
			rest = append(rest, MemberResult{Session: s, Class: ClassLeftOut})
		default:
			err := v.refuse(s)
			rest = append(rest, MemberResult{Session: s, Class: sessionClass(err), Err: err})
		}
	}
	return work, rest
}

// refuse says why nothing is done to a session.
func (v fleetVerb) refuse(s Session) error {
	kind, hint := diag.Denied, "plan it again with 'bowline plan -t "+s.Target+"'"
	switch s.Status {
	case plan.Pending:
		hint = "read and approve its class first: 'bowline session show " + s.Class + "', 'bowline approve " + s.Class + "'"
	case plan.Partial:
		kind, hint = diag.Partial, "'bowline session resume "+s.ID+"' or 'bowline rollback "+s.ID+"'"
	case plan.Applying:
		hint = "if nobody is at it any more, 'bowline session resume " + s.ID + "' or 'bowline rollback " + s.ID + "'"
	}
	return diag.New(kind, v.name+" "+s.ID, hint, "the session is %s", s.Status)
}

// arranged puts sessions into the order of their targets.
func arranged(list []Session, o fleet.Options) ([]Session, error) {
	var names []string
	of := map[string][]Session{}
	for _, s := range list {
		if of[s.Target] == nil {
			names = append(names, s.Target)
		}
		of[s.Target] = append(of[s.Target], s)
	}
	names, err := o.Arrange(names)
	if err != nil {
		return nil, diag.New(diag.Usage, "read order", "", "%w", err)
	}
	var out []Session
	for _, name := range names {
		out = append(out, of[name]...)
	}
	return out, nil
}

// statuses counts where the sessions of a fleet stand.
func statuses(f Fleet) string {
	n := map[plan.Status]int{}
	for _, s := range f.Sessions() {
		n[s.Status]++
	}
	var out []string
	for _, st := range slices.Sorted(maps.Keys(n)) {
		out = append(out, fmt.Sprintf("%d %s", n[st], st))
	}
	return strings.Join(out, ", ")
}
