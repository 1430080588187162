package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"testing"
	"time"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/helper"
	"github.com/bowline-sh/bowline/plan"
)

// TestAnswers: a target cannot speak for another, for another session, for later, or of
// another script than it was sent.
func TestAnswers(t *testing.T) {
	now := time.Now().UTC()
	r := helper.PlanRequest{Session: "20261121-a-0001", Target: "web1", HostKey: "SHA256:a", Created: now, Script: []byte("echo"), Argv: [][]byte{[]byte("x")}}
	sum := sha256.Sum256(r.Script)
	good := plan.Plan{Session: r.Session, Target: r.Target, HostKey: r.HostKey, Created: now, Script: hex.EncodeToString(sum[:]), Argv: []string{"x"}}
	if err := answers(good, r); err != nil {
		t.Errorf("what was asked for: %v", err)
	}
	for name, lie := range map[string]func(*plan.Plan){
		"session": func(p *plan.Plan) { p.Session = "20261121-a-0002" },
		"target":  func(p *plan.Plan) { p.Target = "db1" },
		"key":     func(p *plan.Plan) { p.HostKey = "SHA256:b" },
		"time":    func(p *plan.Plan) { p.Created = now.Add(time.Hour) },
		"script":  func(p *plan.Plan) { p.Script = "" },
		"argv":    func(p *plan.Plan) { p.Argv = []string{"y"} },
		"no argv": func(p *plan.Plan) { p.Argv = nil },
	} {
		p := good
		lie(&p)
		if err := answers(p, r); diag.KindOf(err) != diag.Untrusted {
			t.Errorf("%s: %v", name, err)
		}
	}
}
