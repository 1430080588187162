package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/bowline-sh/bowline/change"
	"github.com/bowline-sh/bowline/plan"
	"github.com/bowline-sh/bowline/target"
)

// Effects are what a plan does, in the words of rules. Names that could not be found
// out are "?": a rule that restricts takes them for what it names, one that approves
// does not.
type Effects struct {
	Target    string
	Requester Actor
	Files     []FileEffect
	Packages  []string
	Users     []string // users and groups
	Units     []string
	Commands  []Command // deferred
	Risks     []Risk
	// Doubts are why nobody but a person may approve it: the dry run could not see
	// everything, or the script failed.
	Doubts []string
}

// Planned is a plan to be judged, before its effects are told apart.
type Planned struct {
	Plan     plan.Plan
	Contents map[string][]byte // by SHA-256; may lack any
	Target   string            // its name on this client
	Who      Actor             // who asked for it
}

// FileEffect is one changed path.
type FileEffect struct {
	Path   string
	Kind   change.Kind
	Setuid bool // ends with a setuid or setgid bit or file capabilities that are new, or on new content
}

// Severities of risks, as in package review.
const (
	Low    = 1
	Medium = 2
	High   = 3
)

// Risk is one reason for a second look.
type Risk struct {
	Class    string
	Severity int
}

// ParseSeverity reads low, medium or high; "" is 0.
func ParseSeverity(text string) (int, error) {
	i := slices.Index([]string{"", "low", "medium", "high"}, text)
	if i < 0 {
		return 0, fmt.Errorf("%q: use low, medium or high", text)
	}
	return i, nil
}

// Outcome is what a rule decides about a plan, the strictest last.
type Outcome int

const (
	AutoApprove Outcome = iota + 1
	RequireApproval
	RequireTwo
	DenyPlan
)

func outcomes() []string {
	return []string{"", "auto-approve", "require-approval", "require-two", "deny"}
}

// String is the word of the configuration.
func (o Outcome) String() string { return outcomes()[o] }

// ParseOutcome reads it.
func ParseOutcome(text string) (Outcome, error) {
	i := slices.Index(outcomes(), text)
	if i < 1 {
		return 0, fmt.Errorf("%q: use auto-approve, require-approval, require-two or deny", text)
	}
	return Outcome(i), nil
}

// EffectRule is one [[policy.effect]]. One that approves by itself must cover all that
// the plan does; any other matches a plan that has something of each field that is set.
type EffectRule struct {
	Name     string
	Source   string
	Who      []Who // who asked for the plan
	On       string
	Paths    []PathGlob
	Kinds    []change.Kind
	Setuid   *bool
	Deleted  *int // more deletions than this; at most so many, to approve
	Changed  *int // the same for operations on files
	Packages []string
	Users    []string
	Units    []string
	Commands []Pattern
	Classes  []string
	Severity int // at least; at most, to approve
	Outcome  Outcome
	Reason   string

	selector target.Selector
}

// Prepare checks a rule that was read; see [Rule.Prepare]. classes are the known ones.
func (r *EffectRule) Prepare(targets []target.Target, groups map[string][]string) (field string, err error) {
	for _, p := range r.Paths {
		if err := p.Valid(); err != nil {
			return "paths", err
		}
	}
	for _, k := range r.Kinds {
		if !slices.Contains([]change.Kind{change.Create, change.Modify, change.Metadata, change.Delete, change.Replace}, k) {
			return "kinds", fmt.Errorf("%q: use create, modify, metadata, delete or replace", k)
		}
	}
	if r.Deleted != nil && *r.Deleted < 0 {
		return "max_deletions", fmt.Errorf("%d: must not be negative", *r.Deleted)
	}
	if r.Changed != nil && *r.Changed < 0 {
		return "max_changes", fmt.Errorf("%d: must not be negative", *r.Changed)
	}
	if r.Outcome == AutoApprove && len(r.Paths) == 0 && len(r.Commands) == 0 && len(r.Units) == 0 {
		return "decision", fmt.Errorf("a rule that approves must name what it covers: paths, units or commands")
	}
	if r.On == "" {
		return "", nil
	}
	r.selector, err = target.ParseSelector(r.On)
	if err == nil {
		err = r.selector.Check(targets, groups)
	}
	return "on", err
}

// Judgement is what the rules say of a plan.
type Judgement struct {
	Outcome Outcome // RequireApproval where no rule matched
	Rule    string
	Source  string
	Reason  string
	Hint    string
	Steps   []Step
}

// Judge looks at what a plan does: the strictest rule that matches wins, the first of
// equals.
func (p Policy) Judge(e Effects) Judgement {
	j := Judgement{Outcome: RequireApproval, Reason: "no rule speaks of it"}
	found := false
	for _, r := range p.Effects {
		step := Step{Rule: r.Name, Source: r.Source}
		switch {
		case !matchesWho(r.Who, e.Requester):
			step.Why = "it is about other callers"
		case r.On != "" && !p.on(r.selector, e.Target, r.Outcome != AutoApprove):
			step.Why = "it is about other targets"
		case r.Outcome == AutoApprove:
			r.coversPlan(e, &step)
		default:
			r.hits(e, &step)
		}
		j.Steps = append(j.Steps, step)
		if step.Matched && (!found || r.Outcome > j.Outcome) {
			found = true
			j.Outcome, j.Rule, j.Source, j.Reason, j.Hint = r.Outcome, r.Name, r.Source, step.Why, ""
			if r.Reason != "" {
				j.Reason = r.Reason + " (" + step.Why + ")"
			}
		}
	}
	if j.Outcome == DenyPlan {
		j.Hint = fmt.Sprintf("plan it without what the rule names (%s), or change rule %s at %s", j.Reason, quoted(j.Rule), j.Source)
	}
	return j
}

// hits matches if the plan has something of everything the rule names.
func (r EffectRule) hits(e Effects, step *Step) {
	var found []string
	miss := func(what string) { step.Why = "the plan has no such " + what }
	for _, look := range r.looks() {
		if !look.set {
			continue
		}
		what, ok := look.find(e)
		if !ok {
			miss(look.name)
			return
		}
		found = append(found, look.name+" "+what)
	}
	step.Matched, step.Why = true, "it is about every plan"
	if len(found) > 0 {
		step.Why = strings.Join(found, ", ")
	}
}

// look finds one thing of a kind that a rule names.
type look struct {
	name string
	set  bool
	find func(e Effects) (string, bool)
}

func (r EffectRule) looks() []look {
	return []look{
		{"path", len(r.Paths) > 0 || len(r.Kinds) > 0, func(e Effects) (string, bool) {
			for _, f := range e.Files {
				if r.names(f) {
					return clip(f.Path), true
				}
			}
			return "", false
		}},
		{"setuid file", r.Setuid != nil && *r.Setuid, func(e Effects) (string, bool) {
			for _, f := range e.Files {
				if f.Setuid {
					return clip(f.Path), true
				}
			}
			return "", false
		}},
		{"number of deletions", r.Deleted != nil, func(e Effects) (string, bool) {
			return fmt.Sprint(e.deletions()), e.deletions() > *r.Deleted
		}},
		{"number of changes", r.Changed != nil, func(e Effects) (string, bool) { return fmt.Sprint(len(e.Files)), len(e.Files) > *r.Changed }},
		{"package", len(r.Packages) > 0, func(e Effects) (string, bool) { return anyName(r.Packages, e.Packages) }},
		{"user", len(r.Users) > 0, func(e Effects) (string, bool) { return anyName(r.Users, e.Users) }},
		{"unit", len(r.Units) > 0, func(e Effects) (string, bool) { return anyName(r.Units, e.Units) }},
		{"command", len(r.Commands) > 0, func(e Effects) (string, bool) {
			for _, c := range e.Commands {
				if slices.ContainsFunc(r.Commands, func(p Pattern) bool { return p.MayMean(c) }) {
					return "'" + clip(c.String()) + "'", true
				}
			}
			return "", false
		}},
		{"risk", len(r.Classes) > 0 || r.Severity > 0, func(e Effects) (string, bool) {
			for _, x := range e.Risks {
				if x.Severity >= r.Severity && (len(r.Classes) == 0 || slices.Contains(r.Classes, x.Class)) {
					return x.Class, true
				}
			}
			return "", false
		}},
	}
}

func (r EffectRule) names(f FileEffect) bool {
	return (len(r.Paths) == 0 || slices.ContainsFunc(r.Paths, func(g PathGlob) bool { return g.Match(f.Path) })) &&
		(len(r.Kinds) == 0 || slices.Contains(r.Kinds, f.Kind))
}

func (e Effects) deletions() int {
	n := 0
	for _, f := range e.Files {
		if f.Kind == change.Delete {
			n++
		}
	}
	return n
}

// anyName finds a name that one of the patterns means; "?" may be any.
func anyName(patterns, names []string) (string, bool) {
	for _, n := range names {
		if n == "?" || named(patterns, n) {
			return n, true
		}
	}
	return "", false
}

func named(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		return glob(p, name) || glob(p, strings.TrimSuffix(name, ".service"))
	})
}

// coversPlan matches if nothing in the plan is outside of what the rule names.
func (r EffectRule) coversPlan(e Effects, step *Step) {
	if why := r.uncovered(e); len(why) > 0 {
		step.Missing = why
		step.Why = "it does not cover " + strings.Join(why[:min(3, len(why))], ", ")
		return
	}
	step.Matched, step.Why = true, "it covers everything in the plan"
}

func (r EffectRule) uncovered(e Effects) []string {
	out := slices.Clone(e.Doubts)
	for _, f := range e.Files {
		switch {
		case len(r.Paths) == 0 || !r.names(f):
			out = append(out, string(f.Kind)+" "+clip(f.Path))
		case f.Setuid && (r.Setuid == nil || !*r.Setuid):
			out = append(out, "the setuid file "+clip(f.Path))
		}
	}
	if n := e.deletions(); n > value(r.Deleted, 0) {
		out = append(out, fmt.Sprintf("%d deletions", n))
	}
	if n := len(e.Files); n > value(r.Changed, n) {
		out = append(out, fmt.Sprintf("%d changes", n))
	}
	out = append(out, unnamed("package", r.Packages, e.Packages)...)
	out = append(out, unnamed("user", r.Users, e.Users)...)
	out = append(out, unnamed("unit", r.Units, e.Units)...)
	for _, c := range e.Commands {
		if !slices.ContainsFunc(r.Commands, func(p Pattern) bool { return p.Covers(c) }) && !r.coversUnits(c) {
			out = append(out, "'"+clip(c.String())+"'")
		}
	}
	for _, x := range e.Risks {
		if x.Severity > max(r.Severity, Low) || !slices.Contains(r.Classes, x.Class) {
			out = append(out, "the risk "+x.Class)
		}
	}
	return out
}

func value(p *int, def int) int {
	if p == nil {
		return def
	}
	return *p
}

func unnamed(what string, patterns, names []string) []string {
	var out []string
	for _, n := range names {
		if n == "?" || !named(patterns, n) {
			out = append(out, what+" "+clip(n))
		}
	}
	return out
}

// coversUnits reports whether c does nothing but act on units that r names.
func (r EffectRule) coversUnits(c Command) bool {
	units, ok := UnitsOf(c)
	return ok && len(units) > 0 && len(unnamed("", r.Units, units)) == 0
}

// UnitsOf returns the units that a command of systemctl or service acts on, with their
// suffix; not ok if it is another command, or nobody can tell.
func UnitsOf(c Command) (units []string, ok bool) {
	if slices.ContainsFunc(c.Words, func(w Word) bool { return w.Unknown }) {
		return nil, false
	}
	switch programName(c.Name()) {
	case "service", "rc-service":
		if len(c.Words) == 3 && !strings.HasPrefix(c.Words[1].Text, "-") {
			return []string{unitName(c.Words[1].Text)}, true
		}
		return nil, false
	case "systemctl":
	default:
		return nil, false
	}
	verb := ""
	for _, w := range c.Words[1:] {
		switch {
		case slices.Contains([]string{"--now", "--no-block", "--quiet", "-q", "--no-pager", "--no-reload", "--system"}, w.Text):
		case strings.HasPrefix(w.Text, "-"):
			return nil, false
		case verb == "":
			verb = w.Text
		default:
			units = append(units, unitName(w.Text))
		}
	}
	known := []string{"start", "stop", "restart", "reload", "try-restart", "reload-or-restart", "try-reload-or-restart", "enable", "disable", "reenable", "mask", "unmask", "reset-failed", "daemon-reload"}
	return units, slices.Contains(known, verb)
}

func unitName(name string) string {
	name = name[strings.LastIndexByte(name, '/')+1:]
	if i := strings.LastIndexByte(name, '.'); i > 0 && slices.Contains([]string{"service", "socket", "timer", "target", "path", "mount", "automount", "swap", "slice", "scope", "device"}, name[i+1:]) {
		return name
	}
	return name + ".service"
}

// CommandOf is a deferred command in the words of rules. program is what is run,
// whatever argv calls it.
func CommandOf(program string, argv []string) Command {
	words := []Word{{Text: program}}
	for _, a := range argv[min(1, len(argv)):] {
		words = append(words, Word{Text: a})
	}
	return Command{Words: words, Opaque: opaque(words), Edges: edges(words)}
}

func (p Policy) effectWarnings() []string {
	var out []string
	for _, r := range p.Effects {
		if r.Outcome == AutoApprove && slices.ContainsFunc(r.Paths, func(g PathGlob) bool { return g == "/**" }) {
			out = append(out, fmt.Sprintf("%s: rule %s approves changes anywhere", r.Source, quoted(r.Name)))
		}
		if r.On != "" {
			if _, err := r.selector.Match(p.Targets, p.Groups); err != nil {
				out = append(out, fmt.Sprintf("%s: rule %s matches no target now: %v", r.Source, quoted(r.Name), err))
			}
		}
	}
	return out
}

// RiskClasses are the classes of risks that rules may name: those of package review,
// which a test compares.
func RiskClasses() []string {
	return []string{"access-control", "acl", "authorized-keys", "boot", "capabilities", "certificates", "commands", "cron", "deletions", "devices", "firewall", "groups", "host-keys",
		"kernel-modules", "kernel-settings", "library-path", "log-tampering", "not-seen", "overlap", "ownership", "package-sources", "packages", "pam", "programs", "resolver", "script-failed",
		"secrets", "setuid", "shell-profile", "sshd-config", "sudoers", "timers", "units", "users", "world-writable"}
}
