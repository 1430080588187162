package sandbox

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/transport"
	"github.com/bowline-sh/bowline/profile"
)

// Command is one run of a [Spec].
type Command struct {
	Spec
	Timeout time.Duration // wall time; 0 means the profile's, else profile.DefaultWall
	Stdin   io.Reader     // nil means that the command reads end of file
	Stdout  io.Writer     // told as output comes; nil discards
	Stderr  io.Writer
}

// Result is how a command ended that was executed. Codes above 128 are reported
// by bubblewrap as a shell does: 128 + the number of the signal.
type Result struct {
	ExitCode    int
	Signal      string // name without SIG, where ExitCode says one; else ""
	TimedOut    bool   // the deadline passed and the command was killed; ExitCode is 124
	Truncated   bool   // output beyond the profile's limit was dropped
	StdoutBytes int64  // what the command wrote, dropped bytes included
	StderrBytes int64
	Duration    time.Duration
}

// ErrUnclean is wrapped by errors after which the connection must not be used
// again: something may still run on the target, or its streams are in an
// unknown state.
var ErrUnclean = errors.New("the connection is in an unknown state")

// TimeoutCode is the exit code of a command that was killed by its deadline, as
// timeout(1) has it.
const TimeoutCode = 124

const (
	killGrace = 5 * time.Second  // for a killed command to be reported as ended
	hangup    = time.Second      // for the target to notice that its input ended
	farGrace  = 10 * time.Second // how much later than ours the target's own timer fires
)

// Runner is what a [transport.Conn] is where something at its far end runs
// sandboxed commands by itself. Exec leaves them to it; its contract is that of
// Exec.
type Runner interface {
	RunSandboxed(ctx context.Context, cmd Command) (Result, error)
}

// Exec runs cmd over conn and returns when it has ended on the target.
//
// A nil error means that the command was executed; a non-zero ExitCode is its
// own, or 124 with TimedOut. A non-nil error is a [*diag.Error] whose Kind says
// what is known: Lost means that the command may have run, Canceled that it was
// killed because ctx ended; for every other kind nothing ran. If the error
// wraps [ErrUnclean] or [transport.ErrLost], conn must be closed.
func Exec(ctx context.Context, conn transport.Conn, cmd Command) (Result, error) {
	if r, ok := conn.(Runner); ok {
		return r.RunSandboxed(ctx, cmd)
	}
	limits := cmd.Profile.Limits
	timeout := cmp.Or(cmd.Timeout, limits.Wall, profile.DefaultWall)
	line, err := bootLine(mode{stdin: cmd.Stdin != nil, after: timeout + farGrace})
	if err != nil {
		return Result{}, err
	}
	nonce, mark := newNonce()
	head, err := header(nonce, mark, cmd.Spec)
	if err != nil {
		return Result{}, diag.New(diag.Usage, "prepare command", "", "%w", err)
	}
	start := time.Now()
	proc, err := conn.Start(ctx, line)
	if err != nil {
		return Result{}, startError(err)
	}
	r := &run{conn: conn, proc: proc, nonce: nonce, mark: mark, head: head, cmd: cmd, max: cmp.Or(limits.Output, profile.DefaultOutput)}
	defer r.close()
	res, err := r.finish(ctx, timeout)
	res.Duration = time.Since(start)
	return res, err
}

func startError(err error) error {
	if errors.Is(err, transport.ErrLost) {
		return diag.New(diag.Lost, "start command", "look on the target whether it ran before you run it again", "%w", err)
	}
	return fmt.Errorf("start command: %w", err)
}

// newNonce returns a secret and a mark. The secret starts with a control
// character, so that ordinary output is never held back for looking like its
// beginning.
func newNonce() (nonce, mark string) { return "\x02" + rand.Text(), rand.Text() }

// run is one command in flight.
type run struct {
	conn  transport.Conn
	proc  transport.Process
	nonce string
	mark  string
	head  string
	cmd   Command
	max   int64

	out, err *stream // owned by pump until its channel is closed
}

// leader is BOOT on the target: its process, and the group to kill.
type leader struct{ pid, group int }

// parseLeader reads what BOOT says of itself behind the nonce.
func parseLeader(mark string) (leader, bool) {
	pid, group, _ := strings.Cut(mark, " ")
	var l leader
	var err error
	if l.pid, err = strconv.Atoi(pid); err != nil || l.pid < 2 {
		return leader{}, false
	}
	if l.group, err = strconv.Atoi(group); err != nil || l.group < 2 {
		l.group = l.pid
	}
	return l, true
}

// close gives the process up. Whoever reads or writes for the command is not
// called again afterwards, even if its streams are not drained.
func (r *run) close() {
	_ = r.proc.Close() // gives up the streams; there is nothing to do about an error
	r.out.to.detach()
	r.err.to.detach()
}

// finish feeds and drains the process until it ends, the deadline passes or ctx
// is done.
func (r *run) finish(ctx context.Context, timeout time.Duration) (Result, error) {
	r.out = newStream(r.nonce, newCapped(r.cmd.Stdout, r.max), false)
	r.err = newStream(r.nonce, newCapped(r.cmd.Stderr, r.max), true)
	started := make(chan leader, 1)
	ended := r.pump(started)

	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case end := <-ended:
		return r.classify(end)
	case <-timer.C:
		err := r.kill(started, ended)
		return r.result(Result{ExitCode: TimeoutCode, TimedOut: true}), err
	case <-ctx.Done():
		err := r.kill(started, ended)
		if err == nil {
			err = diag.New(diag.Canceled, "run command", "", "stopped by the caller; the command was killed: %w", context.Cause(ctx))
		}
		return r.result(Result{}), err
	}
}

// end is how the process ended.
type end struct {
	exit transport.Exit
	err  error
}

// pump moves all three streams. The channel it returns gets one value when the
// process has ended and both outputs are drained.
func (r *run) pump(started chan<- leader) <-chan end {
	ended := make(chan end, 1)
	outputs := make(chan struct{}, 2)
	go r.feed()
	go func() {
		drain(r.proc.Stdout(), r.out, func(mark string) {
			if l, ok := parseLeader(mark); ok {
				started <- l
			}
		})
		outputs <- struct{}{}
	}()
	go func() {
		drain(r.proc.Stderr(), r.err, func(string) {})
		outputs <- struct{}{}
	}()
	go func() {
		<-outputs
		<-outputs
		exit, err := r.proc.Wait()
		ended <- end{exit, err}
	}()
	return ended
}

// feed writes the header and then the command's input. Without an input of its
// own the stream stays open: its end is how the target learns that we are gone.
// It ends when the process is closed at the latest; write errors show in Wait.
func (r *run) feed() {
	in := r.proc.Stdin()
	if _, err := io.WriteString(in, r.head); err != nil || r.cmd.Stdin == nil {
		return
	}
	// Either side may stop first: a command need not read all it is given.
	_, _ = io.Copy(in, r.cmd.Stdin)
	_ = in.Close()
}

func drain(from io.Reader, to *stream, mark func(string)) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		to.write(buf[:n], mark)
		if err != nil {
			return
		}
	}
}

// kill ends the command on the target and waits for the report. It returns an
// error wrapping ErrUnclean if that did not come.
//
// Without --stdin, the end of our input does it, for no further session.
func (r *run) kill(started <-chan leader, ended <-chan end) error {
	ctx, cancel := context.WithTimeout(context.Background(), killGrace)
	defer cancel()
	if r.cmd.Stdin == nil {
		_ = r.proc.Stdin().Close() // ended says whether it helped
		timer := time.NewTimer(hangup)
		defer timer.Stop()
		select {
		case e := <-ended:
			return r.killed(e)
		case <-timer.C:
		}
	}
	var killErr error
	select {
	case l := <-started:
		killErr = killGroup(ctx, r.conn, l, r.mark)
	case e := <-ended:
		return r.killed(e)
	case <-ctx.Done():
		killErr = errors.New("the target never said which process to kill")
	}
	select {
	case e := <-ended:
		return r.killed(e)
	case <-ctx.Done():
		return diag.New(diag.Lost, "kill command", "look on the target for what is left of it",
			"it did not end within %s: %w", killGrace, errors.Join(killErr, ErrUnclean))
	}
}

// killed takes note of the end of a command that was killed.
func (r *run) killed(e end) error {
	r.flush()
	return lost(e.err)
}

func lost(err error) error {
	if err == nil || !errors.Is(err, transport.ErrLost) {
		return nil // ended; how does not matter to who killed it
	}
	return diag.New(diag.Lost, "run command", "look on the target whether it ran before you run it again",
		"the link dropped; nothing is known of the outcome: %w", err)
}

// killScript does from a second process what y in boot.sh does: it kills the
// group, then what bubblewrap left behind, and takes away the cgroups.
const killScript = prelude + ` kill -9 -%[2]d || kill -9 %[1]d; n=0; ` +
	`while [ $n -lt 50 ] && q=$(grep -ls "[b]owline_%[3]s" /proc/[0-9]*/cmdline || :) && [ -n "$q" ]; do for p in $q; do p=${p#/proc/}; kill -9 "${p%%/cmdline}"; done; n=$((n + 1)); done; ` +
	`for k in /sys/fs/cgroup /sys/fs/cgroup/memory /sys/fs/cgroup/pids; do ` +
	`k=$k/bowline-%[1]d n=0; while [ -d $k ] && [ $n -lt 60 ]; do rmdir $k || [ $n -lt 20 ] || sleep 0.1 || sleep 1; n=$((n + 1)); done; done`

// killGroup kills the run of l, with a process of its own over conn.
func killGroup(ctx context.Context, conn transport.Conn, l leader, mark string) error {
	script := fmt.Sprintf(killScript, l.pid, l.group, mark)
	quoted, err := Quote(script)
	if err != nil {
		return err
	}
	start := conn.Start
	if u, ok := conn.(interface {
		StartUrgent(context.Context, string) (transport.Process, error)
	}); ok {
		start = u.StartUrgent
	}
	var proc transport.Process
	for {
		proc, err = start(ctx, "exec /bin/sh -c "+quoted)
		if !errors.Is(err, transport.ErrBusy) {
			break
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(20 * time.Millisecond): // until another run of this link ends
		}
	}
	if err != nil {
		return err
	}
	defer proc.Close()
	go func() { _, _ = io.Copy(io.Discard, proc.Stderr()) }()
	_, _ = io.Copy(io.Discard, proc.Stdout())
	_, err = proc.Wait()
	return err
}

// flush passes on what was held back of the output; all of it is known.
func (r *run) flush() {
	r.out.flush()
	r.err.flush()
}

func (r *run) result(res Result) Result {
	res.StdoutBytes, res.StderrBytes = r.out.to.total(), r.err.to.total()
	res.Truncated = r.out.to.truncated() || r.err.to.truncated()
	return res
}
