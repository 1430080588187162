package integration

import (
	"database/sql"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/internal/testkit"
	"github.com/bowline-sh/bowline/plan"
)

// forged opens a client and its store, and plans a script there.
func forged(t *testing.T, s *testkit.Server, script string) (*bowline.Client, *sql.DB, bowline.Session) {
	t.Helper()
	state := t.TempDir()
	c := openIn(t, state, "", s)
	x, err := c.Plan(t.Context(), bowline.PlanRequest{Target: "t0", Script: []byte(script), File: "x.sh"})
	if err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", filepath.Join(state, "state", "bowline.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return c, db, x
}

// storedPlan is the document of a session in the store, in parts.
func storedPlan(t *testing.T, db *sql.DB, id string) map[string]json.RawMessage {
	t.Helper()
	var text []byte
	if err := db.QueryRow(`SELECT plan FROM sessions WHERE id = ?`, id).Scan(&text); err != nil {
		t.Fatal(err)
	}
	var doc map[string]json.RawMessage
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

func putPlan(t *testing.T, db *sql.DB, id, digest string, doc map[string]json.RawMessage) {
	t.Helper()
	text, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(`UPDATE sessions SET plan = ?, digest = ? WHERE id = ?`, text, digest, id); err != nil {
		t.Fatal(err)
	}
}

// TestForgedPlan: whoever can write to the store shows a reviewer another plan than the
// target has, with a digest that goes with it. The target refuses what was approved.
func TestForgedPlan(t *testing.T) {
	s, _, dir := site(t)
	c, db, x := forged(t, s, "echo bad > "+dir+"/a; echo bad > "+dir+"/b")
	doc := storedPlan(t, db, x.ID)
	var p plan.Plan
	if err := json.Unmarshal(doc["plan"], &p); err != nil || len(p.Ops) != 2 {
		t.Fatalf("%d operations, %v", len(p.Ops), err)
	}
	p.Ops = p.Ops[:1] // the other is not shown
	sum, err := p.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if doc["plan"], err = json.Marshal(p); err != nil {
		t.Fatal(err)
	}
	putPlan(t, db, x.ID, sum, doc)
	seen, err := c.Session(t.Context(), x.ID)
	if err != nil || len(seen.Plan.Ops) != 1 {
		t.Fatalf("the forgery is no good: %v", err)
	}
	if _, err := c.Approve(t.Context(), x.ID, seen.Digest); err != nil {
		t.Fatal(err)
	}
	_, err = c.Apply(t.Context(), x.ID, bowline.ApplyOptions{})
	if list, rerr := os.ReadDir(dir); err == nil || rerr != nil || len(list) > 0 {
		t.Errorf("applied what was not shown: %v, %v, %v", err, list, rerr)
	}
}

// TestForgedContents: what a reviewer reads is what the digest stands for, whatever the
// store says of it.
func TestForgedContents(t *testing.T) {
	s, _, dir := site(t)
	c, db, x := forged(t, s, "echo evil > "+dir+"/a")
	doc := storedPlan(t, db, x.ID)
	var contents map[string][]byte
	if err := json.Unmarshal(doc["contents"], &contents); err != nil || len(contents) == 0 {
		t.Fatalf("%v, %v", contents, err)
	}
	for name := range contents {
		contents[name] = []byte("harmless\n")
	}
	var err error
	if doc["contents"], err = json.Marshal(contents); err != nil {
		t.Fatal(err)
	}
	putPlan(t, db, x.ID, x.Digest, doc)
	seen, err := c.Session(t.Context(), x.ID)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range seen.Contents {
		if strings.Contains(string(b), "harmless") {
			t.Errorf("%s is shown as %q", name, b)
		}
	}
}
