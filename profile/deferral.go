package profile

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// Deferral says what a dry run does with programs that reach outside the file
// system. Invocations that only read are run on the host at once and answer the
// script; all others are recorded in their place and run by apply.
//
// What no field knows is deferred: a mistake in that direction costs a truthful
// answer, one in the other the host.
type Deferral struct {
	Programs []string // base names

	// Reads are patterns of invocations that only read, each the words of one,
	// divided by spaces. Words are the arguments without flags and their values; a
	// pattern's word is a glob, and "..." at the end stands for any further words.
	// "" is the program without words.
	Reads     []string
	ReadFlags []string // make any invocation a read, such as "--version"
	// DeferFlags make any invocation deferred, whatever else matches: flags that
	// act, or that let the script choose what is run or asked on the host.
	DeferFlags []string
	DeferWith  []string // texts that make an invocation deferred if a word holds one
	ValueFlags []string // take the next argument as their value
	WordFlags  bool     // "-ab" is one flag, not -a and -b

	// Undo maps a word to the one that takes it back, as "start" to "stop"; it is
	// the word in place UndoWord, from 0.
	Undo     map[string]string
	UndoWord int

	Answer int  // exit code that a deferred invocation gives the script
	Stdin  bool // input is recorded with the command
	Local  bool // acts on processes: those of the dry run at once, those of the host deferred
}

// DryRun is the part of a profile that a dry run follows.
type DryRun struct {
	// Defer comes before the built-in table: an entry for a program replaces the
	// built-in one.
	Defer []Deferral
	// Volatile are paths whose changes are not planned, with all below them: globs
	// of absolute paths. With the prefix "files:" directories stay in the plan.
	Volatile []string
	// NoDefaults leaves out the built-in table and the built-in volatile paths. A
	// program that no entry names runs in the dry run as any other then.
	NoDefaults bool
}

// FilesOnly marks a volatile path whose directories stay in the plan.
const FilesOnly = "files:"

// anyWords stands for any further words in [Deferral.Reads].
const anyWords = "..."

func (d DryRun) validate() error {
	owner := map[string]int{}
	for i, x := range d.Defer {
		if err := x.validate(fmt.Sprintf("defer[%d]", i)); err != nil {
			return err
		}
		for _, name := range x.Programs {
			if first, twice := owner[name]; twice {
				return bad(fmt.Sprintf("defer[%d].programs", i), "%q stands in defer[%d] already", name, first)
			}
			owner[name] = i
		}
	}
	for i, v := range d.Volatile {
		p := strings.TrimPrefix(v, FilesOnly)
		field := fmt.Sprintf("volatile[%d]", i)
		if err := cleanPath(p); err != nil {
			return bad(field, "%w", err)
		}
		if _, err := path.Match(p, ""); err != nil {
			return bad(field, "%q is not a glob pattern: %w", p, err)
		}
		if p == "/" {
			return bad(field, `"/" would leave everything out of the plan`)
		}
	}
	return nil
}

func (d Deferral) validate(field string) error {
	if len(d.Programs) == 0 {
		return bad(field+".programs", "must name at least one program")
	}
	for _, name := range d.Programs {
		if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00\n") {
			return bad(field+".programs", "%q is not the base name of a program", name)
		}
	}
	for i, pattern := range d.Reads {
		if err := validReads(strings.Fields(pattern)); err != nil {
			return bad(fmt.Sprintf("%s.reads[%d]", field, i), "%w", err)
		}
	}
	for _, f := range []struct {
		name string
		list []string
	}{{"read_flags", d.ReadFlags}, {"defer_flags", d.DeferFlags}, {"value_flags", d.ValueFlags}} {
		for i, flag := range f.list {
			if len(flag) < 2 || flag[0] != '-' || flag == "--" {
				return bad(fmt.Sprintf("%s.%s[%d]", field, f.name, i), "%q is not a flag", flag)
			}
		}
	}
	if slices.Contains(d.DeferWith, "") {
		return bad(field+".defer_with", "must not hold an empty text")
	}
	if d.Answer < 0 || d.Answer > 255 {
		return bad(field+".answer", "%d: use 0 to 255", d.Answer)
	}
	if d.UndoWord < 0 || d.UndoWord > 16 {
		return bad(field+".undo_word", "%d: use 0 to 16", d.UndoWord)
	}
	for from, to := range d.Undo {
		if from == "" || to == "" {
			return bad(field+".undo", "must not hold an empty word")
		}
	}
	return nil
}

func validReads(words []string) error {
	for i, w := range words {
		if w == anyWords && i < len(words)-1 {
			return fmt.Errorf("%q must be the last word", anyWords)
		}
		if _, err := path.Match(w, ""); err != nil {
			return fmt.Errorf("%q is not a glob pattern: %w", w, err)
		}
	}
	return nil
}

func (d DryRun) clone() DryRun {
	d.Volatile = slices.Clone(d.Volatile)
	d.Defer = slices.Clone(d.Defer)
	for i := range d.Defer {
		x := &d.Defer[i]
		for _, list := range []*[]string{&x.Programs, &x.Reads, &x.ReadFlags, &x.DeferFlags, &x.DeferWith, &x.ValueFlags} {
			*list = slices.Clone(*list)
		}
		x.Undo = maps.Clone(x.Undo)
	}
	return d
}

func (d DryRun) warnings() []string {
	var w []string
	for i, x := range d.Defer {
		if slices.Contains(x.Reads, anyWords) {
			w = append(w, fmt.Sprintf("defer[%d]: what the script calls %s runs on the host during the dry run, unless a flag defers it", i, strings.Join(x.Programs, ", ")))
		}
	}
	if d.NoDefaults {
		w = append(w, "defer_defaults = false: programs such as systemctl that no entry names run in the dry run as any other")
	}
	return w
}
