package gate_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bowline-sh/bowline/change"
	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/caller"
	"github.com/bowline-sh/bowline/internal/gate"
	"github.com/bowline-sh/bowline/internal/policy"
	"github.com/bowline-sh/bowline/internal/review"
	"github.com/bowline-sh/bowline/plan"
)

func TestClassesAreThoseOfReview(t *testing.T) {
	var want []string
	for _, c := range review.Classes() {
		want = append(want, string(c.Class))
	}
	if got := policy.RiskClasses(); !slices.Equal(got, want) {
		t.Errorf("rules know\n%q, and review finds\n%q", got, want)
	}
	if policy.Low != int(review.Low) || policy.High != int(review.High) {
		t.Error("severities differ")
	}
}

// world is a gate with a clock of its own.
type world struct {
	*gate.Gate
	now    time.Time
	policy policy.Policy
	asked  []string
	answer bool
}

func newWorld(p policy.Policy) *world {
	w := &world{now: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC), policy: p}
	w.Gate = gate.New(gate.Config{Policy: func() (policy.Policy, error) { return w.policy, nil }, Now: func() time.Time { return w.now },
		Caller: caller.Caller{User: "ann", Surface: "cli"},
		Ask: func(_ context.Context, question string) (bool, error) {
			w.asked = append(w.asked, question)
			return w.answer, nil
		}})
	return w
}

func as(t *testing.T, client string) context.Context {
	return caller.With(t.Context(), caller.Caller{Surface: caller.MCP, Client: client})
}

// TestLimits: each caller has a limit of its own, places are given back once, what was
// refused does not count, and time passes.
func TestLimits(t *testing.T) {
	mcp, _ := policy.ParseWho("mcp")
	w := newWorld(policy.Policy{Limits: []policy.Limit{
		{Name: "rate", Source: "c:1", Who: []policy.Who{mcp}, Do: []string{policy.Plan}, Rate: 2, Per: time.Minute},
		{Name: "places", Source: "c:5", Concurrent: 1},
	}})
	r := policy.Request{Do: policy.Plan, Target: "web1", Argv: []string{"id"}}
	enter := func(ctx context.Context, want diag.Kind) func() {
		t.Helper()
		leave, err := w.Enter(ctx, r)
		if diag.KindOf(err) != want || (err == nil) != (leave != nil) {
			t.Fatalf("enter = %v", err)
		}
		return leave
	}
	leave := enter(as(t, "a"), "")
	enter(as(t, "a"), diag.Refused) // no place
	other := enter(as(t, "b"), "")  // has its own
	leave()
	leave() // once
	leave = enter(as(t, "a"), "")
	leave()
	_, err := w.Enter(as(t, "a"), r)
	if diag.KindOf(err) != diag.Refused || !strings.Contains(err.Error(), `limit "rate" (c:1) for mcp:a: 2 in 1m0s; the next in 1m0s`) || !strings.Contains(diag.HintOf(err), "c:1") {
		t.Errorf("%v", err)
	}
	leave, err = w.Enter(as(t, "a"), policy.Request{Do: policy.Apply, Target: "web1"})
	if err != nil {
		t.Fatalf("another verb: %v", err)
	}
	leave()
	other()
	for range 5 { // a person has no rate
		enter(t.Context(), "")()
	}
	w.now = w.now.Add(time.Minute)
	enter(as(t, "a"), "")()
}

// TestManyNames: who comes under ten thousand names keeps nobody else out who is known,
// and all are forgotten in time.
func TestManyNames(t *testing.T) {
	w := newWorld(policy.Policy{Limits: []policy.Limit{{Name: "rate", Source: "c:1", Rate: 5, Per: time.Minute}}})
	r := policy.Request{Do: policy.Plan, Target: "web1", Argv: []string{"id"}}
	enter := func(client string) error {
		_, err := w.Enter(as(t, client), r)
		return err
	}
	if err := enter("known"); err != nil {
		t.Fatal(err)
	}
	for i := range 10000 {
		if err := enter(fmt.Sprint("name", i)); err != nil && i < 9000 {
			t.Fatal(err)
		}
	}
	if err := enter("late"); diag.KindOf(err) != diag.Refused {
		t.Errorf("there is no bound: %v", err)
	}
	if err := enter("known"); err != nil {
		t.Errorf("who was there before is kept out: %v", err)
	}
	w.now = w.now.Add(25 * time.Hour)
	if err := enter("later"); err != nil {
		t.Errorf("nobody is forgotten: %v", err)
	}
}

// TestAsk: the person at the terminal is asked, nobody else is.
func TestAsk(t *testing.T) {
	w := newWorld(policy.Policy{Rules: []policy.Rule{{Name: "careful", Source: "c:1", Decision: policy.Ask}}})
	r := policy.Request{Do: policy.Apply, Target: "web1"}
	if _, err := w.Enter(t.Context(), r); diag.KindOf(err) != diag.Refused || len(w.asked) != 1 {
		t.Errorf("no: %v, %q", err, w.asked)
	}
	w.answer = true
	if _, err := w.Enter(t.Context(), r); err != nil {
		t.Errorf("yes: %v", err)
	}
	for _, ctx := range []context.Context{as(t, "a"), caller.With(t.Context(), caller.Caller{User: "bob"}), caller.With(t.Context(), caller.Caller{Surface: "api"})} {
		if _, err := w.Enter(ctx, r); diag.KindOf(err) != diag.Refused || len(w.asked) != 2 {
			t.Errorf("another caller: %v, asked %d times", err, len(w.asked))
		}
	}
	if _, err := w.Enter(t.Context(), policy.Request{Do: policy.Approve, Target: "web1"}); err != nil {
		t.Error(err)
	}
	w.answer = false
	if _, err := w.Enter(t.Context(), policy.Request{Do: policy.Approve}); diag.KindOf(err) != diag.Denied {
		t.Errorf("approve: %v", err)
	}
}

// TestUnreadablePolicyRefuses: nobody knows what it would say.
func TestUnreadablePolicyRefuses(t *testing.T) {
	broken := errors.New("broken")
	g := gate.New(gate.Config{Policy: func() (policy.Policy, error) { return policy.Policy{}, broken }, Now: time.Now})
	if _, err := g.Enter(t.Context(), policy.Request{Do: policy.Run}); !errors.Is(err, broken) {
		t.Error(err)
	}
	if _, err := g.Judge(policy.Planned{}); !errors.Is(err, broken) {
		t.Error(err)
	}
}

func sum(text string) string {
	b := sha256.Sum256([]byte(text))
	return hex.EncodeToString(b[:])
}

func file(text string, mode uint32) change.State {
	return change.State{Type: change.File, Mode: mode, Size: int64(len(text)), SHA256: sum(text)}
}

// TestEffectsOf a plan: names are found where they can be, and are "?" where not.
func TestEffectsOf(t *testing.T) {
	contents := map[string][]byte{}
	keep := func(text string, mode uint32) change.State {
		contents[sum(text)] = []byte(text)
		return file(text, mode)
	}
	op := func(path string, before, after change.State) plan.Operation {
		return plan.Operation{Change: &change.Change{Path: change.Path(path), Before: before, After: after}}
	}
	run := func(argv ...string) plan.Operation {
		return plan.Operation{Command: &plan.Command{Argv: argv, Path: "/usr/bin/" + argv[0]}}
	}
	gone, x := change.State{}, keep("x", 0o755)
	for _, tt := range []struct {
		name                   string
		ops                    []plan.Operation
		packages, users, units []string
		setuid                 bool
	}{
		{"users", []plan.Operation{op("/etc/passwd", keep("root:x\nann:x\n", 0o644), keep("root:x\nbob:x\n", 0o644))}, nil, []string{"ann", "bob"}, nil, false},
		{"users not kept", []plan.Operation{op("/etc/shadow", file("lost", 0o600), keep("root:x\n", 0o644))}, nil, []string{"?"}, nil, false},
		{"garbled users", []plan.Operation{op("/etc/group", keep("", 0o644), keep("+\n", 0o644))}, nil, []string{"?"}, nil, false},
		{"package", []plan.Operation{op("/var/lib/dpkg/status", file("a", 0o644), file("b", 0o644)), op("/var/lib/dpkg/info/nginx:amd64.list", gone, x)}, []string{"nginx"}, nil, nil, false},
		{"unnamed package", []plan.Operation{op("/lib/apk/db/installed", file("a", 0o644), file("b", 0o644))}, []string{"?"}, nil, nil, false},
		{"unit by command", []plan.Operation{run("systemctl", "restart", "nginx", "db.socket")}, nil, nil, []string{"db.socket", "nginx.service"}, false},
		{"unit by odd command", []plan.Operation{run("systemctl", "--root=/x", "restart", "nginx")}, nil, nil, []string{"?"}, false},
		{"unit files", []plan.Operation{op("/etc/systemd/system/a.service", gone, x), op("/etc/systemd/system/b.service.d/x.conf", gone, x), op("/etc/systemd/system/multi-user.target.wants/c.timer", gone, change.State{Type: change.Symlink, Target: "/x"})},
			nil, nil, []string{"a.service", "b.service", "c.timer"}, false},
		{"all units", []plan.Operation{op("/etc/systemd/system/service.d/x.conf", gone, x)}, nil, nil, []string{"?"}, false},
		{"units of a prefix", []plan.Operation{op("/etc/systemd/system/ssh-.service.d/x.conf", gone, x)}, nil, nil, []string{"?"}, false},
		{"generator", []plan.Operation{op("/etc/systemd/system-generators/x", gone, x)}, nil, nil, []string{"?"}, false},
		{"unit elsewhere", []plan.Operation{op("/usr/local/lib/systemd/system/a.service", gone, x), op("/etc/systemd/system.control/b.service.d/x.conf", gone, x)}, nil, nil, []string{"a.service", "b.service"}, false},
		{"setuid made", []plan.Operation{op("/srv/x", gone, keep("x", 0o4755))}, nil, nil, nil, true},
		{"setgid added", []plan.Operation{op("/srv/x", x, keep("x", 0o2755))}, nil, nil, nil, true},
		{"setuid replaced", []plan.Operation{op("/srv/x", keep("x", 0o4755), keep("y", 0o4755))}, nil, nil, nil, true},
		{"setuid lost", []plan.Operation{op("/srv/x", keep("x", 0o4755), x)}, nil, nil, nil, false},
		{"setuid kept", []plan.Operation{op("/srv/x", keep("x", 0o4755), keep("x", 0o4750))}, nil, nil, nil, false},
		{"capabilities", []plan.Operation{op("/srv/x", x, change.State{Type: change.File, Mode: 0o755, SHA256: sum("x"), Xattrs: map[string][]byte{"security.capability": {1}}})}, nil, nil, nil, true},
		{"setgid directory", []plan.Operation{op("/srv/x", gone, change.State{Type: change.Dir, Mode: 0o2755})}, nil, nil, nil, false},
	} {
		e := gate.EffectsOf(policy.Planned{Plan: plan.Plan{Ops: tt.ops}, Contents: contents})
		if fmt.Sprint(e.Packages, e.Users, e.Units) != fmt.Sprint(tt.packages, tt.users, tt.units) {
			t.Errorf("%s: packages %q, users %q, units %q", tt.name, e.Packages, e.Users, e.Units)
		}
		if got := slices.ContainsFunc(e.Files, func(f policy.FileEffect) bool { return f.Setuid }); got != tt.setuid {
			t.Errorf("%s: setuid is %v", tt.name, got)
		}
	}
	for _, p := range []plan.Plan{{Exit: 1}, {Warnings: []string{"w"}}, {Truncated: true}} {
		if e := gate.EffectsOf(policy.Planned{Plan: p}); len(e.Doubts) != 1 {
			t.Errorf("%+v: %q", p, e.Doubts)
		}
	}
}

// only allows one act.
type only struct{ do, target, profile string }

func (o *only) Permit(do, target, profile string) error {
	if (only{do, target, profile}) != *o {
		return errors.New("not granted")
	}
	return nil
}

// TestGrant: what a caller was not granted is refused, without and with a policy that
// allows it; what was granted may still be refused by the policy.
func TestGrant(t *testing.T) {
	w := newWorld(policy.Policy{})
	ctx := caller.With(t.Context(), caller.Caller{User: "ci", Grant: &only{policy.Run, "web1", "readonly"}})
	right := policy.Request{Do: policy.Run, Target: "web1", Profile: "readonly", Argv: []string{"true"}}
	wrong := right
	wrong.Do = policy.Apply
	for _, p := range []policy.Policy{{}, {Rules: []policy.Rule{{Name: "all", Decision: policy.Allow}}}} {
		w.policy = p
		if _, err := w.Enter(ctx, right); err != nil {
			t.Errorf("granted: %v", err)
		}
		if _, err := w.Enter(ctx, wrong); diag.KindOf(err) != diag.Denied {
			t.Errorf("not granted: %v", err)
		}
		if _, err := w.Enter(t.Context(), wrong); err != nil {
			t.Errorf("without a grant: %v", err)
		}
	}
	w.policy = policy.Policy{Rules: []policy.Rule{{Name: "none", Decision: policy.Deny}}}
	if _, err := w.Enter(ctx, right); diag.KindOf(err) != diag.Refused {
		t.Errorf("granted but refused: %v", err)
	}
}
