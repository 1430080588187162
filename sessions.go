package bowline

import (
	"context"
	"time"

	"github.com/bowline-sh/bowline/change"
	"github.com/bowline-sh/bowline/internal/engine"
	"github.com/bowline-sh/bowline/internal/helper"
	"github.com/bowline-sh/bowline/internal/store"
	"github.com/bowline-sh/bowline/plan"
)

// PlanRequest is a change to be planned. Script or Argv is required.
type PlanRequest struct {
	Target  string        // name; "" means the default target
	AsRoot  bool          // dry-run, and later apply, as root through sudo -n
	HostNet bool          // let the dry run use the target's network
	Profile string        // name or file: what the dry run defers; "" means the target's, else the default
	Name    string        // for the session's id; default from the script or command
	Note    string        // why, for whoever reviews it
	Script  []byte        // text of a script, run by its own #! line; Argv are then its arguments
	File    string        // base name of the script's file
	Argv    []string      // a command, if there is no script
	Timeout time.Duration // of the dry run; default 5 minutes
}

// Session is one reviewed change: what it would do, who decided, where it stands.
type Session struct {
	ID        string
	Name      string
	Note      string
	Target    string
	Status    plan.Status
	Digest    string // of the plan: what an approval names
	User      string // who asked for it, where, and through what
	Host      string
	Surface   string
	Client    string // program that acted for the user, as it named itself; "" for a person
	Created   time.Time
	Updated   time.Time
	Expires   time.Time // of the wait for approval, then of the approval
	Message   string
	Fleet     string            // of which it is a session; "" if it was planned alone
	Class     string            // id of those of its fleet with the same effect
	Plan      plan.Plan         // zero in lists
	Contents  map[string][]byte // small contents before and after, by SHA-256; nil in lists
	Decisions []plan.Approval   // nil in lists
	Commands  []plan.Ran        // deferred commands that were run so far; nil in lists
}

func sessionOf(x store.Session) Session {
	s := Session{ID: x.ID, Name: x.Name, Note: x.Note, Target: x.Target, Status: x.Status, Digest: x.Digest, User: x.User, Host: x.Host,
		Surface: x.Surface, Client: x.Client, Created: x.Created, Updated: x.Updated, Expires: x.Expires, Message: x.Message, Fleet: x.Fleet}
	if x.Fleet != "" {
		s.Class = plan.ClassID(x.Fleet, x.Effect)
	}
	return s
}

// Plan runs a script or command against a copy-on-write view of the target and
// returns what it would do as a pending session. The target is unchanged, whatever
// the error.
func (c *Client) Plan(ctx context.Context, req PlanRequest) (Session, error) {
	p, err := c.parts.Engine.Plan(ctx, engine.PlanRequest(req), engine.Member{})
	s := sessionOf(p.Session)
	s.Plan, s.Contents = p.Plan, p.Contents
	return s, err
}

// InEffect is a session that was applied and can still be rolled back.
type InEffect struct {
	Session string
	Paths   []change.Path // that it changed
}

// maxInEffect bounds what InEffect looks at: the newest sessions.
const maxInEffect = 50

// InEffect lists the newest sessions of a target that are in effect, with what they
// changed: whoever changes the same again is in the way of their rollback.
func (c *Client) InEffect(ctx context.Context, target string) ([]InEffect, error) {
	list, err := c.Sessions(ctx, SessionQuery{Status: plan.Executed, Target: target, Limit: maxInEffect})
	if err != nil {
		return nil, err
	}
	var out []InEffect
	for _, s := range list {
		d, err := c.parts.Engine.Get(ctx, s.ID)
		if err != nil {
			return nil, err
		}
		x := InEffect{Session: s.ID}
		for _, op := range d.Plan.Ops {
			if op.Change != nil {
				x.Paths = append(x.Paths, op.Change.Path)
			}
		}
		out = append(out, x)
	}
	return out, nil
}

// SessionQuery selects sessions; zero fields select all.
type SessionQuery struct {
	Status plan.Status
	Target string
	Fleet  string // id of a fleet
	Limit  int
	After  string // cursor: id of the last session of the page before
}

// Sessions lists sessions, newest first.
func (c *Client) Sessions(ctx context.Context, q SessionQuery) ([]Session, error) {
	list, err := c.parts.Engine.List(ctx, store.Filter{Status: q.Status, Target: q.Target, Fleet: q.Fleet, Limit: q.Limit, After: q.After})
	out := make([]Session, len(list))
	for i, x := range list {
		out[i] = sessionOf(x)
	}
	return out, err
}

// SessionPage is some sessions, newest first. Next is the cursor of what follows, "" at
// the end.
type SessionPage struct {
	Sessions []Session
	Next     string
}

// SessionPage returns the next q.Limit sessions after q.After whose targets sees allows.
func (c *Client) SessionPage(ctx context.Context, q SessionQuery, sees func(target string) bool) (SessionPage, error) {
	var out SessionPage
	limit := q.Limit
	for q.Limit = limit + 1; ; {
		list, err := c.Sessions(ctx, q)
		if err != nil {
			return out, err
		}
		for _, s := range list {
			if !sees(s.Target) {
				continue
			}
			if len(out.Sessions) == limit {
				out.Next = out.Sessions[limit-1].ID
				return out, nil
			}
			out.Sessions = append(out.Sessions, s)
		}
		if len(list) < q.Limit {
			return out, nil
		}
		q.After = list[len(list)-1].ID
	}
}

// Session returns one session whole.
func (c *Client) Session(ctx context.Context, id string) (Session, error) {
	d, err := c.parts.Engine.Get(ctx, id)
	s := sessionOf(d.Session)
	s.Plan, s.Contents, s.Decisions, s.Commands = d.Plan, d.Contents, d.Decisions, d.Commands
	return s, err
}

// Approve allows the session to be applied once within the hour. digest, if not
// "", must be the plan's: it says that exactly this was read.
func (c *Client) Approve(ctx context.Context, id, digest string) (plan.Approval, error) {
	return c.parts.Engine.Decide(ctx, id, engine.Decision{Digest: digest})
}

// Selection is some operations of a plan, see [Client.Select].
type Selection = engine.Selection

// Select makes a new pending session of some operations of a pending one. The old one
// stays as it is. Where a kept operation needs one that is not, the call is refused
// with the reasons. To find what else depends on those left out, the target runs the
// script again in a dry run that keeps it from making them; what then differs is said
// in the warnings of the new plan.
func (c *Client) Select(ctx context.Context, id string, sel Selection) (Session, error) {
	p, err := c.parts.Engine.Select(ctx, id, sel)
	s := sessionOf(p.Session)
	s.Plan, s.Contents = p.Plan, p.Contents
	return s, err
}

// Cancel withdraws a session that was not applied.
func (c *Client) Cancel(ctx context.Context, id, why string) error {
	return c.parts.Engine.Cancel(ctx, id, why)
}

// Reject ends a session that was not applied.
func (c *Client) Reject(ctx context.Context, id, reason string) error {
	_, err := c.parts.Engine.Decide(ctx, id, engine.Decision{Reject: true, Reason: reason})
	return err
}

// Progress is one step of an apply or rollback.
type Progress struct {
	Op   int // operation, from 1
	What string
	Text string // output of a deferred command; hostile
}

// SessionResult is where a session stands.
type SessionResult struct {
	Status  plan.Status
	Done    int // operations
	Total   int
	Notes   []string
	Message string
	// Commands are the deferred commands, or what took them back, that were run.
	Commands []plan.Ran
}

func resultOf(r helper.SessionResult) SessionResult {
	return SessionResult{Status: r.Status, Done: r.Done, Total: r.Total, Notes: r.Notes, Message: r.Message, Commands: r.Commands}
}

// ApplyOptions are for Apply, Resume and Rollback.
type ApplyOptions struct {
	// Confirm, with Apply, is how long the target waits for Confirm, over another
	// connection, before it takes everything back by itself; 0 for not at all.
	Confirm  time.Duration
	Force    bool // rollback: also what was changed since
	DryRun   bool // rollback: only say what it would do
	Rerun    bool // resume: run the interrupted command again
	Skip     bool // resume: take the interrupted command as done
	Progress func(Progress)
}

func (o ApplyOptions) engine() engine.Options {
	out := engine.Options{Confirm: o.Confirm, Force: o.Force, DryRun: o.DryRun, Rerun: o.Rerun, Skip: o.Skip}
	if o.Progress != nil {
		out.Progress = func(p helper.Progress) { o.Progress(Progress{Op: p.Op, What: p.What, Text: p.Text}) }
	}
	return out
}

// Apply carries out an approved session: exactly the captured bytes and commands,
// checked against what the target looks like now, journalled. It goes on on the
// target if the link drops. An error of kind conflict or denied means that nothing
// was touched; partial, that Resume and Rollback both work.
func (c *Client) Apply(ctx context.Context, id string, o ApplyOptions) (SessionResult, error) {
	r, err := c.parts.Engine.Apply(ctx, id, o.engine())
	return resultOf(r), err
}

// Confirm tells the target, over a new connection, to keep what was applied with a
// window. Kind Conflict means that it was too late.
func (c *Client) Confirm(ctx context.Context, id string) (SessionResult, error) {
	r, err := c.parts.Engine.Confirm(ctx, id)
	return resultOf(r), err
}

// Resume finishes an apply that was broken off.
func (c *Client) Resume(ctx context.Context, id string, o ApplyOptions) (SessionResult, error) {
	r, err := c.parts.Engine.Resume(ctx, id, o.engine())
	return resultOf(r), err
}

// Rollback takes a session back. What somebody changed since is a conflict, and
// nothing is touched, unless Force is set.
func (c *Client) Rollback(ctx context.Context, id string, o ApplyOptions) (SessionResult, error) {
	r, err := c.parts.Engine.Rollback(ctx, id, o.engine())
	return resultOf(r), err
}

// PruneOptions say which sessions PruneSessions deletes.
type PruneOptions struct {
	Before   time.Time // not changed since
	Executed bool      // also those that were applied: they can never be rolled back then
	Forget   bool      // also here, where the target does not answer
}

// PruneSessions deletes sessions that are over, on their targets and here, and
// returns their ids. Those of a target that does not answer stay, and the error says
// so.
func (c *Client) PruneSessions(ctx context.Context, o PruneOptions) ([]string, error) {
	return c.parts.Engine.Prune(ctx, engine.PruneOptions(o))
}

// Drift is what Drift found.
type Drift struct {
	Status   plan.Status // on the target
	Changes  []Drifted
	Contents map[string][]byte // small contents, by SHA-256
}

// Drifted is a path in another state than the session left it: Before is as it was
// left, or found if the session was not applied; After is as it is.
type Drifted struct {
	change.Change
	Why string `json:"why"`
}

// Drift compares the target with how the session left it, or found it. It changes
// nothing.
func (c *Client) Drift(ctx context.Context, id string) (Drift, error) {
	r, err := c.parts.Engine.Drift(ctx, id)
	out := Drift{Status: r.Status, Contents: r.Contents}
	for _, d := range r.Changes {
		out.Changes = append(out.Changes, Drifted(d))
	}
	return out, err
}
