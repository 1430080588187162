package api

import (
	"encoding/json"
	"time"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/plan"
)

// Me is who a token speaks for.
type Me struct {
	Token    string    `json:"token"`
	Name     string    `json:"name"`
	User     string    `json:"user"`
	Scopes   []string  `json:"scopes"`
	Targets  string    `json:"targets,omitempty"`
	Profiles []string  `json:"profiles,omitempty"`
	Expires  time.Time `json:"expires"`
}

// Target is a target as configured. How it is logged in to is not told.
type Target struct {
	Name    string            `json:"name"`
	Kind    string            `json:"kind"`
	Host    string            `json:"host,omitempty"`
	User    string            `json:"user,omitempty"`
	Port    int               `json:"port,omitempty"`
	Profile string            `json:"profile,omitempty"`
	Labels  map[string]string `json:"labels,omitempty"`
	Default bool              `json:"default,omitempty"`
	Refused string            `json:"refused,omitempty"` // why calls are refused
	Frozen  string            `json:"frozen,omitempty"`  // by whom and why
}

// Targets is a list of targets.
type Targets struct {
	Targets []Target `json:"targets"`
}

func newTarget(t bowline.TargetInfo) Target {
	out := Target{Name: t.Name, Kind: string(t.Kind), Host: t.Host, User: t.User, Port: t.Port, Profile: t.Profile, Labels: t.Labels, Default: t.Default, Refused: t.Refused}
	if t.Frozen != nil {
		out.Frozen = t.Frozen.String()
	}
	return out
}

// Checks is the result of testing a target.
type Checks struct {
	Target string  `json:"target"`
	OK     bool    `json:"ok"`
	Checks []Check `json:"checks"`
}

// Check is one line of a test.
type Check struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
	Hint   string `json:"hint,omitempty"`
}

// Profile is what a command is confined by, in short.
type Profile struct {
	Name        string   `json:"name"`
	Origin      string   `json:"origin"`
	Description string   `json:"description,omitempty"`
	Commands    []string `json:"allowed_commands,omitempty"` // none means all
	Network     bool     `json:"network"`
	Error       string   `json:"error,omitempty"`
}

// Profiles is a list of profiles.
type Profiles struct {
	Profiles []Profile `json:"profiles"`
}

// RunRequest is one command, or a script, for one target.
type RunRequest struct {
	Target  string            `json:"target,omitempty"`
	Profile string            `json:"profile,omitempty"`
	Argv    []string          `json:"argv,omitempty"` // of a script its arguments
	Script  string            `json:"script,omitempty"`
	Env     map[string]string `json:"env,omitempty"`
	Secrets []string          `json:"secrets,omitempty"` // names in env
	Cwd     string            `json:"cwd,omitempty"`
	Stdin   []byte            `json:"stdin,omitempty"`
	Seconds float64           `json:"timeout_seconds,omitempty"`
}

// RunResult is how a command ended.
type RunResult struct {
	Target      string   `json:"target"`
	Profile     string   `json:"profile"`
	Argv        []string `json:"argv"`
	ExitCode    int      `json:"exit_code"`
	Signal      string   `json:"signal,omitempty"`
	Stdout      []byte   `json:"stdout,omitempty"` // base64; not repeated after events
	Stderr      []byte   `json:"stderr,omitempty"`
	StdoutBytes int64    `json:"stdout_bytes"`
	StderrBytes int64    `json:"stderr_bytes"`
	Millis      float64  `json:"duration_ms"`
	TimedOut    bool     `json:"timed_out"`
	Truncated   bool     `json:"truncated"`
	AuditID     string   `json:"audit_id"`
}

// PlanRequest is a change to be planned on one target. Script or argv is required.
type PlanRequest struct {
	Target  string   `json:"target,omitempty"`
	Script  string   `json:"script,omitempty"`
	File    string   `json:"file,omitempty"` // base name of the script
	Argv    []string `json:"argv,omitempty"`
	Name    string   `json:"name,omitempty"`
	Note    string   `json:"note,omitempty"`
	Profile string   `json:"profile,omitempty"`
	AsRoot  bool     `json:"as_root,omitempty"`
	HostNet bool     `json:"host_net,omitempty"`
	Seconds float64  `json:"timeout_seconds,omitempty"`
}

// Session is one reviewed change.
type Session struct {
	ID        string          `json:"id"`
	Name      string          `json:"name"`
	Note      string          `json:"note,omitempty"`
	Target    string          `json:"target"`
	Status    plan.Status     `json:"status"`
	Digest    string          `json:"digest"`
	User      string          `json:"user"`
	Host      string          `json:"host"`
	Surface   string          `json:"surface"`
	Client    string          `json:"client,omitempty"`
	Created   time.Time       `json:"created"`
	Updated   time.Time       `json:"updated"`
	Expires   time.Time       `json:"expires"`
	Message   string          `json:"message,omitempty"`
	Fleet     string          `json:"fleet,omitempty"`
	Class     string          `json:"class,omitempty"`
	Plan      json.RawMessage `json:"plan,omitempty"` // as 'bowline session show --json' has it; not in lists
	Decisions []Decision      `json:"decisions,omitempty"`
	Commands  []plan.Ran      `json:"commands,omitempty"`
}

// Decision is an approval or a rejection.
type Decision struct {
	ID      string    `json:"id"`
	Digest  string    `json:"digest"`
	User    string    `json:"user"`
	Reject  bool      `json:"reject,omitempty"`
	Reason  string    `json:"reason,omitempty"`
	KeyID   string    `json:"key_id,omitempty"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
}

// Sessions is a page of sessions, newest first.
type Sessions struct {
	Sessions []Session `json:"sessions"`
	Next     string    `json:"next,omitempty"` // cursor of the next page
}

func newSession(s bowline.Session) Session {
	return Session{ID: s.ID, Name: s.Name, Note: s.Note, Target: s.Target, Status: s.Status, Digest: s.Digest, User: s.User, Host: s.Host, Surface: s.Surface, Client: s.Client,
		Created: s.Created, Updated: s.Updated, Expires: s.Expires, Message: s.Message, Fleet: s.Fleet, Class: s.Class}
}

func wholeSession(s bowline.Session) (Session, error) {
	out := newSession(s)
	var err error
	out.Plan, err = json.Marshal(s.Plan)
	for _, a := range s.Decisions {
		out.Decisions = append(out.Decisions, newDecision(a))
	}
	out.Commands = s.Commands
	return out, err
}

func newDecision(a plan.Approval) Decision {
	return Decision{ID: a.ID, Digest: a.Digest, User: a.User, Reject: a.Reject, Reason: a.Reason, KeyID: a.KeyID, Created: a.Created, Expires: a.Expires}
}

// ApproveRequest says what was read: a decision without it would be about something else.
type ApproveRequest struct {
	Digest string `json:"digest"`
}

// Reason is why something is rejected, withdrawn or frozen.
type Reason struct {
	Reason string `json:"reason,omitempty"`
}

// SelectRequest are the operations to keep, by number from 1.
type SelectRequest struct {
	Ops     []int `json:"ops"`
	NoRerun bool  `json:"no_rerun,omitempty"`
}

// ApplyRequest are the options of apply, resume and rollback.
type ApplyRequest struct {
	ConfirmSeconds float64 `json:"confirm_seconds,omitempty"` // apply: taken back unless confirmed
	Force          bool    `json:"force,omitempty"`           // rollback: also what was changed since
	DryRun         bool    `json:"dry_run,omitempty"`         // rollback: only say what it would do
	Rerun          bool    `json:"rerun,omitempty"`           // resume: run the interrupted command again
	Skip           bool    `json:"skip,omitempty"`            // resume: take it as done
}

func (a ApplyRequest) options(c *call) bowline.ApplyOptions {
	o := bowline.ApplyOptions{Confirm: seconds(a.ConfirmSeconds), Force: a.Force, DryRun: a.DryRun, Rerun: a.Rerun, Skip: a.Skip}
	if c.events != nil {
		o.Progress = func(p bowline.Progress) {
			_ = c.events.send("progress", "", Progress{Op: p.Op, What: p.What, Text: p.Text}) // a reader that is gone stops no apply
		}
	}
	return o
}

// seconds reads a number of seconds, a year at most, so that none turns into a time that
// lies elsewhere. What is less than nothing stays so, and is refused by whoever gets it.
func seconds(s float64) time.Duration {
	const most = float64(366 * 24 * time.Hour)
	return time.Duration(max(-most, min(s*float64(time.Second), most)))
}

// Progress is one step of an apply or rollback.
type Progress struct {
	Op   int    `json:"op"`
	What string `json:"what"`
	Text string `json:"text,omitempty"` // output of a command on the target
}

// SessionResult is where a session stands.
type SessionResult struct {
	Status   plan.Status `json:"status"`
	Done     int         `json:"done"`
	Total    int         `json:"total"`
	Notes    []string    `json:"notes,omitempty"`
	Message  string      `json:"message,omitempty"`
	Commands []plan.Ran  `json:"commands,omitempty"`
}

// Fleet is one plan on many targets.
type Fleet struct {
	ID      string   `json:"id"`
	Classes []Class  `json:"classes"`
	Failed  []Member `json:"failed,omitempty"` // of planning
}

// Class is the sessions of a fleet that do the same.
type Class struct {
	ID       string    `json:"id"`
	Effect   string    `json:"effect"`
	Targets  []string  `json:"targets"`
	Sessions []Session `json:"sessions"`
}

// Member is what came of one target of a fleet.
type Member struct {
	Target  string    `json:"target"`
	Session string    `json:"session,omitempty"`
	Class   string    `json:"class"` // ok, failed, unreachable, ...
	Kind    diag.Kind `json:"kind,omitempty"`
	Error   string    `json:"error,omitempty"`
	Hint    string    `json:"hint,omitempty"`
}

// Members are what came of the targets of a fleet.
type Members struct {
	OK      bool     `json:"ok"`
	Members []Member `json:"members"`
}

// FleetPlanRequest is a change to be planned on many targets.
type FleetPlanRequest struct {
	Selector string      `json:"selector"`
	Plan     PlanRequest `json:"plan"` // its target must be ""
	Fanout   int         `json:"fanout,omitempty"`
}

// FleetActRequest is what is done to a fleet or to one of its classes.
type FleetActRequest struct {
	Effect      string       `json:"effect,omitempty"` // approve: of the class that was read
	Reason      string       `json:"reason,omitempty"`
	Apply       ApplyRequest `json:"apply,omitzero"`
	Fanout      int          `json:"fanout,omitempty"`
	Waves       string       `json:"waves,omitempty"`
	MaxFailures string       `json:"max_failures,omitempty"`
}

// AuditEntry is one line of the audit log.
type AuditEntry struct {
	Seq     uint64    `json:"seq"`
	Time    time.Time `json:"time"`
	ID      string    `json:"id"`
	Event   string    `json:"event"`
	Verb    string    `json:"verb"`
	User    string    `json:"user"`
	Surface string    `json:"surface"`
	Client  string    `json:"client,omitempty"`
	Session string    `json:"session,omitempty"`
	Target  string    `json:"target,omitempty"`
	Profile string    `json:"profile,omitempty"`
	Argv    []string  `json:"argv,omitempty"`
	Text    string    `json:"text,omitempty"`
	Status  string    `json:"status,omitempty"`
	Kind    diag.Kind `json:"kind,omitempty"`
	Exit    *int      `json:"exit,omitempty"`
	Millis  float64   `json:"duration_ms,omitempty"`
	Error   string    `json:"error,omitempty"`
}

// AuditPage is a page of the audit log, newest first.
type AuditPage struct {
	Entries []AuditEntry `json:"entries"`
	Next    string       `json:"next,omitempty"`
}

// AuditState is what a check of the audit log found.
type AuditState struct {
	OK       bool     `json:"ok"`
	Entries  uint64   `json:"entries"`
	Segments int      `json:"segments"`
	Last     string   `json:"last"`
	Problem  string   `json:"problem,omitempty"`
	Notes    []string `json:"notes,omitempty"`
}

// TokenRequest says what a new token is for.
type TokenRequest struct {
	Name     string   `json:"name"`
	User     string   `json:"user,omitempty"`
	Scopes   []string `json:"scopes"`
	Both     bool     `json:"both,omitempty"`
	Targets  string   `json:"targets,omitempty"`
	Profiles []string `json:"profiles,omitempty"`
	Days     float64  `json:"expires_days"`
}

// Token is a token; its secret is told once, to who makes it.
type Token struct {
	ID       string    `json:"id"`
	Name     string    `json:"name"`
	User     string    `json:"user"`
	Scopes   []string  `json:"scopes"`
	Targets  string    `json:"targets,omitempty"`
	Profiles []string  `json:"profiles,omitempty"`
	Maker    string    `json:"maker"`
	Created  time.Time `json:"created"`
	Expires  time.Time `json:"expires"`
	State    string    `json:"state"` // valid, expired, revoked
	Secret   string    `json:"secret,omitempty"`
}

// Tokens is a list of tokens.
type Tokens struct {
	Tokens []Token `json:"tokens"`
}

// FreezeRequest says what to freeze, or to lift.
type FreezeRequest struct {
	Selector string `json:"selector,omitempty"` // "" is everything
	Reason   string `json:"reason,omitempty"`
	Here     bool   `json:"here,omitempty"` // on this server only
}

// Switches is what became of the targets' own switches.
type Switches struct {
	Switches []Switch `json:"switches"`
}

// Switch is one of them.
type Switch struct {
	Target string `json:"target"`
	Did    string `json:"did"`
	Error  string `json:"error,omitempty"`
}

// PolicyQuestion is an act that the holder of the token might do.
type PolicyQuestion struct {
	Do      string   `json:"do"`
	Target  string   `json:"target,omitempty"`
	Profile string   `json:"profile,omitempty"`
	Argv    []string `json:"argv,omitempty"`
	Script  string   `json:"script,omitempty"`
}

// PolicyAnswer is what the policy says, and why.
type PolicyAnswer struct {
	Decision string   `json:"decision"`
	Rule     string   `json:"rule,omitempty"`
	Reason   string   `json:"reason,omitempty"`
	Hint     string   `json:"hint,omitempty"`
	Do       string   `json:"do"`
	Commands []string `json:"commands,omitempty"`
	Unseen   []string `json:"unseen,omitempty"`
}
