// Package engine leads a session through its life: dry run, decision, apply,
// rollback. It is the one gate for changes, as package executor is for commands:
// target, audit, link, helper, store, in that order.
//
// The truth about a session is on the target, in its session directory, which the
// helper checks before every effect. The client's store holds what a person reads
// and decided; where the two differ, the target is right and the store follows.
package engine

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/audit"
	"github.com/bowline-sh/bowline/internal/caller"
	"github.com/bowline-sh/bowline/internal/frame"
	"github.com/bowline-sh/bowline/internal/freeze"
	"github.com/bowline-sh/bowline/internal/helper"
	"github.com/bowline-sh/bowline/internal/link"
	"github.com/bowline-sh/bowline/internal/policy"
	"github.com/bowline-sh/bowline/internal/store"
	"github.com/bowline-sh/bowline/internal/transport"
	"github.com/bowline-sh/bowline/plan"
	"github.com/bowline-sh/bowline/profile"
	"github.com/bowline-sh/bowline/target"
)

// Recorder is the audit log as this package needs it; see executor.Recorder.
type Recorder interface {
	Begin(ctx context.Context, in audit.Intent) (id string, err error)
	End(ctx context.Context, id string, out audit.Outcome) error
}

// Gate is the configured policy: Enter is executor.Gate's, Judge asks the rules of
// effects about a plan.
type Gate interface {
	Enter(ctx context.Context, r policy.Request) (leave func(), err error)
	Judge(p policy.Planned) (policy.Judgement, error)
}

// Config is what an Engine is made of; every field is required.
type Config struct {
	Target   func(name string) (target.Target, error) // accepted targets only; does no I/O
	Links    *link.Pool
	Helpers  *link.Helpers
	Recorder Recorder
	Store    func(ctx context.Context) (store.Store, error) // opened on first use
	Now      func() time.Time
	User     string // who acts, where, and through what
	Host     string
	Surface  string
	Client   string // program that acts for the user
	Rules    Rules  // optional
	// Profile finds a profile by name or file; Default is that of targets which name
	// none. It says what dry runs defer.
	Profile func(name string) (profile.Profile, error)
	Default string
	// Frozen reports why nothing may begin on a target, or nil; optional. The target
	// asks its own switch besides.
	Frozen func(target string) error
	Gate   Gate
	// Head is where the audit log stands, signed, to be left on targets; nil for none.
	// Optional.
	Head func(ctx context.Context) *helper.Head
	// Notify tells somebody that a model's session waits for a person; optional. It
	// must not block.
	Notify func(s store.Session)
}

// Rules are what an approval must be besides a person's decision.
type Rules struct {
	TwoPerson        bool // whoever asked for the change cannot approve it
	RequireSignature bool // it must be signed
	// Key lends use a key for as many approvals as it likes, asking a person at most
	// once; nil: approvals are not signed.
	Key func(ctx context.Context, use func(Sign) error) error
}

// Sign signs an approval's statement.
type Sign func(statement []byte) (armored, keyID string, err error)

// Engine leads sessions. Methods may be called concurrently; of two who move the
// same session one gets it.
type Engine struct {
	cfg  Config
	sign Sign // while a key is held, see Holding
}

// New returns an Engine. It does no I/O.
func New(cfg Config) *Engine {
	if cfg.Target == nil || cfg.Links == nil || cfg.Helpers == nil || cfg.Recorder == nil || cfg.Store == nil || cfg.Now == nil || cfg.Profile == nil || cfg.Gate == nil {
		panic("engine: Config is incomplete")
	}
	return &Engine{cfg: cfg}
}

// caller is who makes a call.
func (e *Engine) caller(ctx context.Context) caller.Caller {
	return caller.From(ctx, caller.Caller{User: e.cfg.User, Surface: e.cfg.Surface, Client: e.cfg.Client})
}

// PlanRequest is a change to be planned. Target, and Script or Argv, are required.
type PlanRequest struct {
	Target  string
	AsRoot  bool // through sudo -n on the target
	HostNet bool
	Profile string // name or file; "" means the target's, else the default
	Name    string // for the session's id; default from the script or command
	Note    string
	Script  []byte // text of a script; Argv are then its arguments
	File    string // base name of the script's file
	Argv    []string
	Timeout time.Duration
}

// Planned is a new session.
type Planned struct {
	Session  store.Session
	Plan     plan.Plan
	Contents map[string][]byte
	AuditID  string
}

// stored is what the store keeps of a plan.
type stored struct {
	Plan     plan.Plan         `json:"plan"`
	Contents map[string][]byte `json:"contents"`
	AsRoot   bool              `json:"as_root"`
	// Request is what was asked of the target, without the script, which is stored by
	// itself; nil where an older version planned.
	Request *helper.PlanRequest `json:"request,omitempty"`
}

// Member says which session of a fleet a plan is to be; the zero Member is of none.
type Member struct {
	Fleet string // its id
	N     int    // number of the target, from 1
}

// NewFleet makes the id of a fleet.
func (e *Engine) NewFleet(req PlanRequest) (string, error) {
	return newID(e.cfg.Now().UTC(), req, plan.FleetDigits)
}

// Plan makes a dry run on a target and stores what it would do as a pending
// session. With an error the host is unchanged and there is no session.
func (e *Engine) Plan(ctx context.Context, req PlanRequest, m Member) (Planned, error) {
	t, err := e.cfg.Target(req.Target)
	if err == nil && t.NoHelper {
		err = diag.New(diag.Refused, "plan", "set helper = \"auto\" for it in the configuration", "target %s allows no helper, which a dry run needs", t.Name)
	}
	if err == nil {
		err = e.frozen(t.Name)
	}
	if err == nil && req.Timeout < 0 {
		err = diag.New(diag.Usage, "plan", "as in '--timeout 60s'", "a time limit of %v", req.Timeout)
	}
	if err == nil {
		if err = caller.Name(ctx, req.Profile); err != nil {
			err = diag.New(diag.Refused, "load profile", "see 'bowline profile list'", "%w", err)
		}
	}
	var prof profile.Profile
	if err == nil {
		prof, err = e.cfg.Profile(cmp.Or(req.Profile, t.Profile, e.cfg.Default))
	}
	leave := func() {}
	if err == nil {
		leave, err = e.cfg.Gate.Enter(ctx, planned(policy.Request{Target: t.Name, Profile: prof.Name, Argv: req.Argv, Script: req.Script}))
	}
	id, aerr := e.cfg.Recorder.Begin(ctx, e.planIntent(req, t))
	if err == nil {
		defer leave()
	}
	if err != nil || aerr != nil {
		return Planned{}, errors.Join(err, aerr, e.end(ctx, id, audit.Outcome{Err: err}))
	}
	p, out, err := e.plan(ctx, req, m, where{t, prof})
	p.AuditID = id
	out.Err = err
	if err = errors.Join(err, e.end(ctx, id, out)); err != nil {
		return p, err
	}
	return p, e.settle(ctx, &p)
}

func (e *Engine) frozen(name string) error {
	if e.cfg.Frozen == nil {
		return nil
	}
	return e.cfg.Frozen(name)
}

// end records an outcome, if there is an intent.
func (e *Engine) end(ctx context.Context, id string, out audit.Outcome) error {
	if id == "" {
		return nil
	}
	return e.cfg.Recorder.End(context.WithoutCancel(ctx), id, out)
}

func (e *Engine) planIntent(req PlanRequest, t target.Target) audit.Intent {
	in := audit.Intent{Subject: audit.Subject{Verb: "plan", Target: t.Name, Digests: map[string]string{}}, Argv: req.Argv, Text: req.Note}
	if req.Script != nil {
		in.Digests["script"] = digest(req.Script)
		in.Argv = append([]string{req.File}, req.Argv...)
	}
	return in
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// where is a target, and what a dry run there defers.
type where struct {
	target  target.Target
	profile profile.Profile
}

func (e *Engine) plan(ctx context.Context, req PlanRequest, m Member, on where) (Planned, audit.Outcome, error) {
	var out audit.Outcome
	now := e.cfg.Now().UTC()
	t := on.target
	id, err := newID(now, req, sessionDigits)
	if err != nil {
		return Planned{}, out, err
	}
	if m.Fleet != "" {
		id = plan.MemberID(m.Fleet, m.N)
	}
	var res helper.PlanResult
	var r helper.PlanRequest
	err = e.withHelper(ctx, t, req.AsRoot, func(c *frame.Client, info transport.Info) error {
		out.Subject = audit.Subject{Session: id, Address: info.Address, Login: info.Login, HostKey: info.Fingerprint, KeyID: info.KeyID}
		r = helper.PlanRequest{Session: id, Profile: on.profile, Target: t.Name, HostKey: hostKey(info), Created: now, Script: req.Script, Name: req.File, HostNet: req.HostNet, Timeout: req.Timeout}
		for _, a := range req.Argv {
			r.Argv = append(r.Argv, []byte(a))
		}
		sent := r
		sent.Head = e.head(ctx)
		return e.call(ctx, c, helper.VerbPlan, sent, &res, nil)
	})
	if err != nil {
		return Planned{}, out, err
	}
	if err := answers(res.Plan, r); err != nil {
		return Planned{}, out, err
	}
	x, err := e.keep(ctx, kept{Name: req.Name, Note: req.Note, Fleet: m.Fleet, Request: r, AsRoot: req.AsRoot}, res)
	out.Subject.Digests = map[string]string{"plan": x.Digest}
	return Planned{Session: x, Plan: res.Plan, Contents: res.Contents}, out, err
}

// kept is what the client knows of a session beside its plan.
type kept struct {
	Name, Note string
	Fleet      string
	Request    helper.PlanRequest
	AsRoot     bool
}

// keep checks what the target sent and stores it as a pending session.
func (e *Engine) keep(ctx context.Context, k kept, res helper.PlanResult) (store.Session, error) {
	p := res.Plan
	if err := p.Valid(); err != nil {
		return store.Session{}, diag.New(diag.Failure, "plan", "", "the target sent a plan that is not valid: %w", err)
	}
	sum, err := p.Digest()
	if err != nil {
		return store.Session{}, err
	}
	effect, err := p.Effect()
	if err != nil {
		return store.Session{}, err
	}
	who := e.caller(ctx)
	script := k.Request.Script
	k.Request.Script = nil
	doc, err := json.Marshal(stored{Plan: p, Contents: checked(res.Contents), AsRoot: k.AsRoot, Request: &k.Request})
	if err != nil {
		return store.Session{}, fmt.Errorf("store plan: %w", err)
	}
	x := store.Session{
		ID: p.Session, Name: k.Name, Note: k.Note, Target: p.Target, HostKey: p.HostKey, Status: plan.Pending, Digest: sum,
		User: who.User, Host: e.cfg.Host, Surface: who.Surface, Client: who.Client, Script: script, Plan: doc,
		Created: p.Created, Updated: p.Created, Expires: p.Created.Add(plan.DefaultTTL),
		Fleet: k.Fleet, Effect: effect,
	}
	s, err := e.cfg.Store(ctx)
	if err == nil {
		err = s.Create(ctx, x)
	}
	return x, err
}

// checked leaves out contents that are not what they are called: a diff must show
// what the digest stands for.
func checked(contents map[string][]byte) map[string][]byte {
	for name, b := range contents {
		if digest(b) != "sha256:"+name {
			delete(contents, name)
		}
	}
	return contents
}

// head is what is left on a target. It holds the intent of what is asked for there.
func (e *Engine) head(ctx context.Context) *helper.Head {
	if e.cfg.Head == nil {
		return nil
	}
	return e.cfg.Head(ctx)
}

// Heads returns what clients left on a target: unchecked, as the target sends it.
func (e *Engine) Heads(ctx context.Context, name string) ([]helper.Head, error) {
	t, err := e.cfg.Target(name)
	if err != nil {
		return nil, err
	}
	var all []helper.Head
	for _, asRoot := range []bool{false, true} {
		if asRoot && t.Become == "" { // root keeps those of what was done as root
			break
		}
		var res helper.HeadsResult
		err := e.withHelper(ctx, t, asRoot, func(c *frame.Client, _ transport.Info) error {
			return e.call(ctx, c, helper.VerbHeads, struct{}{}, &res, nil)
		})
		if err != nil {
			return all, err
		}
		all = append(all, res.Heads...)
	}
	return all, nil
}

// hostKey names the target in plans and approvals.
func hostKey(info transport.Info) string {
	if info.Fingerprint == "" {
		return "local"
	}
	return info.Fingerprint
}

// sessionDigits is how many random hex digits the id of a session ends with.
const sessionDigits = 4

func newID(now time.Time, req PlanRequest, digits int) (string, error) {
	b := make([]byte, digits/2)
	if _, err := rand.Read(b); err != nil {
		return "", fmt.Errorf("random bytes: %w", err)
	}
	name := req.Name
	if name == "" {
		name = req.File
	}
	if name == "" && len(req.Argv) > 0 {
		name = req.Argv[0]
	}
	return plan.NewID(now, name, hex.EncodeToString(b)), nil
}

// HostKey is what plans and approvals call the target.
func (e *Engine) HostKey(ctx context.Context, name string) (string, error) {
	t, err := e.cfg.Target(name)
	if err != nil {
		return "", err
	}
	l, err := e.cfg.Links.Get(ctx, t)
	if err != nil {
		return "", err
	}
	defer l.Release()
	return hostKey(l.Info()), nil
}

// withHelper lends f a helper on t, placing it first if it is not there.
func (e *Engine) withHelper(ctx context.Context, t target.Target, asRoot bool, f func(*frame.Client, transport.Info) error) error {
	return e.helperOn(ctx, t, asRoot, e.cfg.Links.Get, f)
}

// helperOn is withHelper over a link that dial gives.
func (e *Engine) helperOn(ctx context.Context, t target.Target, asRoot bool, dial func(context.Context, target.Target) (*link.Link, error), f func(*frame.Client, transport.Info) error) error {
	l, err := dial(ctx, t)
	if err != nil {
		return err
	}
	defer l.Release()
	c, err := e.cfg.Helpers.Start(ctx, l, link.HelperOptions{Install: true, Sudo: asRoot})
	if err != nil {
		return err
	}
	defer c.Close()
	return freeze.Named(f(c, l.Info()), t.Name)
}

// call makes one call and waits for its end, also when ctx ends.
func (e *Engine) call(ctx context.Context, c *frame.Client, verb string, req, result any, events func(json.RawMessage)) error {
	call, err := c.Open(verb, req, events)
	if err != nil {
		return err
	}
	if err := call.Stdin.Close(); err != nil {
		return err
	}
	err = call.Wait(ctx, result)
	if err != nil && !errors.As(err, new(*diag.Error)) {
		err = diag.New(diag.Lost, verb, "see where it stands on the target with 'bowline session show'", "the link dropped: %w", err)
	}
	return err
}
