package sandbox_test

import (
	"bytes"
	"context"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/sandbox"
	"github.com/bowline-sh/bowline/internal/sandbox/sandboxtest"
	"github.com/bowline-sh/bowline/internal/transport"
)

// TestMain takes the signals back that nohup(1) and the like make every child
// ignore: a program with a handler starts its children with the default.
func TestMain(m *testing.M) {
	if sandbox.Watch(os.Args) {
		return
	}
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP, syscall.SIGPIPE, syscall.SIGTERM)
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("os/signal.loop"))
}

// outcome is all that a run gives its caller.
type outcome struct {
	sandbox.Result
	err      error
	out, log string // standard output and error
}

// try runs cmd, and collects what it writes.
func try(ctx context.Context, conn transport.Conn, cmd sandbox.Command) outcome {
	var out, log bytes.Buffer
	if cmd.Stdout == nil {
		cmd.Stdout = &out
	}
	if cmd.Stderr == nil {
		cmd.Stderr = &log
	}
	res, err := sandbox.Exec(ctx, conn, cmd)
	return outcome{res, err, out.String(), log.String()}
}

// script is argv under the profile "script".
func script(t testing.TB, argv ...string) sandbox.Command {
	t.Helper()
	return sandbox.Command{Spec: sandbox.Spec{Profile: sandboxtest.Builtin(t, "script"), Argv: argv}}
}

// sh is a shell script under the profile "script".
func sh(t testing.TB, text string) sandbox.Command { return script(t, "sh", "-c", text) }

// ran fails the test unless the command was executed.
func ran(t testing.TB, o outcome) outcome {
	t.Helper()
	if o.err != nil {
		t.Fatalf("error %v (%s)\nhint: %s\nstdout %.300q\nstderr %.300q", o.err, diag.KindOf(o.err), diag.HintOf(o.err), o.out, o.log)
	}
	return o
}

// refusal fails the test unless nothing ran, for a reason of that kind.
func refusal(t testing.TB, o outcome, kind diag.Kind, text ...string) {
	t.Helper()
	if o.err == nil {
		t.Fatalf("it ran: %+v, stdout %q, stderr %q; want an error of kind %s", o.Result, o.out, o.log, kind)
	}
	whole := o.err.Error() + "\nhint: " + diag.HintOf(o.err)
	if got := diag.KindOf(o.err); got != kind {
		t.Errorf("kind %q, want %q: %s", got, kind, whole)
	}
	for _, want := range text {
		if !strings.Contains(whole, want) {
			t.Errorf("want %q in:\n%s", want, whole)
		}
	}
	if o.out != "" || o.log != "" {
		t.Errorf("output of a command that did not run: %q, %q", o.out, o.log)
	}
}

// onEveryHost runs test on this machine and over sshd, as root and not.
func onEveryHost(t *testing.T, test func(t *testing.T, h sandboxtest.Host)) {
	for _, h := range sandboxtest.Hosts(t) {
		t.Run(h.Name, func(t *testing.T) { test(t, h) })
	}
}

// within fails the test if what took longer than limit since start.
func within(t testing.TB, start time.Time, limit time.Duration) {
	t.Helper()
	if d := time.Since(start); d > limit {
		t.Errorf("it took %s, want at most %s", d, limit)
	}
}
