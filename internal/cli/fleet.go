package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/aymanbagabas/go-udiff"
	"github.com/spf13/cobra"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
)

// fleetOptions are the flags for several targets.
type fleetOptions struct {
	bowline.FleetOptions
	output string // how results are shown
	diff   bool
	retry  bool
}

func (o *fleetOptions) flags(cmd *cobra.Command) {
	workFlags(cmd, &o.FleetOptions)
	f := cmd.Flags()
	f.StringVar(&o.output, "output", "group", "show several targets as group (same output once) or each")
	f.BoolVar(&o.diff, "diff", false, "show groups as the difference to the largest")
	f.BoolVar(&o.retry, "retry-failed", false, "on the targets of the last fleet that did not succeed")
}

// workFlags are those that say how several targets are worked on.
func workFlags(cmd *cobra.Command, o *bowline.FleetOptions) {
	f := cmd.Flags()
	f.IntVar(&o.Fanout, "fanout", 64, "work on so many targets at a time")
	f.StringVar(&o.Waves, "wave", "", "sizes of waves, as in 1,10%,100%; a failure ends the fleet after its wave")
	f.StringVar(&o.MaxFailures, "max-failures", "", "stop when more targets have failed, as 3 or 10%")
	f.StringVar(&o.Order, "order", "", "order of targets: name or random (default: that of the configuration)")
}

// maxGrouped is what is kept of each target's output to compare it, in bytes.
const maxGrouped = 1 << 20

// runFleet runs the command on several targets and shows what came of it.
func (env *Env) runFleet(ctx context.Context, c *bowline.Client, opts runOptions, req bowline.RunRequest, names []string) error {
	if opts.fleet.output != "group" && opts.fleet.output != "each" {
		return diag.New(diag.Usage, "run", "use group or each", "there is no --output %q", opts.fleet.output)
	}
	if len(names) == 0 {
		env.say("nothing to do: no target is left")
		return nil
	}
	show := &fleetShow{env: env, opts: opts}
	req.Discard = false
	if !opts.json {
		req.Stdout, req.Stderr = nil, nil
	}
	stop := env.follow(&show.line, len(names), !opts.json)
	report, err := c.RunFleet(ctx, names, req, opts.fleet.FleetOptions, show.began, show.ended)
	stop()
	if err != nil && len(report.Targets) == 0 {
		return &commandExit{runCode(err), err}
	}
	if !opts.json {
		show.groupsTo(env.Stdout)
		env.showClasses(report)
	}
	if err != nil {
		return &commandExit{codeFailed, err}
	}
	if !report.OK() {
		return &commandExit{code: 1}
	}
	return nil
}

// fleetShow gathers and shows. Its methods are called one at a time, but for the line
// that progress draws.
type fleetShow struct {
	env    *Env
	opts   runOptions
	groups bowline.OutputGroups
	errs   bowline.OutputGroups
	line   fleetLine
}

func (s *fleetShow) began(name string) {
	s.line.began(name)
}

func (s *fleetShow) ended(r bowline.FleetResult) {
	s.line.ended(r.Target, r.Class == bowline.ClassOK)
	output := slices.Concat(r.Stdout, r.Stderr)
	switch {
	case s.opts.json:
		doc := newJSONRun(r.RunResult, r.Err)
		doc.Class = r.Class
		if err := printJSON(s.env.Stdout, doc); err != nil {
			s.env.printError(fmt.Errorf("write output: %w", err))
		}
	case s.opts.fleet.output == "each":
		s.line.clear()
		s.each(r)
	case r.Err != nil:
		s.errs.Add(r.Target, 0, []byte(strings.ReplaceAll(r.Err.Error(), r.Target, "TARGET")+"\n"+diag.HintOf(r.Err)))
	case r.Class != bowline.ClassSkipped:
		s.groups.Add(r.Target, r.ExitCode, output[:min(len(output), maxGrouped)])
	}
}

// each shows one target as it ends.
func (s *fleetShow) each(r bowline.FleetResult) {
	if r.Class == bowline.ClassSkipped {
		return
	}
	fmt.Fprintf(s.env.Stdout, "==> %s <==%s\n", safe(r.Target), exitNote(r.ExitCode))
	s.env.text(s.env.Stdout, r.Stdout, s.opts.raw)
	s.env.text(s.env.Stderr, r.Stderr, s.opts.raw)
	if r.Err != nil {
		s.env.printError(r.Err)
	}
}

func exitNote(code int) string {
	if code == 0 {
		return ""
	}
	return fmt.Sprintf(" exit code %d", code)
}

// text writes output of a target, neutralised where a terminal shows it, and ends it
// with a newline.
func (env *Env) text(w io.Writer, b []byte, raw bool) {
	if len(b) == 0 {
		return
	}
	out, flush := env.outputTo(w, raw)
	_, _ = out.Write(b) // a writer that failed fails again at the end
	_ = flush()
	if b[len(b)-1] != '\n' {
		fmt.Fprintln(w)
	}
}

// groupsTo prints every output once, with who gave it.
func (s *fleetShow) groupsTo(w io.Writer) {
	list := s.groups.List()
	for i, g := range list {
		fmt.Fprintf(w, "==> %s (%d)%s <==\n", s.env.strong(safe(strings.Join(g.Targets, ","))), len(g.Targets), exitNote(g.Exit))
		if s.opts.fleet.diff && i > 0 {
			s.env.text(w, []byte(udiff.Unified("largest", "these", string(list[0].Output), string(g.Output))), s.opts.raw)
			continue
		}
		s.env.text(w, g.Output, s.opts.raw)
	}
	for _, g := range s.errs.List() {
		message, hint, _ := strings.Cut(string(g.Output), "\n")
		s.env.note("%s: %s", strings.Join(g.Targets, ","), message)
		for line := range strings.Lines(hint) {
			s.env.note("hint: %s", strings.TrimSuffix(line, "\n"))
		}
	}
}

// classOrder is the order in which outcomes are told, success first.
func classOrder() []bowline.Class {
	return []bowline.Class{bowline.ClassOK, bowline.ClassFailed, bowline.ClassPartial, bowline.ClassConflict, bowline.ClassTimedOut, bowline.ClassUnreachable, bowline.ClassUntrusted,
		bowline.ClassRefused, bowline.ClassLost, bowline.ClassError, bowline.ClassCanceled, bowline.ClassSkipped, bowline.ClassLeftOut}
}

// showClasses is showEnded with what to type next.
func (env *Env) showClasses(r bowline.FleetReport) {
	env.showEnded(r)
	if !r.OK() {
		env.say("hint: run it again on those with 'bowline run --retry-failed -- COMMAND'")
	}
}

// abridged joins names, as many as a person reads.
func abridged(names []string) string {
	const most = 50
	if len(names) > most {
		return strings.Join(names[:most], ",") + fmt.Sprintf(" and %d more", len(names)-most)
	}
	return strings.Join(names, ",")
}

// follow draws the line while a fleet is at work, if a person looks on. The function it
// returns takes it away.
func (env *Env) follow(line *fleetLine, total int, wanted bool) (stop func()) {
	line.state.running = map[string]time.Time{}
	if !env.Terminal(env.Stderr) || env.quiet || !wanted {
		return func() {}
	}
	line.w = env.Stderr
	done := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				line.clear()
				return
			case <-tick.C:
				line.draw(total)
			}
		}
	}()
	return func() { close(done); <-ended }
}

// slowest names those that have run longest.
func slowest(running map[string]time.Time, now time.Time) string {
	var names []string
	for name := range running {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(running[a].Compare(running[b]), strings.Compare(a, b)) })
	var out []string
	for _, name := range names[:min(len(names), 2)] {
		out = append(out, fmt.Sprintf("%s %ds", name, int(now.Sub(running[name]).Seconds())))
	}
	return strings.Join(out, ", ")
}
