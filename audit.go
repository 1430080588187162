package bowline

import (
	"context"
	"fmt"
	"io"
	"iter"
	"slices"
	"time"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/audit"
	"github.com/bowline-sh/bowline/internal/wire"
)

// AuditEntry is one line of the audit log. An action has two with the same ID:
// the intent, on disk before anything happened, and the outcome.
type AuditEntry struct {
	Seq     uint64
	Time    time.Time
	ID      string
	Event   string // "intent", "outcome" or "note"
	Verb    string // "run", "target.add", ...
	User    string // who acted, on which machine, through what
	Host    string
	Surface string
	Client  string
	Session string // of a change
	Target  string
	Address string // "host:port" that was connected to
	Login   string
	HostKey string // fingerprint
	Profile string
	Argv    []string // secrets are masked
	Text    string
	Status  string // of an outcome: "ok", "failed", "refused", "error"
	Kind    diag.Kind
	Exit    *int // exit code of an outcome; nil if nothing exited
	Elapsed time.Duration
	Error   string
	Raw     []byte // the stored line, whose hash can be checked
}

func auditEntry(e audit.Entry) AuditEntry {
	out := AuditEntry{
		Seq: e.Seq, Time: e.Time, ID: e.ID, Event: string(e.Event), Verb: e.Verb, User: e.Actor.User, Host: e.Actor.Host, Surface: e.Actor.Surface,
		Client: e.Actor.Client, Session: e.Session, Target: e.Target, Address: e.Address, Login: e.Login, HostKey: e.HostKey, Profile: e.Profile, Argv: e.Argv, Text: e.Text, Raw: e.Raw(),
	}
	if r := e.Result; r != nil {
		out.Status, out.Kind, out.Exit, out.Error = string(r.Status), r.Kind, r.ExitCode, r.Error
		out.Elapsed = time.Duration(r.DurationMS) * time.Millisecond
	}
	return out
}

// AuditQuery selects entries; zero fields select all.
type AuditQuery struct {
	Since, Until time.Time // Since <= time < Until
	Verb         string
	Target       string
	User         string
	Status       string // selects outcomes
	Event        string
	ID           string
	Limit        int
	OldestFirst  bool // the newest come first otherwise
}

func (q AuditQuery) filter() audit.Filter {
	return audit.Filter{Since: q.Since, Until: q.Until, Verb: q.Verb, Target: q.Target, Actor: q.User, Status: audit.Status(q.Status),
		Event: audit.Event(q.Event), ID: q.ID, Limit: q.Limit, OldestFirst: q.OldestFirst}
}

// Audit returns the entries that q selects. A line that is no entry is yielded
// as an error; the iteration can go on after it.
func (c *Client) Audit(ctx context.Context, q AuditQuery) iter.Seq2[AuditEntry, error] {
	return func(yield func(AuditEntry, error) bool) {
		for e, err := range c.parts.AuditReader().List(ctx, q.filter()) {
			if !yield(auditEntry(e), err) {
				return
			}
		}
	}
}

// TailAudit calls fn with the last n entries, oldest first, and with follow goes
// on with new ones until ctx ends or fn returns an error.
func (c *Client) TailAudit(ctx context.Context, n int, follow bool, fn func(AuditEntry) error) error {
	return c.parts.AuditReader().Tail(ctx, n, follow, func(e audit.Entry) error { return fn(auditEntry(e)) })
}

// AuditReport is what VerifyAudit found.
type AuditReport struct {
	OK       bool
	Entries  uint64 // good ones, from the first on
	Segments int
	Last     string   // hash of the last good entry
	Problem  string   // the first thing wrong, with file, line and entry; "" if OK
	Notes    []string // what is no problem but should be said
	Checked  time.Time
}

// VerifyAudit checks every entry, the chain and the head kept apart from it. An
// error means that it could not look.
func (c *Client) VerifyAudit(ctx context.Context) (AuditReport, error) {
	now := time.Now()
	r, err := c.parts.AuditReader().Verify(ctx)
	if err != nil {
		return AuditReport{}, err
	}
	out := AuditReport{Checked: now, OK: r.OK, Entries: r.Entries, Segments: r.Segments, Last: r.Last, Notes: r.Notes}
	if r.Problem != nil {
		out.Problem = r.Problem.String()
	}
	return out, nil
}

// auditShare is the part of a core, one in so many, that AuditState may take.
const auditShare = 20

// auditAge is after which the log is read again although its files look the same: who
// can write them can set their times too.
const auditAge = 10 * time.Minute

// auditState is the last report, and what the log looked like then.
type auditState struct {
	turn   chan struct{} // holds one: who may look
	stamp  string
	report AuditReport
	took   time.Duration
}

// AuditState is VerifyAudit for who asks often: the log is read again only if its files
// changed or it was long ago, by one at a time, and not sooner than leaves the machine to others. A note says
// if there may be newer entries than were checked.
func (c *Client) AuditState(ctx context.Context) (AuditReport, error) {
	a := &c.audit
	select {
	case a.turn <- struct{}{}:
		defer func() { <-a.turn }()
	case <-ctx.Done():
		return AuditReport{}, ctx.Err()
	}
	stamp, err := c.parts.AuditReader().Stamp()
	if err != nil {
		return AuditReport{}, err
	}
	known := !a.report.Checked.IsZero()
	age := time.Since(a.report.Checked)
	if known && stamp == a.stamp && age < auditAge {
		return a.report, nil
	}
	if known && age < auditShare*a.took {
		r := a.report
		r.Notes = append(slices.Clone(r.Notes), fmt.Sprintf("checked %s ago; there are newer entries", age.Round(time.Second)))
		return r, nil
	}
	began := time.Now()
	r, err := c.VerifyAudit(ctx)
	if err != nil {
		return r, err
	}
	a.stamp, a.report, a.took = stamp, r, time.Since(began)
	return r, nil
}

// AuditChain is the audit log of one machine, as the store has it.
type AuditChain struct {
	ID      string // of the machine's key
	Host    string
	Entries uint64 // good ones in the store, from the first on
	Signers int    // machines whose signed statements vouch for it
}

// AuditAllReport is what VerifyAuditAll found.
type AuditAllReport struct {
	OK         bool
	Chains     []AuditChain
	Statements int64 // signed ones that hold
	Targets    []AuditTarget
	Problems   []string // with the place where each was found
}

// AuditTarget is what one target bears witness to: the heads of audit logs that machines
// left there.
type AuditTarget struct {
	Target  string
	Holds   int      // that their machine signed, and that its log bears out
	Against int      // that its log does not bear out: each is a problem of that log
	Bad     int      // not signed by whom they name: the target's fault, not the log's
	Unknown []string // logs that are not known here
	Err     error    // it could not be asked
}

// Sound reports whether the target could be asked and sent nothing forged.
func (t AuditTarget) Sound() bool { return t.Err == nil && t.Bad == 0 }

func auditTargets(list []wire.TargetReport) []AuditTarget {
	out := make([]AuditTarget, len(list))
	for i, t := range list {
		out[i] = AuditTarget(t)
	}
	return out
}

// VerifyAuditOn checks this machine's log against the heads that it left on targets with
// each plan and apply. What was cut from the log shows on a target, unless that was changed
// too. It does not do what VerifyAudit does. It writes nothing to the log.
func (c *Client) VerifyAuditOn(ctx context.Context, targets []string) (list []AuditTarget, problems []string, err error) {
	r, err := c.parts.VerifyOwn(ctx, targets)
	return auditTargets(r.Targets), r.Problems, err
}

// VerifyAuditAll checks the logs of all machines that share the store: their copies
// there, what the machines have signed about each other's, and this machine's own log and
// memory against both; and all of that against the heads that the machines left on
// targets. What was cut, edited or dropped in one of these places shows in another. A
// target that lies or cannot be asked says nothing about the logs. An error means that it
// could not look.
func (c *Client) VerifyAuditAll(ctx context.Context, targets ...string) (AuditAllReport, error) {
	r, err := c.parts.VerifyAll(ctx, targets)
	out := AuditAllReport{OK: err == nil && len(r.Problems) == 0, Statements: r.Statements, Problems: r.Problems, Targets: auditTargets(r.Targets)}
	for _, x := range r.Chains {
		out.Chains = append(out.Chains, AuditChain(x))
	}
	return out, err
}

// ExportAudit writes the entries that q selects, as "jsonl" (the stored lines,
// byte for byte) or "csv". It stops at a line that is no entry.
func (c *Client) ExportAudit(ctx context.Context, w io.Writer, q AuditQuery, format string) error {
	f := audit.Format(format)
	if f != audit.JSONL && f != audit.CSV {
		return diag.New(diag.Usage, "export audit log", "use jsonl or csv", "there is no format %q", format)
	}
	return c.parts.AuditReader().Export(ctx, w, q.filter(), f)
}
