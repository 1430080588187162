package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/review"
	"github.com/bowline-sh/bowline/plan"
)

// planFleet plans on several targets and shows what came of it, class by class.
func (env *Env) planFleet(ctx context.Context, c *bowline.Client, opts planOptions, names []string) error {
	if len(names) == 0 {
		env.say("nothing to do: no target is left")
		return nil
	}
	show := &memberShow{env: env, json: opts.asJSON}
	stop := env.follow(&show.line, len(names), !opts.asJSON)
	f, report, err := c.PlanFleet(ctx, names, opts.req, opts.fleet, bowline.FleetWatch{Began: show.began, Ended: show.planned})
	stop()
	if err != nil {
		return err
	}
	if opts.asJSON {
		doc := newJSONFleet(f)
		doc.Ended = report.Classes
		err = printJSON(env.Stdout, doc)
	} else {
		env.showClassesOf(ctx, c, f)
		show.errorsOf()
		env.showEnded(report)
		env.planNext(f, report)
	}
	return errors.Join(err, show.exit(ctx, report))
}

// planNext says what to type next.
func (env *Env) planNext(f bowline.Fleet, r bowline.FleetReport) {
	for i, p := range f.Classes {
		if len(p.Example.Plan.Ops) > 0 {
			env.say("read the diff with 'bowline diff %s', then 'bowline approve %s'", p.ID, p.ID)
		}
		const most = 3
		if more := len(f.Classes) - most; i+1 == most && more > 0 {
			env.say("and so on for %d more classes; see 'bowline session show %s'", more, f.ID)
			break
		}
	}
	if f.ID != "" {
		env.say("apply what is approved with 'bowline apply %s --wave 1,10%%,100%%'", f.ID)
	}
	var again []string
	for class, list := range r.Classes {
		if class != bowline.ClassOK {
			again = append(again, list...)
		}
	}
	if len(again) > 0 && f.ID != "" {
		slices.Sort(again)
		env.say("plan the others, a fleet of their own, with 'bowline plan -t %s'", strings.Join(again, ","))
	}
}

// memberShow gathers what came of the targets of a fleet. Its methods are called one at
// a time.
type memberShow struct {
	env   *Env
	json  bool
	line  fleetLine
	same  bowline.OutputGroups
	errs  []sameError
	codes []int // exit codes of those that failed, each once
}

// sameError is an error that several targets ended with.
type sameError struct {
	text    string // without the names of target and session
	targets []string
	err     error // of the first
}

func (s *memberShow) began(name string) { s.line.began(name) }

// ended notes one result, whatever was done.
func (s *memberShow) ended(r bowline.MemberResult) {
	s.line.ended(r.Session.Target, r.Class == bowline.ClassOK)
	if r.Err == nil {
		return
	}
	if code := max(exitCode[diag.KindOf(r.Err)], 1); !slices.Contains(s.codes, code) {
		s.codes = append(s.codes, code)
	}
	text := r.Err.Error()
	if r.Session.ID != "" {
		text = strings.ReplaceAll(text, r.Session.ID, "SESSION")
	}
	text = strings.ReplaceAll(text, r.Session.Target, "TARGET")
	i := slices.IndexFunc(s.errs, func(e sameError) bool { return e.text == text })
	if i < 0 {
		i, s.errs = len(s.errs), append(s.errs, sameError{text: text, err: r.Err})
	}
	s.errs[i].targets = append(s.errs[i].targets, r.Session.Target)
}

// planned shows one target that was planned.
func (s *memberShow) planned(r bowline.MemberResult) {
	s.ended(r)
	if !s.json {
		return
	}
	doc := jsonMember{SchemaVersion: schemaVersion, Target: r.Session.Target, Class: r.Class, Error: newJSONError(r.Err)}
	if r.Class == bowline.ClassOK {
		x := newJSONSession(r.Session, false)
		doc.Session = &x
	}
	s.print(doc)
}

// acted shows one target on which a session was applied or the like.
func (s *memberShow) acted(r bowline.MemberResult) {
	s.ended(r)
	if s.json {
		x := newJSONSession(r.Session, false)
		if r.Result.Status != "" {
			x.Status = r.Result.Status
		}
		x.Commands = r.Result.Commands
		s.print(jsonMember{SchemaVersion: schemaVersion, Target: r.Session.Target, Class: r.Class, Session: &x, Error: newJSONError(r.Err),
			Done: r.Result.Done, Total: r.Result.Total, Notes: r.Result.Notes})
		return
	}
	if r.Class != bowline.ClassOK {
		return
	}
	text := string(r.Result.Status) + " before\n"
	if r.Result.Total > 0 || len(r.Result.Notes)+len(r.Result.Commands) > 0 {
		text = outcomeText(r.Result)
	}
	s.same.Add(r.Session.Target, 0, []byte(text))
}

// outcomeText is where a session stands, with what its commands said.
func outcomeText(r bowline.SessionResult) string {
	var b strings.Builder
	fmt.Fprintln(&b, standing(r))
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "  %s\n", safe(n))
	}
	writeCommands(&b, r.Commands)
	return b.String()
}

func (s *memberShow) print(doc any) {
	if err := printJSON(s.env.Stdout, doc); err != nil {
		s.env.printError(fmt.Errorf("write output: %w", err))
	}
}

// errorsOf prints every error once, with who ended with it. Its hint is that of the
// first.
func (s *memberShow) errorsOf() {
	for _, e := range s.errs {
		slices.Sort(e.targets)
		s.env.note("%s: %s", abridged(e.targets), e.err)
		for line := range strings.Lines(diag.HintOf(e.err)) {
			s.env.note("hint: %s", strings.TrimSuffix(line, "\n"))
		}
	}
}

// exit is the exit code of a fleet: 14 if a target was left half way, else that of all
// failures if they agree, else 1.
func (s *memberShow) exit(ctx context.Context, r bowline.FleetReport) error {
	code := 1
	switch {
	case r.OK():
		return nil
	case slices.Contains(s.codes, exitCode[diag.Partial]):
		code = exitCode[diag.Partial]
	case ctx.Err() != nil:
		code = 130
	case len(s.codes) == 1:
		code = s.codes[0]
	}
	return &commandExit{code: code}
}

// showEnded says how many ended how, and names those that did not succeed.
func (env *Env) showEnded(r bowline.FleetReport) {
	var words []string
	for _, c := range classOrder() {
		if n := len(r.Classes[c]); n > 0 && c != bowline.ClassLeftOut {
			words = append(words, fmt.Sprintf("%d %s", n, classWord(c)))
		}
	}
	env.say("%d targets: %s", len(r.Targets), strings.Join(words, ", "))
	for _, c := range classOrder()[1:] {
		if list := r.Classes[c]; len(list) > 0 {
			env.say("%s: %s", classWord(c), abridged(list))
		}
	}
}

func classWord(c bowline.Class) string { return strings.ReplaceAll(string(c), "_", " ") }

// jsonMember is what came of one target of a fleet of sessions.
type jsonMember struct {
	SchemaVersion int           `json:"schema_version"`
	Target        string        `json:"target"`
	Class         bowline.Class `json:"class"` // how it ended, as in the documents of run
	Session       *jsonSession  `json:"session,omitempty"`
	Done          int           `json:"done,omitempty"`
	Total         int           `json:"total,omitempty"`
	Notes         []string      `json:"notes,omitempty"`
	Error         *jsonError    `json:"error,omitempty"`
}

// jsonFleet is a fleet, or a class of one.
type jsonFleet struct {
	SchemaVersion int                        `json:"schema_version"`
	Fleet         string                     `json:"fleet"` // "" if there is none
	Classes       []jsonClass                `json:"classes"`
	Ended         map[bowline.Class][]string `json:"ended,omitempty"` // targets by how they ended
}

type jsonClass struct {
	ID       string        `json:"id"`
	Digest   string        `json:"digest"` // of the effect
	Targets  []string      `json:"targets"`
	Sessions []jsonSession `json:"sessions"`
	Plan     *plan.Plan    `json:"plan"`           // of the first
	Diff     []string      `json:"diff,omitempty"` // of its text to that of the largest class
}

func newJSONFleet(f bowline.Fleet) jsonFleet {
	doc := jsonFleet{SchemaVersion: schemaVersion, Fleet: f.ID, Classes: []jsonClass{}}
	differs := outliers(f)
	for _, p := range f.Classes {
		x := jsonClass{ID: p.ID, Digest: p.Effect, Targets: p.Targets(), Plan: &p.Example.Plan}
		for _, s := range p.Sessions {
			x.Sessions = append(x.Sessions, newJSONSession(s, false))
		}
		for _, h := range differs[p.ID].Hunks {
			x.Diff = append(x.Diff, h.Header())
			for _, l := range h.Lines {
				x.Diff = append(x.Diff, string(l.Kind)+l.Text)
			}
		}
		doc.Classes = append(doc.Classes, x)
	}
	return doc
}

// baseOf is the class that others are compared with: the largest that does something.
func baseOf(f bowline.Fleet) int {
	return max(0, slices.IndexFunc(f.Classes, func(p bowline.PlanClass) bool { return len(p.Example.Plan.Ops) > 0 }))
}

// maxOutliers is of how many classes the difference to the largest is worked out: where
// more differ nobody reads them, and large plans take a second each.
const maxOutliers = 20

// outliers are the differences of the plans of classes to that of the largest, by id of
// the class; of those that change nothing, and of those beyond maxOutliers, there is none.
func outliers(f bowline.Fleet) map[string]review.Diff {
	out := map[string]review.Diff{}
	if len(f.Classes) < 2 {
		return out
	}
	doc := func(p bowline.PlanClass) *review.Document {
		return review.New(review.Input{Plan: p.Example.Plan, Contents: p.Example.Contents})
	}
	base := baseOf(f)
	largest := doc(f.Classes[base])
	for i, p := range f.Classes {
		if i != base && len(p.Example.Plan.Ops) > 0 && len(out) < maxOutliers {
			out[p.ID] = review.Compare(largest, doc(p))
		}
	}
	return out
}

// showClassesOf prints each class: the largest as a plan, the others as the difference of
// their plans to it.
func (env *Env) showClassesOf(ctx context.Context, c *bowline.Client, f bowline.Fleet) {
	base := baseOf(f)
	differs := outliers(f)
	for i, p := range f.Classes {
		env.showClassHead(p)
		d, ok := differs[p.ID]
		switch {
		case i == base || len(p.Example.Plan.Ops) == 0:
			env.showPlan(ctx, c, p.Example, p.Effect)
		case ok:
			env.showOutlier(f.Classes[base].ID, p, d)
		default:
			fmt.Fprintf(env.Stdout, "  it differs, too; see 'bowline session show %s'\n", p.ID)
		}
		fmt.Fprintln(env.Stdout)
	}
}

func (env *Env) showOutlier(base string, p bowline.PlanClass, d review.Diff) {
	w := env.Stdout
	fmt.Fprintf(w, "  as the difference of its plan to that of %s:\n", base)
	for _, note := range []string{d.Note, d.Cut} {
		if note != "" {
			fmt.Fprintf(w, "  (%s)\n", safe(note))
		}
	}
	for _, h := range d.Hunks {
		env.showHunk(h)
	}
	fmt.Fprintf(w, "\n%s\n", p.Effect)
}

// showClassHead prints who is in a class, and where their sessions stand.
func (env *Env) showClassHead(p bowline.PlanClass) {
	w := env.Stdout
	targets := p.Targets()
	fmt.Fprintf(w, "==> %s: %s (%d) <==\n", env.strong(p.ID), safe(strings.Join(targets, ",")), len(targets))
	byStatus := map[plan.Status][]string{}
	for _, s := range p.Sessions {
		byStatus[s.Status] = append(byStatus[s.Status], s.Target)
	}
	for _, st := range sortedKeys(byStatus) {
		names := ""
		if len(byStatus) > 1 {
			names = ": " + strings.Join(byStatus[st], ",")
		}
		fmt.Fprintf(w, "  %d %s%s\n", len(byStatus[st]), st, safe(names))
	}
	if note := p.Example.Note; note != "" {
		fmt.Fprintf(w, "  note: %s\n", safe(note))
	}
}

// ofSessions runs one with the session that the only argument names, or many with the
// fleet or class.
type ofSessions struct {
	one  func(ctx context.Context, c *bowline.Client, s bowline.Session) error
	many func(ctx context.Context, c *bowline.Client, f bowline.Fleet) error
}

func (o ofSessions) run(env *Env) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, a []string) error {
		ctx := cmd.Context()
		return env.withClient(ctx, func(c *bowline.Client) error {
			s, err := c.Session(ctx, a[0])
			if err == nil {
				return o.one(ctx, c, s)
			}
			if diag.KindOf(err) != diag.Usage { // it is there, and cannot be read
				return err
			}
			f, ferr := c.Fleet(ctx, a[0])
			if ferr != nil {
				return ferr
			}
			return o.many(ctx, c, f)
		})
	}
}

// withSession runs f with the one session that the only argument names.
func withSession(env *Env, f func(ctx context.Context, c *bowline.Client, s bowline.Session) error) func(*cobra.Command, []string) error {
	return ofSessions{f, func(_ context.Context, _ *bowline.Client, f bowline.Fleet) error { return notOne(f) }}.run(env)
}

func notOne(f bowline.Fleet) error {
	return diag.New(diag.Usage, "find session", "see 'bowline session show "+f.ID+"', or name one of 'bowline session list --fleet "+f.Fleet+"'", "%s is a fleet or class, and this takes one session", f.ID)
}

// approveFleet asks once for a class, and says of each target what became of it.
func (env *Env) approveFleet(ctx context.Context, c *bowline.Client, f bowline.Fleet, o approveOptions) error {
	if o.only != "" || o.except != "" {
		return diag.New(diag.Usage, "approve "+f.ID, "approve the sessions of 'bowline session list' one by one", "--only and --except are for one session")
	}
	waiting := f.Waiting()
	if len(waiting) != 1 {
		_, err := c.ApproveFleet(ctx, f.ID, o.digest) // says why not
		return err
	}
	class := waiting[0]
	if o.digest == "" {
		o.digest = class.Effect // what is shown
	}
	if !o.yes {
		env.showClassHead(class)
		env.showPlan(ctx, c, class.Example, class.Effect)
		ok, err := env.confirm(ctx, fmt.Sprintf("Approve this on every target of %s that waits?", class.ID), "--yes")
		if err == nil && !ok {
			err = diag.New(diag.Denied, "approve", "", "it was not approved")
		}
		if err != nil {
			return err
		}
	}
	results, err := c.ApproveFleet(ctx, class.ID, o.digest)
	return errors.Join(err, env.showDecided(ctx, results, "approved", "carry it out with 'bowline apply "+f.ID+" --wave 1,10%,100%'"))
}

// showDecided says which sessions were decided on, and which were not.
func (env *Env) showDecided(ctx context.Context, results []bowline.MemberResult, word, next string) error {
	if len(results) == 0 {
		return nil
	}
	show := &memberShow{env: env}
	stop := env.follow(&show.line, len(results), false)
	defer stop()
	report := bowline.FleetReport{Classes: map[bowline.Class][]string{}}
	for _, r := range results {
		show.ended(r)
		report.Targets = append(report.Targets, r.Session.Target)
		report.Classes[r.Class] = append(report.Classes[r.Class], r.Session.Target)
	}
	done := report.Classes[bowline.ClassOK]
	for _, r := range results {
		if r.Class == bowline.ClassOK {
			fmt.Fprintf(env.Stdout, "%s %s on %s, %s\n", word, r.Session.ID, safe(r.Session.Target), r.Session.Digest)
		}
	}
	show.errorsOf()
	if !report.OK() {
		env.say("%d of %d sessions are %s, %d are not", len(done), len(results), word, len(results)-len(done))
		for _, c := range classOrder()[1:] {
			if list := report.Classes[c]; len(list) > 0 {
				env.say("not %s, %s: %s", word, classWord(c), abridged(list))
			}
		}
	}
	if len(done) > 0 && next != "" {
		env.say("%s", next)
	}
	return show.exit(ctx, report)
}

// fleetAct does something to the sessions of a fleet, and tells of each.
type fleetAct func(w bowline.FleetWatch) (bowline.FleetReport, error)

// actFleet shows what comes of an act.
func (env *Env) actFleet(ctx context.Context, f bowline.Fleet, asJSON bool, act fleetAct) error {
	show := &memberShow{env: env, json: asJSON}
	stop := env.follow(&show.line, len(f.Sessions()), !asJSON)
	report, err := act(bowline.FleetWatch{Began: show.began, Ended: show.acted})
	stop()
	if err != nil {
		return err
	}
	if asJSON {
		err = printJSON(env.Stdout, jsonFleet{SchemaVersion: schemaVersion, Fleet: f.ID, Classes: []jsonClass{}, Ended: report.Classes})
		return errors.Join(err, show.exit(ctx, report))
	}
	for _, g := range show.same.List() {
		fmt.Fprintf(env.Stdout, "%s (%d): %s", safe(strings.Join(g.Targets, ",")), len(g.Targets), g.Output)
	}
	show.errorsOf()
	env.showEnded(report)
	env.showSkipped(f, report)
	return show.exit(ctx, report)
}

// showSkipped says where the sessions stand that were not begun: as they stood.
func (env *Env) showSkipped(f bowline.Fleet, r bowline.FleetReport) {
	skipped := r.Classes[bowline.ClassSkipped]
	if len(skipped) == 0 {
		return
	}
	n := map[plan.Status]int{}
	for _, s := range f.Sessions() {
		if slices.Contains(skipped, s.Target) && s.Status != plan.Cancelled {
			n[s.Status]++
		}
	}
	var words []string
	for _, st := range sortedKeys(n) {
		words = append(words, fmt.Sprintf("%d %s", n[st], st))
	}
	env.say("nothing was begun on those that were skipped, and they stay as they were: %s", strings.Join(words, ", "))
	env.say("hint: the same command goes on with them; see 'bowline session show %s'", f.ID)
}

// driftFleet compares each target with how its session left it.
func (env *Env) driftFleet(ctx context.Context, c *bowline.Client, f bowline.Fleet) error {
	differs := 0
	show := &memberShow{env: env}
	stop := env.follow(&show.line, 0, false)
	defer stop()
	report := bowline.FleetReport{Classes: map[bowline.Class][]string{}}
	for _, s := range f.Sessions() {
		d, err := c.Drift(ctx, s.ID)
		class := bowline.ClassOK
		switch {
		case err != nil:
			class = bowline.ClassError
			show.ended(bowline.MemberResult{Session: s, Class: class, Err: err})
		default:
			env.showDrift(s, d)
			if len(d.Changes) > 0 {
				differs++
			}
		}
		report.Targets = append(report.Targets, s.Target)
		report.Classes[class] = append(report.Classes[class], s.Target)
	}
	show.errorsOf()
	env.say("%d targets: %d as they were left, %d differ, %d not known", len(report.Targets), len(report.Classes[bowline.ClassOK])-differs, differs, len(report.Classes[bowline.ClassError]))
	if err := show.exit(ctx, report); err != nil || differs == 0 {
		return err
	}
	return &commandExit{code: exitCode[diag.Conflict]}
}

// writeCommands prints what deferred commands said when they were run.
func writeCommands(w io.Writer, ran []plan.Ran) {
	for _, c := range ran {
		verb := "ran"
		if c.Undo {
			verb = "taken back"
		}
		note := ""
		if c.Note != "" {
			note = " (" + safe(c.Note) + ")"
		}
		fmt.Fprintf(w, "  %4d %s, exit code %d: %s%s\n", c.Op, verb, c.Exit, safe(strings.Join(c.Argv, " ")), note)
		for _, text := range [][]byte{c.Stdout, c.Stderr} {
			for line := range strings.Lines(string(text)) {
				fmt.Fprintf(w, "       | %s\n", safe(strings.TrimSuffix(line, "\n")))
			}
		}
	}
}
