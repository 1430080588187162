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

// runHelper is [sandbox.Exec] through a helper, with the same contract.
func runHelper(ctx context.Context, c *frame.Client, cmd sandbox.Command) (sandbox.Result, error) {
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
	return res, err
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
