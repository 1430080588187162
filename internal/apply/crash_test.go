//go:build linux

package apply

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/plan"
)

// The test binary runs itself to be killed at a step.
func TestMain(m *testing.M) {
	if role := os.Getenv("APPLY_ROLE"); role != "" {
		child(role, os.Getenv("APPLY_DIR"), os.Getenv("APPLY_HOST"), os.Getenv("APPLY_STEP"))
	}
	os.Exit(m.Run())
}

func child(role, dir, host, at string) {
	step, _ := strconv.Atoi(at)
	s, err := Open(dir, host)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	opts := options()
	opts.fault = func(_ string, n int, done bool) error {
		if n == step && !done {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
		return nil
	}
	if role == "apply" {
		_, err = s.Apply(context.Background(), opts)
	} else {
		_, err = s.Rollback(context.Background(), opts)
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(0)
}

// kill runs a role in a child that is killed at a step, and reports whether it was.
func (f *fixture) kill(t *testing.T, role string, step int) bool {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "APPLY_ROLE="+role, "APPLY_DIR="+f.dir, "APPLY_HOST="+f.host, fmt.Sprintf("APPLY_STEP=%d", step), "GOMAXPROCS=1")
	out, err := cmd.CombinedOutput()
	if err == nil {
		return false
	}
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || ws.Signal() != syscall.SIGKILL {
		t.Fatalf("%s at step %d: %v: %s", role, step, err, out)
	}
	return true
}

// again makes a fresh copy of a fixture; made copies of it have other inodes.
func (f *fixture) again(t testing.TB, top string) *fixture {
	t.Helper()
	if err := os.RemoveAll(top); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(top, 0o700); err != nil {
		t.Fatal(err)
	}
	from := filepath.Dir(f.host)
	if b, err := exec.Command("cp", "-a", filepath.Join(from, "host"), filepath.Join(from, "sessions"), top).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	g := *f
	g.host, g.dir = filepath.Join(top, "host"), filepath.Join(top, "sessions", filepath.Base(f.dir))
	return &g
}

func (f *fixture) noLeftovers(t testing.TB) {
	t.Helper()
	for p := range picture(t, f.host) {
		if strings.Contains(p, "/.bowline-") {
			t.Fatalf("temporary file %q was left", p)
		}
	}
}

// onward finishes with Resume, or with Apply where nothing was begun; commands that
// were being run are run again.
func (f *fixture) onward(t *testing.T) {
	t.Helper()
	s, err := Open(f.dir, f.host)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	opts := options()
	if s.Status() == plan.Approved {
		_, err = s.Apply(t.Context(), opts)
	} else if s.Status() != plan.Executed {
		var out Outcome
		out, err = s.Resume(t.Context(), opts)
		if out.Interrupted != nil {
			opts.RerunInterrupted = true
			_, err = s.Resume(t.Context(), opts)
		}
	}
	if err != nil || s.Status() != plan.Executed {
		t.Fatalf("resume: %s, %v", s.Status(), err)
	}
	wantApplied(t, f)
}

func (f *fixture) back(t *testing.T) {
	t.Helper()
	s, err := Open(f.dir, f.host)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if s.Status() != plan.Approved && s.Status() != plan.RolledBack {
		if out, err := s.Rollback(t.Context(), options()); err != nil {
			t.Fatalf("rollback: %s, %v", out.Status, err)
		}
	}
	wantTree(t, f.host, f.before)
}

func TestKilledAtEveryStepOfApply(t *testing.T) {
	t.Parallel()
	root(t)
	first := setup(t, start, work, work2)
	top := filepath.Join(tempDir(t), "copy")
	step := 1
	for ; ; step++ {
		f := first.again(t, top)
		if !f.kill(t, "apply", step) {
			break
		}
		f.onward(t)
		f.rollback(t) // and what was resumed can still be taken back
		wantTree(t, f.host, f.before)
		f = first.again(t, top)
		f.kill(t, "apply", step)
		f.back(t)
	}
	t.Logf("killed at %d steps", step-1)
	if step < 60 {
		t.Errorf("only %d steps", step)
	}
}

func TestKilledAtEveryStepOfRollback(t *testing.T) {
	t.Parallel()
	root(t)
	first := setup(t, start, work, work2)
	top := filepath.Join(tempDir(t), "copy")
	step := 1
	for ; ; step++ {
		f := first.again(t, top)
		f.apply(t)
		if !f.kill(t, "rollback", step) {
			break
		}
		s := f.open(t)
		if rec := s.Record(); rec.RollingBack && rec.Status != plan.RolledBack {
			if _, err := s.Resume(t.Context(), options()); diag.KindOf(err) != diag.Refused {
				t.Fatalf("resume after a rollback was begun: %v", err)
			}
		}
		s.Close()
		f.back(t)
	}
	t.Logf("killed at %d steps", step-1)
	if step < 60 {
		t.Errorf("only %d steps", step)
	}
}

var errFault = errors.New("fault")

// Every effect fails in two ways that its caller cannot tell apart: refused, and
// done with the answer lost. Both ways on must work, without a crash.
func TestAfterFault(t *testing.T) {
	t.Parallel()
	root(t)
	first := setup(t, start, work, work2)
	top := filepath.Join(tempDir(t), "copy")
	for _, kept := range []bool{false, true} {
		for step := 1; ; step++ {
			f := first.again(t, top)
			name := f.applyFault(t, step, kept)
			if name == "" {
				break
			}
			f.onward(t)
			f = first.again(t, top)
			f.applyFault(t, step, kept)
			f.back(t)
		}
	}
}

// applyFault applies with a fault at a step, and returns what failed there.
func (f *fixture) applyFault(t *testing.T, step int, kept bool) (name string) {
	t.Helper()
	opts := options()
	opts.fault = func(what string, n int, done bool) error {
		if n == step && done == kept {
			name = what
			return errFault
		}
		return nil
	}
	s, err := Open(f.dir, f.host)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	_, err = s.Apply(t.Context(), opts)
	if (name != "") != errors.Is(err, errFault) {
		t.Fatalf("step %d, %s, kept %v: the fault went unnoticed: %v", step, name, kept, err)
	}
	f.noLeftovers(t)
	return name
}
