// Package executor is the one gate through which a command reaches a target,
// from every surface: it finds the target, checks profile, allow-list and policy,
// records the intent, borrows a link, runs the command in its sandbox and
// records the outcome.
//
// The order is the point. Nothing touches the network or a key before target
// and profile have been accepted, and nothing runs before the audit log holds
// the intent. A refused command leaves an entry too.
package executor

import (
	"cmp"
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/audit"
	"github.com/bowline-sh/bowline/internal/caller"
	"github.com/bowline-sh/bowline/internal/freeze"
	"github.com/bowline-sh/bowline/internal/link"
	"github.com/bowline-sh/bowline/internal/policy"
	"github.com/bowline-sh/bowline/internal/sandbox"
	"github.com/bowline-sh/bowline/internal/transport"
	"github.com/bowline-sh/bowline/profile"
	"github.com/bowline-sh/bowline/target"
)

// Recorder is the audit log as this package needs it: Begin is durable before
// it returns, and its error forbids the act.
type Recorder interface {
	Begin(ctx context.Context, in audit.Intent) (id string, err error)
	End(ctx context.Context, id string, out audit.Outcome) error
}

// Gate is the configured policy as this package needs it: its error refuses the act;
// leave is called when the act is over.
type Gate interface {
	Enter(ctx context.Context, r policy.Request) (leave func(), err error)
}

// Config is what an Executor is made of; every field is required.
type Config struct {
	Target   func(name string) (target.Target, error)   // accepted targets only; does no I/O
	Profile  func(name string) (profile.Profile, error) // by name or file
	Default  string                                     // profile for targets that name none
	Links    *link.Pool
	Helpers  *link.Helpers // optional: without it everything is agentless
	Recorder Recorder
	// Frozen reports why nothing may begin on a target, or nil; optional. The target
	// asks its own switch besides.
	Frozen func(target string) error
	Gate   Gate
}

// Executor runs commands. Methods may be called concurrently.
type Executor struct{ cfg Config }

// New returns an Executor. It does no I/O.
func New(cfg Config) *Executor {
	if cfg.Target == nil || cfg.Profile == nil || cfg.Links == nil || cfg.Recorder == nil || cfg.Gate == nil {
		panic("executor: Config is incomplete")
	}
	return &Executor{cfg: cfg}
}

// Request is one command for one target.
type Request struct {
	Target  string // name; "" is for the Target function to decide
	Profile string // name or file; "" means the target's, else the default
	Argv    []string
	Env     map[string]string
	Secrets []string // names in Env whose values are masked everywhere
	Cwd     string
	Timeout time.Duration
	Stdin   io.Reader
	Stdout  io.Writer
	Stderr  io.Writer
	Digests map[string]string // recorded with the intent, as for a script
	Script  []byte            // what Stdin begins with, where Argv reads its program from it; for the policy
	Upload  *Upload           // optional: a script to be placed and executed; Argv are its arguments
}

// argv is what is executed.
func (r Request) argv() []string {
	if r.Upload != nil {
		return r.Upload.argv(r.Argv)
	}
	return r.Argv
}

// Result is what became of a Request. Fields that were not reached are zero.
type Result struct {
	sandbox.Result
	Target  string
	Profile string
	AuditID string
	Info    transport.Info
}

// Run executes req. A nil error means that the command was executed and its
// outcome recorded; see [sandbox.Exec] for what the kinds of error mean for the
// target. The Result is filled as far as it is known, also with an error.
func (e *Executor) Run(ctx context.Context, req Request) (Result, error) {
	t, err := e.cfg.Target(req.Target)
	res := Result{Target: cmp.Or(t.Name, req.Target)}
	if err == nil && e.cfg.Frozen != nil {
		err = e.cfg.Frozen(t.Name)
	}
	if err != nil {
		return e.refused(ctx, req, res, err)
	}
	if err := caller.Name(ctx, req.Profile); err != nil {
		return e.refused(ctx, req, res, diag.New(diag.Refused, "load profile", "see 'bowline profile list'", "%w", err))
	}
	p, err := e.cfg.Profile(cmp.Or(req.Profile, t.Profile, e.cfg.Default))
	res.Profile = cmp.Or(p.Name, req.Profile)
	if err == nil {
		err = check(req, p)
	}
	leave := func() {}
	if err == nil {
		leave, err = e.cfg.Gate.Enter(ctx, req.judged(t.Name, p.Name))
	}
	if err != nil {
		return e.refused(ctx, req, res, err)
	}
	defer leave()
	id, err := e.cfg.Recorder.Begin(ctx, intent(req, res))
	if err != nil {
		return res, err
	}
	res.AuditID = id
	res, err = e.execute(ctx, req, t, p, res)
	// There is an outcome to keep now, even for a caller who left.
	return res, errors.Join(err, e.cfg.Recorder.End(context.WithoutCancel(ctx), id, outcome(res, err)))
}

// refused records an attempt that got nowhere. The refusal stands whether or
// not it could be recorded.
func (e *Executor) refused(ctx context.Context, req Request, res Result, why error) (Result, error) {
	id, err := e.cfg.Recorder.Begin(ctx, intent(req, res))
	if err != nil {
		return res, errors.Join(why, err)
	}
	res.AuditID = id
	return res, errors.Join(why, e.cfg.Recorder.End(context.WithoutCancel(ctx), id, outcome(res, why)))
}

func (e *Executor) execute(ctx context.Context, req Request, t target.Target, p profile.Profile, res Result) (Result, error) {
	l, err := e.cfg.Links.Get(ctx, t)
	if err != nil {
		return res, err
	}
	defer l.Release()
	res.Info = l.Info()
	if req.Upload == nil {
		return e.onLink(ctx, l, req, t, p, res)
	}
	script, err := req.Upload.place(ctx, l, t)
	if err != nil {
		return res, withTarget(freeze.Named(err, t.Name), t.Name)
	}
	p = p.Clone()
	p.Binds = append(p.Binds, script.bind)
	res, err = e.onLink(ctx, l, req, t, p, res)
	return res, errors.Join(err, withTarget(script.remove(), t.Name))
}

func (e *Executor) onLink(ctx context.Context, l *link.Link, req Request, t target.Target, p profile.Profile, res Result) (Result, error) {
	cmd := sandbox.Command{
		Spec:    sandbox.Spec{Profile: p, Argv: req.argv(), Env: req.Env, Cwd: req.Cwd},
		Timeout: req.Timeout, Stdin: req.Stdin, Stdout: req.Stdout, Stderr: req.Stderr,
	}
	var conn transport.Conn = l
	if c := e.helper(l, t); c != nil {
		conn = WithHelper(l, c)
	}
	var err error
	res.Result, err = sandbox.Exec(ctx, conn, cmd)
	if errors.Is(err, sandbox.ErrUnclean) || errors.Is(err, transport.ErrLost) {
		l.Retire()
	}
	return res, withTarget(freeze.Named(req.missing(err), t.Name), t.Name)
}

// missing says what is missing where a script's interpreter is: the kernel only says
// that the script cannot be executed.
func (r Request) missing(err error) error {
	if r.Upload == nil || r.Upload.Interpreter == nil || diag.KindOf(err) != diag.NotFound {
		return err
	}
	return diag.New(diag.NotFound, "start script", diag.HintOf(err), "its interpreter %q is not found inside the profile: %w", r.Upload.Interpreter[0], err)
}

// withTarget names the target in errors that do not know it.
func withTarget(err error, name string) error {
	if d, ok := errors.AsType[*diag.Error](err); ok && d == err && !strings.HasSuffix(d.Op, " on "+name) {
		e := *d
		e.Op += " on " + name
		return &e
	}
	return err
}

func intent(req Request, res Result) audit.Intent {
	return audit.Intent{
		Subject: audit.Subject{Verb: "run", Target: res.Target, Profile: res.Profile, Digests: req.Digests},
		Argv:    req.argv(), Cwd: req.Cwd, Env: req.Env, SecretEnv: req.Secrets,
	}
}

func outcome(res Result, err error) audit.Outcome {
	out := audit.Outcome{
		Subject: audit.Subject{Address: res.Info.Address, Login: res.Info.Login, HostKey: res.Info.Fingerprint, KeyID: res.Info.KeyID},
		Signal:  res.Signal, Duration: res.Duration, TimedOut: res.TimedOut, Truncated: res.Truncated,
		StdoutBytes: res.StdoutBytes, StderrBytes: res.StderrBytes, Err: err,
	}
	if err == nil {
		out.ExitCode = &res.ExitCode
		if res.ExitCode != 0 {
			out.Status = audit.Failed
		}
	}
	return out
}
