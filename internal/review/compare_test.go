package review

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/bowline-sh/bowline/change"
	"github.com/bowline-sh/bowline/plan"
)

// hostPlan is a plan that changes a text, a secret and a program's state.
func hostPlan(contents map[string][]byte) plan.Plan {
	file := func(text string) change.State { return hostFile(contents, text) }
	return plan.Plan{Version: plan.Version, Session: "20261121-x-a3f2", Mode: plan.Root, Login: "uid 0", Argv: []string{"x"}, Created: time.Unix(9, 0), Ops: []plan.Operation{
		{Change: &change.Change{Path: "/etc/app.conf", Before: file("limit=1\nname=a\n"), After: file("limit=2\nname=a\n")}},
		{Change: &change.Change{Path: "/etc/shadow", Before: file("root:old:1\n"), After: file("root:new:1\n")}},
		{Command: &plan.Command{Argv: []string{"systemctl", "restart", "app"}, Path: "/bin/systemctl", Cwd: "/", Undo: []string{"a", "b"}}},
	}}
}

func compared(alter func(*plan.Plan, map[string][]byte)) (Diff, string) {
	contents := map[string][]byte{}
	a, b := hostPlan(contents), hostPlan(contents)
	b.Session, b.HostKey, b.Created, b.Ops[0].Change.Before.MTime = "20261121-x-a3f3", "k", time.Unix(10, 0), 6
	a.Ops[0].Change.After.MTime, b.Ops[0].Change.After.MTime = 0, 0
	alter(&b, contents)
	d := Compare(New(Input{Plan: a, Contents: contents}), New(Input{Plan: b, Contents: contents}))
	var text strings.Builder
	for _, h := range d.Hunks {
		for _, l := range h.Lines {
			fmt.Fprintf(&text, "%c%s\n", l.Kind, l.Text)
		}
	}
	return d, text.String()
}

// TestCompareShowsEveryDifference between the plans of two hosts, and none where one
// reviewer sees the same.
func TestCompareShowsEveryDifference(t *testing.T) {
	t.Parallel()
	if d, text := compared(func(*plan.Plan, map[string][]byte) {}); d.Reason != Unchanged || text != "" {
		t.Errorf("the same: %+v", d)
	}
	for name, tt := range map[string]struct {
		alter func(*plan.Plan, map[string][]byte)
		want  string
	}{
		"mode": {func(p *plan.Plan, _ map[string][]byte) { p.Ops[0].Change.After.Mode = 0o600 }, "+    after: file, mode 0600"},
		"xattr": {func(p *plan.Plan, _ map[string][]byte) {
			p.Ops[0].Change.After.Xattrs = map[string][]byte{"user.k": {0, 255}}
		}, `+    after: file, mode 0644, owner 0 (root), group 0 (root), 15 bytes`},
		"content kept": {func(p *plan.Plan, c map[string][]byte) { p.Ops[0].Change.Before = hostFile(c, "limit=7\nname=a\n") }, "+    -limit=7"},
		"content not kept": {func(p *plan.Plan, c map[string][]byte) {
			p.Ops[0].Change.After.SHA256 = strings.Repeat("a", 64)
		}, "sha256 aaaa"},
		"argument":  {func(p *plan.Plan, _ map[string][]byte) { p.Ops[2].Command.Argv[2] = "other" }, `+! "systemctl" "restart" "other"`},
		"undo":      {func(p *plan.Plan, _ map[string][]byte) { p.Ops[2].Command.Undo = []string{"a b"} }, `+    undone by "a b"`},
		"warning":   {func(p *plan.Plan, _ map[string][]byte) { p.Warnings = []string{"not\nseen"} }, `+warning: "not\nseen"`},
		"failed":    {func(p *plan.Plan, _ map[string][]byte) { p.Exit, p.Stderr = 3, []byte("no luck") }, `+    | "no luck"`},
		"kept time": {func(p *plan.Plan, _ map[string][]byte) { p.Ops[0].Change.After.MTime = 6 }, "+    modified as /etc/app.conf"},
		"one more": {func(p *plan.Plan, _ map[string][]byte) {
			p.Ops = append(p.Ops, plan.Operation{Change: &change.Change{Path: "/new", After: change.State{Type: change.Dir, Mode: 0o755}}})
		}, `++ "/new"`},
	} {
		d, text := compared(tt.alter)
		if !strings.Contains(text, tt.want) || d.Note != "" {
			t.Errorf("%s: %q is not in\n%s(%+v)", name, tt.want, text, d.Note)
		}
	}
}

func hostFile(contents map[string][]byte, text string) change.State {
	sum := sha256.Sum256([]byte(text))
	name := hex.EncodeToString(sum[:])
	contents[name] = []byte(text)
	return change.State{Type: change.File, Mode: 0o644, Size: int64(len(text)), SHA256: name}
}

// TestCompareKeepsSecrets: a class shows by digest alone that a secret differs.
func TestCompareKeepsSecrets(t *testing.T) {
	t.Parallel()
	d, text := compared(func(p *plan.Plan, c map[string][]byte) { p.Ops[1].Change.After = hostFile(c, "root:hunter2:1\n") })
	if len(d.Hunks) == 0 || strings.Contains(text, "hunter2") || strings.Contains(text, "root:new") {
		t.Errorf("%s", text)
	}
}
