package web

import (
	"strings"
	"testing"

	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// TestStoredScript: what a script, its output, its files' names and contents, and the
// words of who proposes hold is shown as text: nothing of it runs, in any page or view.
func TestStoredScript(t *testing.T) {
	w := newWorld(t, 1)
	const evil = `<script>window.pwned=1</script><img src=x onerror="window.pwned=2"><svg onload="window.pwned=3">`
	script := "#!/bin/sh\ncd " + w.site + "\nname='<script>window.pwned=4<'; printf '%s\\n' '" + evil + "' > \"$name\"\nprintf '%s\\n' '" + evil + "' > x.html\nprintf '%s' '" + evil + "'\nprintf '%s' '" + evil + "' >&2\n" +
		"printf '\\033]0;pwned\\007\\342\\200\\256gnp.exe' > bidi\nsystemctl restart '" + evil + "'\nexit 3\n"
	m := w.model(w.token(`<script>window.pwned=5</script>`, "read,plan"))
	id := propose(t, m, script, evil+" javascript:alert(1)")
	b := w.browse(1180, 860)
	var faults []string
	chromedp.ListenTarget(b.ctx, func(ev any) {
		switch ev := ev.(type) {
		case *runtime.EventExceptionThrown:
			faults = append(faults, ev.ExceptionDetails.Error())
		case *runtime.EventConsoleAPICalled:
			faults = append(faults, string(ev.Type))
		}
	})
	b.signIn(w.token("ann", "read,approve,apply"))
	for _, path := range []string{"/", "/s/" + id, "/s/" + id + "?view=split", "/s/" + id + "?secret=1&from=1", "/audit", "/audit?target=" + evil, "/s/" + evil, "/login?once=%22%3E" + evil} {
		var pwned string
		b.do(chromedp.Navigate(w.url+path), chromedp.WaitVisible("main"),
			chromedp.Evaluate(`document.querySelectorAll("details").forEach(d => d.open = true); String(window.pwned)`, &pwned))
		if pwned != "undefined" {
			t.Errorf("%s ran %s", path, pwned)
		}
	}
	b.do(chromedp.Navigate(w.url + "/s/" + id))
	page := b.says("main")
	for _, want := range []string{"<script>window.pwned=1</script>", "<script>window.pwned=4<", `onerror="window.pwned=2"`} {
		if !strings.Contains(page, want) {
			t.Errorf("the page hides %q:\n%s", want, page)
		}
	}
	if strings.ContainsAny(page, "\u202e\x1b") {
		t.Error("what reorders text reached the page")
	}
	if len(faults) > 0 {
		t.Errorf("the pages' own script: %q", faults)
	}
}
