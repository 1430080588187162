package sandbox_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/sandbox"
	"github.com/bowline-sh/bowline/internal/sandbox/sandboxtest"
	"github.com/bowline-sh/bowline/internal/testkit"
	"github.com/bowline-sh/bowline/internal/transport"
	"github.com/bowline-sh/bowline/profile"
)

// grace is how long what was killed may take to be gone from the process list,
// with other tests on the same machine.
const grace = 3 * time.Second

var serial atomic.Int64

// marked is a number of seconds to sleep that no other process sleeps.
func marked() string { return fmt.Sprintf("3%d.%d", os.Getpid(), serial.Add(1)) }

// stubborn are commands that do not end by themselves; %s is the marker.
func stubborn() map[string]string {
	return map[string]string{
		"sleeps":              "exec sleep %s",
		"ignores signals":     "trap '' TERM INT HUP QUIT PIPE; sleep %[1]s & sleep %[1]s; sleep %[1]s",
		"detaches":            "setsid sleep %[1]s & (setsid setsid sleep %[1]s &); sleep %[1]s",
		"forks without end":   "sleep %s & (f() { f | f & }; f) 2>/dev/null; while :; do :; done",
		"floods":              "sleep %s & exec yes",
		"floods stderr":       "sleep %s & exec yes >&2",
		"closes its streams":  "exec >&- 2>&- <&-; sleep %s",
		"stops itself":        "sleep %s & kill -STOP $$",
		"waits for its input": "sleep %s & cat; sleep 5000",
	}
}

// bounded is sh under limits that keep a fork bomb from hurting other tests.
func bounded(t testing.TB, text string) sandbox.Command {
	cmd := sh(t, text)
	cmd.Profile.Limits.Processes = 64
	return cmd
}

// silence is an input that never ends and never says anything. Its reader is
// left behind when the test ends unless it is closed.
func silence(t testing.TB) io.Reader {
	r, w := io.Pipe()
	t.Cleanup(func() { w.Close() })
	return r
}

// TestTimeout: a deadline ends everything on the target, and the connection
// stays usable.
func TestTimeout(t *testing.T) {
	onEveryHost(t, func(t *testing.T, h sandboxtest.Host) {
		t.Parallel()
		conn, cgroupsGone := h.Dial(t), sandboxtest.WatchCgroups(t)
		for name, text := range stubborn() {
			for _, input := range []string{"without stdin", "with stdin"} {
				t.Run(name+" "+input, func(t *testing.T) {
					marker := marked()
					cmd := bounded(t, fmt.Sprintf(text, marker))
					cmd.Timeout = 700 * time.Millisecond
					cmd.Stdout, cmd.Stderr = io.Discard, io.Discard
					if input == "with stdin" {
						cmd.Stdin = silence(t)
					}
					start := time.Now()
					o := ran(t, try(t.Context(), conn, cmd))
					if !o.TimedOut || o.ExitCode != sandbox.TimeoutCode {
						t.Errorf("%+v, want a timeout", o.Result)
					}
					within(t, start, cmd.Timeout+grace)
					sandboxtest.Gone(t, grace, marker)
					works(t, conn)
				})
			}
		}
		cgroupsGone()
	})
}

func works(t testing.TB, conn transport.Conn) {
	t.Helper()
	if o := ran(t, try(t.Context(), conn, script(t, "echo", "works"))); o.out != "works\n" {
		t.Errorf("the connection gives %q", o.out)
	}
}

func TestCancel(t *testing.T) {
	onEveryHost(t, func(t *testing.T, h sandboxtest.Host) {
		t.Parallel()
		conn, cgroupsGone := h.Dial(t), sandboxtest.WatchCgroups(t)
		for name, text := range stubborn() {
			t.Run(name, func(t *testing.T) {
				marker, why := marked(), errors.New("the caller has had enough")
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				go func() {
					for !sandboxtest.Sleeping(marker) && ctx.Err() == nil {
						time.Sleep(10 * time.Millisecond) // polls for the condition
					}
					cancel(why)
				}()
				cmd := bounded(t, fmt.Sprintf(text, marker))
				cmd.Stdout, cmd.Stderr = io.Discard, io.Discard
				o := try(ctx, conn, cmd)
				if diag.KindOf(o.err) != diag.Canceled || !errors.Is(o.err, why) {
					t.Errorf("%v (%s), want %s because of %q", o.err, diag.KindOf(o.err), diag.Canceled, why)
				}
				sandboxtest.Gone(t, grace, marker)
				works(t, conn)
			})
		}
		cgroupsGone()
	})
}

func TestCanceledBefore(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	onEveryHost(t, func(t *testing.T, h sandboxtest.Host) {
		t.Parallel()
		if o := try(ctx, h.Dial(t), script(t, "touch", "/tmp/x")); o.err == nil || errors.Is(o.err, sandbox.ErrUnclean) {
			t.Errorf("%+v %v, want a clean error", o.Result, o.err)
		}
	})
}

// TestLinkDrops: when the link is gone, so is everything that ran over it.
func TestLinkDrops(t *testing.T) {
	drops := map[string]func(*testing.T, sandboxtest.Host, transport.Conn){
		"closed by us": func(_ *testing.T, _ sandboxtest.Host, c transport.Conn) { _ = c.Close() },
		"sshd killed": func(t *testing.T, h sandboxtest.Host, c transport.Conn) {
			if h.Server == nil {
				_ = c.Close() // this machine has no sshd between us
				return
			}
			h.Server.SignalSessions(t, syscall.SIGKILL)
		},
	}
	onEveryHost(t, func(t *testing.T, h sandboxtest.Host) {
		t.Parallel()
		cgroupsGone := sandboxtest.WatchCgroups(t)
		for name, drop := range drops {
			for _, input := range []string{"without stdin", "with stdin"} {
				if h.Server == nil && input == "with stdin" {
					// Nothing is between us and the command: it ends with its
					// deadline, or with this process.
					continue
				}
				t.Run(name+" "+input, func(t *testing.T) {
					marker := marked()
					conn := h.Dial(t)
					cmd := sh(t, "trap '' TERM HUP; sleep "+marker)
					if input == "with stdin" {
						cmd.Stdin = silence(t)
					}
					done := make(chan outcome, 1)
					go func() { done <- try(t.Context(), conn, cmd) }()
					sandboxtest.Running(t, marker)
					drop(t, h, conn)
					if o := <-done; diag.KindOf(o.err) != diag.Lost {
						t.Errorf("%+v %v (%s), want kind lost", o.Result, o.err, diag.KindOf(o.err))
					}
					sandboxtest.Gone(t, grace, marker)
				})
			}
		}
		cgroupsGone()
	})
}

// TestKilledWhileStarting ends runs at every stage of a slow start: bubblewrap
// leaves its inner process behind if it is killed at the wrong time, and that
// one goes on to execute the command (regression).
func TestKilledWhileStarting(t *testing.T) {
	onEveryHost(t, func(t *testing.T, h sandboxtest.Host) {
		conn, cgroupsGone := h.Dial(t), sandboxtest.WatchCgroups(t)
		for _, binds := range []int{0, 250} { // the latter take a while
			for after := range 20 {
				marker := marked()
				cmd := script(t, "sleep", marker)
				for i := range binds {
					cmd.Profile.Binds = append(cmd.Profile.Binds, profile.Bind{Source: "/etc", Target: fmt.Sprintf("/x/%d", i), ReadOnly: true})
				}
				cmd.Profile.Hide = nil
				cmd.Timeout = time.Duration(1+after*(1+binds/50)) * time.Millisecond
				if after%2 == 1 {
					cmd.Stdin = silence(t)
				}
				if o := ran(t, try(t.Context(), conn, cmd)); !o.TimedOut {
					t.Errorf("%+v after %s", o.Result, cmd.Timeout)
				}
				sandboxtest.Gone(t, grace, marker)
			}
		}
		cgroupsGone()
	})
}

// leavesBehind is a bwrap whose inner process has left its group and does not
// die with it, as the real one's for a moment.
const leavesBehind = `#!/bin/sh
setsid sh -c 'ulimit -t 30; while :; do :; done' "$@" >/dev/null 2>&1 </dev/null &
wait
`

// TestLeftBehind: what bubblewrap leaves behind is found and killed.
func TestLeftBehind(t *testing.T) {
	dir := testkit.Dir(t)
	if err := os.WriteFile(filepath.Join(dir, "bwrap"), []byte(leavesBehind), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, login := range []string{"root", testkit.User(t)} {
		h := sandboxtest.SSH(t, "ssh", login, testkit.ConfigLines("SetEnv PATH="+dir+":/usr/sbin:/usr/bin:/sbin:/bin"))
		for _, input := range []string{"without stdin", "with stdin"} {
			t.Run(login+" "+input, func(t *testing.T) {
				marker := marked()
				cmd := script(t, "ls", marker)
				cmd.Timeout = 300 * time.Millisecond
				if input == "with stdin" {
					cmd.Stdin = silence(t)
				}
				if o := ran(t, try(t.Context(), h.Dial(t), cmd)); !o.TimedOut {
					t.Errorf("%+v", o.Result)
				}
				sandboxtest.Gone(t, grace, marker)
			})
		}
	}
}

// TestBubblewrapKilled: the outcome is unknown, and not "nothing ran".
func TestBubblewrapKilled(t *testing.T) {
	onEveryHost(t, func(t *testing.T, h sandboxtest.Host) {
		t.Parallel()
		marker, conn := marked(), h.Dial(t)
		done := make(chan outcome, 1)
		go func() { done <- try(t.Context(), conn, script(t, "sleep", marker)) }()
		sandboxtest.Running(t, marker)
		for _, p := range sandboxtest.With(marker) {
			var pid int
			var name string
			if _, err := fmt.Sscanf(p, "%d (%s", &pid, &name); err == nil && strings.HasPrefix(name, "bwrap") {
				_ = syscall.Kill(pid, syscall.SIGKILL) // the second dies with the first
			}
		}
		if o := <-done; diag.KindOf(o.err) != diag.Lost {
			t.Errorf("%+v %v (%s), want kind lost", o.Result, o.err, diag.KindOf(o.err))
		}
		sandboxtest.Gone(t, grace, marker)
	})
}
