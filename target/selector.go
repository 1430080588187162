package target

import (
	"fmt"
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
			return Selector{}, fmt.Errorf("selector %q: %w", text, err)
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
// loudly. A name or group that does not exist is an error, and so is a selector
// that means nobody. Groups hold selectors, which may not name groups.
func (s Selector) Match(all []Target, groups map[string][]string) ([]Target, error) {
	return s.match(all, groups, true)
}

func (s Selector) match(all []Target, groups map[string][]string, nested bool) ([]Target, error) {
	chosen := make([]bool, len(all))
	if !slices.ContainsFunc(s.terms, func(t term) bool { return !t.exclude }) {
		for i := range all {
			chosen[i] = !all[i].Disabled
		}
	}
	for _, exclude := range []bool{false, true} { // "!" wins wherever it stands
		for _, t := range s.terms {
			if t.exclude != exclude {
				continue
			}
			hit, err := t.hits(all, groups, nested)
			if err != nil {
				return nil, err
			}
			for i := range all {
				if hit[i] {
					chosen[i] = !exclude
				}
			}
		}
	}
	var out []Target
	for i, t := range all {
		if chosen[i] {
			out = append(out, t)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("selector %q matches no target", s.text)
	}
	return out, nil
}

func (t term) hits(all []Target, groups map[string][]string, nested bool) ([]bool, error) {
	hit := make([]bool, len(all))
	if t.kind == byGroup {
		return hit, t.groupHits(hit, all, groups, nested)
	}
	found := false
	for i, x := range all {
		hit[i] = t.matches(x)
		found = found || hit[i]
	}
	if t.kind == byName && !found {
		return nil, fmt.Errorf("there is no target %q%s", t.name, near(t.name, all))
	}
	return hit, nil
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

func (t term) groupHits(hit []bool, all []Target, groups map[string][]string, nested bool) error {
	members, ok := groups[t.name]
	if !ok || !nested {
		return fmt.Errorf("there is no group %q here; groups stand under [groups] in the configuration", "@"+t.name)
	}
	for _, m := range members {
		s, err := ParseSelector(m)
		if err != nil {
			return fmt.Errorf("group %q: %w", t.name, err)
		}
		list, err := s.match(all, groups, false)
		if err != nil {
			return fmt.Errorf("group %q: %w", t.name, err)
		}
		for i, x := range all {
			if !x.Disabled && slices.ContainsFunc(list, func(l Target) bool { return l.Name == x.Name }) {
				hit[i] = true
			}
		}
	}
	return nil
}

// near suggests a known name that shares a beginning with name.
func near(name string, all []Target) string {
	best, length := "", 1
	for _, t := range all {
		n := 0
		for n < len(name) && n < len(t.Name) && name[n] == t.Name[n] {
			n++
		}
		if n > length {
			best, length = t.Name, n
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", best)
}
