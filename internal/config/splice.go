package config

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/bowline-sh/bowline/target"
)

// errAt is an edit refused because of how the file is written at an offset.
func (s *syntax) errAt(path string, offset int, format string, args ...any) error {
	return fmt.Errorf("%s:%d: %s", path, s.lineAt(offset), fmt.Sprintf(format, args...))
}

// change replaces the bytes of a file from one offset to another.
type change struct {
	from, to int
	text     string
}

// apply makes changes that do not overlap.
func (s *syntax) apply(changes []change) []byte {
	slices.SortStableFunc(changes, func(a, b change) int { return a.from - b.from })
	var out []byte
	at := 0
	for _, c := range changes {
		out = append(append(out, s.data[at:c.from]...), c.text...)
		at = c.to
	}
	return append(out, s.data[at:]...)
}

// newline is the line end the file uses.
func (s *syntax) newline() string {
	if i := bytes.IndexByte(s.data, '\n'); i > 0 && s.data[i-1] == '\r' {
		return "\r\n"
	}
	return "\n"
}

// appendTable adds a table at the end, after a blank line.
func (s *syntax) appendTable(lines []string) []byte {
	nl := s.newline()
	out := slices.Clone(s.data)
	if len(out) > 0 && out[len(out)-1] != '\n' {
		out = append(out, nl...)
	}
	if len(out) > 0 && !bytes.HasSuffix(out, []byte("\n"+nl)) {
		out = append(out, nl...)
	}
	return append(out, strings.Join(lines, nl)+nl...)
}

// of returns the indexes of the expressions that define a target.
func (s *syntax) of(name string) []int {
	var out []int
	for i, x := range s.exprs {
		if hasPrefix(x.key, []string{"targets", name}) || hasPrefix(x.key, []string{"executor", name}) {
			out = append(out, i)
		}
	}
	return out
}

// ownTable makes sure that a target is written as [targets.NAME] or
// [executor.NAME], whose lines are its own and nobody else's.
func (s *syntax) ownTable(path, name string) ([]int, error) {
	mine := s.of(name)
	for _, i := range mine {
		x := s.exprs[i]
		if x.isValue() && x.under < 2 || x.array {
			return nil, s.errAt(path, x.first, "the target is not written as a table of its own, [targets.%s]; change it by hand", tomlKey(name))
		}
	}
	// A target in "targets = { ... }" has no expression at all.
	if len(mine) == 0 {
		return nil, s.errAt(path, s.offset([]string{"targets", name}), "the target is written inside an inline table; change it by hand")
	}
	return mine, nil
}

func (s *syntax) offset(key []string) int {
	for _, p := range s.places {
		if slices.Equal(p.key, key) {
			return p.offset
		}
	}
	return 0
}

// cutTarget removes the tables of a target: their headers, keys and the
// comments in between. Comments above a table and after its last key stay.
func (s *syntax) cutTarget(path, name string) ([]change, error) {
	mine, err := s.ownTable(path, name)
	if err != nil {
		return nil, err
	}
	var out []change
	for n := 0; n < len(mine); n++ {
		first := mine[n]
		for n+1 < len(mine) && mine[n+1] == mine[n]+1 {
			n++
		}
		from, to := s.exprs[first].start, s.lineEnd(s.exprs[mine[n]].end)
		out = append(out, change{s.blankAbove(from, to), to, ""})
	}
	return out, nil
}

// blankAbove moves from over one blank line, if what stays after to would
// otherwise be set off by two.
func (s *syntax) blankAbove(from, to int) int {
	before := from
	if before > 0 {
		before = 1 + bytes.LastIndexByte(s.data[:from-1], '\n')
	}
	blank := before < from && len(bytes.TrimSpace(s.data[before:from])) == 0
	after := to == len(s.data) || len(bytes.TrimSpace(s.data[to:s.lineEnd(to)])) == 0
	if blank && after {
		return before
	}
	return from
}

// setTarget changes the keys in which want differs from have, within the
// target's table.
func (s *syntax) setTarget(path string, have, want target.Target) ([]change, error) {
	mine, err := s.ownTable(path, have.Name)
	if err != nil {
		return nil, err
	}
	header := s.exprs[mine[0]]
	if header.key[0] == "executor" {
		return nil, s.errAt(path, header.first, "[executor.%s] is the older form; write it as [targets.%[1]s] to change it", tomlKey(have.Name))
	}
	if len(header.key) != 2 || header.isValue() {
		return nil, s.errAt(path, header.first, "the target begins with a table inside it; change it by hand")
	}
	var out []change
	added, old := "", fields(have)
	for i, f := range fields(want) {
		if f.value == old[i].value {
			continue
		}
		c, found, err := s.setField(path, mine, f)
		if err != nil {
			return nil, err
		}
		if found {
			out = append(out, c)
		} else {
			added += f.key + " = " + f.value + s.newline()
		}
	}
	return append(out, s.insertLines(s.lineEnd(s.lastOf(mine).end), added)), nil
}

// insertLines adds whole lines at the beginning of a line or the end of the file.
func (s *syntax) insertLines(at int, lines string) change {
	if lines != "" && at > 0 && s.data[at-1] != '\n' {
		lines = s.newline() + lines
	}
	return change{at, at, lines}
}

// lastOf is the last expression of the table itself, before those inside it.
func (s *syntax) lastOf(mine []int) expression {
	last := s.exprs[mine[0]]
	for _, i := range mine[1:] {
		x := s.exprs[i]
		if !x.isValue() || x.under != 2 {
			break
		}
		last = x
	}
	return last
}

// setField replaces a key's value, or removes its line if the default is
// wanted. It reports whether the key stands in the file.
func (s *syntax) setField(path string, mine []int, f field) (c change, found bool, err error) {
	for _, i := range mine {
		x := s.exprs[i]
		if len(x.key) < 3 || x.key[2] != f.key {
			continue
		}
		switch {
		case len(x.key) > 3 || !x.isValue():
			return change{}, true, s.errAt(path, x.first, "%s is not written as one value; change it by hand", f.key)
		case f.value == "":
			return change{x.start, s.lineEnd(x.end), ""}, true, nil
		}
		return change{x.value, x.end, f.value}, true, nil
	}
	return change{}, false, nil
}

// setTop replaces the value of the first of the top-level keys that stands in
// the file, or adds the first key before the first table, below the comment
// the file may begin with.
func (s *syntax) setTop(value string, names ...string) change {
	for _, name := range names {
		for _, x := range s.exprs {
			if x.isValue() && len(x.key) == 1 && x.key[0] == name {
				return change{x.value, x.end, value}
			}
		}
	}
	at := s.headEnd()
	return change{at, at, names[0] + " = " + value + s.newline()}
}

// headEnd is where the comment block at the top of the file ends: at its first
// blank line, or at the beginning if there is none before the first key.
func (s *syntax) headEnd() int {
	for at := 0; at < len(s.data); at = s.lineEnd(at) {
		line := bytes.TrimSpace(s.data[at:s.lineEnd(at)])
		if len(line) == 0 {
			return at
		}
		if line[0] != '#' {
			break
		}
	}
	return 0
}

// cutTop removes the lines of top-level keys.
func (s *syntax) cutTop(names ...string) []change {
	var out []change
	for _, x := range s.exprs {
		if x.isValue() && len(x.key) == 1 && slices.Contains(names, x.key[0]) {
			out = append(out, change{x.start, s.lineEnd(x.end), ""})
		}
	}
	return out
}
