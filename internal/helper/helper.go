// Package helper is the far side: what the helper binary does on a target when a
// client calls it over package frame. It decides nothing about who may do what;
// the client's gate and, for plans, the approval do. What root of the target says in
// /etc/bowline holds whatever a client asks for.
//
// What this package links runs on other people's machines: no SSH, HTTP, SQL or
// command-line library, see test/arch.
package helper

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/frame"
	"github.com/bowline-sh/bowline/internal/freeze"
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
	native := newNative()
	err := frame.Serve(ctx, r, w, func(ctx context.Context, r *frame.Request) (any, error) {
		if r.Verb != VerbRun {
			return handle(ctx, r)
		}
		if err := frozen(); err != nil {
			return nil, err
		}
		return run(ctx, native, r)
	})
	return errors.Join(err, native.Close())
}

// frozen refuses what would begin while this host is frozen.
func frozen() error {
	if f, ok := freeze.Read(); ok {
		return f.Here()
	}
	return nil
}

func handle(ctx context.Context, r *frame.Request) (any, error) {
	switch r.Verb {
	case VerbPlan, VerbSelect, VerbScan, VerbFind, VerbSend, VerbReceive:
		if err := frozen(); err != nil {
			return nil, err
		}
	}
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
		return selectOps(ctx, r)
	case VerbDrift:
		return drift(ctx, r)
	case VerbPlan:
		return planSession(ctx, r)
	case VerbHeads:
		return heads(r)
	case VerbScan, VerbFind, VerbSend, VerbReceive:
		return transferVerb(ctx, r)
	default:
		return nil, diag.New(diag.Usage, "call helper", "upgrade the client or the helper, so that both know it", "unknown verb %q", r.Verb)
	}
}

// Version is what "bowline-helper version" prints.
func Version() string { return fmt.Sprintf("bowline-helper, protocol %d", frame.Version) }
