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
func (c Config) Targets() []target.Target { return slices.Clone(c.targets) }

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
// $BOWLINE_TARGET), else default_target, else local. One that is unknown,
// disabled or not in allowed_targets is an error, before any network or key is
// touched.
func (c Config) Resolve(name, env string) (target.Target, error) {
	name = cmp.Or(name, env, c.DefaultTarget, target.LocalName)
	t, ok := c.Find(name)
	if !ok {
		return target.Target{Name: name}, diag.New(diag.Usage, "find target", "see 'bowline target list', or add it with 'bowline target add'",
			"there is no target %q%s; there are %s", name, suggest(name, c.names()), strings.Join(c.names(), ", "))
	}
	if t.Disabled {
		return t, diag.New(diag.Refused, "use target "+name, fmt.Sprintf("set enabled = true for it in %s", c.File), "it is disabled in the configuration")
	}
	if c.limited && !slices.Contains(c.allowed, name) {
		return t, diag.New(diag.Refused, "use target "+name, fmt.Sprintf("add it to allowed_targets in %s", c.File), "it is not in allowed_targets")
	}
	return t, nil
}

func (c Config) names() []string {
	names := make([]string, len(c.targets))
	for i, t := range c.targets {
		names[i] = t.Name
	}
	return names
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
