package mcp

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// TestStory is the whole of it, with a client that can ask its user and with one that
// cannot: look around, propose a fix, fail to apply it, wait for a person, apply,
// verify, roll back.
func TestStory(t *testing.T) {
	asked := make(chan string, 10)
	answers := &mcp.ClientOptions{ElicitationHandler: func(_ context.Context, r *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
		asked <- r.Params.Message
		return &mcp.ElicitResult{Action: "accept"}, nil
	}}
	ignores := &mcp.ClientOptions{ElicitationHandler: func(ctx context.Context, _ *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	for _, tt := range []struct {
		name, revision string
		opts           *mcp.ClientOptions
	}{
		{"2025-11-25 asks its user", "2025-11-25", answers}, {"2025-11-25 and nobody answers", "2025-11-25", ignores}, {"2025-11-25 cannot ask", "2025-11-25", nil},
		{"2026-07-28", "2026-07-28", answers},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, 2)
			w.revision = tt.revision
			story(t, w, tt.opts)
		})
	}
	if said := <-asked; !strings.Contains(said, "'bowline review 2") || len(asked) > 0 {
		t.Errorf("the user was told %q, and %d times more", said, len(asked))
	}
}

func story(t *testing.T, w *world, opts *mcp.ClientOptions) {
	conf := w.site + "/app.conf"
	if err := os.WriteFile(conf, []byte("workers=2\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	a := w.connect("helpful", opts)

	seen := a.must("targets", nil)
	if !strings.Contains(seen.text, "web1") || !strings.Contains(seen.text, "web2") || !strings.Contains(seen.text, "readonly") {
		t.Errorf("targets: %s", seen.text)
	}
	if got := a.must("read_file", map[string]any{"target": "web1", "path": conf}); !strings.Contains(got.text, "\nworkers=2\n</untrusted") || got.first("stdout") != "workers=2\n" {
		t.Errorf("read_file: %s", got.text)
	}
	if got := a.must("search", map[string]any{"target": "web1", "path": w.site, "pattern": "^workers="}); !strings.Contains(got.text, conf+":1:workers=2") {
		t.Errorf("search: %s", got.text)
	}
	both := a.must("run", map[string]any{"target": "web1,web2", "argv": []string{"cat", "/etc/hostname"}})
	if results, _ := both.content["results"].([]any); len(results) != 1 || !strings.Contains(both.text, "2 targets, 1 different results") {
		t.Errorf("equal output was not folded: %s", both.text)
	}

	p := a.must("propose", map[string]any{"target": "web1", "script": "sed -i s/2/4/ " + conf + "\necho done > " + w.site + "/done\n", "note": "more workers"})
	id := p.str("session")
	if p.str("status") != "pending" || !strings.Contains(p.text, "-workers=2") || !strings.Contains(p.text, "+workers=4") || p.str("review") != "bowline review "+id {
		t.Fatalf("propose: %s", p.text)
	}
	if got := a.call("apply", map[string]any{"session": id}); !got.failed || !strings.Contains(got.text, "bowline approve "+id) {
		t.Errorf("unapproved: %s", got.text)
	}
	if b, _ := os.ReadFile(conf); string(b) != "workers=2\n" {
		t.Fatalf("something was changed: %q", b)
	}

	waiting := make(chan answer, 1)
	go func() {
		r, _ := a.tryCall(t.Context(), "session", map[string]any{"session": id, "wait_seconds": 30})
		waiting <- r
	}()
	w.bowline("approve", id, "--yes")
	select {
	case r := <-waiting:
		if r.str("status") != "approved" {
			t.Errorf("the wait ended with %q: %s", r.str("status"), r.text)
		}
	case <-time.After(40 * time.Second):
		t.Fatal("nobody told the client")
	}

	if got := a.must("apply", map[string]any{"session": id}); got.str("status") != "executed" {
		t.Errorf("apply: %s", got.text)
	}
	if got := a.must("read_file", map[string]any{"target": "web1", "path": conf}); got.first("stdout") != "workers=4\n" {
		t.Errorf("verify: %s", got.text)
	}
	if got := a.call("apply", map[string]any{"session": id}); !got.failed {
		t.Errorf("applied twice: %s", got.text)
	}
	if got := a.must("rollback", map[string]any{"session": id}); got.str("status") != "rolled_back" {
		t.Errorf("rollback: %s", got.text)
	}
	if b, _ := os.ReadFile(conf); string(b) != "workers=2\n" {
		t.Errorf("after rollback: %q", b)
	}
	if _, err := os.Stat(w.site + "/done"); err == nil {
		t.Error("a file is left after rollback")
	}
	record := a.must("audit", nil)
	for _, want := range []string{"plan intent", "apply intent", "apply outcome", "rollback outcome", "run outcome"} {
		if !strings.Contains(record.text, want) {
			t.Errorf("no %q in the record:\n%s", want, record.text)
		}
	}
	if strings.Contains(record.text, "approve") {
		t.Errorf("the person's entries are in the client's record:\n%s", record.text)
	}
	log := w.bowline("audit", "list", "--json")
	if !strings.Contains(log, `"surface":"mcp"`) || !strings.Contains(log, `"client":"helpful"`) {
		t.Errorf("the log does not name the client")
	}
	w.bowline("audit", "verify")
}

// TestRejected: a model learns that and why a person said no.
func TestRejected(t *testing.T) {
	w := newWorld(t, 1)
	a := w.connect("helpful", nil)
	id := a.must("propose", map[string]any{"script": "rm -rf " + w.site, "target": "web1", "note": "tidy"}).str("session")
	w.bowline("reject", id, "--reason", "not on a Friday")
	if got := a.must("session", map[string]any{"session": id, "wait_seconds": 5}); got.str("status") != "rejected" || got.str("reason") != "not on a Friday" {
		t.Errorf("session: %s", got.text)
	}
	if got := a.call("apply", map[string]any{"session": id}); !got.failed {
		t.Errorf("apply: %s", got.text)
	}
}

// TestRestart: what was proposed is still there for the same client of another process.
func TestRestart(t *testing.T) {
	w := newWorld(t, 1)
	a := w.connect("helpful", nil)
	id := a.must("propose", map[string]any{"argv": []string{"touch", w.site + "/x"}, "target": "web1", "note": "x"}).str("session")
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	w.bowline("approve", id, "--yes")
	b := w.connect("helpful", nil)
	if got := b.must("session", nil); !strings.Contains(got.text, id+"  web1  approved") {
		t.Errorf("sessions: %s", got.text)
	}
	if got := b.must("apply", map[string]any{"session": id}); got.str("status") != "executed" {
		t.Errorf("apply: %s", got.text)
	}
}

// TestLongOutput: the head and the tail at once, the rest by page.
func TestLongOutput(t *testing.T) {
	w := newWorld(t, 1)
	a := w.connect("reader", nil)
	got := a.must("run", map[string]any{"target": "web1", "profile": "script", "script": "seq 1 30000"})
	handle, _ := got.first("handle").(string)
	if handle == "" || got.first("truncated") != true || len(got.text) > 18<<10 || !strings.Contains(got.text, "\n1\n2\n") || !strings.Contains(got.text, "\n30000\n") {
		t.Fatalf("%d bytes, handle %q", len(got.text), handle)
	}
	var all strings.Builder
	for offset := 0; ; {
		page := a.must("output", map[string]any{"handle": handle, "offset": offset})
		all.WriteString(page.str("text"))
		next, more := page.content["next_offset"].(float64)
		if !more {
			break
		}
		offset = int(next)
	}
	if n := strings.Count(all.String(), "\n"); n != 30000 || !strings.HasSuffix(all.String(), "\n29999\n30000\n") {
		t.Errorf("the pages have %d lines", n)
	}
	res, err := a.ReadResource(t.Context(), &mcp.ReadResourceParams{URI: "bowline://outputs/" + handle + "?offset=-12"})
	if err != nil || !strings.Contains(res.Contents[0].Text, "\n30000\n") {
		t.Errorf("as a resource: %v, %v", res, err)
	}
}

// TestBackground: a command goes on while others are called, can be watched and
// stopped, and nothing of it is left on the target.
func TestBackground(t *testing.T) {
	w := newWorld(t, 1)
	a := w.connect("patient", nil)
	mark := "86423" // seconds that nobody else sleeps
	handle := a.must("run", map[string]any{"target": "web1", "profile": "script", "script": "echo begun; sleep " + mark, "timeout_seconds": 600, "background": true}).str("handle")
	eventually(t, "it began", func() bool { return strings.Contains(a.must("output", map[string]any{"handle": handle}).text, "begun") })
	if got := a.must("run", map[string]any{"target": "web1", "argv": []string{"echo", "other"}}); got.first("stdout") != "other\n" {
		t.Errorf("meanwhile: %s", got.text)
	}
	if !sleeping(mark) {
		t.Error("the command does not run")
	}
	got := a.must("output", map[string]any{"handle": handle, "stop": true})
	if got.content["running"] == true || !strings.Contains(got.str("result"), "canceled") {
		t.Errorf("stopped: %s", got.text)
	}
	eventually(t, "it is gone", func() bool { return !sleeping(mark) })
}
