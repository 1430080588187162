package helper

import (
	"context"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/frame"
	"github.com/bowline-sh/bowline/internal/sandbox"
	"github.com/bowline-sh/bowline/internal/transport/local"
)

// newNative runs commands without a shell, and through one where it cannot.
func newNative() *sandbox.Native {
	return sandbox.NewNative(func(ctx context.Context, cmd sandbox.Command) (sandbox.Result, error) {
		conn := local.Dial()
		defer conn.Close()
		return sandbox.Exec(ctx, conn, cmd)
	})
}

func run(ctx context.Context, native *sandbox.Native, r *frame.Request) (any, error) {
	cmd, err := command(r)
	if err != nil {
		return nil, err
	}
	res, err := native.Exec(ctx, cmd)
	if err != nil {
		return nil, err
	}
	return res, nil
}

// command is what r asks to run.
func command(r *frame.Request) (sandbox.Command, error) {
	var req RunRequest
	if err := r.Decode(&req); err != nil {
		return sandbox.Command{}, err
	}
	if err := req.Profile.Validate(); err != nil {
		return sandbox.Command{}, diag.New(diag.Usage, "run", "", "%w", err)
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
		return sandbox.Command{}, diag.New(diag.Usage, "run", "", "the command is missing")
	}
	if req.Stdin {
		cmd.Stdin = r.Stdin
	}
	return cmd, nil
}
