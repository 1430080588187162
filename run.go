package bowline

import (
	"bytes"
	"context"
	"io"
	"time"

	"github.com/bowline-sh/bowline/internal/executor"
)

// RunRequest is one command for one target. Only Argv is required.
type RunRequest struct {
	Target  string            // name; "" means the default target
	Profile string            // name, or path of a profile file; "" means the target's, else the default
	Argv    []string          // the command and its arguments; no shell reads them
	Env     map[string]string // added to the profile's environment
	Secrets []string          // names in Env whose values must not be recorded
	Cwd     string            // working directory inside; must exist there, or nothing runs
	Timeout time.Duration     // wall time; 0 means the profile's, else 30 s

	// Script, if set, is the text of a script that Argv[0], its interpreter,
	// reads from its standard input; see [ScriptArgv].
	Script []byte
	// Upload places Script on the target instead, verified, and executes it there by
	// its own first line; Argv are then its arguments alone, and standard input is free.
	// The file is removed whatever becomes of the run. File is its name.
	Upload bool
	File   string

	// Stdin is read by the command; nil means it reads end of file at once.
	Stdin io.Reader

	// Stdout and Stderr are told of output as it comes, besides it being kept
	// in the result; optional. With Discard it is not kept.
	Stdout  io.Writer
	Stderr  io.Writer
	Discard bool
}

// RunResult is how a command ended. With an error, it holds what is known.
type RunResult struct {
	Target      string
	Argv        []string // as requested
	Profile     string   // name of the profile it ran under
	ExitCode    int      // the command's own; 128+n for a signal; 124 if TimedOut
	Signal      string   // name without SIG if ExitCode stands for one, else ""
	Stdout      []byte   // up to the profile's limit
	Stderr      []byte
	StdoutBytes int64 // what the command wrote, dropped bytes included
	StderrBytes int64
	Duration    time.Duration // from the start on the target to its end, connecting excluded
	TimedOut    bool          // killed by the deadline
	Truncated   bool          // output beyond the limit was dropped
	AuditID     string        // of the entry in the audit log; "" if nothing was recorded
}

// Run executes a command on a target, confined by a profile, and waits for it.
//
// A nil error means that the command was executed and the outcome is on record;
// see ExitCode for how it ended. Otherwise the error's kind tells what happened
// on the target: nothing, unless it is lost (nobody knows), canceled or timeout
// (killed). When ctx ends the command is killed on the target.
func (c *Client) Run(ctx context.Context, req RunRequest) (RunResult, error) {
	var out, errw bytes.Buffer
	upload, err := upload(req)
	if err != nil {
		return RunResult{Target: req.Target, Argv: req.Argv}, err
	}
	res, err := c.parts.Executor.Run(ctx, executor.Request{
		Target: req.Target, Profile: req.Profile, Argv: req.Argv, Env: req.Env, Secrets: req.Secrets, Cwd: req.Cwd,
		Timeout: req.Timeout, Stdin: input(req), Digests: digests(req), Upload: upload, Script: req.Script,
		Stdout: sink(req.Stdout, &out, req.Discard), Stderr: sink(req.Stderr, &errw, req.Discard),
	})
	return RunResult{
		Target: res.Target, Argv: req.Argv, Profile: res.Profile, ExitCode: res.ExitCode, Signal: res.Signal,
		Stdout: out.Bytes(), Stderr: errw.Bytes(), StdoutBytes: res.StdoutBytes, StderrBytes: res.StderrBytes,
		Duration: res.Duration, TimedOut: res.TimedOut, Truncated: res.Truncated, AuditID: res.AuditID,
	}, err
}

func input(req RunRequest) io.Reader {
	switch {
	case req.Script == nil || req.Upload:
		return req.Stdin
	case req.Stdin == nil:
		return bytes.NewReader(req.Script)
	default:
		return io.MultiReader(bytes.NewReader(req.Script), req.Stdin)
	}
}

func sink(live io.Writer, keep *bytes.Buffer, discard bool) io.Writer {
	switch {
	case discard && live == nil:
		return io.Discard
	case discard:
		return live
	case live == nil:
		return keep
	default:
		return io.MultiWriter(keep, live)
	}
}
