package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/testkit"
	"github.com/bowline-sh/bowline/plan"
)

// hosts starts n servers that each have their own files at one path, and an account with
// a home of its own. It returns that path, and where the files of each are.
func hosts(t *testing.T, n int) (servers []*testkit.Server, at string, dirs []string) {
	t.Helper()
	testkit.Root(t)
	at, err := os.MkdirTemp("/srv", "bowline-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(at) })
	for range n {
		dir := testkit.Dir(t)
		if err := os.WriteFile(filepath.Join(dir, "app.conf"), []byte("limit=1\nname=a\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		dirs = append(dirs, dir)
		servers = append(servers, testkit.SSHD(t, testkit.Bind(dir, at), testkit.ConfigLines("SetEnv HOME="+testkit.Dir(t))))
	}
	return servers, at, dirs
}

func names(n int) []string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf("t%d", i))
	}
	return out
}

func content(t *testing.T, dir string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "app.conf"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// classed is what a report counted, as "ok: t0 t1; skipped: t2".
func classed(r bowline.FleetReport) string {
	var out []string
	for c, list := range r.Classes {
		out = append(out, string(c)+": "+strings.Join(list, " "))
	}
	slices.Sort(out)
	return strings.Join(out, "; ")
}

// standings are where the sessions of a fleet stand, in the order of its targets.
func standings(t *testing.T, c *bowline.Client, id string) string {
	t.Helper()
	f, err := c.Fleet(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, s := range f.Sessions() {
		out = append(out, string(s.Status))
	}
	return strings.Join(out, " ")
}

// TestClasses: the same script on five hosts, one of which somebody had edited: two
// classes, one approval, waves that halt at a host that changed meanwhile and go on when
// it is put right, and all of it taken back.
func TestClasses(t *testing.T) {
	servers, at, dirs := hosts(t, 5)
	c := open(t, servers...)
	if err := os.WriteFile(filepath.Join(dirs[4], "app.conf"), []byte("limit=7\nname=a\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	req := bowline.PlanRequest{Script: []byte("cd " + at + "; sed 's/limit=.*/limit=2/' app.conf > new; cat new > app.conf; mkdir -p d; mv new d/kept; chmod 600 app.conf"), File: "raise.sh"}
	var ended []string
	f, report, err := c.PlanFleet(t.Context(), names(5), req, bowline.FleetOptions{}, bowline.FleetWatch{Ended: func(r bowline.MemberResult) { ended = append(ended, r.Session.Target) }})
	if err != nil || classed(report) != "ok: t0 t1 t2 t3 t4" || len(ended) != 5 {
		t.Fatalf("plan: %s, %v, told of %v", classed(report), err, ended)
	}
	if len(f.Classes) != 2 || strings.Join(f.Classes[0].Targets(), " ") != "t0 t1 t2 t3" || strings.Join(f.Classes[1].Targets(), " ") != "t4" {
		t.Fatalf("classes: %+v", f.Classes)
	}
	most, odd := f.Classes[0], f.Classes[1]
	digests := map[string]bool{}
	for _, s := range most.Sessions {
		digests[s.Digest] = true
	}
	if len(digests) != 4 {
		t.Errorf("%d digests for four hosts", len(digests))
	}

	// Which of two classes was read nobody can tell from the fleet's id.
	if _, err := c.ApproveFleet(t.Context(), f.ID, ""); diag.KindOf(err) != diag.Usage || !strings.Contains(diag.HintOf(err), most.ID) {
		t.Errorf("approving two classes at once = %v", err)
	}
	if _, err := c.ApproveFleet(t.Context(), most.ID, odd.Effect); diag.KindOf(err) != diag.Conflict {
		t.Errorf("approving another class than was read = %v", err)
	}
	results, err := c.ApproveFleet(t.Context(), most.ID, most.Effect)
	if err != nil || len(results) != 4 {
		t.Fatalf("approve: %+v, %v", results, err)
	}
	for _, r := range results {
		s, err := c.Session(t.Context(), r.Session.ID)
		if err != nil || r.Err != nil || s.Status != plan.Approved || len(s.Decisions) != 1 || s.Decisions[0].Digest != s.Digest || s.Decisions[0].HostKey != s.Plan.HostKey {
			t.Errorf("%s: %v, %v, %+v", r.Session.Target, r.Err, err, s.Decisions)
		}
	}
	recorded(t, c, most)

	// One changes: the wave ends, and what was not begun stays as it was.
	theirs := "limit=1\nname=b\n"
	if err := os.WriteFile(filepath.Join(dirs[1], "app.conf"), []byte(theirs), 0o644); err != nil {
		t.Fatal(err)
	}
	waves := bowline.FleetOptions{Waves: "1,1,100%", Order: "name"}
	report, err = c.ApplyFleet(t.Context(), most.ID, bowline.ApplyOptions{}, waves, bowline.FleetWatch{})
	if got := classed(report); err != nil || got != "conflict: t1; ok: t0; skipped: t2 t3" || report.OK() {
		t.Fatalf("apply: %s, %v", got, err)
	}
	if got := standings(t, c, f.ID); got != "executed approved approved approved pending" {
		t.Errorf("then they are %s", got)
	}
	if content(t, dirs[0]) != "limit=2\nname=a\n" || content(t, dirs[1]) != theirs || content(t, dirs[2]) != "limit=1\nname=a\n" {
		t.Error("something else was applied than is said")
	}

	// Put right, the same call goes on. Of the whole fleet one class is not approved.
	if err := os.WriteFile(filepath.Join(dirs[1], "app.conf"), []byte("limit=1\nname=a\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	report, err = c.ApplyFleet(t.Context(), f.ID, bowline.ApplyOptions{}, waves, bowline.FleetWatch{})
	if got := classed(report); err != nil || got != "ok: t0 t1 t2 t3; refused: t4" || report.OK() {
		t.Fatalf("apply again: %s, %v", got, err)
	}
	if got := standings(t, c, f.ID); got != "executed executed executed executed pending" {
		t.Errorf("then they are %s", got)
	}
	for _, dir := range dirs[:4] {
		if content(t, dir) != "limit=2\nname=a\n" {
			t.Errorf("%s has %q", dir, content(t, dir))
		}
	}
	if _, err := c.ApplyFleet(t.Context(), most.ID, bowline.ApplyOptions{}, waves, bowline.FleetWatch{}); diag.KindOf(err) != diag.Denied {
		t.Errorf("the approvals worked twice: %v", err)
	}

	report, err = c.RollbackFleet(t.Context(), most.ID, bowline.ApplyOptions{}, bowline.FleetOptions{}, bowline.FleetWatch{})
	if got := classed(report); err != nil || got != "ok: t0 t1 t2 t3" || !report.OK() {
		t.Fatalf("rollback: %s, %v", got, err)
	}
	for i, dir := range dirs {
		if want := map[bool]string{true: "limit=7\nname=a\n", false: "limit=1\nname=a\n"}[i == 4]; content(t, dir) != want {
			t.Errorf("%s has %q in the end", dir, content(t, dir))
		}
	}
}

// recorded checks that the audit log has one entry that lists the digest of every host.
func recorded(t *testing.T, c *bowline.Client, class bowline.PlanClass) {
	t.Helper()
	for e, err := range c.Audit(t.Context(), bowline.AuditQuery{}) {
		if err != nil {
			t.Fatal(err)
		}
		var doc struct{ Digests map[string]string }
		if err := json.Unmarshal(e.Raw, &doc); err != nil {
			t.Fatal(err)
		}
		if e.Verb != "approve" || e.Session != class.ID || e.Event != "intent" {
			continue
		}
		for _, s := range class.Sessions {
			if doc.Digests["plan of "+s.Target] != s.Digest {
				t.Errorf("the record has %v", doc.Digests)
			}
		}
		if doc.Digests["effect"] != class.Effect {
			t.Errorf("the record has %v", doc.Digests)
		}
		return
	}
	t.Error("the approval of the class is not recorded")
}
