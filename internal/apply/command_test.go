//go:build linux

package apply

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/plan"
)

func TestCommandsInTheirPlaces(t *testing.T) {
	t.Parallel()
	root(t)
	f := setup(t, `echo a >a`, `echo b >a`, `echo c >a`, `echo d >a`)
	var calls []string
	opts := options()
	opts.Runner = runner{calls: &calls, fail: map[string]int{"svc 2": 3}}
	s := f.open(t)
	out, err := s.Apply(t.Context(), opts)
	if diag.KindOf(err) != diag.Partial || out.Status != plan.Partial || !strings.Contains(diag.HintOf(err), "bowline session resume "+testID) {
		t.Fatalf("apply: %s, %v, hint %q", out.Status, err, diag.HintOf(err))
	}
	if b, _ := os.ReadFile(filepath.Join(f.host, "a")); string(b) != "c\n" {
		t.Errorf("after the failed command a holds %q", b)
	}
	opts.Runner = runner{calls: &calls}
	if out, err = s.Resume(t.Context(), opts); err != nil || out.Status != plan.Executed || out.Done != out.Total {
		t.Fatalf("resume: %+v, %v", out, err)
	}
	wantApplied(t, f)
	if b, err := os.ReadFile(filepath.Join(f.dir, OutputsDir, "2.out")); err != nil || string(b) != "svc 1\n" {
		t.Errorf("output of the first command: %q, %v", b, err)
	}
	opts.Runner = runner{calls: &calls, fail: map[string]int{"svc undo 1": 1}}
	if out, err = s.Rollback(t.Context(), opts); diag.KindOf(err) != diag.Partial || out.Status != plan.Partial {
		t.Fatalf("rollback with a failing undo: %+v, %v", out, err)
	}
	wantTree(t, f.host, f.before)
	opts.Runner = runner{calls: &calls}
	if out, err = s.Rollback(t.Context(), opts); err != nil || out.Status != plan.RolledBack {
		t.Fatalf("rollback again: %+v, %v", out, err)
	}
	want := "svc 1|svc 2|svc 2|svc undo 2|svc undo 1|svc undo 1"
	if got := strings.Join(calls, "|"); got != want {
		t.Errorf("ran %s; want %s", got, want)
	}
}

// A command that was started, and whose end nobody saw, is not run again unasked.
func TestInterruptedCommand(t *testing.T) {
	t.Parallel()
	root(t)
	for _, rerun := range []bool{true, false} {
		f := setup(t, `echo a >a`, `echo b >a`, `echo c >a`)
		var calls []string
		opts := options()
		opts.Runner = runner{calls: &calls}
		opts.fault = func(name string, _ int, done bool) error {
			if name == "command" && done {
				return errFault
			}
			return nil
		}
		s := f.open(t)
		if _, err := s.Apply(t.Context(), opts); err == nil {
			t.Fatal("the fault went unnoticed")
		}
		opts.fault = nil
		out, err := s.Resume(t.Context(), opts)
		if diag.KindOf(err) != diag.Partial || out.Interrupted == nil || len(calls) != 1 {
			t.Fatalf("resume: %+v, %v, ran %q", out, err, calls)
		}
		opts.RerunInterrupted, opts.SkipInterrupted = rerun, !rerun
		if _, err := s.Resume(t.Context(), opts); err != nil || len(calls) != 1+map[bool]int{true: 1}[rerun] {
			t.Fatalf("resume when told: %v, ran %q", err, calls)
		}
		wantApplied(t, f)
	}
}

func TestExec(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var out, stderr bytes.Buffer
	c := plan.Command{
		Argv: []string{"name", "-c", `echo "$A:$PWD:$#:$1"; env | grep -c HOME; cat; echo err >&2; exit 7`, "x", "one"}, Path: "/bin/sh", Cwd: dir,
		Env: []string{"A=1", "PATH=/bin:/usr/bin"}, UID: uint32(os.Geteuid()), GID: uint32(os.Getegid()),
	}
	code, err := Exec{}.Run(t.Context(), c, strings.NewReader("in\n"), &out, &stderr)
	if want := "1:" + dir + ":1:one\n0\nin\n"; code != 7 || err != nil || out.String() != want || stderr.String() != "err\n" {
		t.Errorf("exit %d, %v, stdout %q, stderr %q; want %q", code, err, out.String(), stderr.String(), want)
	}
	c.Argv = []string{"sh", "-c", "kill -9 $$"}
	if code, err := (Exec{}).Run(t.Context(), c, nil, &out, &out); code != 137 || err != nil {
		t.Errorf("killed: %d, %v", code, err)
	}
	c.Path = "/no/such"
	if code, err := (Exec{}).Run(t.Context(), c, nil, &out, &out); code != 127 || err == nil {
		t.Errorf("missing: %d, %v", code, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	c.Path, c.Argv = "/bin/sh", []string{"sh", "-c", "sleep 100 & wait"}
	if code, err := (Exec{}).Run(ctx, c, nil, &out, &out); code == 0 || err == nil {
		t.Errorf("cancelled: %d, %v", code, err)
	}
}
