package helper

import (
	"time"

	"github.com/bowline-sh/bowline/plan"
	"github.com/bowline-sh/bowline/profile"
)

// Verbs of sessions.
const (
	VerbPlan     = "plan"
	VerbApply    = "apply"
	VerbResume   = "resume"
	VerbRollback = "rollback"
	VerbDecide   = "decide"
	VerbRemove   = "remove"
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
	// Approval comes with decide and apply.
	Approval *plan.Approval `json:"approval,omitempty"`
	Force    bool           `json:"force,omitempty"`   // rollback: also what changed since
	DryRun   bool           `json:"dry_run,omitempty"` // rollback: only say what it would do
	Rerun    bool           `json:"rerun,omitempty"`   // resume: run an interrupted command again
	Skip     bool           `json:"skip,omitempty"`    // resume: take an interrupted command as done
}

// SessionResult is where a session stands after a call.
type SessionResult struct {
	Status  plan.Status `json:"status"`
	Done    int         `json:"done"`  // operations
	Total   int         `json:"total"` // operations
	Notes   []string    `json:"notes,omitempty"`
	Message string      `json:"message,omitempty"`
}

// Progress is an event of apply, resume and rollback.
type Progress struct {
	Op   int    `json:"op"` // operation, from 1
	What string `json:"what"`
	Text string `json:"text,omitempty"` // output of a deferred command
}
