// Package deferral decides which commands a dry run does not run: programs that
// reach outside the file system, such as systemctl. Each has a [Rule]; some of
// their invocations only read and are answered from the host at once, the others
// are recorded and run by apply. It is pure.
//
// A mistake in one direction costs truth, in the other the host: whatever a rule
// does not know is deferred.
package deferral

import (
	"path"
	"slices"
	"strings"
)

// Rule describes one program.
type Rule struct {
	Name string // base name of the program
	// Reads are patterns of the words of an invocation that only reads. A word
	// is a glob; "..." at the end stands for any further words. The words are
	// the arguments without flags and their values.
	Reads [][]string
	// ReadFlags make any invocation a read, such as --version.
	ReadFlags []string
	// DeferFlags make any invocation deferred, whatever else matches: flags that
	// act, or that let the script choose what is run or asked on the host.
	DeferFlags []string
	// DeferWith are texts that make an invocation deferred if a word holds one.
	DeferWith []string
	// ValueFlags take the next argument as their value.
	ValueFlags []string
	// WordFlags says that "-ab" is one flag, not -a and -b.
	WordFlags bool
	// Undo maps a verb to the one that takes it back. Verb is its place among
	// the words, from 0.
	Undo map[string]string
	Verb int
	// Answer is the exit code that a deferred invocation gives the script.
	Answer int
	// Stdin says that input is recorded with the command.
	Stdin bool
	// Local programs act on processes: they run in the dry run for its own
	// processes and are deferred for those of the host.
	Local bool
}

// Class is what the dry run does with an invocation.
type Class string

const (
	Read  Class = "read"  // run on the host at once
	Defer Class = "defer" // recorded; run by apply
)

// Classify says what to do with argv, and for what is deferred which command
// takes it back; nil where nobody knows.
func Classify(r Rule, argv []string) (Class, []string) {
	if len(argv) == 0 {
		return Defer, nil
	}
	words, flags := r.split(argv)
	if !slices.ContainsFunc(flags, r.defers) && !r.assigns(argv, words) {
		if slices.ContainsFunc(flags, func(f string) bool { return slices.Contains(r.ReadFlags, f) }) {
			return Read, nil
		}
		for _, pattern := range r.Reads {
			if match(pattern, argv, words) {
				return Read, nil
			}
		}
	}
	return Defer, r.undo(argv, words)
}

// split returns the places of the words in argv, and the flags.
func (r Rule) split(argv []string) (words []int, flags []string) {
	for i := 1; i < len(argv); i++ {
		a := argv[i]
		switch {
		case a == "--":
			for j := i + 1; j < len(argv); j++ {
				words = append(words, j)
			}
			return words, flags
		case len(a) > 1 && a[0] == '-':
			flags = append(flags, a)
			if slices.Contains(r.ValueFlags, a) {
				i++
			}
		default:
			words = append(words, i)
		}
	}
	return words, flags
}

// defers reports whether flag is, or may be, one of DeferFlags.
func (r Rule) defers(flag string) bool {
	name, _, _ := strings.Cut(flag, "=")
	for _, d := range r.DeferFlags {
		switch {
		case name == d:
			return true
		case strings.HasPrefix(d, "--") || r.WordFlags:
			// getopt and iproute2 accept what is left of a flag.
			if len(name) > 1 && name != "--" && strings.HasPrefix(d, name) {
				return true
			}
		case !strings.HasPrefix(flag, "--") && strings.Contains(flag[1:], d[1:]):
			return true
		}
	}
	return false
}

func (r Rule) assigns(argv []string, words []int) bool {
	return slices.ContainsFunc(words, func(i int) bool {
		return slices.ContainsFunc(r.DeferWith, func(text string) bool { return strings.Contains(argv[i], text) })
	})
}

func match(pattern, argv []string, words []int) bool {
	for i, p := range pattern {
		if p == "..." {
			return true
		}
		if i >= len(words) {
			return false
		}
		if ok, err := path.Match(p, argv[words[i]]); err != nil || !ok {
			return false
		}
	}
	return len(words) == len(pattern)
}

func (r Rule) undo(argv []string, words []int) []string {
	if r.Verb >= len(words) {
		return nil
	}
	back, ok := r.Undo[argv[words[r.Verb]]]
	if !ok {
		return nil
	}
	out := slices.Clone(argv)
	out[words[r.Verb]] = back
	return out
}

// Find returns the rule for a base name.
func Find(rules []Rule, name string) (Rule, bool) {
	i := slices.IndexFunc(rules, func(r Rule) bool { return r.Name == name })
	if i < 0 {
		return Rule{}, false
	}
	return rules[i], true
}
