package web

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// propose has a model propose a script on web1, and returns its session.
func propose(t *testing.T, m *mcp.ClientSession, script, why string) string {
	t.Helper()
	r, err := m.CallTool(t.Context(), &mcp.CallToolParams{Name: "propose", Arguments: map[string]any{"target": "web1", "script": script, "note": why}})
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(r.StructuredContent)
	if err != nil || r.IsError {
		t.Fatalf("%v, %+v", err, r.Content)
	}
	var out struct {
		Session string `json:"session"`
	}
	if err := json.Unmarshal(data, &out); err != nil || out.Session == "" {
		t.Fatalf("%v in %s", err, data)
	}
	return out.Session
}

// TestStory: plans arrive from a model; a person reads the diff, rejects one, approves
// another, watches the apply, and rolls it back.
func TestStory(t *testing.T) {
	w := newWorld(t, 1)
	conf := filepath.Join(w.site, "site.conf")
	before := "server {\n    listen 80;\n    server_name old.example.com;\n}\n"
	if err := os.WriteFile(conf, []byte(before), 0o644); err != nil {
		t.Fatal(err)
	}
	m := w.model(w.token("robot", "read,run,plan,apply"))
	bad := propose(t, m, "#!/bin/sh\nrm -rf "+w.site+"\n", "Clean up")
	good := propose(t, m, "#!/bin/sh\nsed -i 's/old/new/; s/80/8080/' "+conf+"\nprintf 'print(\"hi\", 42)  # check\\n' > "+w.site+"/check.py\n", "Move the site to its new name")

	b := w.browse(1180, 860)
	b.signIn(w.token("ann", "read,approve,apply"))
	if page := b.says("main"); !strings.Contains(page, bad) || !strings.Contains(page, good) {
		t.Fatalf("the page lists neither:\n%s", page)
	}
	b.picture("sessions")

	b.do(chromedp.Click(`a[href="/s/`+bad+`"]`), chromedp.WaitVisible("#decide"), chromedp.SendKeys("#reason", "This is the live site"), chromedp.Click(`form[action$="/reject"] button`))
	b.waits(".status", "rejected")
	if page := b.says("main"); !strings.Contains(page, "This is the live site") {
		t.Errorf("the page does not say why:\n%s", page)
	}

	b.do(chromedp.Navigate(w.url+"/s/"+good), chromedp.WaitVisible("#decide"))
	for _, want := range []string{"server_name old.example.com", "server_name new.example.com", "check.py", "Move the site to its new name", "robot"} {
		if page := b.says("main"); !strings.Contains(page, want) {
			t.Errorf("the page does not show %q:\n%s", want, page)
		}
	}
	b.picture("session")
	b.do(chromedp.Click(`a[href="?view=split"]`), chromedp.WaitVisible("table.split"))
	b.picture("session-split")
	b.do(chromedp.Click(`form[action$="/approve"] button`))
	b.waits(".status", "approved")
	b.do(chromedp.Click(`form[action$="/apply"] button`))
	b.waits(".status", "executed")
	b.picture("session-applied")
	if got, err := os.ReadFile(conf); err != nil || !strings.Contains(string(got), "listen 8080;\n    server_name new") {
		t.Errorf("%q, %v", got, err)
	}
	b.do(chromedp.Click(`form[action$="/rollback"] button`))
	b.waits(".status", "rolled back")
	if got, err := os.ReadFile(conf); err != nil || string(got) != before {
		t.Errorf("after the rollback: %q, %v", got, err)
	}
	b.do(chromedp.Navigate(w.url+"/audit"), chromedp.WaitVisible("table.list"))
	if page := b.says("main"); !strings.Contains(page, "The chain is whole") || !strings.Contains(page, "ann (web)") {
		t.Errorf("the audit page:\n%s", page)
	}
	b.picture("audit")
}

// TestPart: a person keeps one of two changes; what is applied is that one.
func TestPart(t *testing.T) {
	w := newWorld(t, 1)
	m := w.model(w.token("robot", "plan,read"))
	id := propose(t, m, "#!/bin/sh\necho one > "+w.site+"/one\necho two > "+w.site+"/two\n", "both")
	b := w.browse(1180, 860)
	b.signIn(w.bowline("token", "create", "--name", "ann", "--user", "ann", "--scope", "read,plan,approve,apply", "--both"))
	b.do(chromedp.Navigate(w.url+"/s/"+id), chromedp.Evaluate(`document.querySelectorAll("details").forEach(d => d.open = true); 0`, nil),
		chromedp.Click(`input[name=op][value="2"]`), chromedp.Click(`form[action$="/select"] button`))
	b.waits("#changes", "1 to create")
	if page := b.says("main"); strings.Contains(page, w.site+"/two") || !strings.Contains(page, w.site+"/one") {
		t.Errorf("the new session:\n%s", page)
	}
	b.do(chromedp.Click(`form[action$="/approve"] button`))
	b.waits(".status", "approved")
	b.do(chromedp.Click(`form[action$="/apply"] button`))
	b.waits(".status", "executed")
	if list, err := os.ReadDir(w.site); err != nil || len(list) != 1 || list[0].Name() != "one" {
		t.Errorf("%v, %v", list, err)
	}
	b.do(chromedp.Click(`a[href$="/drift"]`))
	b.waits("main", "as the session left it")
}

// TestWithoutScript: with JavaScript off a person signs in, reads, approves one and
// rejects another.
func TestWithoutScript(t *testing.T) {
	w := newWorld(t, 1)
	m := w.model(w.token("robot", "plan,read"))
	one := propose(t, m, "#!/bin/sh\necho one > "+w.site+"/one\n", "one")
	two := propose(t, m, "#!/bin/sh\necho two > "+w.site+"/two\n", "two")
	b := w.browse(390, 840)
	b.do(emulation.SetScriptExecutionDisabled(true))
	b.do(chromedp.Navigate(w.url+"/"), chromedp.SendKeys("#token", w.token("ann", "read,approve")), chromedp.Click("button.primary"), chromedp.WaitVisible("#waiting"))
	b.do(chromedp.Navigate(w.url+"/s/"+one), chromedp.Click(`form[action$="/approve"] button`), chromedp.WaitVisible(".status-approved"))
	b.do(chromedp.Navigate(w.url+"/s/"+two), chromedp.SendKeys("#reason", "no"), chromedp.Click(`form[action$="/reject"] button`), chromedp.WaitVisible(".status-rejected"))
	if list := w.bowline("session", "list"); !strings.Contains(list, "approved") || !strings.Contains(list, "rejected") {
		t.Errorf("%s", list)
	}
}
