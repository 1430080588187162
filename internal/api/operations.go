package api

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
)

// OperationRequest is one verb for some targets, carried out whether or not its reader
// stays. The header Idempotency-Key makes it safe to send again.
type OperationRequest struct {
	Verb     string       `json:"verb"`               // run, plan, apply, rollback
	Selector string       `json:"selector,omitempty"` // of targets, for run and plan
	Sessions []string     `json:"sessions,omitempty"` // for apply and rollback
	Run      *RunRequest  `json:"run,omitempty"`      // its target must be "", and it holds no secrets
	Plan     *PlanRequest `json:"plan,omitempty"`     // its target must be ""
	Apply    ApplyRequest `json:"apply,omitzero"`
}

// Operation is one verb for some targets, as it stands.
type Operation struct {
	ID        string         `json:"id"`
	Verb      string         `json:"verb"`
	User      string         `json:"user"`
	Surface   string         `json:"surface"`
	Client    string         `json:"client,omitempty"`
	State     string         `json:"state"` // queued, running, succeeded, failed, unknown, cancelled
	Created   time.Time      `json:"created"`
	Ended     *time.Time     `json:"ended,omitempty"`
	Cancelled *time.Time     `json:"cancelled,omitempty"` // when it was asked to stop
	Counts    map[string]int `json:"counts"`              // tasks by state
	Fleet     string         `json:"fleet,omitempty"`     // that a plan makes
	Tasks     []Task         `json:"tasks,omitempty"`     // not in lists
}

// Task is the share that one target has in an operation.
type Task struct {
	ID        string          `json:"id"`
	Target    string          `json:"target"`
	Session   string          `json:"session,omitempty"`
	State     string          `json:"state"`
	Process   string          `json:"process,omitempty"`
	Attempt   int             `json:"attempt"`
	Started   *time.Time      `json:"started,omitempty"`
	Ended     *time.Time      `json:"ended,omitempty"`
	Result    json.RawMessage `json:"result,omitempty"` // by verb
	Stdout    []byte          `json:"stdout,omitempty"` // of a run; base64
	Truncated bool            `json:"truncated,omitempty"`
	Kind      diag.Kind       `json:"kind,omitempty"`
	Error     string          `json:"error,omitempty"`
}

// Operations is a page of operations, newest first.
type Operations struct {
	Operations []Operation `json:"operations"`
	Next       string      `json:"next,omitempty"`
}

// OperationEvent is something that happened in an operation.
type OperationEvent struct {
	Seq   int64     `json:"seq"`
	Time  time.Time `json:"time"`
	Task  string    `json:"task,omitempty"`
	State string    `json:"state,omitempty"`
	Data  []byte    `json:"data,omitempty"` // base64
}

func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func newOperation(o bowline.Operation) Operation {
	out := Operation{ID: o.ID, Verb: string(o.Verb), User: o.User, Surface: o.Surface, Client: o.Client, State: string(o.State), Created: o.Created, Ended: moment(o.Ended),
		Cancelled: moment(o.Cancelled), Counts: map[string]int{}, Fleet: o.Fleet}
	for s, n := range o.Counts {
		out.Counts[string(s)] = n
	}
	return out
}

func newTask(t bowline.Task) Task {
	return Task{ID: t.ID, Target: t.Target, Session: t.Session, State: string(t.State), Process: t.Process, Attempt: t.Attempt, Started: moment(t.Started), Ended: moment(t.Ended),
		Result: t.Result, Stdout: t.Output, Truncated: t.Truncated, Kind: t.Kind, Error: t.Error}
}

// scopes are what each verb of an operation needs besides reading.
var scopes = map[string]bowline.Scope{"run": bowline.ScopeRun, "plan": bowline.ScopePlan, "apply": bowline.ScopeApply, "rollback": bowline.ScopeApply}

func submit(c *call) (any, error) {
	in, err := body[OperationRequest](c)
	if err != nil {
		return nil, err
	}
	req := bowline.OperationRequest{Verb: bowline.OperationVerb(in.Verb), Sessions: in.Sessions, Key: c.request.Header.Get("Idempotency-Key"), Token: c.visitor.ID, Scopes: c.visitor.Scopes.String(),
		Act: bowline.ApplyOptions{Confirm: seconds(in.Apply.ConfirmSeconds), Force: in.Apply.Force}}
	if len(req.Key) > 200 {
		return nil, diag.New(diag.Usage, "read Idempotency-Key", "a UUID is enough", "it has %d letters, and 200 are the most", len(req.Key))
	}
	if scope, known := scopes[in.Verb]; known && !c.visitor.May(scope) {
		return nil, diag.New(diag.Refused, "submit", "use another token, or have one made with 'bowline token create --scope "+string(scope)+"'", "token %q lacks the scope %q", c.visitor.Name, string(scope))
	}
	if req.Targets, err = c.selected(in.Selector); err != nil {
		return nil, err
	}
	for _, id := range in.Sessions {
		s, err := c.Client.Session(c, id)
		if diag.KindOf(err) == diag.Usage || err == nil && !c.visitor.Sees()(s.Target) {
			return nil, diag.New(diag.Usage, "find session "+id, "GET "+Prefix+"/sessions lists them", "%w", errMissing)
		}
		if err != nil {
			return nil, err
		}
	}
	if in.Run != nil {
		if req.Run, err = in.Run.request(); err != nil {
			return nil, err
		}
		req.Stdin = in.Run.Stdin
	}
	if in.Plan != nil {
		p := in.Plan.request()
		req.Plan = &p
	}
	o, err := c.Submit(c, req)
	return newOperation(o), err
}

// request is a run for several targets.
func (r RunRequest) request() (*bowline.RunRequest, error) {
	out := bowline.RunRequest{Profile: r.Profile, Argv: r.Argv, Env: r.Env, Secrets: r.Secrets, Cwd: r.Cwd, Timeout: seconds(r.Seconds), Script: script(r.Script)}
	var err error
	if out.Script != nil {
		out.Argv, err = bowline.ScriptArgv(out.Script, r.Argv)
	}
	return &out, err
}

// selected are the names that a selector means; each must be the visitor's.
func (c *call) selected(selector string) ([]string, error) {
	if selector == "" {
		return nil, nil
	}
	list, err := c.Targets(c, selector)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, t := range list {
		if err := c.sees(t.Name); err != nil {
			return nil, err
		}
		names = append(names, t.Name)
	}
	return names, nil
}

// operation returns one that the visitor may see: each of its targets is theirs, and a run
// is their own.
func (c *call) operation(output bool) (bowline.Operation, []bowline.Task, error) {
	missing := diag.New(diag.Usage, "find operation", "GET "+Prefix+"/operations lists them", "%w", errMissing)
	o, err := c.Operation(c, c.path("id"))
	if diag.KindOf(err) == diag.Usage {
		return o, nil, missing
	}
	if err != nil {
		return o, nil, err
	}
	if o.Verb == bowline.OperationRun && o.User != c.visitor.User && !c.visitor.May(bowline.ScopeAdmin) {
		return bowline.Operation{}, nil, missing // what a command wrote is for who ran it
	}
	tasks, err := c.Tasks(c, o.ID, output)
	sees := c.visitor.Sees()
	for _, t := range tasks {
		if !sees(t.Target) {
			return bowline.Operation{}, nil, missing
		}
	}
	return o, tasks, err
}

func getOperation(c *call) (any, error) {
	o, tasks, err := c.operation(true)
	if err != nil {
		return nil, err
	}
	out := newOperation(o)
	for _, t := range tasks {
		out.Tasks = append(out.Tasks, newTask(t))
	}
	return out, nil
}

// listOperations shows those of the visitor's user; an administrator's shows all.
func listOperations(c *call) (any, error) {
	limit, err := c.limit()
	if err != nil {
		return nil, err
	}
	q := bowline.OperationQuery{User: c.visitor.User, State: bowline.WorkState(c.query("state")), After: c.query("cursor"), Limit: limit}
	if c.visitor.May(bowline.ScopeAdmin) && c.visitor.Targets == "" {
		q.User = c.query("user")
	}
	list, err := c.Operations(c, q)
	out := Operations{Operations: []Operation{}}
	for _, o := range list {
		out.Operations = append(out.Operations, newOperation(o))
	}
	if len(list) == limit {
		out.Next = list[limit-1].ID
	}
	return out, err
}

func cancelOperation(c *call) (any, error) {
	o, _, err := c.operation(false)
	if err != nil {
		return nil, err
	}
	if scope := scopes[string(o.Verb)]; !c.visitor.May(scope) {
		return nil, diag.New(diag.Refused, "cancel operation", "use another token, or have one made with 'bowline token create --scope "+string(scope)+"'", "token %q lacks the scope %q", c.visitor.Name, string(scope))
	}
	if err := c.CancelOperation(c, o.ID); err != nil {
		return nil, err
	}
	return getOperation(c)
}

// watchOperation streams the events of an operation, after the one that the reader saw
// last, and ends with the operation itself.
func watchOperation(c *call) (any, error) {
	o, _, err := c.operation(false)
	if err != nil {
		return nil, err
	}
	if c.events == nil {
		return nil, diag.New(diag.Usage, "watch operation", "send 'Accept: text/event-stream'", "events come as a stream only")
	}
	var after int64
	if text := c.request.Header.Get("Last-Event-ID"); text != "" {
		if after, err = strconv.ParseInt(text, 10, 64); err != nil {
			return nil, diag.New(diag.Usage, "read Last-Event-ID", "leave it out to begin anew", "%w", err)
		}
	}
	for e, err := range c.WatchOperation(c, o.ID, after) {
		if err != nil {
			return nil, err
		}
		if err := c.events.send(e.Kind, strconv.FormatInt(e.Seq, 10), OperationEvent{Seq: e.Seq, Time: e.Time, Task: e.Task, State: string(e.State), Data: e.Data}); err != nil {
			return nil, err // the reader is gone
		}
	}
	return getOperation(c)
}
