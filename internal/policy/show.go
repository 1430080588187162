package policy

import (
	"fmt"
	"strings"
)

// String says what a rule says, in one line.
func (r Rule) String() string {
	var b strings.Builder
	b.WriteString(string(r.Decision))
	clause(&b, "", r.Do, "everything")
	clause(&b, "to", r.Who, "anybody")
	one(&b, "on", r.On)
	clause(&b, "with", r.Profiles, "")
	clause(&b, "of", r.Commands, "")
	clause(&b, "writing", r.Writes, "")
	return b.String()
}

// String says what a limit says.
func (l Limit) String() string {
	var b strings.Builder
	if l.Rate > 0 {
		fmt.Fprintf(&b, "%d in %s", l.Rate, l.Per)
	}
	if l.Concurrent > 0 {
		if b.Len() > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%d at a time", l.Concurrent)
	}
	clause(&b, "of", l.Do, "everything")
	clause(&b, "for each of", l.Who, "anybody")
	return b.String()
}

// String says what a rule of effects says.
func (r EffectRule) String() string {
	var b strings.Builder
	b.WriteString(r.Outcome.String())
	clause(&b, "asked by", r.Who, "")
	one(&b, "on", r.On)
	clause(&b, "paths", r.Paths, "")
	clause(&b, "kinds", r.Kinds, "")
	if r.Setuid != nil {
		fmt.Fprintf(&b, " setuid %v", *r.Setuid)
	}
	if r.Deleted != nil {
		fmt.Fprintf(&b, " deletions over %d", *r.Deleted)
	}
	if r.Changed != nil {
		fmt.Fprintf(&b, " changes over %d", *r.Changed)
	}
	clause(&b, "packages", r.Packages, "")
	clause(&b, "users", r.Users, "")
	clause(&b, "units", r.Units, "")
	clause(&b, "commands", r.Commands, "")
	clause(&b, "risks", r.Classes, "")
	one(&b, "severity", []string{"", "low", "medium", "high"}[r.Severity])
	return b.String()
}

// clause writes a list; none is what an empty one means, "" to say nothing.
func clause[T any](b *strings.Builder, word string, list []T, none string) {
	text := none
	if len(list) > 0 {
		items := make([]string, len(list))
		for i, x := range list {
			items[i] = fmt.Sprint(x)
		}
		text = strings.Join(items, ", ")
	}
	one(b, word, text)
}

func one(b *strings.Builder, word, text string) {
	if text == "" {
		return
	}
	if word != "" {
		b.WriteString(" " + word)
	}
	b.WriteString(" " + text)
}
