package web

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// axe returns axe-core's script, from npm.
func axe(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	const version = "4.10.2"
	dir := filepath.Join(cache, "bowline-test", "axe-"+version)
	file := filepath.Join(dir, "node_modules", "axe-core", "axe.min.js")
	if _, err := os.Stat(file); err != nil {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		npm := exec.CommandContext(t.Context(), "npm", "install", "--prefix", dir, "--ignore-scripts", "--no-audit", "--no-fund", "--no-progress", "axe-core@"+version)
		if out, err := npm.CombinedOutput(); err != nil {
			t.Fatalf("npm install: %v\n%s", err, out)
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// violation is a rule that a page breaks.
type violation struct {
	ID, Impact, Help string
	Nodes            []struct{ HTML string }
}

// check fails the test for every serious fault that axe-core finds on the page.
func (b *browser) check(script, what string) {
	b.t.Helper()
	var report string
	b.do(chromedp.Evaluate(script+"\n;0", nil), chromedp.Evaluate(`axe.run().then(r => JSON.stringify(r.violations.map(v => ({id: v.id, impact: v.impact, help: v.help, nodes: v.nodes.map(n => ({html: n.html}))}))))`,
		&report, func(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }))
	var found []violation
	if err := json.Unmarshal([]byte(report), &found); err != nil {
		b.t.Fatal(err)
	}
	for _, v := range found {
		b.t.Logf("%s: %s (%s): %s: %d places, as %s", what, v.ID, v.Impact, v.Help, len(v.Nodes), v.Nodes[0].HTML)
		if v.Impact == "serious" || v.Impact == "critical" {
			b.t.Errorf("%s breaks %s", what, v.ID)
		}
	}
}

// TestAccessible: no page has a serious fault, wide and narrow, light and dark.
func TestAccessible(t *testing.T) {
	script := axe(t)
	w := newWorld(t, 1)
	conf := filepath.Join(w.site, "site.conf")
	if err := os.WriteFile(conf, []byte("listen 80;\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	m := w.model(w.token("robot", "plan,read"))
	id := propose(t, m, "#!/bin/sh\nsed -i 's/80/8080/' "+conf+"\nprintf 'print(1)  # check\\n' > "+w.site+"/x.py\nchmod 4755 "+w.site+"/x.py\nsystemctl restart nginx\n", "why")
	token := w.token("ann", "read,run,approve,apply")
	for _, size := range [][2]int64{{1180, 860}, {360, 740}} {
		for _, scheme := range []string{"light", "dark"} {
			t.Run(fmt.Sprintf("%d %s", size[0], scheme), func(t *testing.T) {
				w := *w
				w.t = t
				b := w.browse(size[0], size[1])
				b.do(emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}))
				b.do(chromedp.Navigate(w.url + "/login"))
				b.check(script, "login")
				b.signIn(token)
				for _, path := range []string{"/", "/s/" + id, "/s/" + id + "?view=split", "/targets", "/activity", "/boxes", "/boxes?target=web1", "/audit", "/s/none"} {
					b.do(chromedp.Navigate(w.url+path), chromedp.WaitVisible("main"))
					b.check(script, path)
				}
			})
		}
	}
}
