package bowline

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/bowline-sh/bowline/change"
	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/caller"
	"github.com/bowline-sh/bowline/internal/config"
	"github.com/bowline-sh/bowline/internal/gate"
	"github.com/bowline-sh/bowline/internal/policy"
)

// PolicyRule is one rule or limit of the configuration, in the order it is tried.
type PolicyRule struct {
	Kind   string // "rule", "limit" or "effect"
	Name   string
	Source string // "file:line"
	Text   string // what it says, in one line
}

// PolicyReport is what CheckPolicy found.
type PolicyReport struct {
	Rules    []PolicyRule
	Warnings []string // rules that never decide, or can hardly be meant
}

// CheckPolicy reads the policy as it stands in the file. An error of kind Usage says
// what is wrong, with file and line.
func (c *Client) CheckPolicy(ctx context.Context) (PolicyReport, error) {
	p, err := c.parts.Policy()
	if err != nil {
		return PolicyReport{}, err
	}
	out := PolicyReport{Warnings: p.Warnings()}
	for _, r := range p.Rules {
		out.Rules = append(out.Rules, PolicyRule{"rule", r.Name, r.Source, r.String()})
	}
	for _, l := range p.Limits {
		out.Rules = append(out.Rules, PolicyRule{"limit", l.Name, l.Source, l.String()})
	}
	for _, e := range p.Effects {
		out.Rules = append(out.Rules, PolicyRule{"effect", e.Name, e.Source, e.String()})
	}
	return out, ctx.Err()
}

// PolicyQuestion is an act that somebody might do.
type PolicyQuestion struct {
	As      string // "person", "mcp", "mcp:CLIENT", "user:LOGIN", "token:NAME"; "" is the person who asks
	Do      string // "run", "plan", "apply", "rollback", "cp", "box" or "approve"
	Target  string // "" means the default target
	Profile string // "" means the target's, else the default
	Argv    []string
	Script  []byte // that Argv reads, or that is run by its own first line
}

// PolicyStep is one rule as it was tried.
type PolicyStep struct {
	Rule    string
	Source  string
	Matched bool
	Why     string
}

// PolicyAnswer is what the policy says, and why.
type PolicyAnswer struct {
	Decision string // "allow", "deny", "ask"; of a plan "auto-approve", "require-approval", "require-two", "deny"
	Rule     string // that decides; "" if none does
	Source   string
	Reason   string
	Hint     string // the smallest change that would pass
	Do       string // the verb that was judged: a run that only shows files is "read"
	Commands []string
	Unseen   []string // what could not be seen through
	Steps    []PolicyStep
}

func stepsOf(list []policy.Step) []PolicyStep {
	out := make([]PolicyStep, len(list))
	for i, s := range list {
		out[i] = PolicyStep{s.Rule, s.Source, s.Matched, s.Why}
	}
	return out
}

func answerOf(v policy.Verdict) PolicyAnswer {
	a := PolicyAnswer{Decision: string(v.Decision), Rule: v.Rule, Source: v.Source, Reason: v.Reason, Hint: v.Hint, Do: v.Do, Unseen: v.Seen.Unseen, Steps: stepsOf(v.Steps)}
	for _, c := range v.Seen.Commands {
		a.Commands = append(a.Commands, c.String())
	}
	return a
}

func planAnswer(j policy.Judgement) PolicyAnswer {
	return PolicyAnswer{Decision: j.Outcome.String(), Rule: j.Rule, Source: j.Source, Reason: j.Reason, Hint: j.Hint, Steps: stepsOf(j.Steps)}
}

// ExplainPolicy says which rule would decide about an act, and why. Nothing is done and
// nothing is counted; limits are not looked at.
func (c *Client) ExplainPolicy(ctx context.Context, q PolicyQuestion) (PolicyAnswer, error) {
	p, err := c.parts.Policy()
	if err != nil {
		return PolicyAnswer{}, err
	}
	if err := caller.Name(ctx, q.Profile); err != nil {
		return PolicyAnswer{}, diag.New(diag.Refused, "explain policy", "see 'bowline profile list'", "%w", err)
	}
	r, err := c.policyRequest(q)
	if err != nil {
		return PolicyAnswer{}, err
	}
	return answerOf(p.Decide(r)), ctx.Err()
}

func (c *Client) policyRequest(q PolicyQuestion) (policy.Request, error) {
	const op = "explain policy"
	login, _, _ := strings.Cut(c.parts.Who(), "@")
	if q.As == "" {
		q.As = "person"
	}
	who, err := policy.ParseActor(q.As, login)
	if err == nil && !slices.Contains(policy.Verbs(), q.Do) {
		err = fmt.Errorf("%q is no verb: use %s", q.Do, strings.Join(policy.Verbs(), ", "))
	}
	if err != nil {
		return policy.Request{}, diag.New(diag.Usage, op, "see 'bowline policy explain --help'", "%w", err)
	}
	t, err := c.parts.Resolve(q.Target)
	if err != nil {
		return policy.Request{}, err
	}
	r := policy.Request{Who: who, Do: q.Do, Target: t.Name, Profile: q.Profile, Argv: q.Argv, Script: q.Script}
	if r.Do == policy.Read { // it is a run that turns out to read
		r.Do = policy.Run
	}
	if (r.Do == policy.Run || r.Do == policy.Plan) && len(r.Argv) == 0 && r.Script == nil {
		return r, diag.New(diag.Usage, op, "add it, as in 'bowline policy explain run -- uptime'", "the command is missing")
	}
	if r.Profile == "" {
		prof, err := c.parts.ProfileFor(t)
		if err != nil {
			return r, err
		}
		r.Profile = prof.Name
	}
	return r, nil
}

// ExplainPlan says what the rules of effects, as they are now, say of a session's plan.
func (c *Client) ExplainPlan(ctx context.Context, session string) (PolicyAnswer, error) {
	p, err := c.parts.Policy()
	if err != nil {
		return PolicyAnswer{}, err
	}
	d, err := c.parts.Engine.Get(ctx, session)
	if err != nil {
		return PolicyAnswer{}, err
	}
	return planAnswer(p.Judge(gate.EffectsOf(policy.Planned{Plan: d.Plan, Contents: d.Contents, Target: d.Target,
		Who: policy.Actor{User: d.User, Surface: d.Surface, Client: d.Client}}))), nil
}

// PolicyCaseResult is how one case of a file went.
type PolicyCaseResult struct {
	Name   string
	Source string // "file:line"
	OK     bool
	Want   string
	Answer PolicyAnswer
}

// TestPolicy runs the cases of a TOML file, whose name is for messages, against the
// policy. docs/policy.md has the format. An error means that no case was run.
func (c *Client) TestPolicy(ctx context.Context, name string, file []byte) ([]PolicyCaseResult, error) {
	const op, hint = "test policy", "see docs/policy.md for the format of cases"
	p, err := c.parts.Policy()
	if err != nil {
		return nil, err
	}
	cases, err := config.ParsePolicyCases(name, file)
	if err != nil {
		return nil, diag.New(diag.Usage, op, hint, "%w", err)
	}
	if len(cases) == 0 {
		return nil, diag.New(diag.Usage, op, hint, "%s holds no [[case]]", name)
	}
	out := make([]PolicyCaseResult, len(cases))
	for i, x := range cases {
		source := fmt.Sprintf("%s:%d", name, x.Line)
		a, err := c.answerCase(p, x)
		if err != nil {
			return nil, diag.New(diag.Usage, op, hint, "%s: %w", source, err)
		}
		out[i] = PolicyCaseResult{Name: x.Name, Source: source, Want: x.Want, Answer: a, OK: a.Decision == x.Want && (x.Rule == "" || x.Rule == a.Rule)}
		if x.Rule != "" {
			out[i].Want += " by rule " + x.Rule
		}
	}
	return out, ctx.Err()
}

// answerCase asks the policy about a case: one with a verb is an act, one without a plan.
func (c *Client) answerCase(p policy.Policy, x config.PolicyCase) (PolicyAnswer, error) {
	if x.Do == "" {
		if _, err := policy.ParseOutcome(x.Want); err != nil {
			return PolicyAnswer{}, fmt.Errorf("want: %w; a case about an act has a key \"do\"", err)
		}
		e, err := c.caseEffects(x)
		return planAnswer(p.Judge(e)), err
	}
	if !slices.Contains([]policy.Decision{policy.Allow, policy.Deny, policy.Ask}, policy.Decision(x.Want)) {
		return PolicyAnswer{}, fmt.Errorf("want: %q: use allow, deny or ask; a case about a plan has no key \"do\"", x.Want)
	}
	q := PolicyQuestion{As: x.Who, Do: x.Do, Target: x.On, Profile: x.Profile, Argv: x.Argv}
	if x.Script != "" {
		q.Script = []byte(x.Script)
	}
	r, err := c.policyRequest(q)
	return answerOf(p.Decide(r)), err
}

func (c *Client) caseEffects(x config.PolicyCase) (policy.Effects, error) {
	t, err := c.parts.Resolve(x.On)
	if err != nil {
		return policy.Effects{}, err
	}
	login, _, _ := strings.Cut(c.parts.Who(), "@")
	if x.Who == "" {
		x.Who = "person"
	}
	who, err := policy.ParseActor(x.Who, login)
	if err != nil {
		return policy.Effects{}, err
	}
	e := policy.Effects{Target: t.Name, Requester: who, Packages: x.Packages, Users: x.Users}
	for kind, paths := range map[change.Kind][]string{change.Modify: slices.Concat(x.Paths, x.Setuid), change.Delete: x.Deleted} {
		for _, f := range paths {
			e.Files = append(e.Files, policy.FileEffect{Path: f, Kind: kind, Setuid: slices.Contains(x.Setuid, f)})
		}
	}
	for _, line := range x.Commands {
		argv := strings.Fields(line)
		if len(argv) == 0 {
			return e, fmt.Errorf("a command is empty")
		}
		cmd := policy.CommandOf(argv[0], argv)
		units, _ := policy.UnitsOf(cmd)
		e.Commands, e.Units = append(e.Commands, cmd), append(e.Units, units...)
	}
	severity, err := policy.ParseSeverity(x.Severity)
	for _, class := range x.Classes {
		e.Risks = append(e.Risks, policy.Risk{Class: class, Severity: max(severity, policy.Low)})
	}
	if x.Warned {
		e.Doubts = []string{"a dry run that warns"}
	}
	return e, err
}
