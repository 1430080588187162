package executor

import (
	"cmp"
	"context"
	"errors"
	"io"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/frame"
	"github.com/bowline-sh/bowline/internal/helper"
	"github.com/bowline-sh/bowline/internal/link"
	"github.com/bowline-sh/bowline/internal/sandbox"
	"github.com/bowline-sh/bowline/internal/transport"
	"github.com/bowline-sh/bowline/profile"
	"github.com/bowline-sh/bowline/target"
)

// helper returns a helper that runs at the far end of l, or nil. It places none:
// a command can do without.
func (e *Executor) helper(l *link.Link, t target.Target) *frame.Client {
	if e.cfg.Helpers == nil || t.NoHelper || t.Kind == target.Local {
		return nil
	}
	return l.Helper(func(ctx context.Context, conn transport.Conn) (*frame.Client, error) {
		return e.cfg.Helpers.Start(ctx, conn, link.HelperOptions{})
	})
}

// WithHelper returns conn with a helper that runs at its far end: it is a
// [sandbox.Runner].
func WithHelper(conn transport.Conn, c *frame.Client) transport.Conn { return helped{conn, c} }

type helped struct {
	transport.Conn
	client *frame.Client
}

// RunSandboxed is [sandbox.Exec] through the helper, with the same contract.
func (h helped) RunSandboxed(ctx context.Context, cmd sandbox.Command) (sandbox.Result, error) {
	c := h.client
	req := helper.RunRequest{Profile: cmd.Profile, Env: map[string][]byte{}, Cwd: []byte(cmd.Cwd), Timeout: cmd.Timeout, Stdin: cmd.Stdin != nil}
	for _, a := range cmd.Argv {
		req.Argv = append(req.Argv, []byte(a))
	}
	for k, v := range cmd.Env {
		req.Env[k] = []byte(v)
	}
	call, err := c.Open(helper.VerbRun, req, nil)
	if err != nil {
		return sandbox.Result{}, lost(err)
	}
	stop := context.AfterFunc(ctx, call.Cancel)
	defer stop()
	go feed(call.Stdin, cmd.Stdin)
	copied := make(chan error, 2)
	limit := cmp.Or(cmd.Profile.Limits.Output, profile.DefaultOutput)
	go func() { copied <- drain(cmd.Stdout, call.Stdout, limit) }()
	go func() { copied <- drain(cmd.Stderr, call.Stderr, limit) }()
	outErr := errors.Join(<-copied, <-copied)
	var res sandbox.Result
	err = call.Wait(ctx, &res)
	if err != nil && !errors.As(err, new(*diag.Error)) {
		err = lost(err)
	}
	if err == nil && outErr != nil {
		err = lost(outErr)
	}
	return res, because(ctx, err)
}

// because gives the error of a run that we cancelled the cause that we know: the
// helper was only told to stop.
func because(ctx context.Context, err error) error {
	d, ok := errors.AsType[*diag.Error](err)
	if !ok || d.Kind != diag.Canceled || ctx.Err() == nil {
		return err
	}
	return diag.New(diag.Canceled, d.Op, d.Hint, "stopped by the caller; the command was killed: %w", context.Cause(ctx))
}

func lost(err error) error {
	return diag.New(diag.Lost, "run command", "look on the target whether it ran before you run it again",
		"the link dropped; nothing is known of the outcome: %w", errors.Join(err, transport.ErrLost))
}

// feed ends when the command does: what is left is not for it.
func feed(to io.WriteCloser, from io.Reader) {
	if from != nil {
		_, _ = io.Copy(to, from)
	}
	_ = to.Close()
}

// drain reads everything, also for a writer that is missing or fails: the far
// side must not wait for us. It passes on limit bytes, which an honest helper
// does not exceed. Its errors are those of the link.
func drain(to io.Writer, from io.Reader, limit int64) error {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if keep := min(int64(n), limit); to != nil && keep > 0 {
			limit -= keep
			if _, werr := to.Write(buf[:keep]); werr != nil {
				to = nil
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
