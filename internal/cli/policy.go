package cli

import (
	"cmp"
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
)

func newPolicyCommand(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use: "policy", Short: "Check, explain and test who may do what", RunE: noCommand,
		Long: `The policy stands in config.toml: [[policy.rule]] says who may do what, the first rule
that matches decides; [[policy.limit]] how often; [[policy.effect]] what a plan must
have before it is applied, the strictest rule wins. It holds for every surface. Where
no rule speaks, everybody may do what they always could; no model ever approves.

docs/policy.md describes it, with examples.`,
	}
	cmd.AddCommand(newPolicyCheck(env), newPolicyExplain(env), newPolicyTest(env))
	return cmd
}

func newPolicyCheck(env *Env) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "check", Short: "Print the rules as they were understood, and what is odd about them", Args: args(cobra.NoArgs),
		Long: `Print the rules in the order they are tried, and warn of those that never decide, that
match no target, or that can hardly be meant.

Exit codes: 0 the policy can be used, 2 it cannot.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return env.withClient(cmd.Context(), func(c *bowline.Client) error {
				r, err := c.CheckPolicy(cmd.Context())
				if err != nil {
					return err
				}
				return env.showPolicy(r, asJSON)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON document")
	return cmd
}

// jsonRule is a rule as JSON.
type jsonRule struct {
	Kind   string `json:"kind"`
	Name   string `json:"name"`
	Source string `json:"source"`
	Text   string `json:"text"`
}

func (env *Env) showPolicy(r bowline.PolicyReport, asJSON bool) error {
	if asJSON {
		rules := []jsonRule{}
		for _, x := range r.Rules {
			rules = append(rules, jsonRule(x))
		}
		return printJSON(env.Stdout, map[string]any{"schema_version": schemaVersion, "rules": rules, "warnings": nonNil(r.Warnings)})
	}
	if len(r.Rules) == 0 {
		fmt.Fprintln(env.Stdout, "no rules: everybody may do what profiles, approvals and [transfer] allow")
	}
	for _, x := range r.Rules {
		fmt.Fprintf(env.Stdout, "%s %q: %s\n    %s\n", x.Kind, safe(x.Name), safe(x.Text), safe(x.Source))
	}
	for _, w := range r.Warnings {
		fmt.Fprintf(env.Stdout, "warning: %s\n", safe(w))
	}
	return nil
}

type policyExplainOptions struct {
	as, target, profile, session, script string
	json                                 bool
}

const policyExplainHelp = `Say which rule decides about an act, or with --session about a plan, and why each rule
before it does not. Nothing is done. VERB is run, plan, apply, rollback, cp, box or
approve; a run that only shows files is judged as "read". Limits are not looked at.

Exit codes: 0 it would be allowed, 2 wrong usage, 12 it would be refused or asked.`

func newPolicyExplain(env *Env) *cobra.Command {
	var o policyExplainOptions
	cmd := &cobra.Command{
		Use: "explain (VERB [-- COMMAND ARG...] | --session ID)", Short: "Say which rule decides, and why", Long: policyExplainHelp, Args: args(cobra.ArbitraryArgs),
		Example: "  bowline policy explain --as mcp:claude -t web1 run -- sh -c 'systemctl status nginx; id'\n  bowline policy explain --session 20261121-fix-a3f2",
		RunE: func(cmd *cobra.Command, a []string) error {
			return env.explainPolicy(cmd.Context(), o, a)
		},
	}
	f := cmd.Flags()
	f.SetInterspersed(false)
	addTargetFlag(cmd, env, &o.target)
	f.StringVarP(&o.profile, "profile", "p", "", "with this profile")
	f.StringVar(&o.as, "as", "", "as whom: person, mcp, mcp:CLIENT, user:LOGIN, token:NAME")
	f.StringVar(&o.script, "script", "", "the script in this file, instead of a command")
	f.StringVar(&o.session, "session", "", "about the plan of this session")
	f.BoolVar(&o.json, "json", false, "print one JSON document")
	return cmd
}

func (env *Env) explainPolicy(ctx context.Context, o policyExplainOptions, a []string) error {
	if (len(a) == 0) == (o.session == "") {
		return diag.New(diag.Usage, "explain policy", "see 'bowline policy explain --help'", "name a verb, or a session with --session")
	}
	q := bowline.PolicyQuestion{As: o.as, Target: o.target, Profile: o.profile}
	if len(a) > 0 {
		q.Do, q.Argv = a[0], a[1:]
	}
	if len(q.Argv) > 0 && q.Argv[0] == "--" {
		q.Argv = q.Argv[1:]
	}
	if o.script != "" {
		text, err := os.ReadFile(o.script)
		if err != nil {
			return diag.New(diag.Usage, "read script", "", "%w", err)
		}
		q.Script = text
	}
	return env.withClient(ctx, func(c *bowline.Client) error {
		var x bowline.PolicyAnswer
		var err error
		if o.session != "" {
			x, err = c.ExplainPlan(ctx, o.session)
		} else {
			x, err = c.ExplainPolicy(ctx, q)
		}
		if err != nil {
			return err
		}
		if o.json {
			err = printJSON(env.Stdout, newJSONAnswer(x))
		} else {
			env.showAnswer(x)
		}
		if err == nil && (x.Decision == "deny" || x.Decision == "ask") {
			return &commandExit{code: exitCode[diag.Refused]}
		}
		return err
	})
}

type jsonStep struct {
	Rule    string `json:"rule"`
	Source  string `json:"source"`
	Matched bool   `json:"matched"`
	Why     string `json:"why"`
}

type jsonAnswer struct {
	SchemaVersion int        `json:"schema_version"`
	Decision      string     `json:"decision"`
	Rule          string     `json:"rule"`
	Source        string     `json:"source"`
	Reason        string     `json:"reason"`
	Hint          string     `json:"hint,omitempty"`
	Do            string     `json:"do,omitempty"`
	Commands      []string   `json:"commands"`
	Unseen        []string   `json:"unseen"`
	Steps         []jsonStep `json:"steps"`
}

func newJSONAnswer(x bowline.PolicyAnswer) jsonAnswer {
	doc := jsonAnswer{schemaVersion, x.Decision, x.Rule, x.Source, x.Reason, x.Hint, x.Do, utf8Args(nonNil(x.Commands)), nonNil(x.Unseen), []jsonStep{}}
	for _, s := range x.Steps {
		doc.Steps = append(doc.Steps, jsonStep(s))
	}
	return doc
}

func (env *Env) showAnswer(x bowline.PolicyAnswer) {
	w := env.Stdout
	if x.Rule == "" {
		fmt.Fprintf(w, "%s: %s\n", x.Decision, safe(x.Reason))
	} else {
		fmt.Fprintf(w, "%s by rule %q (%s): %s\n", x.Decision, safe(x.Rule), safe(x.Source), safe(x.Reason))
	}
	if x.Hint != "" {
		fmt.Fprintf(w, "to pass: %s\n", safe(x.Hint))
	}
	if x.Do != "" {
		fmt.Fprintf(w, "judged as: %s\n", x.Do)
	}
	for _, c := range x.Commands {
		fmt.Fprintf(w, "runs: %s\n", safe(c))
	}
	for _, u := range x.Unseen {
		fmt.Fprintf(w, "not seen: %s\n", safe(u))
	}
	for _, s := range x.Steps {
		fmt.Fprintf(w, "%s %q: %s\n", map[bool]string{true: "+", false: "-"}[s.Matched], safe(s.Rule), safe(s.Why))
	}
}

const policyTestHelp = `Run a table of cases against the policy: who does what, and what the policy should say.
A case with "do" is an act, one without is a plan:

  [[case]]
  who = "mcp:claude"
  do = "run"
  on = "web1"
  argv = ["sh", "-c", "systemctl status nginx | head"]
  want = "allow"

  [[case]]
  who = "mcp:claude"
  paths = ["/srv/app/config.json"]
  deleted = ["/srv/app/old"]
  want = "require-approval"

Exit codes: 0 all are as wanted, 1 one is not, 2 the file or the policy cannot be read.`

func newPolicyTest(env *Env) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "test FILE", Short: "Run a table of cases against the policy", Long: policyTestHelp, Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			file, err := os.ReadFile(a[0])
			if err != nil {
				return diag.New(diag.Usage, "test policy", "", "%w", err)
			}
			return env.withClient(cmd.Context(), func(c *bowline.Client) error {
				results, err := c.TestPolicy(cmd.Context(), a[0], file)
				if err != nil {
					return err
				}
				return env.showCases(results, asJSON)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON document")
	return cmd
}

type jsonCase struct {
	Name   string     `json:"name"`
	Source string     `json:"source"`
	OK     bool       `json:"ok"`
	Want   string     `json:"want"`
	Answer jsonAnswer `json:"answer"`
}

func (env *Env) showCases(results []bowline.PolicyCaseResult, asJSON bool) error {
	failed := 0
	docs := []jsonCase{}
	for _, r := range results {
		docs = append(docs, jsonCase{r.Name, r.Source, r.OK, r.Want, newJSONAnswer(r.Answer)})
		if r.OK {
			continue
		}
		failed++
		if !asJSON {
			fmt.Fprintf(env.Stdout, "FAIL %s %s: want %s\n  ", safe(r.Source), safe(r.Name), safe(r.Want))
			env.showAnswer(r.Answer)
		}
	}
	if asJSON {
		if err := printJSON(env.Stdout, map[string]any{"schema_version": schemaVersion, "cases": docs}); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(env.Stdout, "%d cases, %s failed\n", len(results), cmp.Or(map[bool]string{true: "none"}[failed == 0], fmt.Sprint(failed)))
	}
	if failed > 0 {
		return &commandExit{code: 1}
	}
	return nil
}
