//go:build linux

package circle

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/frame"
	"github.com/bowline-sh/bowline/internal/helper"
	"github.com/bowline-sh/bowline/internal/helperbin"
	"github.com/bowline-sh/bowline/internal/link"
	"github.com/bowline-sh/bowline/plan"
)

// helper starts the real helper on the host, without package bowline.
func (h *host) helper(t testing.TB) *frame.Client {
	t.Helper()
	c, err := link.Helpers{Binaries: &helperbin.Set{}}.Start(t.Context(), h.dial(t), link.HelperOptions{Install: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() }) // the test has had its answer
	return c
}

// ask makes one call.
func ask(t testing.TB, c *frame.Client, verb string, req any) (helper.SessionResult, error) {
	t.Helper()
	call, err := c.Open(verb, req, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := call.Stdin.Close(); err != nil {
		t.Fatal(err)
	}
	var res helper.SessionResult
	return res, call.Wait(t.Context(), &res)
}

// good is an approval that the target accepts.
func good(s bowline.Session) plan.Approval {
	now := time.Now().UTC()
	return plan.Approval{ID: "ID-" + s.ID, Session: s.ID, Digest: s.Digest, HostKey: s.Plan.HostKey, User: "eve", Host: "laptop", Created: now, Expires: now.Add(time.Hour)}
}

// sessionDir is where the target keeps a session.
func (w *world) sessionDir(id string) string {
	return w.root("/root/.local/share/bowline/sessions/" + id)
}

// refused fails the test unless the call was refused and nothing was touched.
func (h *host) refused(t *testing.T, before map[string]string, err error, kinds ...diag.Kind) {
	t.Helper()
	if err == nil || !slices.Contains(kinds, diag.KindOf(err)) {
		t.Errorf("it answers %v (%q), want a refusal", err, diag.KindOf(err))
	}
	unchanged(t, h.world, before)
	if c := h.calls(t); len(c) > 0 {
		t.Errorf("it ran %q", c)
	}
}

// forged are approvals that must not do.
var forged = map[string]func(a *plan.Approval){
	"of another digest":  func(a *plan.Approval) { a.Digest = "sha256:" + strings.Repeat("0", 64) },
	"without a digest":   func(a *plan.Approval) { a.Digest = "" },
	"of another session": func(a *plan.Approval) { a.Session = "20261121-other-a3f2" },
	"of another host":    func(a *plan.Approval) { a.HostKey = "SHA256:other" },
	"expired":            func(a *plan.Approval) { a.Created, a.Expires = a.Created.Add(-2*time.Hour), a.Created.Add(-time.Hour) },
	"without an expiry":  func(a *plan.Approval) { a.Expires = time.Time{} },
	"of the future":      func(a *plan.Approval) { a.Created, a.Expires = a.Created.Add(time.Hour), a.Created.Add(2*time.Hour) },
	"of nobody":          func(a *plan.Approval) { a.User = "" },
	"without an id":      func(a *plan.Approval) { a.ID = "" },
	"a rejection":        func(a *plan.Approval) { a.Reject = true },
}

// TestForgedApproval: whoever talks to the helper directly needs an approval of
// exactly this plan, and a bad one does not spoil a good one.
func TestForgedApproval(t *testing.T) {
	scripts := map[string]string{}
	for name := range forged {
		scripts[name] = name
	}
	many(t, scripts, func(t *testing.T, h *host, name string) {
		h.in(t, newWorld(t, seed))
		s := h.plan(t, touching)
		before, c, a := picture(t, h.world), h.helper(t), good(s)
		forged[name](&a)
		_, err := ask(t, c, helper.VerbApply, helper.SessionRequest{Session: s.ID, Approval: &a})
		h.refused(t, before, err, diag.Denied)
		if name == "a rejection" {
			return
		}
		h.approve(t, s)
		h.apply(t, s)
	})
}

// TestWithoutApproval: no verb leads around the approval.
func TestWithoutApproval(t *testing.T) {
	h := newHost(t)
	h.in(t, newWorld(t, seed))
	s := h.plan(t, touching)
	before, c := picture(t, h.world), h.helper(t)
	a := good(s)
	for _, verb := range []string{helper.VerbApply, helper.VerbResume, helper.VerbRollback, helper.VerbConfirm, "watch", "exec"} {
		_, err := ask(t, c, verb, helper.SessionRequest{Session: s.ID, Force: true, Rerun: true, Skip: true})
		h.refused(t, before, err, diag.Denied, diag.Refused, diag.Usage)
	}
	for _, verb := range []string{helper.VerbResume, helper.VerbRollback} {
		_, err := ask(t, c, verb, helper.SessionRequest{Session: s.ID, Approval: &a, Force: true, Rerun: true})
		h.refused(t, before, err, diag.Refused)
	}
	for _, id := range []string{"", ".", "..", "../" + s.ID, "../../../../tmp/x", s.ID + "/../" + s.ID, "20261121-none-a3f2", s.ID + "\x00", strings.Repeat("a", 70)} {
		a.Session = id
		if _, err := ask(t, c, helper.VerbApply, helper.SessionRequest{Session: id, Approval: &a}); err == nil {
			t.Errorf("a session called %q was applied", id)
		}
	}
	unchanged(t, h.world, before)
	h.approve(t, s)
	h.apply(t, s)
}

// TestUsedApproval: an approval works once, also for who puts the session back as
// it was.
func TestUsedApproval(t *testing.T) {
	h := newHost(t)
	h.in(t, newWorld(t, seed))
	s := h.plan(t, touching)
	before, c, a := picture(t, h.world), h.helper(t), good(s)
	dir := "/root/.local/share/bowline/sessions/" + s.ID
	h.must(t, "cp -a "+dir+" /run/copy")
	req := helper.SessionRequest{Session: s.ID, Approval: &a}
	if _, err := ask(t, c, helper.VerbApply, req); err != nil {
		t.Fatal(err)
	}
	after := picture(t, h.world)
	h.must(t, "rm -r /run/calls; mkdir /run/calls")
	_, err := ask(t, c, helper.VerbApply, req)
	h.refused(t, after, err, diag.Denied, diag.Refused)
	if _, err := ask(t, c, helper.VerbRollback, helper.SessionRequest{Session: s.ID}); err != nil {
		t.Fatal(err)
	}
	h.must(t, "rm -r /run/calls; mkdir /run/calls")
	_, err = ask(t, c, helper.VerbApply, req)
	h.refused(t, before, err, diag.Denied, diag.Refused)
	h.must(t, "rm -r "+dir+"; cp -a /run/copy "+dir)
	_, err = ask(t, c, helper.VerbApply, req)
	h.refused(t, before, err, diag.Denied)
	// The same approval's id for another session of the same effect.
	other := h.plan(t, touching)
	b := good(other)
	b.ID = a.ID
	_, err = ask(t, c, helper.VerbApply, helper.SessionRequest{Session: other.ID, Approval: &b})
	h.refused(t, before, err, diag.Denied)
}

// tampered are edits of a session on the target by whoever may write there, at a
// moment and with a verb.
var tampered = map[string]struct{ when, edit, verb string }{
	"content of the layer":       {"approved", `for f in layer/*; do printf X >> $f; done`, helper.VerbApply},
	"content exchanged":          {"approved", `set -- layer/*; cp $1 t; cp $2 $1; cp t $2; rm t`, helper.VerbApply},
	"content missing":            {"approved", `rm layer/*`, helper.VerbApply},
	"content a link":             {"approved", `for f in layer/*; do cp $f /run/; rm $f; ln -s /run/${f##*/} $f; done; printf X >> /run/${f##*/}`, helper.VerbApply},
	"plan, a mode":               {"approved", `sed -i 's/"mode":384/"mode":511/' plan.json`, helper.VerbApply},
	"plan, a command":            {"approved", `sed -i 's/"restart"/"stop"/' plan.json`, helper.VerbApply},
	"plan, a path":               {"approved", `sed -i 's/play.new/play\/evil/' plan.json`, helper.VerbApply},
	"plan, more members":         {"approved", `sed -i 's/^{/{"evil":1,/' plan.json`, helper.VerbApply},
	"session, its status":        {"pending", `sed -i 's/pending/applying/' session.json`, helper.VerbResume},
	"session, its plan":          {"approved", `sed -i 's/sha256:.\{8\}/sha256:00000000/' session.json`, helper.VerbApply},
	"session, cut":               {"approved", `: > session.json`, helper.VerbApply},
	"layer, a link to elsewhere": {"approved", `mv layer /run/layer; ln -s /run/layer layer`, helper.VerbApply},
	"open to others":             {"approved", `chmod 777 .`, helper.VerbApply},
	"checkpoint, a content":      {"executed", `for f in checkpoint/*; do case $f in *manifest*) ;; *) printf X >> $f;; esac; done`, helper.VerbRollback},
	"checkpoint, its list":       {"executed", `sed -i 's/srv.play.a"/srv\/play\/q"/' checkpoint/manifest.json`, helper.VerbRollback},
	"checkpoint, missing":        {"executed", `rm checkpoint/*`, helper.VerbRollback},
	"journal, edited":            {"executed", `sed -i 's/"op":1/"op":2/' journal`, helper.VerbRollback},
	"journal, cut":               {"executed", `truncate -s 100 journal`, helper.VerbRollback},
	"journal, empty":             {"executed", `: > journal`, helper.VerbRollback},
	"journal, gone":              {"executed", `rm journal`, helper.VerbRollback},
	"journal, more":              {"executed", `head -n 1 journal >> journal`, helper.VerbRollback},
	"approval, another person":   {"executed", `sed -i 's/"user":"[^"]*"/"user":"somebody"/' approval.json`, helper.VerbRollback},
	"status back":                {"executed", `sed -i 's/executed/applying/' session.json`, helper.VerbResume},
	"plan after apply":           {"executed", `sed -i 's/"mode":384/"mode":511/' plan.json`, helper.VerbRollback},
}

func TestTampered(t *testing.T) {
	scripts := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(tampered)) {
		scripts[name] = name
	}
	many(t, scripts, func(t *testing.T, h *host, name string) {
		c := tampered[name]
		h.in(t, newWorld(t, seed))
		s := h.plan(t, touching)
		client := h.helper(t)
		if c.when != "pending" {
			h.approve(t, s)
		}
		if c.when == "executed" {
			h.apply(t, s)
			h.must(t, "rm -r /run/calls; mkdir /run/calls")
		}
		was := snapshotDir(t, h.sessionDir(s.ID))
		h.must(t, "cd /root/.local/share/bowline/sessions/"+s.ID+"\n"+c.edit)
		if maps.EqualFunc(was, snapshotDir(t, h.sessionDir(s.ID)), bytes.Equal) && !strings.Contains(c.edit, "chmod") {
			t.Fatal("the edit changes nothing")
		}
		before := picture(t, h.world)
		a := good(s)
		_, err := ask(t, client, c.verb, helper.SessionRequest{Session: s.ID, Approval: &a, Rerun: true})
		h.refused(t, before, err, diag.Denied)
	})
}

// snapshotDir reads the files of a directory.
func snapshotDir(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	files, err := filepath.Glob(dir + "/*")
	if err != nil {
		t.Fatal(err)
	}
	more, err := filepath.Glob(dir + "/*/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range append(files, more...) {
		fi, err := os.Lstat(f)
		if err != nil {
			t.Fatal(err)
		}
		out[strings.TrimPrefix(f, dir)] = []byte(fi.Mode().String())
		if fi.Mode().IsRegular() {
			if out[strings.TrimPrefix(f, dir)], err = os.ReadFile(f); err != nil {
				t.Fatal(err)
			}
		}
	}
	return out
}
