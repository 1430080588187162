package wire

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/caller"
	"github.com/bowline-sh/bowline/internal/engine"
	"github.com/bowline-sh/bowline/internal/executor"
	"github.com/bowline-sh/bowline/internal/helper"
	"github.com/bowline-sh/bowline/internal/store/postgres"
	"github.com/bowline-sh/bowline/internal/witness"
	"github.com/bowline-sh/bowline/internal/work"
	"github.com/bowline-sh/bowline/internal/worker"
	"github.com/bowline-sh/bowline/plan"
)

// WorkOptions are those of ServeWork; all are optional.
type WorkOptions struct {
	Workers   int
	PerTarget int
	Grace     time.Duration
	Note      func(string)
}

// ServeWork carries out durable work until ctx ends.
func (p *Parts) ServeWork(ctx context.Context, o WorkOptions) error {
	k, err := p.Keeper(ctx)
	if err != nil {
		return err
	}
	self, err := p.witness()
	if err != nil {
		return err
	}
	cfg := worker.Config{Key: self.Public(), Store: k, Runner: runner{p}, Now: time.Now, Workers: o.Workers, Limits: work.Limits{PerTarget: o.PerTarget}, Grace: o.Grace, Note: o.Note, Host: hostname()}
	if pg, ok := k.(*postgres.Store); ok {
		if _, err := p.Watched(ctx); err != nil {
			return err
		}
		cfg.Queue = pg
	}
	syncing, stop := context.WithCancel(context.WithoutCancel(ctx))
	var syncer sync.WaitGroup
	if p.store.isShared() {
		note := o.Note
		if note == nil {
			note = func(string) {}
		}
		y := witness.Syncer{Self: self, Store: k, Log: p.AuditReader(), Host: hostname(), Now: time.Now}
		syncer.Go(func() { y.Run(syncing, note) })
	}
	err = worker.Serve(ctx, cfg)
	stop() // after the last outcome
	syncer.Wait()
	return err
}

// witness is the chain of this machine; its key lies beside the head of its log.
func (p *Parts) witness() (witness.Self, error) { return witness.Load(filepath.Dir(p.Paths.AuditHead)) }

// VerifyAll checks the audit logs of all machines against each other, and against what
// the named targets hold.
func (p *Parts) VerifyAll(ctx context.Context, targets []string) (witness.Report, error) {
	held := p.held(ctx, targets)
	k, err := p.Keeper(ctx)
	if err != nil {
		return witness.Report{}, err
	}
	self, err := witness.Find(filepath.Dir(p.Paths.AuditHead))
	if err != nil {
		return witness.Report{}, err
	}
	if err := caughtUp(ctx, held, self.ID); err != nil {
		return witness.Report{}, err
	}
	return witness.Verify(ctx, self, k, p.AuditReader(), held)
}

// runner carries out tasks with the parts of a client.
type runner struct{ p *Parts }

// Do implements [worker.Runner].
func (r runner) Do(ctx context.Context, op work.Operation, t work.Task, say worker.Say) work.Outcome {
	ctx, req, err := r.begin(ctx, op)
	switch {
	case err != nil:
		return outcome(nil, nil, err)
	case t.Verb == work.Run && req.Run != nil:
		return r.run(ctx, t, *req.Run, say)
	case t.Verb == work.Plan && req.Plan != nil:
		return r.plan(ctx, t, *req.Plan)
	case t.Verb.Exclusive() && req.Act != nil:
		return r.act(ctx, t, *req.Act, say)
	}
	return outcome(nil, nil, fmt.Errorf("there is no request to %s", t.Verb))
}

// Resume implements [worker.Runner].
func (r runner) Resume(ctx context.Context, op work.Operation, t work.Task, say worker.Say) work.Outcome {
	ctx, req, err := r.begin(ctx, op)
	if err == nil && req.Act == nil {
		err = fmt.Errorf("there is no request to %s", t.Verb)
	}
	if err != nil {
		return outcome(nil, nil, err)
	}
	return r.act(ctx, t, *req.Act, say)
}

// begin reads what was asked for, and for whom. What came with a token is bounded by it,
// as it is now: one that was revoked begins nothing more.
func (r runner) begin(ctx context.Context, op work.Operation) (context.Context, work.Request, error) {
	var req work.Request
	err := json.Unmarshal(op.Request, &req)
	if err != nil {
		err = fmt.Errorf("read stored request: %w", err)
	}
	who := caller.Caller{User: op.Caller.User, Surface: op.Caller.Surface, Client: op.Caller.Client}
	if op.Caller.Token != "" && err == nil {
		who.Grant, err = r.p.Grant(ctx, op.Caller.Token)
	}
	return caller.With(ctx, who), req, err
}

// outcome puts how a call ended into the words of a task. result is stored as JSON.
func outcome(result any, output []byte, err error) work.Outcome {
	out := work.Outcome{State: work.Succeeded, Output: output}
	if result != nil {
		doc, jerr := json.Marshal(result)
		if jerr != nil {
			panic("wire: a result cannot be encoded: " + jerr.Error()) // it is plain data
		}
		out.Result = doc
	}
	if err != nil {
		kind := diag.KindOf(err)
		out.State, out.Kind, out.Error = work.Failed, string(kind), err.Error()
		if hint := diag.HintOf(err); hint != "" {
			out.Error += "\n" + hint
		}
		if kind == diag.Lost {
			out.State = work.Unknown
		}
	}
	return out
}

func (r runner) run(ctx context.Context, t work.Task, q work.RunRequest, say worker.Say) work.Outcome {
	stdout, stderr := &kept{say: say, kind: "stdout", most: work.MaxOutput}, &kept{say: say, kind: "stderr", most: work.MaxStderr}
	req := executor.Request{Target: t.Target, Profile: q.Profile, Argv: q.Argv, Env: q.Env, Cwd: q.Cwd, Timeout: q.Timeout, Stdout: stdout, Stderr: stderr, Script: q.Script, Digests: q.Digests}
	if q.Upload {
		req.Upload = &executor.Upload{Data: q.Script, Name: q.File, Interpreter: q.Interpreter}
	}
	if q.Script != nil && !q.Upload {
		req.Stdin = bytes.NewReader(append(bytes.Clone(q.Script), q.Stdin...))
	} else if q.Stdin != nil {
		req.Stdin = bytes.NewReader(q.Stdin)
	}
	res, err := r.p.Executor.Run(ctx, req)
	out := outcome(work.RunResult{Profile: res.Profile, ExitCode: res.ExitCode, Signal: res.Signal, TimedOut: res.TimedOut, Truncated: res.Truncated,
		StdoutBytes: res.StdoutBytes, StderrBytes: res.StderrBytes, Duration: res.Duration, Stderr: stderr.buf, AuditID: res.AuditID}, stdout.buf, err)
	out.Truncated = res.Truncated || stdout.cut
	if err == nil && res.ExitCode != 0 {
		out.State, out.Error = work.Failed, fmt.Sprintf("the command ended with exit code %d", res.ExitCode)
	}
	return out
}

// kept keeps the beginning of an output, and says all of it.
type kept struct {
	say  worker.Say
	kind string
	most int
	buf  []byte
	cut  bool
}

func (k *kept) Write(p []byte) (int, error) {
	k.say(k.kind, p)
	room := k.most - len(k.buf)
	k.cut = k.cut || len(p) > room
	k.buf = append(k.buf, p[:min(len(p), room)]...)
	return len(p), nil
}

func (r runner) plan(ctx context.Context, t work.Task, q work.PlanRequest) work.Outcome {
	m := engine.Member{}
	if q.Fleet != "" {
		m = engine.Member{Fleet: q.Fleet, N: t.Number}
	}
	p, err := r.p.Engine.Plan(ctx, engine.PlanRequest{Target: t.Target, AsRoot: q.AsRoot, HostNet: q.HostNet, Profile: q.Profile, Name: q.Name, Note: q.Note,
		Script: q.Script, File: q.File, Argv: q.Argv, Timeout: q.Timeout}, m)
	out := outcome(work.PlanResult{Digest: p.Session.Digest, Effect: p.Session.Effect, Ops: len(p.Plan.Ops), Exit: p.Plan.Exit}, nil, err)
	out.Session = p.Session.ID
	return out
}

// follows is how often an apply whose link dropped is followed over a new one.
const follows = 5

// act applies a session or rolls it back, or goes on with it: what it does depends on
// where the session stands, and the target has the last word.
func (r runner) act(ctx context.Context, t work.Task, q work.ActRequest, say worker.Say) work.Outcome {
	o := engine.Options{Confirm: q.Confirm, Force: q.Force, Begin: true, Progress: func(p helper.Progress) {
		if doc, err := json.Marshal(p); err == nil { // else it is not shown
			say("progress", doc)
		}
	}}
	var res helper.SessionResult
	var err error
	for n := range follows {
		if res, err = r.step(ctx, t, o); err == nil || ctx.Err() != nil || !follow(err) {
			break
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(n+1) * time.Second):
		}
	}
	return outcome(work.ActResult{Status: string(res.Status), Done: res.Done, Total: res.Total, Notes: res.Notes, Message: res.Message}, nil, err)
}

// follow reports that the target may still be at it.
func follow(err error) bool { return diag.KindOf(err) == diag.Lost }

func (r runner) step(ctx context.Context, t work.Task, o engine.Options) (helper.SessionResult, error) {
	d, err := r.p.Engine.Get(ctx, t.Session)
	if err != nil {
		return helper.SessionResult{}, err
	}
	if d.Target != t.Target {
		return helper.SessionResult{}, errors.New("the session is of another target")
	}
	done := helper.SessionResult{Status: d.Status, Total: len(d.Plan.Ops), Done: len(d.Plan.Ops), Message: d.Message}
	again := t.Attempt > 1 // another process had it before
	switch {
	case t.Verb == work.Rollback && d.Status == plan.RolledBack && again:
		done.Done = 0
		return done, nil
	case t.Verb == work.Rollback:
		return r.p.Engine.Rollback(ctx, t.Session, o)
	case d.Status == plan.Executed && again:
		return done, nil
	case d.Status == plan.Applying:
		return r.p.Engine.Resume(ctx, t.Session, o)
	case d.Status == plan.Partial && again:
		return r.p.Engine.Resume(ctx, t.Session, o)
	}
	return r.p.Engine.Apply(ctx, t.Session, o)
}

// Watched opens the store such that what other processes do wakes who watches.
func (p *Parts) Watched(ctx context.Context) (Keeper, error) {
	k, err := p.Keeper(ctx)
	if pg, ok := k.(*postgres.Store); ok {
		pg.Listen(ctx)
	}
	return k, err
}

// Caller is who this client acts for where a call says nothing.
func (p *Parts) Caller() caller.Caller { return p.who }
