//go:build linux

package circle

import (
	"context"

	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/testkit"
	"github.com/bowline-sh/bowline/internal/transport"
	"github.com/bowline-sh/bowline/internal/transport/ssh"
	"github.com/bowline-sh/bowline/plan"
	"github.com/bowline-sh/bowline/target"
)

// host is an sshd whose sessions are led into a world, and a client that has it as
// target web1.
type host struct {
	*world
	server *testkit.Server
	client *bowline.Client
	enter  string // file that names the world
}

const enterText = `#!/bin/sh
HOME=/root; export HOME; unset OLDPWD
p=/proc/$(cat %s)
exec /usr/bin/nsenter --mount=$p/ns/mnt --root=$p/root --wd=$p/root /bin/sh -c "$SSH_ORIGINAL_COMMAND"
`

// newHost starts the sshd, with no world yet.
func newHost(t testing.TB) *host {
	t.Helper()
	testkit.Root(t)
	dir := testkit.Dir(t) // empty: no start-up files of the login shell
	h := &host{enter: dir + "/world"}
	if err := os.WriteFile(dir+"/enter", fmt.Appendf(nil, enterText, h.enter), 0o755); err != nil {
		t.Fatal(err)
	}
	h.server = testkit.SSHD(t, testkit.ConfigLines("SetEnv HOME="+dir, "ForceCommand "+dir+"/enter", "LogLevel INFO"))
	h.client = newClient(t, h.server)
	return h
}

func newClient(t testing.TB, s *testkit.Server) *bowline.Client {
	t.Helper()
	dir := t.TempDir()
	c, err := bowline.Open(t.Context(), bowline.Config{ConfigDir: filepath.Join(dir, "config"), StateDir: filepath.Join(dir, "state"), RuntimeDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	tg := target.Target{Name: "web1", Kind: target.SSH, Host: s.Host, Port: s.Port, User: s.User, KeyFile: s.ClientKeyFile}
	if _, err := c.AddTarget(t.Context(), tg, s.HostKeyFingerprint, nil); err != nil {
		t.Fatal(err)
	}
	return c
}

// in leads the sessions from now on into w.
func (h *host) in(t testing.TB, w *world) {
	t.Helper()
	h.world = w
	if err := os.WriteFile(h.enter, fmt.Append(nil, w.pid), 0o644); err != nil {
		t.Fatal(err)
	}
}

// dial connects to the host without package bowline.
func (h *host) dial(t testing.TB) transport.Conn {
	t.Helper()
	s := h.server
	tg := target.Target{Name: "web1", Kind: target.SSH, Host: s.Host, Port: s.Port, User: s.User, KeyFile: s.ClientKeyFile}
	c, err := ssh.Dial(t.Context(), tg, ssh.Config{KnownHosts: []string{s.KnownHostsFile(t)}, SSHConfig: "none", AgentSocket: "none"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() }) // the test has had its answer
	return c
}

// direct runs a script over SSH as a person would, and returns its exit code.
func (h *host) direct(t testing.TB, script string) int {
	t.Helper()
	file := h.root("/run/script")
	if err := os.WriteFile(file, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	p, err := h.dial(t).Start(t.Context(), "cd /root && exec "+interpreter(script)+" /run/script < /dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	go func() { _, _ = io.Copy(io.Discard, p.Stderr()) }()
	_, _ = io.Copy(io.Discard, p.Stdout())
	e, err := p.Wait()
	if err != nil {
		t.Fatal(err)
	}
	return e.Code
}

func interpreter(script string) string {
	line, _, _ := strings.Cut(script, "\n")
	if rest, ok := strings.CutPrefix(line, "#!"); ok {
		return rest
	}
	return "/bin/sh"
}

func (h *host) plan(t testing.TB, script string) bowline.Session {
	t.Helper()
	s, err := h.client.Plan(t.Context(), bowline.PlanRequest{Target: "web1", Name: "circle", Script: []byte(script), File: "script", Timeout: 5 * time.Minute})
	if err != nil {
		t.Fatalf("plan: %v (%s)", err, diag.HintOf(err))
	}
	h.is(t, s.ID, plan.Pending)
	return s
}

func (h *host) approve(t testing.TB, s bowline.Session) {
	t.Helper()
	if _, err := h.client.Approve(t.Context(), s.ID, s.Digest); err != nil {
		t.Fatalf("approve: %v", err)
	}
	h.is(t, s.ID, plan.Approved)
}

func (h *host) apply(t testing.TB, s bowline.Session) {
	t.Helper()
	r, err := h.client.Apply(t.Context(), s.ID, bowline.ApplyOptions{})
	if err != nil || r.Status != plan.Executed || r.Done != len(s.Plan.Ops) || r.Total != r.Done {
		t.Fatalf("apply of %d operations: %+v, %v\n%s", len(s.Plan.Ops), r, err, describe(s.Plan))
	}
	h.is(t, s.ID, plan.Executed)
}

func (h *host) rollback(t testing.TB, s bowline.Session) {
	t.Helper()
	r, err := h.client.Rollback(t.Context(), s.ID, bowline.ApplyOptions{})
	if err != nil || r.Status != plan.RolledBack {
		t.Fatalf("rollback: %+v, %v\n%s", r, err, describe(s.Plan))
	}
	h.is(t, s.ID, plan.RolledBack)
}

// is holds the store to a status.
func (h *host) is(t testing.TB, id string, want plan.Status) {
	t.Helper()
	if s, err := h.client.Session(t.Context(), id); err != nil || s.Status != want {
		t.Errorf("the store says %q, %v; want %q", s.Status, err, want)
	}
}

// describe is one line for each operation.
func describe(p plan.Plan) string {
	var b strings.Builder
	for i, op := range p.Ops {
		fmt.Fprintf(&b, "%d ", i+1)
		if op.Command != nil {
			fmt.Fprintf(&b, "run %q\n", op.Command.Argv)
			continue
		}
		fmt.Fprintf(&b, "%s %q", op.Change.Kind(), string(op.Change.Path))
		if op.Change.Link != "" {
			fmt.Fprintf(&b, " = %q", string(op.Change.Link))
		}
		b.WriteString("\n")
	}
	if len(p.Stderr) > 0 {
		fmt.Fprintf(&b, "stderr: %s\n", p.Stderr)
	}
	return b.String()
}

// await waits until ok, which must come to be.
func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for !ok() {
		if ctx.Err() != nil {
			t.Fatalf("%s: not so after 30 s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}
