package bowline_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bowline-sh/bowline"
)

// TestAuditState: it is what VerifyAudit says, read once for each state of the files; an
// entry that somebody changes is found, by who asks next.
func TestAuditState(t *testing.T) {
	dir := t.TempDir()
	c, err := bowline.Open(t.Context(), bowline.Config{ConfigDir: dir, StateDir: dir, RuntimeDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	act := func() {
		if _, _, err := c.CreateToken(t.Context(), bowline.TokenRequest{Name: "x", Scopes: "read", Expires: time.Hour}); err != nil {
			t.Fatal(err)
		}
	}
	look := func() bowline.AuditReport {
		r, err := c.AuditState(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	until := func(what string, ok func(bowline.AuditReport) bool) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); !ok(look()); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("never %s: %+v", what, look())
			}
		}
	}
	act()
	first := look()
	if !first.OK || first.Entries != 2 || first.Checked.IsZero() {
		t.Errorf("%+v", first)
	}
	if again := look(); again.Checked != first.Checked {
		t.Error("it read again what had not changed")
	}
	act()
	if r := look(); r.Entries == 2 && !strings.Contains(strings.Join(r.Notes, " "), "newer entries") {
		t.Errorf("it does not say that it is old: %+v", r)
	}
	until("read again", func(r bowline.AuditReport) bool { return r.OK && r.Entries == 4 })
	file := filepath.Join(dir, "audit", "audit.jsonl")
	was, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, bytes.Replace(was, []byte(`token.create`), []byte(`token.cremate`), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	until("found", func(r bowline.AuditReport) bool { return !r.OK && r.Problem != "" })
}
