//go:build linux

package apply

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/checkpoint"
	"github.com/bowline-sh/bowline/plan"
)

// Options of one call.
type Options struct {
	Now      func() time.Time // nil: the clock
	Runner   Runner           // nil: [Exec]
	Progress func(Event)      // may be nil; called from the caller's goroutine

	// What Resume does with a command that was started and whose end is not known.
	RerunInterrupted bool
	SkipInterrupted  bool // take it as done

	// Output gets what a command writes while it runs, as far as it is kept. May be
	// nil; called from a goroutine for each stream.
	Output func(op int, p []byte)

	// Verify checks what Apply cannot know of an approval: who signed it. nil if nobody
	// must have.
	Verify func(ctx context.Context, a plan.Approval, p plan.Plan) error

	Force  bool // Rollback: overwrite what was changed since, take failed undo commands as done
	DryRun bool // Rollback: only say what it would do

	// fault is called before and after every effect; an error stops it, or loses its
	// answer.
	fault func(name string, n int, done bool) error
}

// Runner runs a deferred command, or what takes it back.
type Runner interface {
	// Run returns the exit code. An error means that it was not started, or was
	// killed because ctx was done.
	Run(ctx context.Context, c plan.Command, stdin io.Reader, stdout, stderr io.Writer) (exit int, err error)
}

// Ran is one command that was run.
type Ran struct {
	Op     int      `json:"op"` // from 1
	Argv   []string `json:"argv"`
	Undo   bool     `json:"undo,omitempty"`
	Exit   int      `json:"exit"`
	Note   string   `json:"note,omitempty"`
	Output string   `json:"output"` // name below outputs/, without .out and .err
}

// Outcome is what a call did and where it left the session.
type Outcome struct {
	Status    plan.Status `json:"status"`
	Done      int         `json:"done"`  // operations in effect that this call saw or made
	Total     int         `json:"total"` // operations of the plan
	Commands  []Ran       `json:"commands,omitempty"`
	NoUndo    []Ran       `json:"no_undo,omitempty"` // commands that rollback cannot take back
	Conflicts []Conflict  `json:"conflicts,omitempty"`
	// Interrupted is a command that was started and whose end is not known.
	Interrupted *Ran     `json:"interrupted,omitempty"`
	Notes       []string `json:"notes,omitempty"` // what could not be exact
	Syncs       int      `json:"syncs"`           // waits for the disk
}

func (o *Outcome) count(undo bool) {
	if undo {
		o.Done--
	} else {
		o.Done++
	}
}

// Apply carries out the approved plan. A nil error means that the tree is as
// planned and durable. Kinds: Denied (approval, tampering), Refused (status),
// Conflict: nothing was touched, and nothing but Conflict of a busy session used the
// approval up; Partial: see the message for what is done.
func (s *Session) Apply(ctx context.Context, opts Options) (Outcome, error) {
	out := Outcome{Status: s.rec.Status, Total: len(s.plan.Ops)}
	unlock, err := s.Lock()
	if err != nil {
		return out, err
	}
	defer unlock()
	out.Status = s.rec.Status
	e, err := s.prepare(ctx, opts, &out)
	if err != nil {
		out.Status = s.rec.Status
		return out, err
	}
	defer e.jf.Close()
	return e.finish(e.forward(ctx))
}

// prepare does everything that comes before the first effect.
func (s *Session) prepare(ctx context.Context, opts Options, out *Outcome) (*engine, error) {
	a, err := s.mayApply(opts.now())
	if err == nil && opts.Verify != nil {
		err = opts.Verify(ctx, a, s.plan)
	}
	if err != nil {
		return nil, err
	}
	if err := s.layerComplete(ctx); err != nil {
		return nil, err
	}
	m, entries, err := s.look(ctx)
	if err != nil {
		return nil, err
	}
	if out.Conflicts, err = m.base(s.root); err != nil {
		return nil, err
	}
	if len(out.Conflicts) > 0 {
		return nil, s.conflictError("apply", out.Conflicts)
	}
	e := &engine{s: s, m: m, opts: opts, out: out}
	err = e.do("checkpoint", func() error {
		s.rec.Checkpoint, err = checkpoint.Create(ctx, s.cp, s.root, checkpoint.Manifest{Session: s.name, Plan: s.rec.Plan, Entries: entries})
		return err
	})
	if err != nil {
		s.rec.Checkpoint = ""
		if errors.Is(err, checkpoint.ErrChanged) {
			return nil, diag.New(diag.Conflict, "apply session "+s.name, "try again: 'bowline apply "+s.name+"'", "nothing was touched: %w", err)
		}
		err = errors.Join(err, checkpoint.Clear(s.cp))
		return nil, diag.New(diag.Failure, "apply session "+s.name, "remove the cause, then 'bowline apply "+s.name+"'", "nothing was touched, the approval is still good: seal checkpoint: %w", err)
	}
	now := opts.now()
	if err := a.Check(s.plan, now); err != nil { // the checkpoint may have taken long
		return nil, s.denied("%w", err)
	}
	if err := e.do("use approval", func() error { return s.consume(a.ID, now, false) }); err != nil {
		return nil, err
	}
	if e.j, e.jf, err = s.openJournal(m); err != nil {
		return nil, err
	}
	return e, nil
}

// mayApply checks status and approval.
func (s *Session) mayApply(now time.Time) (plan.Approval, error) {
	var none plan.Approval
	switch s.rec.Status {
	case plan.Approved, plan.Pending:
	case plan.Rejected:
		return none, s.denied("the plan was rejected by %s", s.rec.By)
	case plan.Expired:
		return none, s.denied("it expired")
	default:
		if s.rec.Approval != "" {
			return none, diag.New(diag.Denied, "apply session "+s.name, s.ways(),
				"the approval was used before; it is %s", s.rec.Status)
		}
		return none, s.illegal(plan.Applying)
	}
	a, err := s.approval(now)
	if err != nil {
		return a, err
	}
	if s.rec.Status == plan.Pending {
		return a, s.denied("nobody approved it")
	}
	info, err := s.dir.Stat(journalFile, false)
	if err != nil {
		return a, err
	}
	if info.Size > 0 || s.rec.Approval != "" {
		return a, s.altered("session.json says approved, but there is a journal")
	}
	f, by, err := s.used(a.ID)
	if err != nil {
		return a, err
	}
	if err := unlockFile(f); err != nil {
		return a, err
	}
	if by != "" {
		return a, s.denied("the approval was used before, by session %s; an approval works once", by)
	}
	return a, nil
}

func (s *Session) ways() string {
	return "finish it with 'bowline session resume " + s.name + "'\nor take it back with 'bowline rollback " + s.name + "'"
}

// Resume finishes an apply that was broken off. One that came to its end meanwhile
// needs nothing, and is no error.
func (s *Session) Resume(ctx context.Context, opts Options) (Outcome, error) {
	out := Outcome{Status: s.rec.Status, Total: len(s.plan.Ops)}
	unlock, err := s.Lock()
	if err != nil {
		return out, err
	}
	defer unlock()
	if out.Status = s.rec.Status; out.Status == plan.Executed { // it went on while nobody looked
		out.Done = out.Total
		return out, nil
	}
	opts.Force = false
	e, err := s.reopen(ctx, opts, &out)
	if err != nil {
		return out, err
	}
	defer e.jf.Close()
	if err := e.mayResume(ctx); err != nil {
		return out, err
	}
	return e.finish(e.forward(ctx))
}

func (e *engine) mayResume(ctx context.Context) error {
	s, m := e.s, e.m
	if s.rec.RollingBack || m.rolling {
		return diag.New(diag.Refused, "resume session "+s.name, "finish it with 'bowline rollback "+s.name+"'",
			"a rollback was begun; it can only be finished")
	}
	if s.rec.Status != plan.Applying && s.rec.Status != plan.Partial {
		return s.illegal(plan.Applying)
	}
	if err := s.layerComplete(ctx); err != nil {
		return err
	}
	for i := range m.plan.Ops {
		if c := m.commands[i+1]; c != nil && c[0].interrupted() && !e.opts.RerunInterrupted && !e.opts.SkipInterrupted {
			argv := m.plan.Ops[i].Command.Argv
			e.out.Interrupted = &Ran{Op: i + 1, Argv: argv}
			return diag.New(diag.Partial, "resume session "+s.name,
				"run it again with 'bowline session resume --rerun "+s.name+"'\ntake it as done with 'bowline session resume --skip "+s.name+"'\nor take everything back with 'bowline rollback "+s.name+"'",
				"operation %d, %q, was started and its end is not known; it is not run again without being asked", i+1, argv)
		}
	}
	cs, err := m.drift(ctx, s.root, s.tempPrefix())
	if err != nil {
		return err
	}
	// An unfinished deletion may hold temporary files; strangers are found by act.
	if e.out.Conflicts = cs; len(cs) > 0 {
		return s.conflictError("resume", cs)
	}
	if err := e.do("use approval", func() error { return s.consume(s.rec.Approval, e.opts.now(), true) }); err != nil {
		return err
	}
	if err := e.do("status", func() error { return s.move(plan.Applying, e.opts.now()) }); err != nil {
		return err
	}
	return e.cleanup()
}

// reopen checks everything a begun session consists of.
func (s *Session) reopen(ctx context.Context, opts Options, out *Outcome) (*engine, error) {
	if s.rec.Checkpoint == "" {
		return nil, diag.New(diag.Refused, "session "+s.name, "see 'bowline session show "+s.name+"'", "it is %s; nothing was applied", s.rec.Status)
	}
	b, err := s.dir.ReadFile(approvalFile, 1<<20)
	if err != nil || sum(b) != s.rec.ApprovalSum {
		return nil, s.altered("approval.json is not the one that was used")
	}
	m, err := s.sealed(ctx, true)
	if err != nil {
		return nil, err
	}
	j, f, err := s.openJournal(m)
	if err != nil {
		return nil, err
	}
	if m.began && (m.plandg != s.rec.Plan || m.sealed != s.rec.Checkpoint) {
		f.Close()
		return nil, s.altered("the journal is of another plan")
	}
	for _, done := range m.doneOps {
		if done {
			out.Done++
		}
	}
	return &engine{s: s, m: m, j: j, jf: f, opts: opts, out: out}, nil
}

// forward carries out whatever is not in effect yet.
func (e *engine) forward(ctx context.Context) error {
	if !e.m.began {
		if err := e.log(record{Kind: recBegin, Plan: e.s.rec.Plan, Sealed: e.s.rec.Checkpoint}, true); err != nil {
			return err
		}
	}
	for i, st := range e.m.stretches {
		k := i + 1
		if !e.m.stretch[k][0].e {
			if err := e.stretch(ctx, k); err != nil {
				return err
			}
		}
		if st.Command == nil {
			continue
		}
		if err := e.command(ctx, st.First+len(st.Changes), *st.Command); err != nil {
			return err
		}
	}
	return e.log(record{Kind: recEnd}, true)
}

// finish brings the session into its next status, whatever err was.
func (e *engine) finish(err error) (Outcome, error) {
	to := plan.Executed
	if e.undo {
		to = plan.RolledBack
	}
	if err != nil {
		to = plan.Partial
		err = errors.Join(err, e.cleanup())
	}
	head, size := e.j.Head()
	e.s.rec.JournalHead, e.s.rec.JournalSize = head, size
	merr := e.do("status", func() error {
		if to == plan.Partial && e.s.rec.Status == plan.Partial {
			return e.s.save()
		}
		return e.s.move(to, e.opts.now())
	})
	e.out.Status = e.s.rec.Status
	if err = errors.Join(err, merr); err == nil {
		return *e.out, nil
	}
	return *e.out, e.partial(err)
}

func (e *engine) partial(err error) error {
	name := e.s.name
	if e.undo {
		return diag.New(diag.Partial, "rollback of session "+name, "go on with 'bowline rollback "+name+"'", "not finished: %w", err)
	}
	var done, left []string
	for i, op := range e.m.plan.Ops {
		word := fmt.Sprintf("%d", i+1)
		cmd := e.m.commands[i+1]
		if e.m.doneOps[i+1] || cmd != nil && succeeded(cmd[0], op.Command.Answer) {
			done = append(done, word)
		} else {
			left = append(left, word)
		}
	}
	return diag.New(diag.Partial, "apply session "+name, e.s.ways(), "%d of %d operations are done (not done: %s): %w",
		len(done), len(e.m.plan.Ops), abridge(left), err)
}

func abridge(words []string) string {
	if len(words) > maxListed {
		return strings.Join(words[:maxListed], ", ") + fmt.Sprintf(" and %d more", len(words)-maxListed)
	}
	if len(words) == 0 {
		return "none"
	}
	return strings.Join(words, ", ")
}
