package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/testkit"
	"github.com/bowline-sh/bowline/plan"
	"github.com/bowline-sh/bowline/target"
)

// TestMain is also a process that serves a store, see server.
func TestMain(m *testing.M) {
	if dir := os.Getenv("BOWLINE_TEST_SERVE"); dir != "" {
		if err := serveWork(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func shared(dir, state string) bowline.Config {
	return bowline.Config{ConfigDir: filepath.Join(dir, "config"), StateDir: filepath.Join(dir, state), RuntimeDir: dir, Store: os.Getenv("BOWLINE_TEST_STORE"),
		Prompt: func(context.Context, string, bool) (string, error) { return "open sesame", nil }}
}

func serveWork(dir string) error {
	ctx := context.Background()
	c, err := bowline.Open(ctx, shared(dir, os.Getenv("BOWLINE_TEST_STATE")))
	if err != nil {
		return err
	}
	return c.ServeWork(ctx, bowline.WorkOptions{Note: func(n string) { fmt.Fprintln(os.Stderr, n) }})
}

// server starts a process that serves the store and keeps its log in state. It ends with
// the test.
func server(t *testing.T, dir, state string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "BOWLINE_TEST_SERVE="+dir, "BOWLINE_TEST_STATE="+state)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // the test may have killed it
		_ = cmd.Wait()
	})
	return cmd
}

// ended waits until an operation is over and returns its tasks.
func ended(t *testing.T, c *bowline.Client, id string) []bowline.Task {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, err := range c.WatchOperation(ctx, id, 0) {
		if err != nil {
			t.Fatal(err)
		}
	}
	list, err := c.Tasks(t.Context(), id, true)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func submitted(t *testing.T, c *bowline.Client, r bowline.OperationRequest) bowline.Operation {
	t.Helper()
	op, err := c.Submit(bowline.WithCaller(t.Context(), bowline.Caller{User: "ann", Surface: "api", Client: "ci"}), r)
	if err != nil {
		t.Fatal(err)
	}
	return op
}

// TestServersShareWork: what is submitted is carried out by processes that share a
// PostgreSQL store, and an apply whose process is killed is followed by another.
func TestServersShareWork(t *testing.T) {
	s, _, srv := site(t)
	slowCommand(t)
	pg := testkit.StartPostgres(t)
	t.Setenv("BOWLINE_TEST_STORE", pg.NewDatabase("bowline"))
	dir := t.TempDir()
	t.Setenv("SSH_AUTH_SOCK", "")
	c, err := bowline.Open(t.Context(), shared(dir, "state"))
	if err != nil {
		t.Fatal(err)
	}
	tg := target.Target{Name: "t0", Kind: target.SSH, Host: s.Host, Port: s.Port, User: s.User, KeyFile: s.ClientKeyFile}
	if _, err := c.AddTarget(t.Context(), tg, s.HostKeyFingerprint, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	pids := map[int]string{}
	for _, state := range []string{"s0", "s1"} {
		pids[server(t, dir, state).Process.Pid] = state
	}
	run := bowline.OperationRequest{Verb: bowline.OperationRun, Targets: []string{"t0"}, Key: "k1", Run: &bowline.RunRequest{Argv: []string{"echo", "hello"}}}
	op := submitted(t, c, run)
	if again := submitted(t, c, run); again.ID != op.ID {
		t.Errorf("the same request again is %s, not %s", again.ID, op.ID)
	}
	run.Run = &bowline.RunRequest{Argv: []string{"echo", "other"}}
	if _, err := c.Submit(bowline.WithCaller(t.Context(), bowline.Caller{User: "ann"}), run); diag.KindOf(err) != diag.Conflict {
		t.Errorf("another request with the key = %v", err)
	}
	if list := ended(t, c, op.ID); list[0].State != bowline.WorkSucceeded || string(list[0].Output) != "hello\n" {
		t.Fatalf("%+v", list[0])
	}
	release := filepath.Join(testkit.Dir(t), "go")
	script := fmt.Sprintf("echo a >> %s/a; kubectl %s; echo b >> %s/b", srv, release, srv)
	op = submitted(t, c, bowline.OperationRequest{Verb: bowline.OperationPlan, Targets: []string{"t0"}, Plan: &bowline.PlanRequest{Script: []byte(script), File: "x.sh"}})
	planned := ended(t, c, op.ID)[0]
	x, err := c.Session(t.Context(), planned.Session)
	if err != nil || planned.State != bowline.WorkSucceeded || x.User != "ann" || x.Client != "ci" {
		t.Fatalf("%+v, %+v, %v", planned, x, err)
	}
	if _, err := c.Approve(t.Context(), x.ID, x.Digest); err != nil {
		t.Fatal(err)
	}
	op = submitted(t, c, bowline.OperationRequest{Verb: bowline.OperationApply, Sessions: []string{x.ID}})
	killed := false
	for e, err := range c.WatchOperation(t.Context(), op.ID, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if !killed && strings.Contains(string(e.Data), "waiting") {
			killed = true
			server(t, dir, pids[killOwner(t, c, op.ID)]) // on the same machine
			if err := os.WriteFile(release, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	done := ended(t, c, op.ID)[0]
	var res struct {
		Status plan.Status `json:"status"`
	}
	if err := json.Unmarshal(done.Result, &res); err != nil || done.State != bowline.WorkSucceeded || res.Status != plan.Executed || done.Attempt != 2 || !killed {
		t.Errorf("%+v, %s, %v", done, done.Result, err)
	}
	if got := status(t, c, x.ID); got != plan.Executed {
		t.Errorf("the session is %s", got)
	}
	for _, name := range []string{"a", "b"} {
		if b, err := os.ReadFile(filepath.Join(srv, name)); err != nil || string(b) != name+"\n" {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
	op = submitted(t, c, bowline.OperationRequest{Verb: bowline.OperationApply, Sessions: []string{x.ID}})
	if again := ended(t, c, op.ID)[0]; again.State != bowline.WorkFailed || again.Kind != diag.Denied {
		t.Errorf("a second apply: %+v", again)
	}
	auditHolds(t, c, 2)
}

// auditHolds waits until all servers have copied and signed, and verifies all logs.
func auditHolds(t *testing.T, c *bowline.Client, servers int) {
	t.Helper()
	for began := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		r, err := c.VerifyAuditAll(t.Context())
		if err != nil || !r.OK {
			t.Fatalf("%+v, %v", r, err)
		}
		signed := len(r.Chains) == servers
		for _, x := range r.Chains {
			signed = signed && x.Entries > 0 && x.Signers > 0
		}
		if signed {
			return
		}
		if time.Since(began) > 20*time.Second {
			t.Fatalf("not all logs were signed: %+v", r)
		}
	}
}

// killOwner kills -9 the process that has the first task of an operation, and returns
// its number.
func killOwner(t *testing.T, c *bowline.Client, operation string) int {
	t.Helper()
	tasks, err := c.Tasks(t.Context(), operation, false)
	if err != nil {
		t.Fatal(err)
	}
	list, err := c.WorkProcesses(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range list {
		if p.ID == tasks[0].Process {
			if err := syscall.Kill(p.PID, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			return p.PID
		}
	}
	t.Fatalf("no process %s in %+v", tasks[0].Process, list)
	return 0
}
