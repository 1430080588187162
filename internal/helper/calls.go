package helper

import (
	"time"

	"github.com/bowline-sh/bowline/change"
	"github.com/bowline-sh/bowline/plan"
	"github.com/bowline-sh/bowline/profile"
)

// Verbs of sessions.
const (
	VerbPlan     = "plan"
	VerbApply    = "apply"
	VerbResume   = "resume"
	VerbRollback = "rollback"
	VerbRemove   = "remove"
	VerbDrift    = "drift"
	VerbSelect   = "select"
	VerbConfirm  = "confirm"
)

// PlanRequest is a dry run to be made, and the session that keeps it.
type PlanRequest struct {
	Session string        `json:"session"`
	Target  string        `json:"target"`   // name on the client
	HostKey string        `json:"host_key"` // as the client verified it
	Created time.Time     `json:"created"`
	Argv    [][]byte      `json:"argv"`             // of the command, or the arguments of Script
	Script  []byte        `json:"script,omitempty"` // text of a script; nil for a command
	Name    string        `json:"name,omitempty"`   // base name of the script's file
	HostNet bool          `json:"host_net,omitempty"`
	Timeout time.Duration `json:"timeout,omitempty"`
	// Profile says what is deferred and what is volatile; the zero value is the
	// built-in rules.
	Profile profile.Profile `json:"profile"`
	// Head is left on the target; optional.
	Head *Head `json:"head,omitempty"`
}

// PlanResult is what the dry run found.
type PlanResult struct {
	Plan plan.Plan `json:"plan"`
	// Contents holds small contents before and after, by digest, so that a
	// person can read the diff later without the target.
	Contents map[string][]byte `json:"contents"`
	Labels   []string          `json:"labels,omitempty"` // what the mode cannot show
	TimedOut bool              `json:"timed_out,omitempty"`
}

// SessionRequest is about a session on the target.
type SessionRequest struct {
	Session string `json:"session"`
	// Approval comes with apply.
	Approval *plan.Approval `json:"approval,omitempty"`
	// Confirm, with apply, is how long the target waits for VerbConfirm over another
	// connection before it takes everything back; 0 for not at all.
	Confirm time.Duration `json:"confirm,omitempty"`
	Force   bool          `json:"force,omitempty"`   // rollback: also what changed since
	DryRun  bool          `json:"dry_run,omitempty"` // rollback: only say what it would do
	Rerun   bool          `json:"rerun,omitempty"`   // resume: run an interrupted command again
	Skip    bool          `json:"skip,omitempty"`    // resume: take an interrupted command as done
	// Follow, with resume, only follows what is being done or says that it is done: the
	// client is frozen.
	Follow bool `json:"follow,omitempty"`
	// Head, with apply, resume and rollback, is left on the target; optional.
	Head *Head `json:"head,omitempty"`
}

// SessionResult is where a session stands after a call.
type SessionResult struct {
	Status  plan.Status `json:"status"`
	Done    int         `json:"done"`  // operations
	Total   int         `json:"total"` // operations
	Notes   []string    `json:"notes,omitempty"`
	Message string      `json:"message,omitempty"`
	// Commands are the deferred commands, or what took them back, that this call ran.
	Commands []plan.Ran `json:"commands,omitempty"`
}

// SelectRequest makes a new session of some operations of a pending one.
type SelectRequest struct {
	Session string    `json:"session"`
	New     string    `json:"new"`  // id
	Keep    []int     `json:"keep"` // operations, from 1
	Created time.Time `json:"created"`
	// Again, if not nil, is what made the pending session. It is run again without what
	// is left out, and what then differs is a warning of the new plan.
	Again *PlanRequest `json:"again,omitempty"`
}

// RemoveRequest names sessions that are to be deleted on the target, with the
// originals that a rollback would need.
type RemoveRequest struct {
	Sessions []string `json:"sessions"`
}

// RemoveResult says which are gone, and why the others are not.
type RemoveResult struct {
	Removed []string          `json:"removed"`
	Kept    map[string]string `json:"kept,omitempty"`
}

// Progress is an event of apply, resume and rollback.
type Progress struct {
	Op   int    `json:"op"` // operation, from 1
	What string `json:"what"`
	Text string `json:"text,omitempty"` // output of a deferred command
	// Result comes before an error: where the call left the session.
	Result *SessionResult `json:"result,omitempty"`
}

// DriftResult says where the target is no longer as the session left it.
type DriftResult struct {
	Status  plan.Status `json:"status"`
	Changes []Drifted   `json:"changes"`
	// Contents holds small contents as they were left and as they are now.
	Contents map[string][]byte `json:"contents,omitempty"`
}

// Drifted is a path in another state: Before is how the session left it (or found
// it, if it was not applied), After how it is.
type Drifted struct {
	change.Change
	Why string `json:"why"`
}
