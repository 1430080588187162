package receipt_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/bowline-sh/bowline/change"
	"github.com/bowline-sh/bowline/internal/audit"
	"github.com/bowline-sh/bowline/internal/receipt"
	"github.com/bowline-sh/bowline/plan"
)

const id = "20261121-x-a3f2"

var now = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// sample is the receipt of a session that was applied, with lines of a real log.
func sample(t *testing.T) receipt.Receipt {
	t.Helper()
	dir := t.TempDir()
	log, err := audit.Open(t.Context(), audit.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	for _, verb := range []string{"plan", "approve", "apply"} {
		entry, err := log.Begin(t.Context(), audit.Intent{Subject: audit.Subject{Verb: verb, Session: id, Target: "web1"}})
		if err != nil {
			t.Fatal(err)
		}
		if err := log.End(t.Context(), entry, audit.Outcome{}); err != nil {
			t.Fatal(err)
		}
	}
	p := plan.Plan{Version: plan.Version, Session: id, HostKey: "SHA256:k", Mode: plan.Root, Ops: []plan.Operation{
		{Change: &change.Change{Path: "/a<&>", After: change.State{Type: change.Dir, Mode: 0o755}}},
	}}
	digest, err := p.Digest()
	if err != nil {
		t.Fatal(err)
	}
	r := receipt.Receipt{Made: now, By: "ann@desk", Script: []byte("mkdir '/a<&>'"), Plan: p,
		Session:   receipt.Session{ID: id, Target: "web1", HostKey: p.HostKey, Status: plan.Executed, Digest: digest, User: "ann", Created: now, Updated: now},
		Decisions: []plan.Approval{{ID: "a", Session: id, Digest: digest, HostKey: p.HostKey, User: "ann", Host: "desk", Created: now, Expires: now.Add(time.Hour)}},
		Chain:     receipt.Chain{Entries: 6, Last: strings.Repeat("0", 64), Intact: true}}
	for e, err := range audit.NewReader(dir, "").List(t.Context(), audit.Filter{OldestFirst: true}) {
		if err != nil {
			t.Fatal(err)
		}
		r.Audit = append(r.Audit, string(e.Raw()))
	}
	return r
}

func encode(t *testing.T, r receipt.Receipt) []byte {
	t.Helper()
	b, err := receipt.Encode(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func wrong(r receipt.Receipt) string {
	for _, f := range r.Check(nil) {
		if !f.OK {
			return f.Name + ": " + f.Detail
		}
	}
	return ""
}

func TestRoundTrip(t *testing.T) {
	r, err := receipt.Decode(encode(t, sample(t)))
	if err != nil || wrong(r) != "" {
		t.Errorf("%v, %s", err, wrong(r))
	}
	if string(r.Plan.Ops[0].Change.Path) != "/a<&>" || len(r.Audit) != 6 {
		t.Errorf("%+v", r)
	}
}

// TestAnyByteIsFound: whichever byte is changed, dropped or doubled, it is no longer a
// receipt.
func TestAnyByteIsFound(t *testing.T) {
	file := encode(t, sample(t))
	for i := range file {
		for name, other := range map[string][]byte{
			"changed": append(append(bytes.Clone(file[:i]), file[i]^1), file[i+1:]...),
			"dropped": append(bytes.Clone(file[:i]), file[i+1:]...),
			"doubled": append(append(bytes.Clone(file[:i]), file[i]), file[i:]...),
		} {
			if _, err := receipt.Decode(other); err == nil && !bytes.Equal(other, file) {
				t.Errorf("byte %d %s: %.40q was accepted", i, name, other[max(0, i-20):])
			}
		}
	}
}

// TestPartsMustAgree: one who makes a new seal must still make the parts agree.
func TestPartsMustAgree(t *testing.T) {
	for want, alter := range map[string]func(*receipt.Receipt){
		"plan: ":                   func(r *receipt.Receipt) { r.Plan.Ops[0].Change.After.Mode = 0o777 },
		"approval: it is for":      func(r *receipt.Receipt) { r.Decisions[0].Digest = "sha256:0" },
		"audit: line 3":            func(r *receipt.Receipt) { r.Audit[2] = strings.Replace(r.Audit[2], "web1", "web2", 1) },
		"audit: line 2":            func(r *receipt.Receipt) { r.Audit[0], r.Audit[1] = r.Audit[1], r.Audit[0] },
		"the log was not intact":   func(r *receipt.Receipt) { r.Chain.Intact = false },
		"is out of its place":      func(r *receipt.Receipt) { r.Chain.Entries = 3 },
		"the log has no apply":     func(r *receipt.Receipt) { r.Audit = r.Audit[:4] },
		"nobody approved it":       func(r *receipt.Receipt) { r.Decisions = nil },
		"the log has no rollback":  func(r *receipt.Receipt) { r.Session.Status = plan.RolledBack },
		"is about session 2026112": func(r *receipt.Receipt) { other(r) },
	} {
		r := sample(t)
		alter(&r)
		again, err := receipt.Decode(encode(t, r))
		if err != nil || !strings.Contains(wrong(again), want) {
			t.Errorf("%q: found %q, %v", want, wrong(again), err)
		}
	}
}

// other makes everything but the audit lines be about another session.
func other(r *receipt.Receipt) {
	r.Session.ID, r.Plan.Session, r.Decisions[0].Session = "20261121-y-a3f2", "20261121-y-a3f2", "20261121-y-a3f2"
}

func TestSignaturesAreAskedFor(t *testing.T) {
	r := sample(t)
	r.Decisions[0].Signature = "sig"
	statement := string(r.Decisions[0].Statement(1))
	good := func(m []byte, sig string, at time.Time) (string, error) {
		if string(m) != statement || sig != "sig" || !at.Equal(now) {
			t.Errorf("asked about %q %q %s", m, sig, at)
		}
		return "ann@example.com", nil
	}
	if f := r.Check(good)[1]; !f.OK || !strings.Contains(f.Detail, "signed by ann@example.com") {
		t.Errorf("%+v", f)
	}
	if f := r.Check(func([]byte, string, time.Time) (string, error) { return "", errors.New("not good") })[1]; f.OK {
		t.Errorf("%+v", f)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"schema_version":1,"kind":"bowline-receipt","seal":"sha256:","receipt":{}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := receipt.Decode(b); err == nil {
			r.Check(nil)
		}
	})
}
