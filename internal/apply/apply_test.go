//go:build linux

package apply

import (
	"testing"

	"github.com/bowline-sh/bowline/plan"
)

func TestApplyThenRollback(t *testing.T) {
	t.Parallel()
	root(t)
	f := setup(t, start, work, work2)
	if len(f.plan.Ops) < 30 {
		t.Fatalf("the plan has only %d operations", len(f.plan.Ops))
	}
	f.apply(t)
	wantApplied(t, f)
	f.rollback(t)
	wantTree(t, f.host, f.before)
	if s := f.open(t).Status(); s != plan.RolledBack {
		t.Errorf("status %s", s)
	}
}

// Whoever asks again after the end, because the answer was lost, is told the end.
func TestAskedAgain(t *testing.T) {
	t.Parallel()
	root(t)
	f := setup(t, `echo a >a`, `echo b >a`)
	f.apply(t)
	after := picture(t, f.host)
	if out, err := f.open(t).Resume(t.Context(), options()); err != nil || out.Status != plan.Executed || out.Done != out.Total {
		t.Errorf("resume of what was executed: %+v, %v", out, err)
	}
	wantTree(t, f.host, after)
	f.rollback(t)
	if out, err := f.open(t).Rollback(t.Context(), options()); err != nil || out.Status != plan.RolledBack {
		t.Errorf("rollback of what was rolled back: %+v, %v", out, err)
	}
	wantTree(t, f.host, f.before)
}
