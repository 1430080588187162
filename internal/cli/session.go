package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/plan"
)

func newSessionCommand(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use: "session", Short: "List, read, decide, apply and take back planned changes", RunE: noCommand,
		Long: `A session is one reviewed change, from its dry run ('bowline plan') to its rollback.`,
	}
	cmd.AddCommand(newSessionList(env), newSessionShow(env), newReviewCommand(env), newDiffCommand(env), newApproveCommand(env), newRejectCommand(env),
		newApplyCommand(env), newConfirmCommand(env), newResumeCommand(env), newRollbackCommand(env), newSessionDrift(env), newSessionExport(env), newSessionVerify(env), newSessionPrune(env))
	return cmd
}

// jsonSession is a session as JSON.
type jsonSession struct {
	SchemaVersion int             `json:"schema_version,omitempty"`
	ID            string          `json:"id"`
	Target        string          `json:"target"`
	Status        plan.Status     `json:"status"`
	Digest        string          `json:"digest"`
	Note          string          `json:"note,omitempty"`
	User          string          `json:"user"`
	Host          string          `json:"host"`
	Created       time.Time       `json:"created"`
	Updated       time.Time       `json:"updated"`
	Expires       time.Time       `json:"expires"`
	Message       string          `json:"message,omitempty"`
	Fleet         string          `json:"fleet,omitempty"`
	PlanClass     string          `json:"plan_class,omitempty"`
	Plan          *plan.Plan      `json:"plan,omitempty"`
	Decisions     []plan.Approval `json:"decisions,omitempty"`
	Commands      []plan.Ran      `json:"commands,omitempty"`
}

func newJSONSession(s bowline.Session, whole bool) jsonSession {
	doc := jsonSession{ID: s.ID, Target: s.Target, Status: s.Status, Digest: s.Digest, Note: s.Note, User: s.User, Host: s.Host,
		Created: s.Created, Updated: s.Updated, Expires: s.Expires, Message: s.Message, Fleet: s.Fleet, PlanClass: s.Class}
	if whole {
		doc.SchemaVersion, doc.Plan, doc.Decisions, doc.Commands = schemaVersion, &s.Plan, s.Decisions, s.Commands
	}
	return doc
}

func newSessionList(env *Env) *cobra.Command {
	var q bowline.SessionQuery
	var status string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List sessions, newest first", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			q.Status = plan.Status(status)
			return env.withClient(cmd.Context(), func(c *bowline.Client) error {
				list, err := c.Sessions(cmd.Context(), q)
				if err != nil {
					return err
				}
				return env.listSessions(list, asJSON)
			})
		},
	}
	cmd.Flags().StringVar(&status, "status", "", "only sessions with this status")
	cmd.Flags().StringVarP(&q.Target, "target", "t", "", "only this target")
	cmd.Flags().StringVar(&q.Fleet, "fleet", "", "only those of this fleet")
	cmd.Flags().IntVar(&q.Limit, "limit", 50, "at most this many; 0 for all")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON document")
	return cmd
}

func (env *Env) listSessions(list []bowline.Session, asJSON bool) error {
	if asJSON {
		docs := make([]jsonSession, len(list))
		for i, s := range list {
			docs[i] = newJSONSession(s, false)
		}
		return printJSON(env.Stdout, map[string]any{"schema_version": schemaVersion, "sessions": docs})
	}
	w := tabwriter.NewWriter(env.Stdout, 0, 4, 2, ' ', 0)
	class := func(string) string { return "" } // no column where there is no fleet
	if slices.ContainsFunc(list, func(s bowline.Session) bool { return s.Fleet != "" }) {
		class = func(text string) string { return "\t" + text }
	}
	fmt.Fprintf(w, "ID\tTARGET\tSTATUS%s\tCREATED\tBY\tNOTE\n", class("CLASS"))
	for _, s := range list {
		fmt.Fprintf(w, "%s\t%s\t%s%s\t%s\t%s\t%s\n", s.ID, safe(s.Target), s.Status, class(s.Class), s.Created.Local().Format(time.DateTime), safe(s.User), safe(s.Note))
	}
	return w.Flush()
}

func newSessionShow(env *Env) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{Use: "show ID", Short: "Show a session, class or fleet and its plan", Args: args(cobra.ExactArgs(1)), ValidArgsFunction: completeSessions(env)}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON document")
	one := func(ctx context.Context, c *bowline.Client, s bowline.Session) error {
		if asJSON {
			return printJSON(env.Stdout, newJSONSession(s, true))
		}
		env.showSession(ctx, c, s)
		return nil
	}
	many := func(ctx context.Context, c *bowline.Client, f bowline.Fleet) error {
		if asJSON {
			return printJSON(env.Stdout, newJSONFleet(f))
		}
		env.showClassesOf(ctx, c, f)
		return nil
	}
	cmd.RunE = ofSessions{one, many}.run(env)
	return cmd
}

func newDiffCommand(env *Env) *cobra.Command {
	var secrets bool
	cmd := &cobra.Command{Use: "diff ID", Short: "Show what a session would change, line by line", Args: args(cobra.ExactArgs(1)), ValidArgsFunction: completeSessions(env)}
	cmd.Flags().BoolVar(&secrets, "sensitive", false, "also lines of files that hold secrets, as /etc/shadow")
	one := func(_ context.Context, _ *bowline.Client, s bowline.Session) error {
		env.showChanges(s.Plan, s.Contents, secrets)
		return nil
	}
	many := func(_ context.Context, _ *bowline.Client, f bowline.Fleet) error {
		for _, p := range f.Classes {
			env.showClassHead(p)
			env.showChanges(p.Example.Plan, p.Example.Contents, secrets)
		}
		return nil
	}
	cmd.RunE = ofSessions{one, many}.run(env)
	return cmd
}

type approveOptions struct {
	yes          bool
	digest       string
	only, except string
	noRerun      bool
}

func newApproveCommand(env *Env) *cobra.Command {
	var o approveOptions
	cmd := &cobra.Command{
		Use: "approve ID", Short: "Allow a session to be applied, once, within the hour", Args: args(cobra.ExactArgs(1)), ValidArgsFunction: completeSessions(env),
		Long: `Approve exactly the plan that the session shows: the approval names its digest. It
works once and expires after an hour.

With --only or --except a new session is made of some operations, with a plan and a
digest of its own, shown, and approved instead; the old one is cancelled. Operations
are given by number, as in 1,3-5. One that needs another cannot be kept without it:
the call is refused and says which. The target then runs the script again in a dry
run that keeps it from making what is left out, and the new plan warns of operations
that do not come about, or otherwise, in that run; --no-rerun leaves this out.

With the id of a class every session of it that waits is approved: one approval a target,
for the digest of its own plan, signed one by one where approvals are. --digest is then
that of the class. The id of a fleet does where one of its classes waits.

Exit codes: 0 approved, on every target of a class; 2 several classes wait, 12 refused,
13 another digest.`,
		Example: "  bowline approve 20261121-fix-a3f2\n  bowline approve 20261121-fix-a3f20c.9e1b77\n  bowline approve 20261121-fix-a3f2 --except 2,7-9",
	}
	cmd.Flags().BoolVarP(&o.yes, "yes", "y", false, "do not ask")
	cmd.Flags().StringVar(&o.digest, "digest", "", "the digest that was read; another one is refused")
	cmd.Flags().StringVar(&o.only, "only", "", "approve these operations and no others")
	cmd.Flags().StringVar(&o.except, "except", "", "approve all operations but these")
	cmd.Flags().BoolVar(&o.noRerun, "no-rerun", false, "with --only or --except: do not run the script again to find what depends on the rest")
	cmd.MarkFlagsMutuallyExclusive("only", "except")
	one := func(ctx context.Context, c *bowline.Client, s bowline.Session) error {
		return env.approve(ctx, c, s, o)
	}
	many := func(ctx context.Context, c *bowline.Client, f bowline.Fleet) error {
		return env.approveFleet(ctx, c, f, o)
	}
	cmd.RunE = ofSessions{one, many}.run(env)
	return cmd
}

func (env *Env) approve(ctx context.Context, c *bowline.Client, s bowline.Session, o approveOptions) error {
	whole := s.ID
	if o.only != "" || o.except != "" {
		if o.digest != "" && o.digest != s.Digest {
			return diag.New(diag.Conflict, "approve", "read it again with 'bowline session show "+s.ID+"'", "the plan has the digest %s, not the %s you named", s.Digest, o.digest)
		}
		keep, err := selected(o, len(s.Plan.Ops))
		if err != nil {
			return err
		}
		if !o.noRerun {
			env.say("running it again without what is left out, to find what depends on it")
		}
		if s, err = c.Select(ctx, s.ID, bowline.Selection{Keep: keep, Quick: o.noRerun}); err != nil {
			return err
		}
		o.digest = s.Digest
	}
	if !o.yes || s.ID != whole {
		env.showSession(ctx, c, s)
	}
	if !o.yes {
		ok, err := env.confirm(ctx, "Approve this?", "--yes")
		if err == nil && !ok {
			err = diag.New(diag.Denied, "approve", "", "it was not approved")
		}
		if err != nil && s.ID != whole {
			err = errors.Join(err, c.Cancel(context.WithoutCancel(ctx), s.ID, "not approved"))
		}
		if err != nil {
			return err
		}
	}
	if o.digest == "" {
		o.digest = s.Digest // what was shown
	}
	a, err := c.Approve(ctx, s.ID, o.digest)
	if err != nil {
		return err
	}
	now, err := c.Session(ctx, s.ID)
	if err != nil {
		return err
	}
	if now.Status == plan.Pending {
		env.say("your approval is kept, and more is wanted: %s", safe(now.Message))
	} else {
		env.say("approved until %s; carry it out with 'bowline apply %s'", a.Expires.Local().Format(time.DateTime), s.ID)
	}
	if s.ID != whole {
		return c.Cancel(ctx, whole, "approved in part as "+s.ID)
	}
	return nil
}

// selected lists the operations that --only or --except mean, of n.
func selected(o approveOptions, n int) ([]int, error) {
	named, err := operations(cmp.Or(o.only, o.except), n)
	if err != nil {
		return nil, err
	}
	var keep []int
	for op := 1; op <= n; op++ {
		if named[op] == (o.only != "") {
			keep = append(keep, op)
		}
	}
	return keep, nil
}

// operations reads a list of numbers and ranges, as in 1,3-5.
func operations(list string, n int) (map[int]bool, error) {
	named := map[int]bool{}
	for part := range strings.SplitSeq(list, ",") {
		from, to, isRange := strings.Cut(strings.TrimSpace(part), "-")
		if !isRange {
			to = from
		}
		first, err := strconv.Atoi(from)
		last, err2 := strconv.Atoi(to)
		if err != nil || err2 != nil || first < 1 || last > n || last < first {
			return nil, diag.New(diag.Usage, "read operations", "numbers and ranges, as in 1,3-5", "%q names no operations of this plan, which has %d", part, n)
		}
		for i := first; i <= last; i++ {
			named[i] = true
		}
	}
	return named, nil
}

func newRejectCommand(env *Env) *cobra.Command {
	var reason string
	cmd := &cobra.Command{Use: "reject ID --reason R", Short: "End a session, class or fleet that was not applied", Args: args(cobra.ExactArgs(1)), ValidArgsFunction: completeSessions(env)}
	cmd.Flags().StringVar(&reason, "reason", "", "why; required")
	why := func() error {
		if reason == "" {
			return diag.New(diag.Usage, "reject", "add --reason", "the reason is missing")
		}
		return nil
	}
	one := func(ctx context.Context, c *bowline.Client, s bowline.Session) error {
		err := why()
		if err == nil {
			err = c.Reject(ctx, s.ID, reason)
		}
		if err == nil {
			env.say("rejected %s", s.ID)
		}
		return err
	}
	many := func(ctx context.Context, c *bowline.Client, f bowline.Fleet) error {
		if err := why(); err != nil {
			return err
		}
		results, err := c.RejectFleet(ctx, f.ID, reason)
		return errors.Join(err, env.showDecided(ctx, results, "rejected", ""))
	}
	cmd.RunE = ofSessions{one, many}.run(env)
	return cmd
}

// acting is a command that changes targets.
type acting struct {
	use, short, long string
	question         string // asked first; "" for none
	one              func(c *bowline.Client, ctx context.Context, id string, o bowline.ApplyOptions) (bowline.SessionResult, error)
	many             func(c *bowline.Client, ctx context.Context, id string, o bowline.ApplyOptions, f bowline.FleetOptions, w bowline.FleetWatch) (bowline.FleetReport, error)
}

// actOptions are what its flags say.
type actOptions struct {
	bowline.ApplyOptions
	fleet  bowline.FleetOptions
	yes    bool
	asJSON bool
}

func (a acting) command(env *Env) (*cobra.Command, *actOptions) {
	var o actOptions
	cmd := &cobra.Command{Use: a.use, Short: a.short, Long: a.long, Args: args(cobra.ExactArgs(1)), ValidArgsFunction: completeSessions(env)}
	if a.question != "" {
		cmd.Flags().BoolVarP(&o.yes, "yes", "y", false, "do not ask")
	}
	cmd.Flags().BoolVar(&o.asJSON, "json", false, "print one JSON document; of a fleet one as each target ends, and one with all")
	workFlags(cmd, &o.fleet)
	one := func(ctx context.Context, c *bowline.Client, s bowline.Session) error {
		for _, name := range []string{"fanout", "wave", "max-failures", "order"} {
			if cmd.Flags().Changed(name) {
				return diag.New(diag.Usage, cmd.Name(), "", "%s is one session, and --%s is for a fleet or class", s.ID, name)
			}
		}
		if err := a.ask(ctx, env, o, s.ID, s.Target); err != nil {
			return err
		}
		return a.onOne(ctx, env, c, s, o)
	}
	many := func(ctx context.Context, c *bowline.Client, f bowline.Fleet) error {
		if err := a.ask(ctx, env, o, f.ID, fmt.Sprintf("%d targets", len(f.Sessions()))); err != nil {
			return err
		}
		return env.actFleet(ctx, f, o.asJSON, func(w bowline.FleetWatch) (bowline.FleetReport, error) {
			return a.many(c, ctx, f.ID, o.ApplyOptions, o.fleet, w)
		})
	}
	cmd.RunE = ofSessions{one, many}.run(env)
	return cmd, &o
}

func (a acting) ask(ctx context.Context, env *Env, o actOptions, id, where string) error {
	if a.question == "" || o.yes || o.DryRun {
		return nil
	}
	ok, err := env.confirm(ctx, fmt.Sprintf(a.question, id, where), "--yes")
	if err == nil && !ok {
		err = diag.New(diag.Denied, "", "", "nothing was done")
	}
	return err
}

func (a acting) onOne(ctx context.Context, env *Env, c *bowline.Client, s bowline.Session, o actOptions) error {
	if !o.asJSON && !env.quiet {
		o.Progress = func(p bowline.Progress) { env.progress(p, len(s.Plan.Ops)) }
	}
	r, err := a.one(c, ctx, s.ID, o.ApplyOptions)
	if err != nil {
		return err
	}
	if o.asJSON {
		return printJSON(env.Stdout, map[string]any{"schema_version": schemaVersion, "id": s.ID, "status": r.Status, "done": r.Done, "total": r.Total, "notes": nonNil(r.Notes), "commands": nonNil(r.Commands)})
	}
	for _, n := range r.Notes {
		env.note("%s", n)
	}
	fmt.Fprintf(env.Stdout, "%s: %s\n", s.ID, standing(r))
	return nil
}

// standing says where a session stands, in a few words.
func standing(r bowline.SessionResult) string {
	switch r.Status {
	case plan.Executed:
		return fmt.Sprintf("executed, %d of %d operations", r.Done, r.Total)
	case plan.RolledBack:
		if slices.ContainsFunc(r.Notes, func(n string) bool { return strings.HasPrefix(n, "not taken back") }) {
			return fmt.Sprintf("rolled_back, all of %d operations but those named above", r.Total)
		}
		return fmt.Sprintf("rolled_back, all %d operations taken back", r.Total)
	default:
		return fmt.Sprintf("%s, %d of %d operations in effect", r.Status, r.Done, r.Total)
	}
}

func (env *Env) progress(p bowline.Progress, total int) {
	if p.Text != "" {
		for line := range strings.Lines(p.Text) {
			fmt.Fprintf(env.Stderr, "       | %s\n", safe(strings.TrimSuffix(line, "\n")))
		}
		return
	}
	fmt.Fprintf(env.Stderr, "  %4d/%d %s\n", p.Op, total, safe(p.What))
}

func newApplyCommand(env *Env) *cobra.Command {
	cmd, o := acting{use: "apply ID", short: "Carry out what was approved", long: `Carry out an approved session: exactly the captured bytes and commands, checked first
against what the target looks like now, with everything it touches kept for rollback.
It goes on on the target if the link drops.

With the id of a fleet or class, all of its sessions that are approved, so many at a time
as --fanout says. With --wave a failure ends it after its wave; sessions that were not
begun stay approved, and the same command goes on with them.

With --confirm 60s the target waits so long for 'bowline confirm ID' when all is applied,
and takes everything back by itself if it does not come, or something failed: for changes
to the network, to sshd or to keys that may lock you out. Only a new connection counts.
In a fleet every target waits for its own; 'bowline confirm' with the fleet's id confirms
all that wait by then, so that each wave is confirmed in turn.

Exit codes: 0 executed, 1 not confirmed and taken back, 12 not approved, 13 the target changed since the plan and nothing
was touched, 14 applied in part: resume or roll back. Of a fleet: 0 only if it is executed on every target, 14 if it is
applied in part on one, else the code that all failures share, else 1.`,
		one: (*bowline.Client).Apply, many: (*bowline.Client).ApplyFleet}.command(env)
	cmd.Example = "  bowline apply 20261121-fix-a3f2\n  bowline apply 20261121-fix-a3f20c --wave 1,10%,100%"
	cmd.Flags().DurationVar(&o.Confirm, "confirm", 0, "take everything back unless it is confirmed within this time, as in 60s")
	return cmd
}

func newConfirmCommand(env *Env) *cobra.Command {
	cmd, _ := acting{use: "confirm ID", short: "Keep what was applied with --confirm", long: `Tell the target, over a new connection, that a session which was applied with --confirm
shall stay. That the connection works is the point. With the id of a fleet or class, all
of its targets that wait now.

Exit codes: 0 confirmed, 12 not over a new connection, 13 too late.`,
		one: func(c *bowline.Client, ctx context.Context, id string, _ bowline.ApplyOptions) (bowline.SessionResult, error) {
			return c.Confirm(ctx, id)
		},
		many: func(c *bowline.Client, ctx context.Context, id string, _ bowline.ApplyOptions, f bowline.FleetOptions, w bowline.FleetWatch) (bowline.FleetReport, error) {
			return c.ConfirmFleet(ctx, id, f, w)
		}}.command(env)
	return cmd
}

func newResumeCommand(env *Env) *cobra.Command {
	cmd, o := acting{use: "resume ID", short: "Finish an apply that was broken off", one: (*bowline.Client).Resume, many: (*bowline.Client).ResumeFleet}.command(env)
	cmd.Flags().BoolVar(&o.Rerun, "rerun", false, "run the command that was interrupted again")
	cmd.Flags().BoolVar(&o.Skip, "skip", false, "take the command that was interrupted as done")
	cmd.MarkFlagsMutuallyExclusive("rerun", "skip")
	return cmd
}

func newRollbackCommand(env *Env) *cobra.Command {
	cmd, o := acting{use: "rollback ID", short: "Take a session back", long: `Restore everything a session touched, exactly, and run the undo commands it knows. What
somebody changed since is a conflict, and nothing is touched, unless --force. With the id
of a fleet or class, all of its sessions that are in effect.

Exit codes: 0 rolled back, 13 conflict, 14 rolled back in part; of a fleet as with apply.`, question: "Roll back %s on %s?",
		one: (*bowline.Client).Rollback, many: (*bowline.Client).RollbackFleet}.command(env)
	cmd.Flags().BoolVar(&o.Force, "force", false, "also where somebody changed something since")
	cmd.Flags().BoolVar(&o.DryRun, "dry-run", false, "say what it would do")
	return cmd
}

func newSessionDrift(env *Env) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "drift ID", Short: "Is the target still as this session left it, or each of a fleet?", Args: args(cobra.ExactArgs(1)), ValidArgsFunction: completeSessions(env),
		Long: `Compare every file the session touched with how it left it, or found it if it was not
applied, and show the difference.

Exit codes: 0 nothing differs, 13 something does.`,
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON document")
	one := func(ctx context.Context, c *bowline.Client, s bowline.Session) error {
		d, err := c.Drift(ctx, s.ID)
		if err != nil {
			return err
		}
		if asJSON {
			err = printJSON(env.Stdout, map[string]any{"schema_version": schemaVersion, "id": s.ID, "status": d.Status, "changes": nonNil(d.Changes)})
		} else {
			env.showDrift(s, d)
		}
		if err == nil && len(d.Changes) > 0 {
			err = &commandExit{code: exitCode[diag.Conflict]}
		}
		return err
	}
	many := func(ctx context.Context, c *bowline.Client, f bowline.Fleet) error {
		if asJSON {
			return diag.New(diag.Usage, "drift", "name one session of 'bowline session list --fleet "+f.Fleet+"'", "--json is for one session")
		}
		return env.driftFleet(ctx, c, f)
	}
	cmd.RunE = ofSessions{one, many}.run(env)
	return cmd
}

func (env *Env) showDrift(s bowline.Session, d bowline.Drift) {
	if len(d.Changes) == 0 {
		fmt.Fprintf(env.Stdout, "%s: nothing differs on %s\n", s.ID, safe(s.Target))
		return
	}
	var p plan.Plan
	for _, c := range d.Changes {
		p.Ops = append(p.Ops, plan.Operation{Change: &c.Change})
	}
	fmt.Fprintf(env.Stdout, "%s: %d paths differ on %s\n", s.ID, len(d.Changes), safe(s.Target))
	env.showChanges(p, d.Contents, false)
}

func newSessionPrune(env *Env) *cobra.Command {
	var age time.Duration
	var o bowline.PruneOptions
	cmd := &cobra.Command{
		Use: "prune", Short: "Delete sessions that ended long ago", Args: args(cobra.NoArgs),
		Long: `Delete sessions that were rejected, failed, expired or were rolled back, on their
targets and here. Those that were applied stay, because they can still be rolled back,
unless --executed gives that up.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if age < 0 {
				return diag.New(diag.Usage, "prune", "", "--older-than %s: must not be negative", age)
			}
			o.Before = time.Now().Add(-age)
			return env.withClient(cmd.Context(), func(c *bowline.Client) error {
				ids, err := c.PruneSessions(cmd.Context(), o)
				for _, id := range ids {
					fmt.Fprintln(env.Stdout, id)
				}
				return err
			})
		},
	}
	cmd.Flags().DurationVar(&age, "older-than", 30*24*time.Hour, "since their last change")
	cmd.Flags().BoolVar(&o.Executed, "executed", false, "also those that were applied; they can never be rolled back then")
	cmd.Flags().BoolVar(&o.Forget, "forget", false, "forget them here, also where the target does not answer")
	return cmd
}

func completeSessions(env *Env) completer {
	return func(cmd *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		c, err := bowline.Open(cmd.Context(), bowline.Config{Surface: "cli"})
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		defer c.Close()
		list, err := c.Sessions(cmd.Context(), bowline.SessionQuery{Limit: 50})
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var out []cobra.Completion
		known := map[string]bool{"": true}
		for _, s := range list {
			for _, id := range []string{s.Fleet, s.Class} {
				if !known[id] {
					known[id] = true
					out = append(out, cobra.CompletionWithDesc(id, "fleet or class with "+s.Target))
				}
			}
			out = append(out, cobra.CompletionWithDesc(s.ID, s.Target+", "+string(s.Status)))
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	}
}
