package work

import "time"

// Request is what an operation was asked to do, as it is stored. Keys may be added;
// existing ones never change.
type Request struct {
	Run  *RunRequest  `json:"run,omitempty"`
	Plan *PlanRequest `json:"plan,omitempty"`
	Act  *ActRequest  `json:"act,omitempty"` // apply and rollback
}

// RunRequest is a command for each target.
type RunRequest struct {
	Profile string            `json:"profile,omitempty"`
	Argv    []string          `json:"argv"`
	Env     map[string]string `json:"env,omitempty"`
	Cwd     string            `json:"cwd,omitempty"`
	Timeout time.Duration     `json:"timeout_ns,omitempty"`
	Script  []byte            `json:"script,omitempty"`
	Upload  bool              `json:"upload,omitempty"`
	// Interpreter is that of an uploaded script; nil if it is no script of one.
	Interpreter []string          `json:"interpreter,omitempty"`
	Digests     map[string]string `json:"digests,omitempty"` // for the record
	File        string            `json:"file,omitempty"`
	Stdin       []byte            `json:"stdin,omitempty"`
}

// PlanRequest is a change to be planned on each target.
type PlanRequest struct {
	AsRoot  bool          `json:"as_root,omitempty"`
	HostNet bool          `json:"host_net,omitempty"`
	Profile string        `json:"profile,omitempty"`
	Name    string        `json:"name,omitempty"`
	Note    string        `json:"note,omitempty"`
	Script  []byte        `json:"script,omitempty"`
	File    string        `json:"file,omitempty"`
	Argv    []string      `json:"argv,omitempty"`
	Timeout time.Duration `json:"timeout_ns,omitempty"`
	Fleet   string        `json:"fleet,omitempty"` // of several targets
}

// ActRequest says how sessions are applied or rolled back.
type ActRequest struct {
	Confirm time.Duration `json:"confirm_ns,omitempty"`
	Force   bool          `json:"force,omitempty"`
}

// RunResult is a [Task.Result] of a run; its standard output is the task's.
type RunResult struct {
	Profile     string        `json:"profile,omitempty"`
	ExitCode    int           `json:"exit_code"`
	Signal      string        `json:"signal,omitempty"`
	TimedOut    bool          `json:"timed_out,omitempty"`
	Truncated   bool          `json:"truncated,omitempty"`
	StdoutBytes int64         `json:"stdout_bytes"`
	StderrBytes int64         `json:"stderr_bytes"`
	Duration    time.Duration `json:"duration_ns"`
	Stderr      []byte        `json:"stderr,omitempty"` // up to MaxStderr
	AuditID     string        `json:"audit_id,omitempty"`
}

// MaxStderr bounds the standard error that is kept, in bytes.
const MaxStderr = 64 << 10

// PlanResult is a [Task.Result] of a plan.
type PlanResult struct {
	Digest string `json:"digest"`
	Effect string `json:"effect,omitempty"`
	Ops    int    `json:"operations"`
	Exit   int    `json:"exit_code"`
}

// ActResult is a [Task.Result] of an apply or rollback.
type ActResult struct {
	Status  string   `json:"status"`
	Done    int      `json:"done"`
	Total   int      `json:"total"`
	Notes   []string `json:"notes,omitempty"`
	Message string   `json:"message,omitempty"`
}
