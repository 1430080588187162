// Package copier is the one gate through which files go to and from targets: it
// checks both ends, records the intent, borrows links, lets package transfer do the
// work, compares what both sides say, and records the outcome with digests.
//
// The order is that of package executor: nothing touches the network before targets
// and paths have been accepted, and nothing is copied before the audit log holds the
// intent.
package copier

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/audit"
	"github.com/bowline-sh/bowline/internal/link"
	"github.com/bowline-sh/bowline/internal/policy"
	"github.com/bowline-sh/bowline/internal/transfer"
	"github.com/bowline-sh/bowline/target"
)

// Recorder is the audit log as this package needs it; see executor.Recorder.
type Recorder interface {
	Begin(ctx context.Context, in audit.Intent) (id string, err error)
	End(ctx context.Context, id string, out audit.Outcome) error
}

// Gate is the configured policy; see executor.Gate.
type Gate interface {
	Enter(ctx context.Context, r policy.Request) (leave func(), err error)
}

// Config is what a Copier is made of; every field is required but Helpers and Frozen.
type Config struct {
	Target   func(name string) (target.Target, error) // accepted targets only; does no I/O
	Links    *link.Pool
	Helpers  *link.Helpers // without it everything is agentless
	Recorder Recorder
	Rules    func() transfer.Policy // for paths of targets
	Now      func() time.Time
	// Frozen reports why nothing may begin on a target, or nil; optional. The target
	// asks its own switch besides.
	Frozen func(target string) error
	Gate   Gate
}

// Copier copies files. Methods may be called concurrently.
type Copier struct{ cfg Config }

// New returns a Copier. It does no I/O.
func New(cfg Config) *Copier {
	if cfg.Target == nil || cfg.Links == nil || cfg.Recorder == nil || cfg.Rules == nil || cfg.Now == nil || cfg.Gate == nil {
		panic("copier: Config is incomplete")
	}
	return &Copier{cfg: cfg}
}

// Location is a path on a target, or on this machine if Target is "".
type Location struct {
	Target string
	Path   string // "-" here means a stream
}

func (l Location) stream() bool { return l.Target == "" && l.Path == "-" }

// String is the location as a person writes it.
func (l Location) String() string {
	if l.Target == "" {
		return l.Path
	}
	return l.Target + ":" + l.Path
}

// Request is one copy. Sources are all on one side.
type Request struct {
	Sources   []Location
	Dest      Location
	Recursive bool
	Resume    bool
	Mode      *uint32  // of files, instead of the source's
	Owner     string   // "user:group" on the destination
	Roots     []string // canonical directories of this machine that nothing leads out of; none for everything
	Stdin     io.Reader
	Stdout    io.Writer
	Progress  func(Progress) // told now and then; optional
	Timeout   time.Duration  // of everything, connecting included; 0 for none
}

// Progress is how far a copy is.
type Progress struct {
	Files, TotalFiles int
	Bytes, TotalBytes int64
}

// Outcome is what became of one path.
type Outcome struct {
	Path   string // as it is called at the destination, below Dest
	Type   transfer.Type
	Status transfer.Status
	Size   int64
	Reused int64  // bytes that were there already
	SHA256 string // of both sides, if verified
	By     string // what computed the digest at the destination
	Error  string // hostile text
}

// Result is what became of a Request, as far as it is known.
type Result struct {
	Files    []Outcome // in no order; those that were not reached are missing
	Total    int       // files, directories and links that were to be copied
	Bytes    int64     // content that is in place
	Notices  []string  // hostile text
	Way      string    // "helper", "agentless" or "local"
	Duration time.Duration
	AuditID  string
}

// count returns how many have status s.
func (r Result) count(s transfer.Status) int {
	n := 0
	for _, f := range r.Files {
		if f.Status == s {
			n++
		}
	}
	return n
}

// Copy does req. A nil error means that everything is in place and every file is
// verified, and that this is on record. Of kind Mismatch... other errors say what
// went wrong first; Files says what is in place.
func (c *Copier) Copy(ctx context.Context, req Request) (Result, error) {
	start := c.cfg.Now()
	var res Result
	p, err := c.accept(req)
	leave := func() {}
	if err == nil {
		leave, err = c.enter(ctx, req)
	}
	id, aerr := c.cfg.Recorder.Begin(ctx, intent(req))
	res.AuditID = id
	if err == nil {
		defer leave()
	}
	if aerr != nil {
		return res, errors.Join(err, aerr)
	}
	if err == nil {
		err = p.run(ctx, &res)
	}
	res.Duration = c.cfg.Now().Sub(start)
	// There is an outcome to keep now, even for a caller who left.
	return res, errors.Join(err, c.cfg.Recorder.End(context.WithoutCancel(ctx), id, outcome(p, res, err)))
}

// enter asks the policy for each target that takes part; the copy counts once.
func (c *Copier) enter(ctx context.Context, req Request) (leave func(), err error) {
	r := policy.Request{Do: policy.Copy, Target: req.Sources[0].Target}
	if r.Target != "" && req.Dest.Target != "" {
		r.Continues = true
		if _, err := c.cfg.Gate.Enter(ctx, r); err != nil {
			return nil, err
		}
		r.Continues = false
	}
	if req.Dest.Target != "" {
		r.Target = req.Dest.Target
	}
	return c.cfg.Gate.Enter(ctx, r)
}

// accept checks what can be checked without looking, and returns the copy that is
// to be made.
func (c *Copier) accept(req Request) (*copying, error) {
	p := &copying{c: c, req: req, rules: c.cfg.Rules(), now: c.cfg.Now}
	if len(req.Sources) == 0 || req.Dest.Path == "" {
		return p, usage("name what to copy and where to: 'bowline cp SRC.. DST'")
	}
	if req.Owner != "" && strings.ContainsAny(req.Owner, "\x00\n") {
		return p, usage("--owner %q is no owner", req.Owner)
	}
	if req.Timeout < 0 {
		return p, usage("--timeout %s: must not be negative", req.Timeout)
	}
	for _, l := range append(append([]Location{}, req.Sources...), req.Dest) {
		if l.Target != "" {
			t, err := c.cfg.Target(l.Target)
			if err == nil && c.cfg.Frozen != nil {
				err = c.cfg.Frozen(t.Name)
			}
			if err != nil {
				return p, err
			}
		}
		if err := p.checkPath(l); err != nil {
			return p, err
		}
	}
	for _, l := range req.Sources {
		if l.Target != req.Sources[0].Target {
			return p, usage("all sources must be on one side; call 'bowline cp' once for each")
		}
		if l.stream() && (len(req.Sources) > 1 || req.Stdin == nil) {
			return p, usage("standard input can be copied alone only")
		}
	}
	if req.Sources[0].Target == "" && req.Dest.Target == "" {
		return p, diag.New(diag.Usage, "copy", "write TARGET:PATH for the side that is a target; 'bowline target list' shows them", "neither side is a target")
	}
	if req.Dest.stream() && (len(req.Sources) > 1 || req.Recursive || req.Stdout == nil) {
		return p, usage("only one file can go to standard output")
	}
	return p, nil
}

func usage(format string, args ...any) error {
	return diag.New(diag.Usage, "copy", "see 'bowline cp --help'", format, args...)
}

// checkPath refuses what no target could allow. What links make of a path is
// looked at there.
func (p *copying) checkPath(l Location) error {
	if strings.ContainsRune(l.Path, 0) {
		return usage("%q holds a NUL", l.Path)
	}
	if l.Path == "" && l.Target == "" {
		return usage("a path is empty")
	}
	if l.Target != "" && path.IsAbs(l.Path) {
		return withOp(p.rules.Check(path.Clean(l.Path)), "copy", l.Target)
	}
	return nil
}

// withOp says what was attempted, and where.
func withOp(err error, op, where string) error {
	if err == nil {
		return nil
	}
	e := &diag.Error{Kind: diag.Failure, Op: op, Err: err}
	if d, ok := errors.AsType[*diag.Error](err); ok {
		e.Kind, e.Hint = d.Kind, d.Hint
		if d == err && d.Op != "" {
			e.Err = fmt.Errorf("%s: %w", d.Op, d.Err)
		} else if d == err {
			e.Err = d.Err
		}
	}
	if where != "" {
		e.Op += " on " + where
	}
	return e
}

func intent(req Request) audit.Intent {
	in := audit.Intent{Subject: audit.Subject{Verb: "cp", Target: req.Dest.Target}, Argv: []string{"cp"}}
	if in.Target == "" && len(req.Sources) > 0 {
		in.Target = req.Sources[0].Target
	}
	for _, s := range req.Sources {
		in.Argv = append(in.Argv, s.String())
	}
	in.Argv = append(in.Argv, req.Dest.String())
	return in
}

// outcome lists digests of the files by name; of many, the log keeps the first and
// one digest over all.
func outcome(p *copying, res Result, err error) audit.Outcome {
	out := audit.Outcome{Subject: p.subject, Duration: res.Duration, Err: err}
	out.Digests = map[string]string{}
	for _, f := range res.Files {
		if f.Type != transfer.File {
			continue
		}
		digest := "sha256:" + f.SHA256
		if f.SHA256 == "" {
			digest = string(f.Status)
		}
		out.Digests[f.Path] = digest
	}
	return out
}
