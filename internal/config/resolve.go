package config

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/target"
)

// Targets returns all targets, disabled ones too, in the order of the file;
// local comes last unless the file defines it.
func (c Config) Targets() []target.Target {
	out := make([]target.Target, len(c.targets))
	for i, t := range c.targets {
		out[i] = t.Clone()
	}
	return out
}

// Line is where a target is defined, or 0 for the built-in local.
func (c Config) Line(name string) int { return c.lines[name] }

// Find returns a target whether or not it may be used.
func (c Config) Find(name string) (target.Target, bool) {
	i := slices.IndexFunc(c.targets, func(t target.Target) bool { return t.Name == name })
	if i < 0 {
		return target.Target{}, false
	}
	return c.targets[i].Clone(), true
}

// Resolve returns the target to act on: name, else env (the value of
// $BOWLINE_TARGET), else default_target, else local. One that is unknown is an
// error of kind Usage, one that is disabled or not in allowed_targets of kind
// Refused, before any network or key is touched. With an error, the target is
// only what there is to say who was meant.
func (c Config) Resolve(name, env string) (target.Target, error) {
	origin := ""
	if name == "" && env != "" {
		origin = " (from $BOWLINE_TARGET)"
	}
	name = cmp.Or(name, env, c.DefaultTarget, target.LocalName)
	t, ok := c.Find(name)
	if !ok {
		return target.Target{Name: name}, diag.New(diag.Usage, "find target", "see 'bowline target list', or add it with 'bowline target add'",
			"there is no target %q%s%s; there are %s", name, origin, suggest(name, c.names()), c.list())
	}
	return t, c.accept(t)
}

// accept reports why t may not be used. allowed_targets takes the place of
// "all that are enabled", but cannot enable what is disabled.
func (c Config) accept(t target.Target) error {
	if t.Disabled {
		return diag.New(diag.Refused, "use target "+t.Name, fmt.Sprintf("set enabled = true for it in %s", c.File), "it is disabled in the configuration")
	}
	if !c.permits(t.Name) {
		return diag.New(diag.Refused, "use target "+t.Name, fmt.Sprintf("add it to allowed_targets in %s", c.File), "it is not in allowed_targets")
	}
	return nil
}

func (c Config) permits(name string) bool { return !c.limited || slices.Contains(c.allowed, name) }

// Select returns the targets that a selector means, in the order of the file,
// all of which may be used. A target that is disabled or not in
// allowed_targets is left out of labels, groups, globs and all, and refused if
// it is named. The built-in local is this person's own machine: it is meant
// only by its name, or if there is no other target.
func (c Config) Select(text string) ([]target.Target, error) {
	const op, hint = "select targets", "see 'bowline target list'"
	s, err := target.ParseSelector(text)
	if err != nil {
		return nil, diag.New(diag.Usage, op, hint, "%w", err)
	}
	candidates := c.Targets()
	for i := range candidates {
		t := &candidates[i]
		builtin := t.Name == target.LocalName && c.Line(t.Name) == 0 && len(candidates) > 1
		t.Disabled = t.Disabled || builtin || !c.permits(t.Name)
	}
	matched, err := s.Match(candidates, c.Groups)
	if err != nil {
		return nil, diag.New(diag.Usage, op, hint, "%w", err)
	}
	for i, m := range matched {
		t, _ := c.Find(m.Name)
		if err := c.accept(t); err != nil {
			return nil, err
		}
		matched[i] = t
	}
	return matched, nil
}

func (c Config) names() []string {
	names := make([]string, len(c.targets))
	for i, t := range c.targets {
		names[i] = t.Name
	}
	return names
}

// maxListed keeps the error readable with thousands of targets.
const maxListed = 20

func (c Config) list() string {
	names := c.names()
	if more := len(names) - maxListed; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:maxListed], ", "), more)
	}
	return strings.Join(names, ", ")
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
