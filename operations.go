package bowline

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/caller"
	"github.com/bowline-sh/bowline/internal/engine"
	"github.com/bowline-sh/bowline/internal/wire"
	"github.com/bowline-sh/bowline/internal/work"
)

// OperationVerb is what an operation does.
type OperationVerb = work.Verb

// Verbs of operations.
const (
	OperationRun      = work.Run
	OperationPlan     = work.Plan
	OperationApply    = work.Apply
	OperationRollback = work.Rollback
)

// WorkState is where an operation or one of its tasks stands.
type WorkState = work.State

// States of work. The last four never change again.
const (
	WorkQueued    = work.Queued
	WorkRunning   = work.Running
	WorkSucceeded = work.Succeeded
	WorkFailed    = work.Failed
	WorkUnknown   = work.Unknown   // its process died; it is not done again
	WorkCancelled = work.Cancelled // it was not begun, or killed
)

// OperationRequest is one verb for some targets, carried out by whatever process serves
// the store (see [Client.ServeWork]) whether or not the caller stays. Run goes with the
// verb run, Plan with plan; their own targets are not used. Sessions goes with apply and
// rollback, Targets with the others.
type OperationRequest struct {
	Verb     OperationVerb
	Targets  []string // names
	Sessions []string // ids
	// Run is kept in the store with its script and environment, so it must hold no
	// secrets; its streams are not used. Stdin is what it reads.
	Run   *RunRequest
	Stdin []byte
	Plan  *PlanRequest
	Act   ApplyOptions // Confirm and Force alone

	// Key, if not "", makes the request safe to repeat: the same key of the same user
	// and token with the same request returns the operation of then, and with another
	// request is an error of kind Conflict.
	Key string
	// Token is the id of the token that the caller came with, and Scopes its scopes, for
	// the record.
	Token, Scopes string
}

// Operation is one verb for some targets, as it stands.
type Operation struct {
	ID        string // later ones sort higher
	Verb      OperationVerb
	User      string
	Surface   string
	Client    string
	Token     string
	Scopes    string
	State     WorkState // of the whole: failed if any task is neither succeeded nor cancelled
	Created   time.Time
	Ended     time.Time
	Cancelled time.Time         // when it was asked to stop
	Counts    map[WorkState]int // of its tasks
	Fleet     string            // of a plan for several targets; see [Client.Fleet]
}

// Task is the share that one target has in an operation.
type Task struct {
	ID        string
	Operation string
	Target    string
	Session   string // that it is about, or made
	State     WorkState
	Process   string // that has it, or had it last
	Attempt   int    // how many processes had it
	Started   time.Time
	Ended     time.Time
	Result    json.RawMessage // depends on the verb; nil if there is none
	Output    []byte          // of a run: its standard output; nil unless it was asked for
	Truncated bool            // more was written than is kept
	Kind      diag.Kind       // of what went wrong
	Error     string
}

// OperationEvent is something that happened in an operation. Those of one operation are
// numbered from 1 without gaps.
type OperationEvent struct {
	Seq   int64
	Time  time.Time
	Task  string    // "" for the operation itself
	Kind  string    // "state", "stdout", "stderr", "progress" (a JSON document), "truncated"
	State WorkState // of a "state"
	Data  []byte    // hostile
}

// maxTasks bounds the targets of one operation.
const maxTasks = 10000

// Submit stores an operation, to be carried out for the caller of ctx. That targets and
// sessions exist is checked here; the rules are asked when each task begins.
func (c *Client) Submit(ctx context.Context, r OperationRequest) (Operation, error) {
	tasks, err := c.tasksOf(ctx, r)
	if err != nil {
		return Operation{}, err
	}
	doc, fleet, err := c.requestOf(r)
	if err != nil {
		return Operation{}, err
	}
	sum, err := hashOf(r, doc)
	if err != nil {
		return Operation{}, err
	}
	if len(tasks) > 1 && doc.Plan != nil {
		doc.Plan.Fleet = fleet // after the hash: it is new each time
	}
	text, err := json.Marshal(doc)
	if err != nil {
		return Operation{}, fmt.Errorf("store request: %w", err)
	}
	if len(text) > work.MaxRequest {
		return Operation{}, diag.New(diag.Usage, "submit", "make the script smaller, or place it with 'bowline cp'", "the request has %d bytes, and %d are the most", len(text), work.MaxRequest)
	}
	now := time.Now()
	who := caller.From(ctx, c.parts.Caller())
	op := work.Operation{ID: ulid.MustNew(ulid.Timestamp(now), rand.Reader).String(), Verb: r.Verb, Request: text, Created: now, Key: r.Key, KeyHash: sum,
		Caller: work.Caller{User: who.User, Surface: who.Surface, Client: who.Client, Token: r.Token, Scopes: r.Scopes}}
	for i := range tasks {
		tasks[i].Number = i + 1
		tasks[i].ID = fmt.Sprintf("%s-%d", op.ID, i+1)
	}
	s, err := c.parts.Keeper(ctx)
	if err != nil {
		return Operation{}, err
	}
	op, err = s.Submit(ctx, op, tasks)
	if errors.Is(err, work.ErrConflict) {
		return Operation{}, diag.New(diag.Conflict, "submit", "use another idempotency key", "%w", err)
	}
	return operationOf(op), err
}

// hashOf stands for what was asked for with an idempotency key.
func hashOf(r OperationRequest, doc work.Request) ([]byte, error) {
	text, err := json.Marshal(struct {
		Verb              OperationVerb
		Targets, Sessions []string
		Request           work.Request
	}{r.Verb, r.Targets, r.Sessions, doc})
	sum := sha256.Sum256(text)
	return sum[:], err
}

// tasksOf are the tasks of a request, without ids.
func (c *Client) tasksOf(ctx context.Context, r OperationRequest) ([]work.Task, error) {
	wrong := func(format string, args ...any) ([]work.Task, error) {
		return nil, diag.New(diag.Usage, "submit", "", format, args...)
	}
	names, others := r.Targets, r.Sessions
	switch r.Verb {
	case work.Run, work.Plan:
	case work.Apply, work.Rollback:
		names, others = others, names
	default:
		return wrong("there is no verb %q; use run, plan, apply or rollback", r.Verb)
	}
	switch {
	case len(others) > 0:
		return wrong("%s takes targets or sessions, not both: run and plan take targets, apply and rollback sessions", r.Verb)
	case len(names) == 0:
		return wrong("it names nothing to %s", r.Verb)
	case len(names) > maxTasks:
		return wrong("%d are more than the %d of one operation", len(names), maxTasks)
	}
	seen := make(map[string]bool, len(names))
	out := make([]work.Task, len(names))
	for i, name := range names {
		if seen[name] {
			return wrong("%s is named twice", name)
		}
		seen[name] = true
		if !r.Verb.Exclusive() {
			t, err := c.parts.Resolve(name)
			if err != nil {
				return nil, err
			}
			out[i].Target = t.Name
			continue
		}
		d, err := c.parts.Engine.Get(ctx, name)
		if err != nil {
			return nil, err
		}
		out[i].Target, out[i].Session = d.Target, d.ID
	}
	return out, nil
}

// requestOf is r as it is stored, and the id of the fleet that a plan may be.
func (c *Client) requestOf(r OperationRequest) (doc work.Request, fleet string, err error) {
	wrong := func(format string, args ...any) error {
		return diag.New(diag.Usage, "submit", "", format, args...)
	}
	switch {
	case (r.Run != nil) != (r.Verb == work.Run), (r.Plan != nil) != (r.Verb == work.Plan):
		return doc, "", wrong("what is to be done does not go with the verb %s", r.Verb)
	case r.Run != nil && len(r.Run.Secrets) > 0:
		return doc, "", wrong("it would keep secrets in the store; put them on the target")
	case r.Run != nil && r.Run.Stdin != nil:
		return doc, "", wrong("its standard input would end with this call; give it as bytes")
	case r.Run != nil && len(r.Run.Argv) == 0 && !r.Run.Upload:
		return doc, "", wrong("there is no command")
	case r.Run != nil:
		q := r.Run
		up, err := upload(*q)
		if err != nil {
			return doc, "", err
		}
		doc.Run = &work.RunRequest{Profile: q.Profile, Argv: q.Argv, Env: q.Env, Cwd: q.Cwd, Timeout: q.Timeout, Script: q.Script, Upload: q.Upload, File: q.File, Stdin: r.Stdin, Digests: digests(*q)}
		if up != nil {
			doc.Run.Interpreter = up.Interpreter
		}
	case r.Plan != nil:
		q := r.Plan
		doc.Plan = &work.PlanRequest{AsRoot: q.AsRoot, HostNet: q.HostNet, Profile: q.Profile, Name: q.Name, Note: q.Note, Script: q.Script, File: q.File, Argv: q.Argv, Timeout: q.Timeout}
		fleet, err = c.parts.Engine.NewFleet(engine.PlanRequest(*q))
	default:
		doc.Act = &work.ActRequest{Confirm: r.Act.Confirm, Force: r.Act.Force}
	}
	return doc, fleet, err
}

func operationOf(o work.Operation) Operation {
	out := Operation{ID: o.ID, Verb: o.Verb, User: o.Caller.User, Surface: o.Caller.Surface, Client: o.Caller.Client, Token: o.Caller.Token, Scopes: o.Caller.Scopes,
		State: o.State, Created: o.Created, Ended: o.Ended, Cancelled: o.Cancelled, Counts: o.Counts}
	var doc work.Request
	if o.Verb == work.Plan && json.Unmarshal(o.Request, &doc) == nil && doc.Plan != nil {
		out.Fleet = doc.Plan.Fleet
	}
	return out
}

func taskOf(t work.Task) Task {
	return Task{ID: t.ID, Operation: t.Operation, Target: t.Target, Session: t.Session, State: t.State, Process: t.Process, Attempt: t.Attempt, Started: t.Started, Ended: t.Ended,
		Result: t.Result, Output: t.Output, Truncated: t.Truncated, Kind: diag.Kind(t.Kind), Error: t.Error}
}

// noOperation says that there is none, where that is so.
func noOperation(id string, err error) error {
	if errors.Is(err, work.ErrNotFound) {
		return diag.New(diag.Usage, "find operation", "", "there is no operation %s", id)
	}
	return err
}

// Operation returns one as it stands, or an error of kind Usage if there is none.
func (c *Client) Operation(ctx context.Context, id string) (Operation, error) {
	s, err := c.parts.Keeper(ctx)
	if err != nil {
		return Operation{}, err
	}
	o, err := s.Operation(ctx, id)
	return operationOf(o), noOperation(id, err)
}

// OperationQuery selects operations; zero fields select all.
type OperationQuery struct {
	User  string
	State WorkState
	After string // id of the last one of the page before
	Limit int    // default 50
}

// Operations lists operations, newest first.
func (c *Client) Operations(ctx context.Context, q OperationQuery) ([]Operation, error) {
	s, err := c.parts.Keeper(ctx)
	if err != nil {
		return nil, err
	}
	list, err := s.Operations(ctx, work.Query{User: q.User, State: q.State, Before: q.After, Limit: q.Limit})
	out := make([]Operation, len(list))
	for i, o := range list {
		out[i] = operationOf(o)
	}
	return out, err
}

// Tasks returns those of an operation in the order of its request, with their output if
// that is asked for.
func (c *Client) Tasks(ctx context.Context, operation string, output bool) ([]Task, error) {
	s, err := c.parts.Keeper(ctx)
	if err != nil {
		return nil, err
	}
	list, err := s.Tasks(ctx, operation, output)
	if err == nil && len(list) == 0 {
		_, err = c.Operation(ctx, operation)
	}
	out := make([]Task, len(list))
	for i, t := range list {
		out[i] = taskOf(t)
	}
	return out, err
}

// CancelOperation ends the tasks of an operation that nobody began, and kills what runs
// and plans. An apply or rollback that was begun goes to its end.
func (c *Client) CancelOperation(ctx context.Context, id string) error {
	s, err := c.parts.Keeper(ctx)
	if err != nil {
		return err
	}
	return noOperation(id, s.Cancel(ctx, id, time.Now()))
}

const (
	// watchEvery is how often a watcher looks without being woken.
	watchEvery = time.Second
	// watchPage is how many events are read at a time.
	watchPage = 256
)

// WatchOperation yields the events of an operation after a number, as they come, and
// ends after the last. A watcher that lost its place goes on with the number of the last
// event that it saw. It ends with an error when ctx ends.
func (c *Client) WatchOperation(ctx context.Context, id string, after int64) iter.Seq2[OperationEvent, error] {
	return func(yield func(OperationEvent, error) bool) {
		s, err := c.parts.Watched(ctx)
		for err == nil {
			woken := s.Wake(id)
			var o work.Operation
			if o, err = s.Operation(ctx, id); err != nil { // before the events: after its end there are none
				break
			}
			var list []work.Event
			if list, err = s.Events(ctx, id, after, watchPage); err != nil {
				break
			}
			for _, e := range list {
				after = e.Seq
				if !yield(OperationEvent{Seq: e.Seq, Time: e.Time, Task: e.Task, Kind: e.Kind, State: e.State, Data: e.Data}, nil) {
					return
				}
			}
			switch {
			case len(list) == watchPage:
				continue
			case o.State.Over():
				return
			}
			select {
			case <-ctx.Done():
				err = ctx.Err()
			case <-woken:
			case <-time.After(watchEvery):
			}
		}
		yield(OperationEvent{}, noOperation(id, err))
	}
}

// WorkOptions are those of ServeWork; all are optional.
type WorkOptions struct {
	Workers   int           // tasks at a time in this process; default 16
	PerTarget int           // runs and plans at a time on one target, over all processes; default 4
	Grace     time.Duration // how long tasks may take to end when ctx ends; default 30 s
	Note      func(string)  // what a person should know
}

// ServeWork carries out operations until ctx ends. Any number of processes may do so on
// one store. When ctx ends it takes no more, waits up to the grace for what it has begun,
// and kills the rest; an apply or rollback then goes on on its target, and another
// process, or the next one, records how it ended. An error means that it could not begin.
func (c *Client) ServeWork(ctx context.Context, o WorkOptions) error {
	return c.parts.ServeWork(ctx, wire.WorkOptions(o))
}

// WorkProcess is a process that serves the store.
type WorkProcess struct {
	ID      string // as tasks name it
	Host    string
	PID     int
	Started time.Time
}

// WorkProcesses lists the processes that serve the store, as far as is known: of one that
// died it is known after some seconds.
func (c *Client) WorkProcesses(ctx context.Context) ([]WorkProcess, error) {
	s, err := c.parts.Keeper(ctx)
	if err != nil {
		return nil, err
	}
	list, err := s.Processes(ctx)
	out := make([]WorkProcess, len(list))
	for i, p := range list {
		out[i] = WorkProcess{ID: p.ID, Host: p.Host, PID: p.PID, Started: p.Started}
	}
	return out, err
}
