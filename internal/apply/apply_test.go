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
