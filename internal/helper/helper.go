// Package helper is the far side: what the helper binary does on a target when a
// client calls it over package frame. It decides nothing about who may do what;
// the client's gate and, for plans, the approval do.
//
// What this package links runs on other people's machines: no SSH, HTTP, SQL or
// command-line library, see test/arch.
package helper

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/frame"
	"github.com/bowline-sh/bowline/internal/sandbox"
	"github.com/bowline-sh/bowline/internal/transport/local"
	"github.com/bowline-sh/bowline/profile"
)

// Verbs of the protocol.
const (
	VerbRun  = "run"
	VerbPing = "ping"
)

// RunRequest is a command for [sandbox.Exec] on the target.
type RunRequest struct {
	Profile profile.Profile   `json:"profile"`
	Argv    [][]byte          `json:"argv"` // any bytes
	Env     map[string][]byte `json:"env,omitempty"`
	Cwd     []byte            `json:"cwd,omitempty"`
	Timeout time.Duration     `json:"timeout"`
	Stdin   bool              `json:"stdin"`
}

// Serve answers calls on r and w until r ends.
func Serve(ctx context.Context, r io.Reader, w io.Writer) error {
	takeOver()
	return frame.Serve(ctx, r, w, handle)
}

func handle(ctx context.Context, r *frame.Request) (any, error) {
	switch r.Verb {
	case VerbPing:
		return struct{}{}, nil
	case VerbApply, VerbResume, VerbRollback:
		return sessionVerb(ctx, r)
	case VerbRemove:
		return remove(r)
	case VerbConfirm:
		return confirm(ctx, r)
	case VerbSelect:
		return selectOps(r)
	case VerbDrift:
		return drift(ctx, r)
	case VerbPlan:
		return planSession(ctx, r)
	case VerbRun:
		return run(ctx, r)
	case VerbScan, VerbFind, VerbSend, VerbReceive:
		return transferVerb(ctx, r)
	default:
		return nil, diag.New(diag.Usage, "call helper", "upgrade the client or the helper, so that both know it", "unknown verb %q", r.Verb)
	}
}

func run(ctx context.Context, r *frame.Request) (any, error) {
	var req RunRequest
	if err := r.Decode(&req); err != nil {
		return nil, err
	}
	if err := req.Profile.Validate(); err != nil {
		return nil, diag.New(diag.Usage, "run", "", "%w", err)
	}
	cmd := sandbox.Command{
		Spec:    sandbox.Spec{Profile: req.Profile, Env: map[string]string{}, Cwd: string(req.Cwd)},
		Timeout: req.Timeout, Stdout: r.Stdout, Stderr: r.Stderr,
	}
	for _, a := range req.Argv {
		cmd.Argv = append(cmd.Argv, string(a))
	}
	for k, v := range req.Env {
		cmd.Env[k] = string(v)
	}
	if len(cmd.Argv) == 0 {
		return nil, diag.New(diag.Usage, "run", "", "the command is missing")
	}
	if req.Stdin {
		cmd.Stdin = r.Stdin
	}
	conn := local.Dial()
	defer conn.Close()
	res, err := sandbox.Exec(ctx, conn, cmd)
	if err != nil {
		return nil, err
	}
	return res, nil
}

// Version is what "bowline-helper version" prints.
func Version() string { return fmt.Sprintf("bowline-helper, protocol %d", frame.Version) }
