package integration

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/frame"
	"github.com/bowline-sh/bowline/internal/helper"
	"github.com/bowline-sh/bowline/internal/helperbin"
	"github.com/bowline-sh/bowline/internal/link"
	"github.com/bowline-sh/bowline/internal/testkit"
	"github.com/bowline-sh/bowline/internal/transport/ssh"
	"github.com/bowline-sh/bowline/plan"
	"github.com/bowline-sh/bowline/target"
)

// windowed is an apply with a window, under way.
type windowed struct {
	t      *testing.T
	c      *bowline.Client
	id     string
	file   string
	waits  chan struct{} // closed when all is applied
	result chan error
	status plan.Status
}

// applyFor applies "echo new > file" with a window and waits until it is open.
func applyFor(t *testing.T, c *bowline.Client, dir string, length time.Duration) *windowed {
	t.Helper()
	w := &windowed{t: t, c: c, file: filepath.Join(dir, "f"), waits: make(chan struct{}), result: make(chan error, 1)}
	if err := os.WriteFile(w.file, []byte("old\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	w.id = approved(t, c, "echo new > "+w.file).ID
	closed := false
	go func() {
		res, err := c.Apply(t.Context(), w.id, bowline.ApplyOptions{Confirm: length, Progress: func(p bowline.Progress) {
			if strings.Contains(p.What, "waiting") && !closed {
				closed = true
				close(w.waits)
			}
		}})
		w.status = res.Status
		w.result <- err
	}()
	select {
	case <-w.waits:
	case err := <-w.result:
		t.Fatalf("apply ended early: %v", err)
	}
	w.want("new\n")
	return w
}

func (w *windowed) want(text string) {
	w.t.Helper()
	if b, err := os.ReadFile(w.file); err != nil || string(b) != text {
		w.t.Errorf("the file holds %q, %v; want %q", b, err, text)
	}
}

// ends waits for the apply and checks how it ended, everywhere.
func (w *windowed) ends(status plan.Status, kind diag.Kind, text string) {
	w.t.Helper()
	err := <-w.result
	if diag.KindOf(err) != kind || w.status != status {
		w.t.Errorf("apply = %s, %v; want %s, kind %q", w.status, err, status, kind)
	}
	if got := statusOf(w.t, w.c, w.id); got != status {
		w.t.Errorf("the store says %s, want %s", got, status)
	}
	w.want(text)
	w.settled()
}

// settled checks that nothing of the window is left.
func (w *windowed) settled() {
	w.t.Helper()
	for _, f := range []string{"/etc/cron.d/bowline-confirm", "/etc/systemd/system/bowline-confirm.service"} {
		if _, err := os.Lstat(f); err == nil {
			w.t.Errorf("%s was left", f)
		}
	}
}

func statusOf(t *testing.T, c *bowline.Client, id string) plan.Status {
	t.Helper()
	return status(t, c, id)
}

func TestConfirmed(t *testing.T) {
	s, _, dir := site(t)
	c := open(t, s)
	w := applyFor(t, c, dir, time.Minute)
	if got := statusOf(t, c, w.id); got != plan.Applying {
		t.Errorf("in the window it is %s", got)
	}
	if res, err := c.Confirm(t.Context(), w.id); err != nil || res.Status != plan.Executed {
		t.Errorf("confirm = %+v, %v", res, err)
	}
	w.ends(plan.Executed, "", "new\n")
	if _, err := c.Confirm(t.Context(), w.id); err != nil {
		t.Errorf("confirming twice = %v", err)
	}
	if _, err := c.Rollback(t.Context(), w.id, bowline.ApplyOptions{}); err != nil {
		t.Error(err)
	}
	w.want("old\n")
}

func TestNotConfirmed(t *testing.T) {
	s, _, dir := site(t)
	c := open(t, s)
	w := applyFor(t, c, dir, time.Second)
	w.ends(plan.RolledBack, diag.Timeout, "old\n")
	if _, err := c.Confirm(t.Context(), w.id); diag.KindOf(err) != diag.Conflict || !strings.Contains(err.Error(), "too late") {
		t.Errorf("confirm afterwards = %v", err)
	}
}

// TestRollbackEndsTheWindow at once.
func TestRollbackEndsTheWindow(t *testing.T) {
	s, _, dir := site(t)
	c := open(t, s)
	w := applyFor(t, c, dir, time.Hour)
	if _, err := c.Rollback(t.Context(), w.id, bowline.ApplyOptions{}); diag.KindOf(err) != diag.Timeout {
		t.Errorf("rollback = %v", err)
	}
	w.ends(plan.RolledBack, diag.Timeout, "old\n")
}

// TestSSHDIsGone: the change cut everybody off. The host takes it back by itself, and
// the client learns it when sshd is there again.
func TestSSHDIsGone(t *testing.T) {
	s, _, dir := site(t)
	c := open(t, s)
	w := applyFor(t, c, dir, 2*time.Second)
	s.Stop(t)
	if _, err := c.Confirm(t.Context(), w.id); diag.KindOf(err) != diag.Unreachable {
		t.Errorf("confirm without sshd = %v", err)
	}
	eventually(t, "the host takes it back", func() bool { b, err := os.ReadFile(w.file); return err == nil && string(b) == "old\n" })
	s.Start(t)
	w.ends(plan.RolledBack, diag.Timeout, "old\n")
}

// TestKeyIsGone: the change removed the key that would confirm it.
func TestKeyIsGone(t *testing.T) {
	s, _, dir := site(t)
	c := open(t, s)
	w := applyFor(t, c, dir, 2*time.Second)
	keys, err := os.ReadFile(s.AuthorizedKeys)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.AuthorizedKeys, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Confirm(t.Context(), w.id); diag.KindOf(err) != diag.Denied {
		t.Errorf("confirm without a key = %v", err)
	}
	w.ends(plan.RolledBack, diag.Timeout, "old\n")
	if err := os.WriteFile(s.AuthorizedKeys, keys, 0o644); err != nil {
		t.Fatal(err)
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("in vain: %s", what)
		}
	}
}

// actors are the processes that act on sessions of this home.
func actors(t *testing.T, home string) []string {
	t.Helper()
	out, _ := exec.Command("pgrep", "-x", "-f", "bowline-act").Output() // none is no output
	var mine []string
	for pid := range strings.FieldsSeq(string(out)) {
		if env, err := os.ReadFile("/proc/" + pid + "/environ"); err == nil && strings.Contains(string(env), "HOME="+home) {
			mine = append(mine, pid)
		}
	}
	return mine
}

// TestWorkerIsKilled: the process that waits is killed; its guard starts another.
func TestWorkerIsKilled(t *testing.T) {
	s, home, dir := site(t)
	c := open(t, s)
	w := applyFor(t, c, dir, 3*time.Second)
	pids := actors(t, home)
	if len(pids) != 2 {
		t.Fatalf("processes: %v", pids)
	}
	if err := exec.Command("kill", "-9", pids[1]).Run(); err != nil {
		t.Fatal(err)
	}
	w.ends(plan.RolledBack, diag.Timeout, "old\n")
}

// TestHostRestarts in the window: everything is killed. What the host starts at boot, or
// else the next connection, goes on.
func TestHostRestarts(t *testing.T) {
	for _, how := range []string{"boot", "connection"} {
		t.Run(how, func(t *testing.T) {
			s, home, dir := site(t)
			c := open(t, s)
			w := applyFor(t, c, dir, 4*time.Second)
			hook, err := os.ReadFile("/etc/cron.d/bowline-confirm")
			if err != nil {
				t.Fatal(err)
			}
			s.Stop(t)
			for pids := actors(t, home); len(pids) > 0; pids = actors(t, home) {
				_ = exec.Command("kill", append([]string{"-9"}, pids...)...).Run() // one may have ended meanwhile
			}
			w.want("new\n")
			s.Start(t)
			if how == "boot" {
				words := strings.Fields(string(hook)) // "@reboot root COMMAND ..."
				if words[0] != "@reboot" || words[1] != "root" {
					t.Fatalf("%q", hook)
				}
				cmd := exec.Command(words[2], words[3:]...)
				cmd.Env = append(os.Environ(), "HOME="+home)
				if err := cmd.Run(); err != nil {
					t.Fatal(err)
				}
				w.want("old\n")
			}
			w.ends(plan.RolledBack, diag.Timeout, "old\n")
		})
	}
}

// TestOldConnectionCannotConfirm, however often it tries; a new one can.
func TestOldConnectionCannotConfirm(t *testing.T) {
	s, _, dir := site(t)
	c := open(t, s)
	x := approved(t, c, "echo new > "+dir+"/f")
	full, err := c.Session(t.Context(), x.ID)
	if err != nil {
		t.Fatal(err)
	}
	start := func() *frame.Client {
		conn, err := ssh.Dial(t.Context(), target.Target{Name: "t0", Kind: target.SSH, Host: s.Host, Port: s.Port, User: s.User, KeyFile: s.ClientKeyFile},
			ssh.Config{KnownHosts: []string{s.KnownHostsFile(t)}, SSHConfig: "none", AgentSocket: "none"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		h, err := link.Helpers{Binaries: new(helperbin.Set)}.Start(t.Context(), conn, link.HelperOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	call := func(ctx context.Context, h *frame.Client, verb string, req helper.SessionRequest) error {
		k, err := h.Open(verb, req, nil)
		if err != nil {
			t.Error(err)
			return err
		}
		k.Stdin.Close()
		return k.Wait(ctx, &helper.SessionResult{})
	}
	old := start()
	done := make(chan error, 1)
	go func() {
		done <- call(t.Context(), old, helper.VerbApply, helper.SessionRequest{Session: x.ID, Approval: &full.Decisions[0], Confirm: time.Minute})
	}()
	confirm := helper.SessionRequest{Session: x.ID}
	eventually(t, "the window opens", func() bool {
		err := call(t.Context(), old, helper.VerbConfirm, confirm)
		return diag.KindOf(err) == diag.Denied && strings.Contains(err.Error(), "this is the connection that applied it")
	})
	if err := call(t.Context(), start(), helper.VerbConfirm, confirm); err != nil {
		t.Errorf("a new connection = %v", err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestFailureInTheWindow is taken back at once: nobody could confirm half a change.
func TestFailureInTheWindow(t *testing.T) {
	s, _, dir := site(t)
	testkit.Root(t)
	const program = "/usr/local/bin/kubectl"
	if err := os.WriteFile(program, []byte("#!/bin/sh\nexit 7\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(program) })
	c := open(t, s)
	x := approved(t, c, "echo new > "+dir+"/f; kubectl apply; echo new > "+dir+"/g")
	res, err := c.Apply(t.Context(), x.ID, bowline.ApplyOptions{Confirm: time.Hour})
	if diag.KindOf(err) != diag.Failure || res.Status != plan.RolledBack || !strings.Contains(err.Error(), "taken back at once") {
		t.Errorf("apply = %+v, %v", res, err)
	}
	if got := status(t, c, x.ID); got != plan.RolledBack {
		t.Errorf("it is %s", got)
	}
	if _, err := os.Stat(dir + "/f"); err == nil {
		t.Error("half of the change is there")
	}
}
