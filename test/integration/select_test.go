package integration

import (
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/testkit"
	"github.com/bowline-sh/bowline/plan"
)

// steps is a script whose operations depend on each other in ways that files alone do
// not show.
const steps = `cd "$1" || exit 1
echo key=1 > a.conf
cp a.conf b.copy
date +%s%N > c.stamp
echo apart > d.other
grep -q key a.conf && systemctl restart bowline-none
[ -f a.conf ]
`

// TestWhatDependsOnWhatIsLeftOut leaves an operation out: the script is run again on
// the target without it, and the new plan says what is otherwise then.
func TestWhatDependsOnWhatIsLeftOut(t *testing.T) {
	t.Run("root", func(t *testing.T) {
		s, _, dir := site(t)
		leaveOut(t, open(t, s), dir)
	})
	t.Run("user", func(t *testing.T) {
		testkit.Root(t)
		u, err := user.Lookup(testkit.User(t))
		if err != nil {
			t.Fatal(err)
		}
		dir, err := os.MkdirTemp(u.HomeDir, "select-")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		if err := os.Chown(dir, uid, gid); err != nil {
			t.Fatal(err)
		}
		leaveOut(t, open(t, testkit.SSHD(t, testkit.LoginUser(u.Username))), dir)
	})
}

func leaveOut(t *testing.T, c *bowline.Client, dir string) {
	t.Helper()
	s, err := c.Plan(t.Context(), bowline.PlanRequest{Target: "t0", Script: []byte(steps), File: "steps.sh", Argv: []string{dir}})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("planned %d operations, exit %d: %s%s", len(s.Plan.Ops), s.Plan.Exit, s.Plan.Stdout, s.Plan.Stderr)
	numbers := map[string]int{}
	for i, op := range s.Plan.Ops {
		if op.Change != nil {
			numbers[filepath.Base(string(op.Change.Path))] = i + 1
		} else {
			numbers["command"] = i + 1
		}
	}
	part := without(t, c, s, numbers["a.conf"])
	said := strings.Join(part.Plan.Warnings, "\n")
	if len(part.Plan.Ops) != 4 || part.Digest == s.Digest {
		t.Errorf("the selection has %d operations and digest %s", len(part.Plan.Ops), part.Digest)
	}
	for _, want := range []string{
		"ends with 1, not 0, and does not do operations " + plan.Numbers([]int{numbers["b.copy"], numbers["command"]}) + " of " + s.ID + ":",
		"operations " + strconv.Itoa(numbers["c.stamp"]) + " of " + s.ID + " are different each time",
	} {
		if numbers["b.copy"] > numbers["command"] || !strings.Contains(said, want) {
			t.Errorf("no %q in\n%s", want, said)
		}
	}
	part = without(t, c, s, numbers["d.other"])
	if said := strings.Join(part.Plan.Warnings, "\n"); strings.Contains(said, "does not do") || strings.Contains(said, "ends with") {
		t.Errorf("without what nothing depends on:\n%s", said)
	}
	if _, err := c.Approve(t.Context(), part.ID, part.Digest); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("the host was changed: %v, %v", entries, err)
	}
	quick, err := c.Select(t.Context(), s.ID, bowline.Selection{Keep: []int{numbers["d.other"]}, Quick: true})
	if err != nil || strings.Contains(strings.Join(quick.Plan.Warnings, "\n"), "run again") {
		t.Errorf("without a second run: %q, %v", quick.Plan.Warnings, err)
	}
	if _, err := c.Approve(t.Context(), quick.ID, quick.Digest); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Apply(t.Context(), quick.ID, bowline.ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "d.other")); err != nil || string(b) != "apart\n" {
		t.Errorf("applied %q, %v", b, err)
	}
	if _, err := c.Select(t.Context(), quick.ID, bowline.Selection{Keep: []int{1}}); diag.KindOf(err) != diag.Denied {
		t.Errorf("a selection of what was applied: %v", err)
	}
}

// without makes the session of all operations but one.
func without(t *testing.T, c *bowline.Client, s bowline.Session, out int) bowline.Session {
	t.Helper()
	var keep []int
	for n := range s.Plan.Ops {
		if n+1 != out {
			keep = append(keep, n+1)
		}
	}
	part, err := c.Select(t.Context(), s.ID, bowline.Selection{Keep: keep})
	if err != nil {
		t.Fatal(err)
	}
	return part
}
