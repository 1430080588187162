package target

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// Selector says which targets are meant: terms joined by commas, each a name, a
// glob of names ("web*"), "all", a group "@name", or a label "env=prod" or
// "env!=prod". A leading "!" takes the targets of its term away; a selector of
// such terms alone starts from all.
type Selector struct {
	text  string
	terms []term
}

type term struct {
	exclude bool
	kind    termKind
	name    string // name, glob, group or label key
	value   string // of a label
}

type termKind int

const (
	byName termKind = iota
	byGlob
	byAll
	byGroup
	byLabel
	byOtherLabel // "key!=value"
)

// String returns the selector as it was parsed.
func (s Selector) String() string { return s.text }

// ParseSelector reads a selector. Which names exist is known only to Match.
func ParseSelector(text string) (Selector, error) {
	s := Selector{text: text}
	for part := range strings.SplitSeq(text, ",") {
		t, err := parseTerm(strings.TrimSpace(part))
		if err != nil {
			return Selector{}, s.refuse(err)
		}
		s.terms = append(s.terms, t)
	}
	return s, nil
}

func parseTerm(s string) (term, error) {
	var t term
	if rest, ok := strings.CutPrefix(s, "!"); ok {
		t.exclude, s = true, strings.TrimSpace(rest)
	}
	switch {
	case s == "":
		return t, fmt.Errorf("a term is empty")
	case s == "all":
		t.kind = byAll
		return t, nil
	case s[0] == '@':
		t.kind, t.name = byGroup, s[1:]
		return t, ValidName(t.name)
	case strings.Contains(s, "="):
		key, value, _ := strings.Cut(s, "=")
		t.kind = byLabel
		if k, ok := strings.CutSuffix(key, "!"); ok {
			t.kind, key = byOtherLabel, k
		}
		t.name, t.value = key, value
		_, _, err := ParseLabel(key + "=" + value)
		return t, err
	case strings.ContainsAny(s, "*?["):
		t.kind, t.name = byGlob, s
		if _, err := path.Match(s, ""); err != nil || strings.ContainsAny(s, "!/\\") {
			return t, fmt.Errorf("%q is not a glob of target names", s)
		}
		return t, nil
	default:
		t.kind, t.name = byName, s
		return t, ValidName(s)
	}
}

// Match returns the targets that s means, in the order of all, each once. A
// disabled target is matched by its name alone, so that the caller can refuse it
// loudly. Groups hold selectors, which may name further groups; what a group
// says is joined as if by commas.
//
// It is an error if a name, a group or the key of a label does
// not exist, if a term that adds targets adds none, as a misspelt one would, and
// if nothing is left in the end.
func (s Selector) Match(all []Target, groups map[string][]string) ([]Target, error) {
	m := matcher{all: all, groups: groups}
	chosen, err := m.selector(s, nil)
	if err != nil {
		return nil, s.refuse(err)
	}
	var out []Target
	for i, t := range all {
		if chosen[i] {
			out = append(out, t)
		}
	}
	if len(out) == 0 {
		return nil, s.refuse(errors.New("it matches no target"))
	}
	return out, nil
}

// Check reports names and groups in s that do not exist. It does not ask
// whether anything is matched: labels come and go with targets.
func (s Selector) Check(all []Target, groups map[string][]string) error {
	m := matcher{all: all, groups: groups}
	for _, t := range s.terms {
		if t.kind != byName && t.kind != byGroup {
			continue
		}
		if err := m.check(t, nil); err != nil {
			return s.refuse(err)
		}
	}
	return nil
}

func (s Selector) refuse(err error) error {
	return fmt.Errorf("selector %q: %w", s.text, err)
}

// matcher evaluates selectors against one configuration.
type matcher struct {
	all    []Target
	groups map[string][]string
}

// selector returns which of all are meant. path are the groups it stands in.
func (m matcher) selector(s Selector, path []string) ([]bool, error) {
	chosen := make([]bool, len(m.all))
	if !slices.ContainsFunc(s.terms, func(t term) bool { return !t.exclude }) {
		for i := range m.all {
			chosen[i] = !m.all[i].Disabled
		}
	}
	for _, exclude := range []bool{false, true} { // "!" wins wherever it stands
		for _, t := range s.terms {
			if t.exclude != exclude {
				continue
			}
			hit, err := m.term(t, path)
			if err != nil {
				return nil, err
			}
			for i := range hit {
				if hit[i] {
					chosen[i] = !exclude
				}
			}
		}
	}
	return chosen, nil
}

func (m matcher) term(t term, path []string) ([]bool, error) {
	if err := m.check(t, path); err != nil {
		return nil, err
	}
	var hit []bool
	if t.kind == byGroup {
		s, err := m.group(t.name)
		if err == nil {
			hit, err = m.selector(s, append(path, t.name))
		}
		if err != nil {
			return nil, fmt.Errorf("group %q: %w", t.name, err)
		}
		for i := range hit {
			hit[i] = hit[i] && !m.all[i].Disabled
		}
	} else {
		hit = make([]bool, len(m.all))
		for i, x := range m.all {
			hit[i] = t.matches(x)
		}
	}
	if !t.exclude && len(path) == 0 && !slices.Contains(hit, true) {
		return nil, fmt.Errorf("%s matches no target that is enabled", t)
	}
	return hit, nil
}

// group returns what a group says as one selector.
func (m matcher) group(name string) (Selector, error) {
	if len(m.groups[name]) == 0 {
		return Selector{}, errors.New("it is empty")
	}
	return ParseSelector(strings.Join(m.groups[name], ","))
}

// check reports what t names and does not exist.
func (m matcher) check(t term, path []string) error {
	switch t.kind {
	case byName:
		names := make([]string, len(m.all))
		for i, x := range m.all {
			names[i] = x.Name
		}
		if !slices.Contains(names, t.name) {
			return fmt.Errorf("there is no target %q%s", t.name, Suggest(t.name, names))
		}
	case byGroup:
		if _, ok := m.groups[t.name]; !ok {
			return fmt.Errorf("there is no group %q%s; groups stand under [groups] in config.toml", "@"+t.name, Suggest(t.name, slices.Sorted(maps.Keys(m.groups))))
		}
		if slices.Contains(path, t.name) {
			return fmt.Errorf("group %q contains itself", "@"+t.name)
		}
	case byLabel, byOtherLabel:
		keys := m.labelKeys()
		if !slices.Contains(keys, t.name) {
			return fmt.Errorf("no target has a label %q%s", t.name, Suggest(t.name, keys))
		}
	}
	return nil
}

func (m matcher) labelKeys() []string {
	keys := make(map[string]bool)
	for _, x := range m.all {
		for k := range x.Labels {
			keys[k] = true
		}
	}
	return slices.Sorted(maps.Keys(keys))
}

func (t term) matches(x Target) bool {
	switch t.kind {
	case byName:
		return x.Name == t.name
	case byGlob:
		ok, err := path.Match(t.name, x.Name)
		return ok && err == nil && !x.Disabled
	case byAll:
		return !x.Disabled
	case byLabel:
		v, ok := x.Labels[t.name]
		return ok && v == t.value && !x.Disabled
	case byOtherLabel:
		return x.Labels[t.name] != t.value && !x.Disabled
	}
	return false
}

// String returns the term without its "!".
func (t term) String() string {
	switch t.kind {
	case byAll:
		return "all"
	case byGroup:
		return "@" + t.name
	case byLabel:
		return t.name + "=" + t.value
	case byOtherLabel:
		return t.name + "!=" + t.value
	}
	return t.name
}
