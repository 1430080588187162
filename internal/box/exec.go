package box

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/client"

	"github.com/bowline-sh/bowline/diag"
)

// ExecRequest is a command in a box.
type ExecRequest struct {
	Argv           []string
	User           string // default the account of the box
	Dir            string // default /workspace/project
	Env            []string
	Stdin          io.Reader // optional
	Stdout, Stderr io.Writer // required; with TTY all goes to Stdout
	TTY            bool
	Sizes          <-chan Size // of the terminal, with TTY; optional
}

// Size is that of a terminal.
type Size struct{ Columns, Rows uint }

// inside is a container and an account in it.
type inside struct{ container, user string }

// Exec runs a command in a box and returns its exit code. When ctx ends, the command and
// what it started there is killed; kind timeout if it was a deadline.
func (s *Server) Exec(ctx context.Context, name string, req ExecRequest) (int, error) {
	b, err := s.Get(ctx, name)
	if err != nil {
		return 0, err
	}
	if b.Status != "running" {
		return 0, diag.New(diag.Refused, "run in "+name, "start it: "+s.typed("start", name), "the box is %s", b.Status)
	}
	if req.Dir == "" && req.User == "" {
		req.Dir = "/workspace/project"
	}
	code, err := s.exec(ctx, inside{b.ID, b.User}, req)
	if errors.Is(err, errAPI) && req.User != "" && ctx.Err() == nil {
		err = diag.New(diag.Usage, "run in "+name, "see which accounts there are: "+s.typed("exec", name)+" with '-- cat /etc/passwd'", "Podman does not run it as %.50q: %s", req.User, err)
	}
	return code, err
}

// marker is the environment variable by which the processes of one command are found.
const marker = "BOWLINE_EXEC"

func (s *Server) exec(ctx context.Context, on inside, req ExecRequest) (int, error) {
	if req.User != "" {
		on.user = req.User
	}
	mark := marker + "=" + rand.Text()
	id, code, err := s.attempt(ctx, on, req, mark)
	if err != nil && id != "" && ctx.Err() != nil {
		return 0, s.kill(ctx, on, id, mark)
	}
	return code, err
}

// attempt runs a command that has a mark. With an error, it may run on unless id is "".
func (s *Server) attempt(ctx context.Context, on inside, req ExecRequest, mark string) (id string, code int, err error) {
	opts := client.ExecCreateOptions{
		Cmd: req.Argv, User: on.user, WorkingDir: req.Dir, Env: append(append([]string{}, req.Env...), mark), TTY: req.TTY,
		AttachStdin: true, AttachStdout: true, AttachStderr: !req.TTY,
	}
	created, err := s.api.ExecCreate(ctx, on.container, opts)
	if err != nil {
		return "", 0, failed("run in the box", err)
	}
	attached, err := s.api.ExecAttach(ctx, created.ID, client.ExecAttachOptions{TTY: req.TTY})
	if err != nil {
		return created.ID, 0, failed("run in the box", err)
	}
	if err := s.stream(ctx, created.ID, attached.HijackedResponse, req); err != nil {
		return created.ID, 0, diag.New(diag.Lost, "run in the box", "", "%w", err)
	}
	code, err = s.ended(ctx, created.ID)
	return created.ID, code, err
}

// endFor bounds how long Podman may take to notice that a command ended whose streams did.
const endFor = 10 * time.Second

// ended returns the exit code.
func (s *Server) ended(ctx context.Context, id string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, endFor)
	defer cancel()
	for wait := 5 * time.Millisecond; ; wait *= 2 {
		res, err := s.api.ExecInspect(ctx, id, client.ExecInspectOptions{})
		if err != nil {
			return 0, diag.New(diag.Lost, "ask how the command ended", "", "%w", err)
		}
		if !res.Running {
			return res.ExitCode, nil
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return 0, diag.New(diag.Lost, "ask how the command ended", "look for it: 'bowline box exec -- ps'", "its streams ended, and it did not")
		}
	}
}

// stream carries the streams of a command until they end, or ctx does.
func (s *Server) stream(ctx context.Context, id string, conn client.HijackedResponse, req ExecRequest) error {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Conn.Close() })()
	over := make(chan struct{})
	defer close(over)
	go s.resize(ctx, id, req.Sizes, over)
	go func() {
		if req.Stdin != nil {
			_, _ = io.Copy(conn.Conn, req.Stdin) // the command may not read all of it
		}
		_ = conn.CloseWrite()
	}()
	var err error
	if req.TTY {
		_, err = io.Copy(req.Stdout, conn.Reader)
	} else {
		_, err = stdcopy.StdCopy(req.Stdout, req.Stderr, conn.Reader)
	}
	return errors.Join(err, context.Cause(ctx))
}

// resize follows the size of a terminal. A size that is refused is one that the command
// does not hear of: it may have ended.
func (s *Server) resize(ctx context.Context, id string, sizes <-chan Size, over <-chan struct{}) {
	for {
		select {
		case <-over:
			return
		case size, ok := <-sizes:
			if !ok {
				return
			}
			_, _ = s.api.ExecResize(ctx, id, client.ExecResizeOptions{Width: size.Columns, Height: size.Rows})
		}
	}
}

// killText ends the processes of the account that have its argument in their environment,
// but itself, and prints how many there were.
const killText = `n=0
for d in /proc/[0-9]*; do
	p=${d#/proc/}
	[ "$p" = $$ ] || ! grep -q -e "$1" "$d/environ" 2>/dev/null || { kill -KILL "$p" 2>/dev/null && n=$((n+1)); }
done
echo $n`

const (
	// killFor bounds how long the end of a command may take.
	killFor = 30 * time.Second
	// beginFor is for how long a command that is not found may be about to begin: Podman
	// hands out its streams a moment before.
	beginFor = time.Second
)

// kill ends a command whose time is over, and says what became of it. One that cleared its
// environment is not found.
func (s *Server) kill(ctx context.Context, on inside, id, mark string) error {
	kind := diag.Canceled
	if errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		kind = diag.Timeout
	}
	clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), killFor)
	defer cancel()
	found, begun := 0, time.Now()
	for {
		n, err := s.killMarked(clean, on, mark)
		found += n
		var res client.ExecInspectResult
		if err == nil {
			res, err = s.api.ExecInspect(clean, id, client.ExecInspectOptions{})
		}
		switch {
		case err != nil:
			return diag.New(diag.Lost, "run in the box", "look for it: 'bowline box exec -- ps'", "%w; and it could not be ended: %w", context.Cause(ctx), err)
		case !res.Running && (found > 0 || time.Since(begun) > beginFor):
			return diag.New(kind, "run in the box", "", "%w", context.Cause(ctx))
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-clean.Done():
			return diag.New(diag.Lost, "run in the box", "look for it: 'bowline box exec -- ps'", "%w; and it runs on: it is not found by its environment", context.Cause(ctx))
		}
	}
}

// killMarked kills what has a mark, and returns how many processes those were.
func (s *Server) killMarked(ctx context.Context, on inside, mark string) (int, error) {
	var out, said capped
	out.max, said.max = maxAnswer, maxAnswer
	_, code, err := s.attempt(ctx, on, ExecRequest{Argv: []string{"/bin/sh", "-c", killText, "sh", mark}, Stdout: &out, Stderr: &said}, marker+"=kill")
	if err == nil && code != 0 {
		err = diag.New(diag.Failure, "end the command", "the image needs grep", "exit code %d: %s", code, strings.TrimSpace(said.String()))
	}
	return atoi(out.String()), err
}
