//go:build linux

package apply

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/plan"
)

// selections are scripts of which each operation is left out in turn, with those
// whose absence must be refused because another operation needs them.
var selections = []struct {
	name, start string
	stretches   []string
	needed      int
}{
	{"independent", `echo 1 >a; echo 2 >b`, []string{`echo x >a; rm b; echo n >n; ln -s a l; chmod 700 .`}, 0},
	{"new directory", ``, []string{`mkdir -p d/e; echo x >d/e/f; echo y >d/g`}, 2},
	{"directory removed", `mkdir -p d/e; echo x >d/e/f`, []string{`rm -r d`}, 2},
	{"moved", `mkdir d; echo x >d/f`, []string{`mv d q`}, 2},
	{"file to directory", `echo 1 >a`, []string{`rm a; mkdir a; echo x >a/x`}, 1},
	{"two steps on one file", `echo 1 >a`, []string{`echo 2 >a`, `echo 3 >a`}, 1},
	{"link", ``, []string{`echo 1 >a; ln a b; ln a c`}, 1},
	{"link to what was there", `echo 1 >a`, []string{`ln a b`, `echo 2 >a; rm b`}, -1},
	{"names of one file", `echo 1 >a; ln a b`, []string{`echo 2 >>a`}, 2},
	{"link and gone", `echo 1 >a`, []string{`ln a b`, `rm b`}, 1},
	{"made and removed", ``, []string{`mkdir t; echo 1 >t/f`, `rm -r t`}, -1},
	{"types", `echo 1 >a; mkdir d`, []string{`ln -sfn d a; rmdir d; mkfifo d`, `rm d`}, -1},
}

// TestLeavingOutEach: without any one operation there is either a plan that applies
// and rolls back exactly, or a clear refusal.
func TestLeavingOutEach(t *testing.T) {
	t.Parallel()
	root(t)
	for _, tt := range selections {
		t.Run(tt.name, func(t *testing.T) {
			refused := 0
			f := setup(t, tt.start, tt.stretches...)
			for out := 1; out <= len(f.plan.Ops); out++ {
				if !leaveOut(t, setup(t, tt.start, tt.stretches...), out) {
					refused++
				}
			}
			if tt.needed >= 0 && refused != tt.needed {
				t.Errorf("%d operations could not be left out, want %d", refused, tt.needed)
			}
		})
	}
}

// leaveOut reports whether the plan without operation out was accepted; it then
// applies and rolls back.
func leaveOut(t *testing.T, f *fixture, out int) bool {
	t.Helper()
	const id = "20261121-part-b4c5"
	parent := filepath.Dir(f.dir)
	// setup has approved it; a selection is made of what is pending.
	if err := os.RemoveAll(filepath.Join(f.dir, approvalFile)); err != nil {
		t.Fatal(err)
	}
	s := f.open(t)
	s.rec.Status = plan.Pending
	if err := s.save(); err != nil {
		t.Fatal(err)
	}
	p, err := Derive(parent, Selection{From: testID, ID: id, Keep: func(n int) bool { return n != out }, Now: testNow})
	if len(f.plan.Ops) == 1 && diag.KindOf(err) == diag.Usage {
		return true
	}
	if diag.KindOf(err) == diag.Refused && strings.Contains(err.Error(), fmt.Sprintf("needs operation %d", out)) {
		if _, err := os.Stat(filepath.Join(parent, id)); err == nil {
			t.Error("a refused selection left a session")
		}
		return false
	}
	if err != nil {
		t.Fatalf("without %d: %v", out, err)
	}
	part := *f
	part.dir, part.plan = filepath.Join(parent, id), p
	digest, err := p.Digest()
	if err != nil {
		t.Fatal(err)
	}
	part.approve(t, plan.Approval{ID: "part", Session: id, Digest: digest, HostKey: "local", User: "ann", Host: "desk", Created: testNow, Expires: testNow.Add(time.Hour)})
	part.apply(t)
	part.wantKept(t, out)
	part.rollback(t)
	wantTree(t, part.host, part.before)
	return true
}

// wantKept checks that the last kept operation of each path is in effect, and that a
// path of which nothing was kept is as it was.
func (f *fixture) wantKept(t *testing.T, out int) {
	t.Helper()
	cs, err := f.open(t).Drift(t.Context())
	if err != nil || len(cs) > 0 {
		t.Errorf("without %d the tree is not as planned: %v, %v", out, cs, err)
	}
	if len(f.plan.Ops) == 0 {
		t.Error("nothing was planned")
	}
}

// TestRandomSelections does the same to random trees.
func TestRandomSelections(t *testing.T) {
	root(t)
	script := randomScript()
	rapid.Check(t, func(r *rapid.T) {
		first, second, third := script.Draw(r, "start"), script.Draw(r, "one"), script.Draw(r, "two")
		out := rapid.IntRange(1, 12).Draw(r, "out")
		t.Run("tree", func(t *testing.T) {
			f := setup(t, first, second, third)
			if out <= len(f.plan.Ops) {
				leaveOut(t, f, out)
			}
		})
		if t.Failed() {
			r.Fatalf("without %d; start:\n%s\none:\n%s\ntwo:\n%s", out, first, second, third)
		}
	})
}
