package integration

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/plan"
)

// model is a context in which a model calls.
func model(t *testing.T) context.Context {
	return bowline.WithCaller(t.Context(), bowline.Caller{Surface: bowline.SurfaceMCP, Client: "claude"})
}

// person is a context in which somebody else than the owner of the process calls.
func person(t *testing.T, name string) context.Context {
	return bowline.WithCaller(t.Context(), bowline.Caller{User: name, Surface: "cli"})
}

// refusal returns the outcome of the newest act of verb.
func outcomeOf(t *testing.T, c *bowline.Client, verb string) bowline.AuditEntry {
	t.Helper()
	for e, err := range c.Audit(t.Context(), bowline.AuditQuery{Verb: verb, Event: "outcome", Limit: 1}) {
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	t.Fatalf("no outcome of %s is on record", verb)
	return bowline.AuditEntry{}
}

const gateRules = `
[[policy.rule]]
name = "models look"
who = ["mcp"]
do = ["run", "read"]
profiles = ["script"]
commands = ["cat *", "uptime", "systemctl status *"]
decision = "allow"

[[policy.rule]]
name = "models plan"
who = ["mcp"]
do = ["plan"]
decision = "allow"

[[policy.rule]]
name = "models do nothing else"
who = ["mcp"]
decision = "deny"
reason = "ask the owner"
`

// TestGateTellsCallersApart: one client, one target; what a person may do a model may
// not, on every verb, and each refusal is on record with the rule.
func TestGateTellsCallersApart(t *testing.T) {
	s, _, dir := site(t)
	c := openWith(t, gateRules, s)
	file := filepath.Join(dir, "f")
	if err := os.WriteFile(file, []byte("text\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	sh := func(ctx context.Context, line string) error {
		_, err := c.Run(ctx, bowline.RunRequest{Target: "t0", Profile: "script", Argv: []string{"sh", "-c", line}})
		return err
	}
	if err := sh(t.Context(), "cat "+file+"; id"); err != nil {
		t.Errorf("a person: %v", err)
	}
	if err := sh(model(t), "cat "+file+" && uptime"); err != nil {
		t.Errorf("a model, of what it may: %v", err)
	}
	err := sh(model(t), "cat "+file+"; id")
	if diag.KindOf(err) != diag.Refused || !strings.Contains(err.Error(), `"models do nothing else"`) || !strings.Contains(err.Error(), "config.toml:16") ||
		!strings.Contains(diag.HintOf(err), `"models look"`) || !strings.Contains(diag.HintOf(err), "'id'") {
		t.Errorf("a model, of more: %v; hint %q", err, diag.HintOf(err))
	}
	if e := outcomeOf(t, c, "run"); e.Status != "refused" || e.Surface != "mcp" || e.Client != "claude" || !strings.Contains(e.Error, "models do nothing else") {
		t.Errorf("on record: %+v", e)
	}
	var out strings.Builder
	cp := bowline.CopyRequest{Sources: []bowline.CopyLocation{{Target: "t0", Path: file}}, Dest: bowline.CopyLocation{Path: "-"}, Stdout: &out}
	if _, err := c.Copy(model(t), cp); diag.KindOf(err) != diag.Refused || out.Len() > 0 {
		t.Errorf("a model copies: %v, %q", err, out.String())
	}
	if e := outcomeOf(t, c, "cp"); e.Status != "refused" {
		t.Errorf("on record: %+v", e)
	}
	if _, err := c.Copy(t.Context(), cp); err != nil || out.String() != "text\n" {
		t.Errorf("a person copies: %v, %q", err, out.String())
	}

	x, err := c.Plan(model(t), bowline.PlanRequest{Target: "t0", Script: []byte("echo a > " + dir + "/a")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Approve(model(t), x.ID, ""); diag.KindOf(err) != diag.Denied {
		t.Errorf("a model approves: %v", err)
	}
	if _, err := c.Approve(t.Context(), x.ID, x.Digest); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Apply(model(t), x.ID, bowline.ApplyOptions{}); diag.KindOf(err) != diag.Refused {
		t.Errorf("a model applies: %v", err)
	}
	if got := status(t, c, x.ID); got != plan.Approved {
		t.Errorf("the session is %s", got)
	}
	if _, err := c.Apply(t.Context(), x.ID, bowline.ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Rollback(model(t), x.ID, bowline.ApplyOptions{}); diag.KindOf(err) != diag.Refused {
		t.Errorf("a model rolls back: %v", err)
	}
	if _, err := c.Rollback(t.Context(), x.ID, bowline.ApplyOptions{}); err != nil {
		t.Error(err)
	}
}

// configure replaces the rules of effects in the file that c reads.
func configure(t *testing.T, c *bowline.Client, rules string) {
	t.Helper()
	name := c.Paths().Config
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	before, _, _ := strings.Cut(string(text), "\n# rules of this test\n")
	if err := os.WriteFile(name, []byte(before+"\n# rules of this test\n"+rules), 0o600); err != nil {
		t.Fatal(err)
	}
}

func effectRule(dir, decision string) string {
	return fmt.Sprintf("[[policy.effect]]\nname = %q\npaths = [%q]\nmax_deletions = 1\ndecision = %q\n", decision+" rule", dir+"/**", decision)
}

// TestEffectsApproveThemselves: a plan within a rule is approved by it, one beyond it or
// one whose script failed is not; rules that changed since count at apply.
func TestEffectsApproveThemselves(t *testing.T) {
	s, _, dir := site(t)
	c := open(t, s)
	configure(t, c, effectRule(dir, "auto-approve"))
	propose := func(script string) bowline.Session {
		t.Helper()
		x, err := c.Plan(model(t), bowline.PlanRequest{Target: "t0", Script: []byte(script)})
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	x := propose("echo a > " + dir + "/a")
	if x.Status != plan.Approved {
		t.Fatalf("a plan within the rule is %s", x.Status)
	}
	whole, err := c.Session(t.Context(), x.ID)
	if err != nil || len(whole.Decisions) != 1 || whole.Decisions[0].User != "policy:auto-approve rule" || whole.Decisions[0].Digest != x.Digest {
		t.Errorf("decisions: %+v, %v", whole.Decisions, err)
	}
	if e := outcomeOf(t, c, "approve"); e.Status != "ok" || e.Session != x.ID {
		t.Errorf("on record: %+v", e)
	}
	if _, err := c.Apply(model(t), x.ID, bowline.ApplyOptions{}); err != nil {
		t.Errorf("apply: %v", err)
	}
	if x := propose("echo a > " + dir + "/b; exit 3"); x.Status != plan.Pending {
		t.Errorf("a plan whose script failed is %s", x.Status)
	}
	if x := propose("echo a > " + dir + "/b; echo a > " + dir + "-elsewhere"); x.Status != plan.Pending {
		t.Errorf("a plan beyond the rule is %s", x.Status)
	}
	if x := propose("echo a > " + dir + "/b; chmod 4755 " + dir + "/b"); x.Status != plan.Pending {
		t.Errorf("a plan with a setuid file is %s", x.Status)
	}
	changed := propose("echo a > " + dir + "/c")
	configure(t, c, effectRule(dir, "require-approval"))
	if _, err := c.Apply(t.Context(), changed.ID, bowline.ApplyOptions{}); diag.KindOf(err) != diag.Denied {
		t.Errorf("apply after the rule went: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "c")); err == nil {
		t.Error("it was applied")
	}
}

// TestEffectsAreDenied when planned, and again at approval and apply.
func TestEffectsAreDenied(t *testing.T) {
	s, _, dir := site(t)
	c := open(t, s)
	req := bowline.PlanRequest{Target: "t0", Script: []byte("echo a > " + dir + "/a")}
	early, err := c.Plan(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	approvedOne := approved(t, c, string(req.Script))
	rule := fmt.Sprintf("[[policy.effect]]\nname = \"never\"\npaths = [%q]\ndecision = \"deny\"\n", dir+"/**")
	configure(t, c, rule)
	x, err := c.Plan(t.Context(), req)
	if diag.KindOf(err) != diag.Refused || !strings.Contains(err.Error(), `"never"`) || x.Status != plan.Rejected || status(t, c, x.ID) != plan.Rejected {
		t.Errorf("plan = %s, %v", x.Status, err)
	}
	if _, err := c.Approve(t.Context(), early.ID, ""); diag.KindOf(err) != diag.Denied {
		t.Errorf("approve = %v", err)
	}
	if _, err := c.Apply(t.Context(), approvedOne.ID, bowline.ApplyOptions{}); diag.KindOf(err) != diag.Refused {
		t.Errorf("apply = %v", err)
	}
	if e := outcomeOf(t, c, "apply"); e.Status != "refused" {
		t.Errorf("on record: %+v", e)
	}
	configure(t, c, "[[policy.effect]]\ndecision = \"denied\"\n")
	if _, err := c.Run(t.Context(), bowline.RunRequest{Target: "t0", Argv: []string{"true"}}); diag.KindOf(err) != diag.Usage {
		t.Errorf("run with rules that cannot be read = %v", err)
	}
}

// TestTwoPersonsByRule: whoever asked does not count, nobody counts twice, and one
// approval does not apply.
func TestTwoPersonsByRule(t *testing.T) {
	s, _, dir := site(t)
	c := open(t, s)
	configure(t, c, effectRule(dir, "require-two")) // it has deletions: more than one
	for i := range 3 {
		if err := os.WriteFile(fmt.Sprintf("%s/%d", dir, i), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	x, err := c.Plan(person(t, "ann"), bowline.PlanRequest{Target: "t0", Script: []byte("rm " + dir + "/*")})
	if err != nil || x.Status != plan.Pending {
		t.Fatal(x.Status, err)
	}
	approve := func(who string, want diag.Kind, st plan.Status) {
		t.Helper()
		if _, err := c.Approve(person(t, who), x.ID, x.Digest); diag.KindOf(err) != want {
			t.Errorf("approve as %s = %v", who, err)
		}
		if got := status(t, c, x.ID); got != st {
			t.Errorf("after %s the session is %s", who, got)
		}
	}
	approve("ann", diag.Denied, plan.Pending)
	approve("policy:me", diag.Denied, plan.Pending)
	approve("bob", "", plan.Pending)
	approve("bob", diag.Denied, plan.Pending)
	if _, err := c.Apply(person(t, "bob"), x.ID, bowline.ApplyOptions{}); diag.KindOf(err) != diag.Denied {
		t.Errorf("apply with one = %v", err)
	}
	approve("cleo", "", plan.Approved)
	if res, err := c.Apply(person(t, "ann"), x.ID, bowline.ApplyOptions{}); err != nil || res.Status != plan.Executed {
		t.Errorf("apply with two = %+v, %v", res, err)
	}
	single := approvedBefore(t, c, dir)
	if _, err := c.Apply(t.Context(), single, bowline.ApplyOptions{}); diag.KindOf(err) != diag.Denied {
		t.Errorf("apply of what one approved before the rule = %v", err)
	}
	for _, who := range []string{"bob", "cleo"} {
		if _, err := c.Approve(person(t, who), single, ""); err != nil {
			t.Errorf("one more approval, by %s: %v", who, err)
		}
	}
	if _, err := c.Apply(t.Context(), single, bowline.ApplyOptions{}); err != nil {
		t.Error(err)
	}
}

// approvedBefore is a session that its owner approved when no rule wanted more.
func approvedBefore(t *testing.T, c *bowline.Client, dir string) string {
	t.Helper()
	configure(t, c, "")
	x := approved(t, c, fmt.Sprintf("for i in 1 2 3; do echo > %s/$i; done", dir))
	configure(t, c, strings.Replace(effectRule(dir, "require-two"), "max_deletions = 1\n", "", 1))
	return x.ID
}

// TestNotify: a command is told of what a model proposes, as arguments and as JSON, and
// of nothing else; that it fails is no error.
func TestNotify(t *testing.T) {
	s, _, dir := site(t)
	out := t.TempDir()
	script := filepath.Join(out, "hook")
	text := "#!/bin/sh\nprintf '%s\\n' \"$@\" >> " + out + "/args\ncat >> " + out + "/doc\nexit 3\n"
	if err := os.WriteFile(script, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	c := openWith(t, fmt.Sprintf("[notify]\ncommand = [%q, \"{id} on {target}\", \"{note}\"]\n", script), s)
	if _, err := c.Plan(t.Context(), bowline.PlanRequest{Target: "t0", Script: []byte("echo a > " + dir + "/a")}); err != nil {
		t.Fatal(err)
	}
	x, err := c.Plan(model(t), bowline.PlanRequest{Target: "t0", Script: []byte("echo a > " + dir + "/a"), Note: "--evil; $(id)\x1b[2J"})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil { // waits for the command
		t.Fatal(err)
	}
	args, err := os.ReadFile(filepath.Join(out, "args"))
	if want := x.ID + " on t0\n --evil; $(id) [2J\n"; err != nil || string(args) != want {
		t.Errorf("arguments %q, %v; want %q", args, err, want)
	}
	doc, err := os.ReadFile(filepath.Join(out, "doc"))
	if err != nil || !strings.Contains(string(doc), `"id":"`+x.ID+`"`) || !strings.Contains(string(doc), `"client":"claude"`) || strings.Count(string(doc), "\n") != 1 {
		t.Errorf("standard input %q, %v", doc, err)
	}
}
