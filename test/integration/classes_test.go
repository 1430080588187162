package integration

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	_ "modernc.org/sqlite" // the driver of the client's store

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

// planned plans a script on the servers and returns its only class.
func planned(t *testing.T, c *bowline.Client, n int, script string) (bowline.Fleet, bowline.PlanClass) {
	t.Helper()
	f, report, err := c.PlanFleet(t.Context(), names(n), bowline.PlanRequest{Script: []byte(script), File: "x.sh"}, bowline.FleetOptions{}, bowline.FleetWatch{})
	if err != nil || !report.OK() || len(f.Classes) != 1 {
		t.Fatalf("plan: %s, %v, %d classes", classed(report), err, len(f.Classes))
	}
	return f, f.Classes[0]
}

// TestRulesHoldForEachOfAClass: two persons, and a signature of each host's own statement.
func TestRulesHoldForEachOfAClass(t *testing.T) {
	servers, at, _ := hosts(t, 3)
	script := "echo limit=2 > " + at + "/app.conf"
	t.Run("two persons", func(t *testing.T) {
		c := openWith(t, "[approval]\ntwo_person = true\n", servers...)
		f, class := planned(t, c, 3, script)
		results, err := c.ApproveFleet(t.Context(), class.ID, class.Effect)
		if err != nil || len(results) != 3 {
			t.Fatalf("%+v, %v", results, err)
		}
		for _, r := range results {
			if r.Class != bowline.ClassRefused || !strings.Contains(fmt.Sprint(r.Err), "two_person") {
				t.Errorf("%s: %s, %v", r.Session.Target, r.Class, r.Err)
			}
		}
		if got := standings(t, c, f.ID); got != "pending pending pending" {
			t.Errorf("they are %s", got)
		}
		report, err := c.ApplyFleet(t.Context(), f.ID, bowline.ApplyOptions{}, bowline.FleetOptions{}, bowline.FleetWatch{})
		if got := classed(report); err != nil || got != "refused: t0 t1 t2" {
			t.Errorf("apply: %s, %v", got, err)
		}
	})
	t.Run("signatures", func(t *testing.T) {
		keys := testkit.Dir(t)
		pub := testkit.NewKey(t, keys+"/key", "ed25519")
		agent := testkit.Agent(t, keys+"/key")
		c := openWith(t, "[approval]\nrequire_signature = true\nkey_file = \""+keys+"/key.pub\"\n", servers...)
		t.Setenv("SSH_AUTH_SOCK", agent.Socket)
		f, class := planned(t, c, 3, script)
		results, err := c.ApproveFleet(t.Context(), f.ID, class.Effect)
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for _, r := range results {
			s, err := c.Session(t.Context(), r.Session.ID)
			if err != nil || r.Err != nil || len(s.Decisions) != 1 {
				t.Fatalf("%v, %v, %+v", r.Err, err, s.Decisions)
			}
			a := s.Decisions[0]
			if seen[a.Signature] || a.KeyID != ssh.FingerprintSHA256(pub) {
				t.Errorf("%s is signed by %q, and the signature is that of another: %v", s.Target, a.KeyID, seen[a.Signature])
			}
			seen[a.Signature] = true
			receipt, err := c.ExportSession(t.Context(), s.ID)
			if err != nil {
				t.Fatal(err)
			}
			if r, err := bowline.VerifyReceipt(receipt, "ann "+string(ssh.MarshalAuthorizedKey(pub))); err != nil || !r.OK {
				t.Errorf("%s: receipt %+v, %v", s.Target, r, err)
			}
		}
	})
	t.Run("a passphrase is asked for once", func(t *testing.T) {
		keys, dir := testkit.Dir(t), t.TempDir()
		testkit.EncryptedKey(t, keys+"/key", "open sesame")
		c := openIn(t, dir, "[approval]\nsign = true\nkey_file = \""+keys+"/key\"\n", servers...)
		_, class := planned(t, c, 3, script)
		asked := 0
		other, err := bowline.Open(t.Context(), bowline.Config{ConfigDir: filepath.Join(dir, "config"), StateDir: filepath.Join(dir, "state"), RuntimeDir: dir,
			Prompt: func(context.Context, string, bool) (string, error) { asked++; return "open sesame", nil }})
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		results, err := other.ApproveFleet(t.Context(), class.ID, class.Effect)
		if err != nil || len(results) != 3 || results[2].Err != nil || asked != 1 {
			t.Errorf("%+v, %v, asked %d times", results, err, asked)
		}
	})
	t.Run("an agent that is gone", func(t *testing.T) {
		keys := testkit.Dir(t)
		testkit.NewKey(t, keys+"/key", "ed25519")
		if err := os.Remove(keys + "/key"); err != nil { // only its agent had it
			t.Fatal(err)
		}
		c := openWith(t, "[approval]\nrequire_signature = true\nkey_file = \""+keys+"/key.pub\"\n", servers...)
		f, class := planned(t, c, 3, script)
		results, err := c.ApproveFleet(t.Context(), f.ID, class.Effect)
		if diag.KindOf(err) != diag.Denied || results != nil {
			t.Errorf("%+v, %v", results, err)
		}
		if got := standings(t, c, f.ID); got != "pending pending pending" {
			t.Errorf("they are %s", got)
		}
	})
}

// TestClassIsWhatItWas: a plan that was altered in the store is neither shown as one of
// its class nor approved with it, and the others are.
func TestClassIsWhatItWas(t *testing.T) {
	servers, at, _ := hosts(t, 3)
	state := t.TempDir()
	c := openIn(t, state, "", servers...)
	f, class := planned(t, c, 3, "echo limit=2 > "+at+"/app.conf")
	db, err := sql.Open("sqlite", filepath.Join(state, "state", "bowline.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	// Warnings are no part of a plan's digest, and a reviewer sees them.
	alter := `UPDATE sessions SET plan = CAST(replace(CAST(plan AS TEXT), '"warnings":', '"warnings":["x"],"w":') AS BLOB) WHERE target = ?`
	if _, err := db.Exec(alter, "t1"); err != nil {
		t.Fatal(err)
	}
	results, err := c.ApproveFleet(t.Context(), class.ID, class.Effect)
	if err != nil || len(results) != 3 || results[1].Class != bowline.ClassConflict {
		t.Fatalf("%+v, %v", results, err)
	}
	if got := standings(t, c, f.ID); got != "approved pending approved" {
		t.Errorf("they are %s", got)
	}
	if _, err := db.Exec(alter, "t0"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Fleet(t.Context(), class.ID); diag.KindOf(err) != diag.Denied {
		t.Errorf("the example is shown for the others: %v", err)
	}
	// Two classes whose names begin alike are not taken for one another.
	if _, err := db.Exec(`UPDATE sessions SET effect = substr(effect, 1, 13) || 'x' WHERE target = 't2'`); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Fleet(t.Context(), class.ID); diag.KindOf(err) != diag.Usage || !strings.Contains(fmt.Sprint(err), "means 2 classes") {
		t.Errorf("a name that means two classes: %v", err)
	}
}

// TestStoppedFleet: who is told to stop begins nothing more, and what was not begun stays
// approved.
func TestStoppedFleet(t *testing.T) {
	servers, at, dirs := hosts(t, 3)
	c := open(t, servers...)
	f, class := planned(t, c, 3, "echo limit=2 > "+at+"/app.conf")
	if _, err := c.ApproveFleet(t.Context(), class.ID, class.Effect); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	report, err := c.ApplyFleet(ctx, f.ID, bowline.ApplyOptions{}, bowline.FleetOptions{Fanout: 1, Order: "name"}, bowline.FleetWatch{Ended: func(bowline.MemberResult) { stop() }})
	if got := classed(report); err != nil || got != "ok: t0; skipped: t1 t2" {
		t.Errorf("apply: %s, %v", got, err)
	}
	if got := standings(t, c, f.ID); got != "executed approved approved" || content(t, dirs[1]) != "limit=1\nname=a\n" {
		t.Errorf("they are %s", got)
	}
	servers[1].Stop(t)
	report, err = c.ApplyFleet(t.Context(), f.ID, bowline.ApplyOptions{}, bowline.FleetOptions{}, bowline.FleetWatch{})
	if got := classed(report); err != nil || got != "ok: t0 t2; unreachable: t1" {
		t.Errorf("apply: %s, %v", got, err)
	}
	if got := standings(t, c, f.ID); got != "executed approved executed" {
		t.Errorf("they are %s", got)
	}
}

// TestPartOfAClass: a part that was approved of one session takes its place in the fleet.
func TestPartOfAClass(t *testing.T) {
	servers, at, dirs := hosts(t, 2)
	c := open(t, servers...)
	f, class := planned(t, c, 2, "echo limit=2 > "+at+"/app.conf; echo x > "+at+"/more")
	first := class.Sessions[0]
	part, err := c.Select(t.Context(), first.ID, bowline.Selection{Keep: []int{1}})
	if err == nil {
		err = c.Cancel(t.Context(), first.ID, "in part")
	}
	if err == nil {
		_, err = c.Approve(t.Context(), part.ID, part.Digest)
	}
	if err == nil {
		_, err = c.ApproveFleet(t.Context(), class.ID, class.Effect)
	}
	if err != nil {
		t.Fatal(err)
	}
	report, err := c.ApplyFleet(t.Context(), f.ID, bowline.ApplyOptions{}, bowline.FleetOptions{}, bowline.FleetWatch{})
	if got := classed(report); err != nil || got != "left_out: t0; ok: t0 t1" || !report.OK() {
		t.Errorf("apply: %s, %v", got, err)
	}
	for i, dir := range dirs {
		if _, err := os.Stat(filepath.Join(dir, "more")); (err == nil) != (i == 1) || content(t, dir) != "limit=2\n" {
			t.Errorf("t%d: %v, %q", i, err, content(t, dir))
		}
	}
}
