//go:build linux

package circle

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/plan"
)

// long is a session of more than thirty operations, some of them commands, with
// contents large enough for something to happen meanwhile.
const long = `cd ` + play + `
head -c 3000000 /dev/zero > big1; echo 1 > n1; rm conf; mkdir -p m/n; for i in 1 2 3 4; do echo $i > m/n/$i; done
systemctl restart one
echo more >> a; chmod 600 b; rm -rf full; mkdir full; echo n > full/3; ln n1 n2; echo l >> h1; ln -sfn m cur
systemctl stop two
mv d q; chown 7:8 o; rm pipe; mkfifo pipe2; head -c 2000000 /dev/zero > big2; chmod 4711 c; rm x; mkdir x; echo x > x/x
systemctl start three
echo late > late; echo m > m/late; rm n1; echo again >> a; rmdir empty; touch -d 1999-09-09 p1
systemctl reload four
`

// acts are the processes of the world that change it.
func (w *world) acts() (pids []int) {
	for _, pid := range w.processes() {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err == nil && bytes.HasPrefix(b, []byte("bowline-act\x00")) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// cuts are the ways in which an apply is broken off.
var cuts = map[string]func(t *testing.T, h *host){
	"link cut": func(t *testing.T, h *host) {
		for _, pid := range h.server.Sessions(t) {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
		}
	},
	"killed": func(t *testing.T, h *host) {
		for _, pid := range h.acts() {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
		}
	},
}

// step is how far apart the moments of a crash are.
func step() int {
	if full() {
		return 1
	}
	return 17
}

// TestBrokenOff breaks an apply off at one moment after the other, finishes it, and
// does the same with the rollback; and rolls an apply back that was broken off. It
// always ends in the tree as planned or as before.
func TestBrokenOff(t *testing.T) {
	for name, cut := range cuts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCrash(t, cut)
			for at := 1; c.round(t, at); at += step() {
				if t.Failed() {
					t.Fatalf("at event %d", at)
				}
			}
		})
	}
}

// crash is what every round needs.
type crash struct {
	*host
	cut              func(t *testing.T, h *host)
	pristine, direct *world
	times            rule
}

func newCrash(t *testing.T, cut func(t *testing.T, h *host)) *crash {
	c := &crash{host: newHost(t), cut: cut, pristine: newWorld(t, seed), direct: newWorld(t, seed)}
	c.times = rule{was: c.pristine.at(t), since: [2]int64{now(), now()}, skip: volatile}
	c.in(t, c.direct)
	if code := c.host.direct(t, long); code != 0 {
		t.Fatalf("the script ends with %d", code)
	}
	c.in(t, newWorld(t, seed))
	return c
}

// round breaks off at the given event of apply and of rollback. It returns false
// when there is no such event.
func (c *crash) round(t *testing.T, at int) bool {
	events := 0
	broken := func() bowline.ApplyOptions {
		events = 0
		return bowline.ApplyOptions{Progress: func(bowline.Progress) {
			if events++; events == at {
				c.cut(t, c.host)
			}
		}}
	}
	s := c.begin(t)
	if n := len(s.Plan.Ops); n < 30 || n < at {
		if n < 30 {
			t.Errorf("only %d operations", n)
		}
		return false
	}
	_, err := c.client.Apply(t.Context(), s.ID, broken())
	c.brokenOff(t, s.ID, err)
	c.finish(t, s.ID)
	same(t, "-script +resumed", c.direct, c.world, c.times)
	c.once(t)
	_, err = c.client.Rollback(t.Context(), s.ID, broken())
	c.brokenOff(t, s.ID, err)
	c.back(t, s.ID)
	same(t, "-before +rolled back", c.pristine, c.world, exactly)

	s = c.begin(t)
	_, err = c.client.Apply(t.Context(), s.ID, broken())
	c.brokenOff(t, s.ID, err)
	c.back(t, s.ID)
	same(t, "-before +rolled back instead", c.pristine, c.world, exactly)
	return true
}

// exactly compares everything but what the service manager of a world keeps.
var exactly = rule{exact: true, skip: func(p string, _ bool) bool { return beside(p) }}

func (c *crash) begin(t *testing.T) bowline.Session {
	t.Helper()
	c.must(t, "rm -rf /run/calls; mkdir /run/calls")
	s := c.plan(t, long)
	c.approve(t, s)
	return s
}

// brokenOff holds an apply that was broken off to an honest answer.
func (c *crash) brokenOff(t *testing.T, id string, err error) {
	t.Helper()
	if err == nil { // it was faster
		return
	}
	if k := diag.KindOf(err); k != diag.Lost && k != diag.Partial || diag.HintOf(err) == "" {
		t.Errorf("broken off: %v (%s, hint %q)", err, k, diag.HintOf(err))
	}
	s, err := c.client.Session(t.Context(), id)
	if err != nil || !slices.Contains([]plan.Status{plan.Applying, plan.Partial, plan.Executed}, s.Status) {
		t.Errorf("broken off, the store says %q, %v", s.Status, err)
	}
}

// until calls f until the session has the status; while it goes on on the target,
// f is told that it is busy.
func (c *crash) until(t *testing.T, id string, want plan.Status, f func() error) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		s, err := c.client.Session(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if s.Status == want {
			return
		}
		err = f()
		if time.Now().After(deadline) || err != nil && !slices.Contains([]diag.Kind{diag.Lost, diag.Partial, diag.Conflict, diag.Unreachable}, diag.KindOf(err)) {
			t.Fatalf("the session is %s and should become %s: %v (%s)", s.Status, want, err, diag.KindOf(err))
		}
		time.Sleep(2 * time.Millisecond) // as a person would
	}
}

func (c *crash) finish(t *testing.T, id string) {
	t.Helper()
	c.until(t, id, plan.Executed, func() error {
		_, err := c.client.Resume(t.Context(), id, bowline.ApplyOptions{Rerun: true})
		return err
	})
}

func (c *crash) back(t *testing.T, id string) {
	t.Helper()
	c.until(t, id, plan.RolledBack, func() error {
		_, err := c.client.Rollback(t.Context(), id, bowline.ApplyOptions{})
		return err
	})
}

// once holds the commands to their order. One may have run twice: the one that was
// interrupted, which Resume was told to run again.
func (c *crash) once(t *testing.T) {
	t.Helper()
	want, got := c.direct.calls(t), c.calls(t)
	got = slices.Compact(got)
	if !slices.Equal(want, got) {
		t.Errorf("commands\n%s\nwhen run\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestCutInCommand: the link is cut while a command runs. It goes on, runs once, and
// the session ends as it should.
func TestCutInCommand(t *testing.T) {
	for name, cut := range cuts {
		t.Run(name, func(t *testing.T) {
			c := newCrash(t, cut)
			s := c.begin(t)
			c.must(t, "mkfifo /run/gate")
			answer := make(chan error)
			go func() {
				_, err := c.client.Apply(t.Context(), s.ID, bowline.ApplyOptions{})
				answer <- err
			}()
			await(t, "the command runs", func() bool {
				return strings.Contains(c.must(t, "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"), "systemctl restart one")
			})
			cut(t, c.host)
			c.brokenOff(t, s.ID, <-answer)
			if name == "link cut" { // it is busy: nobody is told that it failed
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				r, err := c.client.Resume(ctx, s.ID, bowline.ApplyOptions{})
				cancel()
				if err == nil || r.Status == plan.Executed {
					t.Errorf("resume while it goes on: %+v, %v", r, err)
				}
				c.is(t, s.ID, plan.Applying)
			}
			c.must(t, "rm /run/gate.x 2>/dev/null; mv /run/gate /run/gate.x; echo go > /run/gate.x")
			if name == "killed" {
				r, err := c.client.Resume(t.Context(), s.ID, bowline.ApplyOptions{})
				if diag.KindOf(err) != diag.Partial || !strings.Contains(diag.HintOf(err), "--rerun") {
					t.Errorf("resume after a command of unknown end: %+v, %v, hint %q", r, err, diag.HintOf(err))
				}
			}
			c.finish(t, s.ID)
			same(t, "-script +resumed", c.direct, c.world, c.times)
			c.once(t)
			if n := len(c.calls(t)); name == "link cut" && n != 4 {
				t.Errorf("%d commands ran, want 4", n)
			}
			c.back(t, s.ID)
			same(t, "-before +rolled back", c.pristine, c.world, exactly)
		})
	}
}

// broken are states that a target can get into while an apply is under way, and
// what puts them right.
var broken = map[string]struct{ breaks, mends string }{
	"disk full":        {`mount -o remount,size=$(($(df -k --output=used ` + play + ` | tail -1) + 8))k ` + play, `mount -o remount,size=50% ` + play},
	"out of inodes":    {`mount -o remount,nr_inodes=$(($(df --output=iused ` + play + ` | tail -1) + 1)) ` + play, `mount -o remount,nr_inodes=0 ` + play},
	"read-only":        {`mount -o remount,ro ` + play, `mount -o remount,rw ` + play},
	"directory gone":   {`mv ` + play + `/m ` + play + `/m.away`, `mv ` + play + `/m.away ` + play + `/m`},
	"directory a link": {`mv ` + play + `/m ` + play + `/m.away; ln -s m.away ` + play + `/m`, `rm ` + play + `/m; mv ` + play + `/m.away ` + play + `/m`},
	"command fails":    {`touch /run/fails; exit 9`, `rm /run/fails`},
}

// TestBrokenTarget breaks the target from inside a command of the plan. The answer
// is partial; when the cause is gone both ways work.
func TestBrokenTarget(t *testing.T) {
	for name, b := range broken {
		if !full() && name != "disk full" && name != "read-only" && name != "directory gone" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCrash(t, nil)
			for _, back := range []bool{false, true} {
				s := c.begin(t)
				c.must(t, "cat > /run/hook <<'HOOK'\n#!/bin/sh\ntest $1 = stop || exit 0\nrm /run/hook\n"+b.breaks+"\nHOOK\nchmod 755 /run/hook")
				r, err := c.client.Apply(t.Context(), s.ID, bowline.ApplyOptions{})
				if diag.KindOf(err) != diag.Partial || r.Status == plan.Executed || diag.HintOf(err) == "" {
					t.Fatalf("apply: %+v, %v (%s)", r, err, diag.KindOf(err))
				}
				c.is(t, s.ID, plan.Partial)
				c.must(t, b.mends)
				if !back {
					c.finish(t, s.ID)
					same(t, "-script +resumed", c.direct, c.world, c.times)
					c.once(t)
				}
				c.back(t, s.ID)
				same(t, "-before +rolled back", c.pristine, c.world, exactly)
			}
		})
	}
}
