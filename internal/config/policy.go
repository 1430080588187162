package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	changes "github.com/bowline-sh/bowline/change"
	"github.com/bowline-sh/bowline/internal/policy"
)

// table is one element of a list of tables below [policy].
type table struct {
	b    *builder
	list string
	n    int // from 0
}

func (t table) fault(field string, err error) {
	if err == nil {
		return
	}
	line, column := t.b.syntax.element([]string{"policy", t.list}, t.n, field)
	t.b.faults = append(t.b.faults, fault{line, column, fmt.Sprintf("policy.%s %d: %s: %v", t.list, t.n+1, field, err)})
}

func (t table) source() string {
	line, _ := t.b.syntax.element([]string{"policy", t.list}, t.n, "")
	return fmt.Sprintf("%s:%d", t.b.path, line)
}

func (t table) name(given string) string { return cmp.Or(given, fmt.Sprintf("%s %d", t.list, t.n+1)) }

// each parses a list of strings, each apart.
func each[T any](t table, field string, list []string, parse func(string) (T, error)) []T {
	var out []T
	for _, text := range list {
		x, err := parse(text)
		t.fault(field, err)
		out = append(out, x)
	}
	if list != nil && len(list) == 0 {
		t.fault(field, errors.New("an empty list would match nothing; leave it out to match anything"))
	}
	return out
}

func asText[T ~string](s string) (T, error) { return T(s), nil }

func (b *builder) policy(f filePolicy) {
	b.noInlineLists()
	b.cfg.Policy = policy.Policy{Targets: b.cfg.targets, Groups: b.cfg.Groups}
	p := &b.cfg.Policy
	names := map[string]bool{}
	unique := func(t table, name string) string {
		name = t.name(name)
		if names[name] {
			t.fault("name", fmt.Errorf("another rule is called %q", name))
		}
		if strings.ContainsFunc(name, func(r rune) bool { return r < ' ' }) {
			t.fault("name", fmt.Errorf("%q holds a control character", name))
		}
		names[name] = true
		return name
	}
	for i, r := range f.Rule {
		t := table{b, "rule", i}
		p.Rules = append(p.Rules, b.rule(t, r, unique(t, r.Name)))
	}
	for i, l := range f.Limit {
		t := table{b, "limit", i}
		p.Limits = append(p.Limits, b.limit(t, l, unique(t, l.Name)))
	}
	for i, e := range f.Effect {
		t := table{b, "effect", i}
		p.Effects = append(p.Effects, b.effect(t, e, unique(t, e.Name)))
	}
}

// noInlineLists: in a list written as a value, misspelt keys would go unnoticed.
func (b *builder) noInlineLists() {
	for _, x := range b.syntax.exprs {
		switch key := strings.Join(x.key, "."); {
		case !x.isValue():
		case x.key[0] == "policy" && len(x.key) <= 2:
			b.fault(x.key, "write each as a table of its own: [[policy.rule]]")
		case key == "serve" || key == "serve.people":
			b.fault(x.key, "write each as a table of its own: [serve], [[serve.people]]")
		}
	}
}

func (b *builder) rule(t table, f fileRule, name string) policy.Rule {
	r := policy.Rule{
		Name: name, Source: t.source(), Who: each(t, "who", f.Who, policy.ParseWho), Do: each(t, "do", f.Do, asText[string]), On: f.On,
		Profiles: each(t, "profiles", f.Profiles, asText[string]), Commands: each(t, "commands", f.Commands, policy.ParsePattern),
		Writes: each(t, "writes", f.Writes, asText[policy.PathGlob]), Decision: policy.Decision(f.Decision), Reason: f.Reason,
	}
	field, err := r.Prepare(b.cfg.targets, b.cfg.Groups)
	t.fault(field, err)
	return r
}

func (b *builder) limit(t table, f fileLimit, name string) policy.Limit {
	l := policy.Limit{Name: name, Source: t.source(), Who: each(t, "who", f.Who, policy.ParseWho), Do: each(t, "do", f.Do, asText[string]), Concurrent: f.Concurrent}
	if f.Concurrent < 0 {
		t.fault("concurrent", fmt.Errorf("%d: must be positive", f.Concurrent))
	}
	var err error
	if f.Rate != "" {
		l.Rate, l.Per, err = policy.ParseRate(f.Rate)
		t.fault("rate", err)
	}
	if err == nil {
		field, err := l.Prepare()
		t.fault(field, err)
	}
	return l
}

func (b *builder) effect(t table, f fileEffect, name string) policy.EffectRule {
	r := policy.EffectRule{
		Name: name, Source: t.source(), Who: each(t, "who", f.Who, policy.ParseWho), On: f.On, Paths: each(t, "paths", f.Paths, asText[policy.PathGlob]),
		Kinds: each(t, "kinds", f.Kinds, asText[changes.Kind]), Setuid: f.Setuid, Deleted: f.MaxDeletions, Changed: f.MaxChanges,
		Packages: each(t, "packages", f.Packages, asText[string]), Users: each(t, "users", f.Users, asText[string]), Units: each(t, "units", f.Units, asText[string]),
		Commands: each(t, "commands", f.Commands, policy.ParsePattern), Classes: each(t, "classes", f.Classes, asText[string]), Reason: f.Reason,
	}
	for _, c := range f.Classes {
		if !slices.Contains(policy.RiskClasses(), c) {
			t.fault("classes", fmt.Errorf("there is no class %q%s; docs/risks.md lists them", c, suggest(c, policy.RiskClasses())))
		}
	}
	var err error
	r.Severity, err = policy.ParseSeverity(f.Severity)
	t.fault("severity", err)
	r.Outcome, err = policy.ParseOutcome(f.Decision)
	t.fault("decision", err)
	if err == nil {
		field, err := r.Prepare(b.cfg.targets, b.cfg.Groups)
		t.fault(field, err)
	}
	return r
}

func (b *builder) notify(f fileNotify) {
	b.cfg.Notify = f.Command
	if f.Command != nil && (len(f.Command) == 0 || f.Command[0] == "" || strings.Contains(f.Command[0], "{")) {
		b.fault([]string{"notify", "command"}, "name a program and its arguments, as [\"notify-send\", \"Bowline\", \"{id} on {target}\"]")
	}
}

// PolicyCase is one case of a file for 'bowline policy test'.
type PolicyCase struct {
	Name     string   `toml:"name"`
	Who      string   `toml:"who"`
	Do       string   `toml:"do"`
	On       string   `toml:"on"`
	Profile  string   `toml:"profile"`
	Argv     []string `toml:"argv"`
	Script   string   `toml:"script"`
	Want     string   `toml:"want"`
	Rule     string   `toml:"rule"` // that must decide; "" for any
	Paths    []string `toml:"paths"`
	Deleted  []string `toml:"deleted"`
	Setuid   []string `toml:"setuid"`
	Packages []string `toml:"packages"`
	Users    []string `toml:"users"`
	Commands []string `toml:"commands"`
	Classes  []string `toml:"classes"`
	Severity string   `toml:"severity"`
	Warned   bool     `toml:"warned"`

	Line int `toml:"-"`
}

// ParsePolicyCases reads a table of cases, [[case]]. path is for messages.
func ParsePolicyCases(path string, data []byte) ([]PolicyCase, error) {
	var f struct {
		Case []PolicyCase `toml:"case"`
	}
	err := toml.NewDecoder(bytes.NewReader(data)).DisallowUnknownFields().Decode(&f)
	if e, ok := errors.AsType[*toml.StrictMissingError](err); ok && len(e.Errors) > 0 {
		row, col := e.Errors[0].Position()
		return nil, fmt.Errorf("%s:%d:%d: unknown key %q", path, row, col, dotted(e.Errors[0].Key()))
	}
	if e, ok := errors.AsType[*toml.DecodeError](err); ok {
		row, col := e.Position()
		return nil, fmt.Errorf("%s:%d:%d: %s", path, row, col, readable(e))
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	s, err := parseSyntax(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for i := range f.Case {
		f.Case[i].Line, _ = s.element([]string{"case"}, i, "")
	}
	return f.Case, nil
}
