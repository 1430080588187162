//go:build linux

package apply

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bowline-sh/bowline/plan"
)

func succeeded(c command, answer int) bool {
	return c.ended && (c.exit == 0 || c.exit == answer)
}

// command runs a deferred command in its place, unless it already was.
func (e *engine) command(ctx context.Context, op int, c plan.Command) error {
	if err := check(ctx); err != nil {
		return err
	}
	was := e.m.commands[op][direction(false)]
	if succeeded(was, c.Answer) {
		e.out.count(false)
		return nil
	}
	if was.interrupted() && e.opts.SkipInterrupted {
		return e.log(record{Kind: recCommandEnd, Op: op, Note: "its end is not known; taken as done"}, true)
	}
	stdin := io.Reader(bytes.NewReader(nil))
	if c.Stdin != "" {
		f, err := e.content(c.Stdin)
		if err != nil {
			return err
		}
		defer f.Close()
		stdin = f
	}
	ran, err := e.run(ctx, op, c, stdin)
	if err != nil {
		return err
	}
	if ran.Note != "" || ran.Exit != 0 && ran.Exit != c.Answer {
		return fmt.Errorf("operation %d, %q, ended with exit code %d%s; its output is in %s", op, c.Argv, ran.Exit,
			note(ran.Note), filepath.Join(e.s.path, OutputsDir, ran.Output+".err"))
	}
	e.out.count(false)
	return nil
}

func note(s string) string {
	if s == "" {
		return ""
	}
	return " (" + s + ")"
}

// run runs a command between two records. The error is of ours, not of the command.
func (e *engine) run(ctx context.Context, op int, c plan.Command, stdin io.Reader) (Ran, error) {
	ran := Ran{Op: op, Argv: c.Argv, Undo: e.undo, Output: strconv.Itoa(op)}
	if e.undo {
		ran.Output = "undo-" + ran.Output
	}
	stdout, err := e.output(op, ran.Output+".out")
	if err != nil {
		return ran, err
	}
	stderr, err := e.output(op, ran.Output+".err")
	if err != nil {
		return ran, errors.Join(err, stdout.f.Close())
	}
	if err := e.log(record{Kind: recCommand, Op: op}, true); err != nil {
		return ran, errors.Join(err, stdout.f.Close(), stderr.f.Close())
	}
	e.opts.progress(Event{Op: op, Total: len(e.m.plan.Ops), Undo: e.undo, Argv: c.Argv, Did: "run"})
	runner := e.opts.Runner
	if runner == nil {
		runner = Exec{}
	}
	var runErr error
	err = e.do("command", func() error {
		ran.Exit, runErr = runner.Run(ctx, c, stdin, stdout, stderr)
		return nil
	})
	if runErr != nil {
		ran.Note = runErr.Error()
		if ran.Exit == 0 {
			ran.Exit = 127
		}
	}
	err = errors.Join(err, stdout.close(), stderr.close())
	if err != nil {
		return ran, err
	}
	e.out.Commands = append(e.out.Commands, ran)
	short := ran.Note
	if len(short) > 4096 {
		short = short[:4096]
	}
	return ran, e.log(record{Kind: recCommandEnd, Op: op, Exit: ran.Exit, Note: short}, true)
}

// maxOutput is what is kept of each stream of a command (design, contract 4).
const maxOutput = 10 << 20

// capped keeps the first bytes and says when it dropped the rest.
type capped struct {
	f    *os.File
	left int
	cut  bool
	show func(p []byte)
}

func (e *engine) output(op int, name string) (*capped, error) {
	if err := e.s.out.Unlink(name); err != nil && !errors.Is(err, unix.ENOENT) {
		return nil, err
	}
	f, err := e.s.out.Create(name)
	if err != nil {
		return nil, err
	}
	show := func([]byte) {}
	if e.opts.Output != nil {
		show = func(p []byte) { e.opts.Output(op, p) }
	}
	return &capped{f: f, left: maxOutput, show: show}, nil
}

func (c *capped) Write(p []byte) (int, error) {
	keep := p[:min(len(p), c.left)]
	c.cut = c.cut || len(keep) < len(p)
	n, err := c.f.Write(keep)
	c.show(keep[:n])
	if c.left -= n; err != nil {
		return n, err
	}
	return len(p), nil
}

func (c *capped) close() error {
	var err error
	if c.cut {
		_, err = c.f.WriteString("\n[truncated]\n")
	}
	return errors.Join(err, c.f.Close())
}

// Exec runs commands on this host, each in a process group of its own, with the
// recorded surroundings and nothing else.
type Exec struct{}

// grace is how long a command gets between SIGTERM and SIGKILL, and how long its
// output is read after its end: a daemon it left may hold the pipe open.
const grace = 5 * time.Second

// Run implements [Runner].
func (Exec) Run(ctx context.Context, c plan.Command, stdin io.Reader, stdout, stderr io.Writer) (int, error) {
	cmd := exec.CommandContext(ctx, c.Path)
	cmd.Args, cmd.Dir, cmd.Env = c.Argv, c.Cwd, c.Env
	if cmd.Env == nil {
		cmd.Env = []string{}
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if os.Geteuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: c.UID, Gid: c.GID, Groups: c.Groups}
	} else if int(c.UID) != os.Geteuid() {
		return 126, fmt.Errorf("cannot become user %d", c.UID)
	}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = grace
	err := cmd.Run()
	if ctx.Err() != nil && cmd.Process != nil { // whatever it started and SIGTERM did not end
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		return 143, context.Cause(ctx)
	}
	if cmd.ProcessState == nil {
		return 127, err
	}
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal()), nil
	}
	return cmd.ProcessState.ExitCode(), nil
}

// undoOf returns the command that takes c back.
func undoOf(c plan.Command) (plan.Command, bool) {
	if len(c.Undo) == 0 {
		return c, false
	}
	u := c
	u.Argv, u.Stdin, u.Undo = c.Undo, "", nil
	switch prog := c.Undo[0]; {
	case strings.HasPrefix(prog, "/"):
		u.Path = prog
	case filepath.Base(prog) == filepath.Base(c.Argv[0]):
	default:
		u.Path = lookPath(prog, c.Env)
	}
	return u, true
}

// lookPath finds a program as the command itself would have, by its own PATH.
func lookPath(prog string, env []string) string {
	dirs := "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	if i := slices.IndexFunc(env, func(s string) bool { return strings.HasPrefix(s, "PATH=") }); i >= 0 {
		dirs = env[i][len("PATH="):]
	}
	for dir := range strings.SplitSeq(dirs, ":") {
		p := filepath.Join(dir, prog)
		if st, err := os.Stat(p); filepath.IsAbs(p) && err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return p
		}
	}
	return "/" + prog // the runner says that it is missing
}
