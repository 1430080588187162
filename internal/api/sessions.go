package api

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/plan"
)

func (r PlanRequest) request() bowline.PlanRequest {
	return bowline.PlanRequest{Target: r.Target, Script: script(r.Script), File: r.File, Argv: r.Argv, Name: r.Name, Note: r.Note, Profile: r.Profile, AsRoot: r.AsRoot, HostNet: r.HostNet,
		Timeout: seconds(r.Seconds)}
}

func planOne(c *call) (any, error) {
	in, err := body[PlanRequest](c)
	if err != nil {
		return nil, err
	}
	if in.Target, err = c.named(in.Target); err != nil {
		return nil, err
	}
	s, err := c.Client.Plan(c, in.request())
	if err != nil {
		return nil, err
	}
	return c.whole(s.ID)
}

// session returns one that the visitor may see.
func (c *call) session() (bowline.Session, error) {
	s, err := c.Client.Session(c, c.path("id"))
	if diag.KindOf(err) == diag.Usage || err == nil && !c.visitor.Sees()(s.Target) {
		return bowline.Session{}, diag.New(diag.Usage, "find session", "GET "+Prefix+"/sessions lists them", "%w", errMissing)
	}
	return s, err
}

// whole returns a session as it is now.
func (c *call) whole(id string) (any, error) {
	s, err := c.Client.Session(c, id)
	if err != nil {
		return nil, err
	}
	return wholeSession(s)
}

func getSession(c *call) (any, error) {
	s, err := c.session()
	if err != nil {
		return nil, err
	}
	return wholeSession(s)
}

func listSessions(c *call) (any, error) {
	limit, err := c.limit()
	if err != nil {
		return nil, err
	}
	status := plan.Status(c.query("status"))
	page, err := c.SessionPage(c, bowline.SessionQuery{Status: status, Target: c.query("target"), Fleet: c.query("fleet"), Limit: limit, After: c.query("cursor")}, c.visitor.Sees())
	if err != nil {
		return nil, err
	}
	out := Sessions{Sessions: []Session{}, Next: page.Next}
	for _, s := range page.Sessions {
		out.Sessions = append(out.Sessions, newSession(s))
	}
	return out, nil
}

// Drift is what is in another state on the target than the session left it.
type Drift struct {
	Status  plan.Status `json:"status"`
	Changes []Drifted   `json:"changes"`
}

// Drifted is one path.
type Drifted struct {
	Path string `json:"path"`
	Why  string `json:"why"`
}

func drift(c *call) (any, error) {
	s, err := c.session()
	if err != nil {
		return nil, err
	}
	d, err := c.Client.Drift(c, s.ID)
	out := Drift{Status: d.Status, Changes: []Drifted{}}
	for _, x := range d.Changes {
		out.Changes = append(out.Changes, Drifted{Path: string(x.Path), Why: x.Why})
	}
	return out, err
}

func export(c *call) (any, error) {
	s, err := c.session()
	if err != nil {
		return nil, err
	}
	doc, err := c.ExportSession(c, s.ID)
	if err != nil {
		return nil, err
	}
	return nil, c.sendFile(bytes.NewReader(doc), s.ID+".receipt.json")
}

func selectOps(c *call) (any, error) {
	in, err := body[SelectRequest](c)
	if err != nil {
		return nil, err
	}
	s, err := c.session()
	if err != nil {
		return nil, err
	}
	made, err := c.Select(c, s.ID, bowline.Selection{Keep: in.Ops, Quick: in.NoRerun})
	if err != nil {
		return nil, err
	}
	return c.whole(made.ID)
}

func cancel(c *call) (any, error) { return c.ended(c.Cancel) }
func reject(c *call) (any, error) { return c.ended(c.Reject) }

// ended ends a session with a reason.
func (c *call) ended(end func(ctx context.Context, id, why string) error) (any, error) {
	in, err := body[Reason](c)
	if err != nil {
		return nil, err
	}
	s, err := c.session()
	if err != nil {
		return nil, err
	}
	if err := end(c, s.ID, in.Reason); err != nil {
		return nil, err
	}
	return c.whole(s.ID)
}

// errDigest means that nobody can tell what was approved.
var errDigest = errors.New("the digest of the plan that was read is needed")

func approve(c *call) (any, error) {
	in, err := body[ApproveRequest](c)
	if err != nil {
		return nil, err
	}
	s, err := c.session()
	if err != nil {
		return nil, err
	}
	if in.Digest == "" {
		return nil, diag.New(diag.Usage, "approve "+s.ID, "send the 'digest' of GET "+Prefix+"/sessions/"+s.ID, "%w", errDigest)
	}
	a, err := c.Approve(c, s.ID, in.Digest)
	return newDecision(a), err
}

// act returns the handler of something that is done on the target. It goes on when its
// reader leaves: half an apply helps nobody.
func act(do func(*bowline.Client, context.Context, string, bowline.ApplyOptions) (bowline.SessionResult, error)) func(*call) (any, error) {
	return func(c *call) (any, error) {
		in, err := body[ApplyRequest](c)
		if err != nil {
			return nil, err
		}
		s, err := c.session()
		if err != nil {
			return nil, err
		}
		r, err := do(c.Client, context.WithoutCancel(c), s.ID, in.options(c))
		return SessionResult{Status: r.Status, Done: r.Done, Total: r.Total, Notes: r.Notes, Message: r.Message, Commands: r.Commands}, err
	}
}

func confirm(c *bowline.Client, ctx context.Context, id string, _ bowline.ApplyOptions) (bowline.SessionResult, error) {
	return c.Confirm(ctx, id)
}

// PruneRequest says which sessions are deleted.
type PruneRequest struct {
	Days     float64 `json:"older_than_days"`    // not changed for so long
	Executed bool    `json:"executed,omitempty"` // also those that were applied: they can never be rolled back then
	Forget   bool    `json:"forget,omitempty"`   // also here, where the target does not answer
}

// Pruned are the sessions that were deleted.
type Pruned struct {
	Sessions []string `json:"sessions"`
}

func prune(c *call) (any, error) {
	in, err := body[PruneRequest](c)
	if err != nil {
		return nil, err
	}
	if c.visitor.Targets != "" {
		return nil, diag.New(diag.Refused, "prune sessions", "", "a token bound to targets prunes none")
	}
	if in.Days < 0 {
		return nil, diag.New(diag.Usage, "prune sessions", "as in \"older_than_days\": 30", "%v days", in.Days)
	}
	ids, err := c.PruneSessions(c, bowline.PruneOptions{Before: time.Now().Add(-time.Duration(in.Days * 24 * float64(time.Hour))), Executed: in.Executed, Forget: in.Forget})
	if ids == nil {
		ids = []string{}
	}
	return Pruned{ids}, err
}
