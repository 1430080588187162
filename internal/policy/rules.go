package policy

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/bowline-sh/bowline/target"
)

// Verbs are what callers do.
const (
	Run      = "run"  // a command or script in the sandbox
	Read     = "read" // a run that only shows files, as the parser sees it
	Plan     = "plan" // a dry run; selecting from a plan
	Apply    = "apply"
	Rollback = "rollback"
	Copy     = "cp"
	Box      = "box"
	Approve  = "approve"
)

// Verbs returns them all.
func Verbs() []string { return []string{Run, Read, Plan, Apply, Rollback, Copy, Box, Approve} }

// Decision is what a rule decides about an act.
type Decision string

const (
	Allow Decision = "allow"
	Deny  Decision = "deny"
	Ask   Decision = "ask" // a person at the terminal must say yes; a model gets no
)

// Rule is one [[policy.rule]]. Empty fields match anything.
type Rule struct {
	Name     string
	Source   string // "file:line"
	Who      []Who
	Do       []string
	On       string // selector
	Profiles []string
	Commands []Pattern  // of run, read and plan
	Writes   []PathGlob // files that redirections may write, for a rule that allows
	Decision Decision
	Reason   string // for whoever is refused

	selector target.Selector
}

// Limit is one [[policy.limit]]: for each caller that matches, apart.
type Limit struct {
	Name       string
	Source     string
	Who        []Who
	Do         []string
	Rate       int // acts per Per; 0 for no limit
	Per        time.Duration
	Concurrent int // at a time; 0 for no limit
}

// Policy is everything that was configured. Its zero value allows.
type Policy struct {
	Rules   []Rule
	Limits  []Limit
	Effects []EffectRule
	Targets []target.Target
	Groups  map[string][]string
}

// Request is one act.
type Request struct {
	Who     Actor
	Do      string // Run becomes Read where nothing but reading is seen
	Target  string // name; "" for an act on none
	Profile string
	Argv    []string
	Env     map[string]string // that the caller sets for it
	Script  []byte            // what Argv reads from its standard input, or is run by its first line
	// Continues says that it is part of an act that was let in before: it is not counted.
	Continues bool
}

// Step is one rule as it was tried.
type Step struct {
	Rule    string
	Source  string
	Matched bool
	Why     string // why it did not match, or what matched
	// Missing are the commands that kept a rule, which matches in all else, from allowing.
	Missing []string
}

// Verdict is what the rules say.
type Verdict struct {
	Decision Decision
	Rule     string // that decided; "" if none matched
	Source   string
	Reason   string
	Hint     string // the smallest change that would pass; "" if it is allowed
	Do       string // the verb that was judged
	Steps    []Step
	Seen     Report // of acts with a command
}

// Decide judges one act: the first rule that matches decides.
func (p Policy) Decide(r Request) Verdict {
	v := Verdict{Decision: Allow, Do: r.Do}
	if r.Do == Run || r.Do == Plan {
		v.Seen = Commands(r.Argv, r.Script)
		v.Seen.environment(r.Env)
		if r.Do == Run && v.Seen.OnlyReads() {
			v.Do = Read
		}
	}
	for _, rule := range p.Rules {
		step := p.try(rule, r, v)
		v.Steps = append(v.Steps, step)
		if !step.Matched {
			continue
		}
		v.Decision, v.Rule, v.Source = rule.Decision, rule.Name, rule.Source
		v.Reason = cmp.Or(rule.Reason, step.Why)
		if v.Decision != Allow {
			v.Hint = v.hint(r)
		}
		return v
	}
	v.Reason = "no rule speaks of it"
	return v
}

// try asks one rule.
func (p Policy) try(rule Rule, r Request, v Verdict) Step {
	step := Step{Rule: rule.Name, Source: rule.Source}
	switch {
	case !matchesWho(rule.Who, r.Who):
		step.Why = "it is about other callers"
	case len(rule.Do) > 0 && !slices.Contains(rule.Do, v.Do):
		step.Why = "it is not about " + v.Do
	case rule.On != "" && !p.on(rule.selector, r.Target, rule.Decision != Allow):
		step.Why = "it is about other targets"
	case len(rule.Profiles) > 0 && !slices.ContainsFunc(rule.Profiles, func(g string) bool { return glob(g, r.Profile) }):
		step.Why = "it is about other profiles"
	case len(rule.Commands) == 0:
		step.Matched, step.Why = true, "it speaks of "+v.Do
		if len(rule.Do) == 0 {
			step.Why = "it speaks of everything"
		}
	case v.Do != Run && v.Do != Read && v.Do != Plan:
		step.Why = "it is about commands"
	case rule.Decision == Allow:
		rule.allows(v.Seen, &step)
	default:
		rule.forbids(v.Seen, &step)
	}
	return step
}

func matchesWho(list []Who, a Actor) bool {
	return len(list) == 0 || slices.ContainsFunc(list, func(w Who) bool { return w.matches(a) })
}

// on reports whether a selector means a target; unsure is the answer where the selector
// cannot be told now: one of its labels is on no target any more.
func (p Policy) on(s target.Selector, name string, unsure bool) bool {
	matched, err := s.Match(p.Targets, p.Groups)
	if err != nil {
		return unsure
	}
	return slices.ContainsFunc(matched, func(t target.Target) bool { return t.Name == name })
}

// allows matches if everything that is seen is covered, and everything is seen.
func (rule Rule) allows(seen Report, step *Step) {
	for _, c := range seen.Commands {
		if !c.Builtin && !slices.ContainsFunc(rule.Commands, func(p Pattern) bool { return p.Covers(c) }) {
			step.Missing = append(step.Missing, "'"+clip(c.String())+"'")
		}
	}
	for _, f := range seen.Writes {
		if !tameWrites([]string{f}) && (path.Clean(f) != f || !slices.ContainsFunc(rule.Writes, func(g PathGlob) bool { return g.Match(f) })) {
			step.Missing = append(step.Missing, "writing to "+clip(f))
		}
	}
	step.Missing = append(step.Missing, seen.Unseen...)
	if len(step.Missing) > 0 {
		step.Why = "it does not cover " + strings.Join(step.Missing[:min(3, len(step.Missing))], ", ")
		return
	}
	step.Matched, step.Why = true, "it covers every command"
}

// forbids matches if one command may be meant, or something is not seen.
func (rule Rule) forbids(seen Report, step *Step) {
	for _, c := range seen.Commands {
		for _, p := range rule.Commands {
			if !p.MayMean(c) {
				continue
			}
			step.Matched, step.Why = true, fmt.Sprintf("'%s' is among its commands (%s)", clip(c.String()), p)
			if c.Opaque != "" {
				step.Why = fmt.Sprintf("'%s' may be any of its commands: %s", clip(c.String()), c.Opaque)
			}
			return
		}
	}
	if seen.Dynamic() {
		step.Matched, step.Why = true, "not everything can be seen, so any of its commands may be meant: "+seen.Unseen[0]
		return
	}
	step.Why = "none of its commands is meant"
}

// hint says what would pass: the nearest rule that allows, or the rule to change.
func (v Verdict) hint(r Request) string {
	for _, s := range v.Steps {
		if !s.Matched && len(s.Missing) > 0 {
			return fmt.Sprintf("rule %s (%s) allows it without %s", quoted(s.Rule), s.Source, strings.Join(s.Missing[:min(3, len(s.Missing))], " and "))
		}
	}
	out := fmt.Sprintf("put a rule before %s (%s) that allows it: [[policy.rule]] who = [%q], do = [%q], decision = \"allow\"", quoted(v.Rule), v.Source, r.Who, v.Do)
	if v.Do == Run {
		out = "propose it as a change instead: 'bowline plan -- COMMAND', which a person approves; or " + out
	}
	return out
}

func quoted(rule string) string { return `"` + rule + `"` }

// Prepare checks rules that were read and makes them ready. It reports the first fault
// with the field it is in.
func (rule *Rule) Prepare(targets []target.Target, groups map[string][]string) (field string, err error) {
	if !slices.Contains([]Decision{Allow, Deny, Ask}, rule.Decision) {
		return "decision", fmt.Errorf("%q: use allow, deny or ask", rule.Decision)
	}
	if err := validVerbs(rule.Do); err != nil {
		return "do", err
	}
	if len(rule.Writes) > 0 && (rule.Decision != Allow || len(rule.Commands) == 0) {
		return "writes", fmt.Errorf("it only says what the commands of a rule that allows may write")
	}
	for _, w := range rule.Writes {
		if err := w.Valid(); err != nil {
			return "writes", err
		}
	}
	if rule.On == "" {
		return "", nil
	}
	rule.selector, err = target.ParseSelector(rule.On)
	if err == nil {
		err = rule.selector.Check(targets, groups)
	}
	return "on", err
}

func validVerbs(do []string) error {
	for _, d := range do {
		if !slices.Contains(Verbs(), d) {
			return fmt.Errorf("%q: use %s", d, strings.Join(Verbs(), ", "))
		}
	}
	return nil
}

// Prepare checks a limit.
func (l Limit) Prepare() (field string, err error) {
	if err := validVerbs(l.Do); err != nil {
		return "do", err
	}
	if l.Rate == 0 && l.Concurrent == 0 {
		return "rate", fmt.Errorf("it limits nothing; give rate or concurrent")
	}
	return "", nil
}

// Applies reports whether the limit counts an act.
func (l Limit) Applies(a Actor, do string) bool {
	return matchesWho(l.Who, a) && (len(l.Do) == 0 || slices.Contains(l.Do, do))
}

// ParseRate reads "60/min": a number per s, min, h or d.
func ParseRate(text string) (n int, per time.Duration, err error) {
	count, unit, ok := strings.Cut(text, "/")
	units := map[string]time.Duration{"s": time.Second, "sec": time.Second, "min": time.Minute, "m": time.Minute, "h": time.Hour, "hour": time.Hour, "d": 24 * time.Hour, "day": 24 * time.Hour}
	per = units[unit]
	if _, err := fmt.Sscanf(count, "%d", &n); err != nil || fmt.Sprint(n) != count || n < 1 || !ok || per == 0 {
		return 0, 0, fmt.Errorf("%q: use a number and a unit, as 60/min; units are s, min, h and d", text)
	}
	return n, per, nil
}

// Warnings says what is allowed to be written and yet cannot be meant.
func (p Policy) Warnings() []string {
	var out []string
	for i, later := range p.Rules {
		for _, earlier := range p.Rules[:i] {
			if earlier.shadows(later) {
				out = append(out, fmt.Sprintf("%s: rule %s never decides: rule %s (%s) matches all that it does", later.Source, quoted(later.Name), quoted(earlier.Name), earlier.Source))
				break
			}
		}
		if later.On != "" {
			if _, err := later.selector.Match(p.Targets, p.Groups); err != nil {
				out = append(out, fmt.Sprintf("%s: rule %s matches no target now: %v", later.Source, quoted(later.Name), err))
			}
		}
		if later.Decision == Deny && len(later.Commands) > 0 {
			out = append(out, fmt.Sprintf("%s: rule %s denies commands by name; what it does not name is allowed. To be sure, allow some and deny the rest", later.Source, quoted(later.Name)))
		}
	}
	return append(out, p.effectWarnings()...)
}

// shadows reports whether r surely matches all that o does.
func (r Rule) shadows(o Rule) bool {
	return coversAll(r.Who, o.Who, Who.covers) && coversAll(r.Do, o.Do, func(a, b string) bool { return a == b }) && (r.On == "" || r.On == o.On) &&
		coversAll(r.Profiles, o.Profiles, func(a, b string) bool { return a == b || a == "*" }) && len(r.Commands) == 0
}

// coversAll reports whether each of inner is covered by one of outer; an empty list is
// anything.
func coversAll[T any](outer, inner []T, covers func(a, b T) bool) bool {
	if len(outer) == 0 {
		return true
	}
	return len(inner) > 0 && !slices.ContainsFunc(inner, func(x T) bool {
		return !slices.ContainsFunc(outer, func(y T) bool { return covers(y, x) })
	})
}
