package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/review"
	"github.com/bowline-sh/bowline/plan"
)

type planOptions struct {
	req    bowline.PlanRequest
	net    string
	asJSON bool
	fleet  bowline.FleetOptions
}

const planHelp = `Run a script, or a command after '--', against a copy-on-write view of the target,
and show what it would do: file changes with their risks, and the commands that reach
outside the file system, held back in their place. The target is not changed.

The result is a session that waits an hour for approval: read it with 'bowline
session show' and 'bowline diff', then 'bowline approve' and 'bowline apply'. Apply
replays exactly what was captured; the script never runs a second time.

With several targets each gets a session of its own, and all are one fleet. Those whose
plans a reviewer could not tell apart are one class: it is shown once, with its targets,
and the others as the difference to the largest. 'session show', 'diff', 'approve',
'reject', 'apply', 'rollback' and 'session drift' take the id of a class, or of the fleet.

Exit codes, with several targets only if all that failed agree, else 1: 0 planned, 1 failure, 2 usage, 10 unreachable, 11 untrusted, 12 refused.`

func newPlanCommand(env *Env) *cobra.Command {
	var opts planOptions
	cmd := &cobra.Command{
		Use: "plan [flags] SCRIPT [ARG...] | plan [flags] -- COMMAND [ARG...]", Short: "Show what a script or command would change, without changing it", Long: planHelp,
		Example: "  bowline plan -t web1 fix.sh\n  bowline plan -t web1 --as-root -- apt-get install -y nginx\n  bowline plan -t env=prod fix.sh",
		RunE: func(cmd *cobra.Command, a []string) error {
			return runPlan(cmd.Context(), env, opts, a, cmd.ArgsLenAtDash() == 0)
		},
	}
	f := cmd.Flags()
	f.SetInterspersed(false)
	addTargetFlag(cmd, env, &opts.req.Target)
	f.BoolVar(&opts.req.AsRoot, "as-root", false, "as root, through 'sudo -n' on the target")
	f.StringVarP(&opts.req.Profile, "profile", "p", "", "profile, by name or file, that says what is deferred (default: the target's, else readonly)")
	f.StringVar(&opts.net, "net", "none", "network during the dry run: none or host")
	f.StringVar(&opts.req.Name, "name", "", "part of the session's id (default: the script's or command's name)")
	f.StringVar(&opts.req.Note, "note", "", "why, for whoever reviews it")
	f.DurationVar(&opts.req.Timeout, "timeout", 5*time.Minute, "of the dry run")
	f.BoolVar(&opts.asJSON, "json", false, "print one JSON document; with several targets one as each ends, and one with the classes")
	workFlags(cmd, &opts.fleet)
	completeProfiles(cmd, env)
	return cmd
}

func runPlan(ctx context.Context, env *Env, opts planOptions, a []string, command bool) error {
	if len(a) == 0 {
		return diag.New(diag.Usage, "plan", "name a script, or a command after '--': 'bowline plan -t web1 -- systemctl restart nginx'", "there is nothing to plan")
	}
	switch opts.net {
	case "none":
	case "host":
		opts.req.HostNet = true
	default:
		return diag.New(diag.Usage, "plan", "", "--net %q: use none or host", opts.net)
	}
	opts.req.Argv = a
	if !command {
		script, err := readScript(a[0])
		if err != nil {
			return err
		}
		opts.req.Script, opts.req.File, opts.req.Argv = script, filepath.Base(a[0]), a[1:]
	}
	return env.withClient(ctx, func(c *bowline.Client) error {
		names, err := targetNames(ctx, c, cmp.Or(opts.req.Target, env.Getenv("BOWLINE_TARGET")))
		if err != nil {
			return err
		}
		if len(names) == 1 {
			opts.req.Target = names[0]
			return env.planOne(ctx, c, opts)
		}
		return env.planFleet(ctx, c, opts, names)
	})
}

func (env *Env) planOne(ctx context.Context, c *bowline.Client, opts planOptions) error {
	s, err := c.Plan(ctx, opts.req)
	if err != nil {
		return err
	}
	if opts.asJSON {
		return printJSON(env.Stdout, newJSONSession(s, true))
	}
	env.showSession(ctx, c, s)
	switch {
	case s.Status == plan.Approved:
		env.say("approved by the policy (%s); carry it out with 'bowline apply %s'", safe(s.Message), s.ID)
	case len(s.Plan.Ops) > 0:
		env.say("read the diff with 'bowline diff %s', then 'bowline approve %s' and 'bowline apply %s'", s.ID, s.ID, s.ID)
	}
	return nil
}

// showSession prints a session as Terraform prints a plan.
func (env *Env) showSession(ctx context.Context, c *bowline.Client, s bowline.Session) {
	w := env.Stdout
	fmt.Fprintf(w, "%s on %s: %s\n", env.strong(s.ID), safe(s.Target), s.Status)
	if s.Note != "" {
		fmt.Fprintf(w, "  note: %s\n", safe(s.Note))
	}
	if s.Message != "" {
		fmt.Fprintf(w, "  %s\n", safe(s.Message))
	}
	env.showPlan(ctx, c, s, s.Digest)
	env.showCommands(s)
}

// showPlan prints the plan of a session; digest is what its reader may approve.
func (env *Env) showPlan(ctx context.Context, c *bowline.Client, s bowline.Session, digest string) {
	w := env.Stdout
	d := review.New(review.Input{Plan: s.Plan, Contents: s.Contents, Digest: digest, Others: inEffect(ctx, c, s)})
	env.showHeader(w, d)
	fmt.Fprintln(w)
	for _, item := range d.Outline {
		if item.Group != nil {
			env.showGroup(w, *item.Group)
			continue
		}
		env.showRow(w, d.Rows[item.Row-1])
	}
	if len(d.Rows) == 0 {
		fmt.Fprintln(w, "  nothing would change")
	}
	fmt.Fprintf(w, "\nPlan: %s.\n%s, mode %s\n", d.Totals, digest, s.Plan.Mode)
}

// inEffect are the other sessions of the target that somebody may want to roll back.
// Without them a plan is shown all the same.
func inEffect(ctx context.Context, c *bowline.Client, s bowline.Session) []review.Applied {
	list, err := c.InEffect(ctx, s.Target)
	if err != nil {
		return nil
	}
	var out []review.Applied
	for _, x := range list {
		if x.Session != s.ID {
			out = append(out, review.Applied(x))
		}
	}
	return out
}

// showHeader prints what the reader must know first: what the dry run could not
// see, how it ended, and the risks with the lines that show them.
func (env *Env) showHeader(w io.Writer, d *review.Document) {
	for _, x := range d.Header.Warnings {
		fmt.Fprintf(w, "  %s %s\n", env.colour(red, "warning:"), safe(x))
	}
	if d.Header.Exit != 0 {
		fmt.Fprintf(w, "  %s the script ended with exit code %d in the dry run, and said:\n", env.colour(red, "warning:"), d.Header.Exit)
		for _, line := range d.Header.Output {
			fmt.Fprintf(w, "    | %s\n", safe(line))
		}
	}
	for _, r := range d.Risks {
		if r.Op > 0 {
			env.showRisk(w, r)
		}
	}
}

// showCommands prints what the deferred commands said when they were run.
func (env *Env) showCommands(s bowline.Session) {
	if len(s.Commands) > 0 {
		fmt.Fprintln(env.Stdout)
	}
	writeCommands(env.Stdout, s.Commands)
}

func (env *Env) showRisk(w io.Writer, r review.Risk) {
	colours := map[review.Severity]string{review.High: red, review.Medium: "33", review.Low: faint}
	fmt.Fprintf(w, "  %s %s (operation %d, %s)\n", env.colour(colours[r.Severity], r.Severity.String()+":"), safe(r.Text), r.Op, r.Class)
	if r.Severity == review.Low {
		return
	}
	for _, e := range r.Evidence {
		if e.Line > 0 && e.Text != "" {
			fmt.Fprintf(w, "      %s line %d: %s\n", side(e.After), e.Line, env.colour(faint, safe(e.Text)))
		}
	}
}

func side(after bool) string {
	if after {
		return "new"
	}
	return "old"
}

func (env *Env) showRow(w io.Writer, r review.Row) {
	colours := map[string]string{"+": green, "-": red, "~": "33", "!": "35;1"}
	fmt.Fprintf(w, "  %4d %s %s  %s\n", r.N, env.colour(colours[r.Symbol], r.Symbol), safe(r.Subject), env.colour(faint, safe(r.Detail)))
	if len(r.Risks) > 0 {
		fmt.Fprintf(w, "         %s %s\n", env.colour(red, "look:"), strings.Join(classes(r.Risks), ", "))
	}
}

// classes returns the classes of risks with the worst severity of each.
func classes(risks []review.Risk) []string {
	var out []string
	worst := map[review.Class]review.Severity{}
	for _, r := range risks {
		worst[r.Class] = max(worst[r.Class], r.Severity)
	}
	for _, r := range risks {
		if text := fmt.Sprintf("%s (%s)", r.Class, worst[r.Class]); !slices.Contains(out, text) {
			out = append(out, text)
		}
	}
	return out
}

func (env *Env) showGroup(w io.Writer, g review.Group) {
	fmt.Fprintf(w, "       %s %d operations below %s  %s\n", env.colour(faint, "..."), len(g.Rows), safe(g.Dir),
		env.colour(faint, fmt.Sprintf("%d to create, %d to change, %d to delete", g.Totals.Created, g.Totals.Changed, g.Totals.Deleted)))
}

// showChanges prints every change with its diff. Contents that are secret by their
// place are shown only if asked for.
func (env *Env) showChanges(p plan.Plan, contents map[string][]byte, secrets bool) {
	d := review.New(review.Input{Plan: p, Contents: contents})
	for _, r := range d.Rows {
		env.showRow(env.Stdout, r)
		diff := d.Diff(r.N)
		if r.Sensitive && !secrets && len(diff.Hunks) > 0 {
			diff = review.Diff{Note: "secret content; see it with --sensitive"}
		}
		for _, note := range []string{diff.Note, diff.Cut} {
			if note != "" {
				fmt.Fprintf(env.Stdout, "         (%s)\n", safe(note))
			}
		}
		for _, h := range diff.Hunks {
			env.showHunk(h)
		}
	}
}

func (env *Env) showHunk(h review.Hunk) {
	fmt.Fprintf(env.Stdout, "         %s\n", env.colour(faint, h.Header()))
	for _, l := range h.Lines {
		line := safe(string(l.Kind) + l.Text)
		switch l.Kind {
		case review.Inserted:
			line = env.colour(green, line)
		case review.Deleted:
			line = env.colour(red, line)
		}
		fmt.Fprintf(env.Stdout, "         %s\n", line)
		if l.NoEOL {
			fmt.Fprintf(env.Stdout, "         \\ no newline at the end of the file\n")
		}
	}
}
