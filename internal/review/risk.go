package review

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/bowline-sh/bowline/change"
	"github.com/bowline-sh/bowline/plan"
)

// Severity says how much a risk asks for.
type Severity int

const (
	Low    Severity = 1 // good to know
	Medium Severity = 2 // changes who may do what, or what runs
	High   Severity = 3 // gives power, takes a defence away, or cannot be taken back
)

// String is the word that also stands in JSON.
func (s Severity) String() string {
	switch s {
	case Low:
		return "low"
	case Medium:
		return "medium"
	case High:
		return "high"
	}
	return "none"
}

// MarshalText implements [encoding.TextMarshaler].
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Risk is one reason for a second look.
type Risk struct {
	Class    Class      `json:"class"`
	Severity Severity   `json:"severity"`
	Op       int        `json:"operation,omitempty"` // from 1; 0 for the plan as a whole
	Text     string     `json:"text"`                // one sentence for people, with names of the target as they are
	Evidence []Evidence `json:"evidence,omitempty"`
}

// Evidence is what shows a risk.
type Evidence struct {
	Op    int    `json:"operation"`
	After bool   `json:"after"`          // which side of the change Line counts in
	Line  int    `json:"line,omitempty"` // from 1; 0 for the operation as a whole
	Text  string `json:"text,omitempty"` // the line, shortened, without secrets; any bytes
}

// ops returns the operations that a risk is shown at, each once.
func (r Risk) ops() []int {
	var out []int
	if r.Op > 0 {
		out = append(out, r.Op)
	}
	for _, e := range r.Evidence {
		if e.Op > 0 && !slices.Contains(out, e.Op) {
			out = append(out, e.Op)
		}
	}
	return out
}

// Bounds on what a target can make this package do.
const (
	maxJudged   = 4 << 20 // bytes of one file that are parsed
	maxAll      = 32 << 20
	maxLines    = 200000 // of one file; one with more is not judged
	maxFindings = 40     // of one class in one file
	maxEvidence = 8      // of one risk
	maxQuote    = 160    // bytes of a line that are quoted
)

// judge looks at one plan.
type judge struct {
	plan     plan.Plan
	contents map[string][]byte
	host     names
	now      time.Time
	room     int // bytes that may still be parsed
	paths    map[change.Path]int
	risks    []Risk
}

func judgeAll(in Input, host names) []Risk {
	j := &judge{plan: in.Plan, contents: in.Contents, host: host, now: in.Now, room: maxAll, paths: make(map[change.Path]int, len(in.Plan.Ops))}
	for i, op := range in.Plan.Ops {
		if op.Change != nil {
			j.paths[op.Change.Path] = i + 1
		}
	}
	rules := rules()
	for i, op := range in.Plan.Ops {
		if op.Command != nil {
			j.command(i+1, *op.Command)
			continue
		}
		s := &subject{j: j, op: i + 1, path: string(op.Change.Path), c: *op.Change}
		for _, r := range rules {
			if r.match(s.path) {
				s.apply(r)
			}
		}
		s.judgeState()
	}
	j.whole()
	j.risks = append(j.risks, Overlaps(in.Plan, in.Others)...)
	slices.SortStableFunc(j.risks, func(a, b Risk) int {
		return cmp.Or(cmp.Compare(b.Severity, a.Severity), cmp.Compare(a.Op, b.Op))
	})
	return j.risks
}

// rule says which files a class parses.
type rule struct {
	class Class
	match func(path string) bool
	judge func(s *subject, before, after string)
	blind Severity // of a change that could not be read
	links bool     // judge takes symlinks too
}

// subject is one change under judgement.
type subject struct {
	j     *judge
	op    int
	path  string
	c     change.Change
	class Class // of the rule that is applied
	found map[Class]int
}

// apply runs a rule, or says why it cannot.
func (s *subject) apply(r rule) {
	s.class = r.class
	b, a := s.c.Before, s.c.After
	for _, x := range []change.State{b, a} {
		if x.Type != change.File && !x.Absent() && !(r.links && x.Type == change.Symlink) {
			if x.Type != change.Dir && b.Type != a.Type {
				s.add(r.blind, s.note("%s is or becomes a %s, which cannot be judged", s.path, x.Type))
			}
			return
		}
	}
	if b.SHA256 == a.SHA256 && b.Target == a.Target && b.Type == a.Type {
		return // metadata is judged for all paths alike
	}
	before, okB := s.content(b)
	after, okA := s.content(a)
	if !okB || !okA {
		s.add(r.blind, s.note("%s %s, and its content is not available here: judge it yourself", s.path, s.verb()))
		return
	}
	r.judge(s, before, after)
}

// content returns a file's text if it is kept and within bounds.
func (s *subject) content(x change.State) (string, bool) {
	text, ok := contentOf(x, s.j.contents)
	if !ok || len(text) > maxJudged || len(text) > s.j.room || strings.Count(text, "\n") >= maxLines {
		return "", false
	}
	s.j.room -= len(text)
	return text, true
}

func (s *subject) verb() string {
	switch {
	case s.c.Before.Absent():
		return "is created"
	case s.c.After.Absent():
		return "is deleted"
	}
	return "is changed"
}

// finding is what a parser has to say.
type finding struct {
	text     string
	evidence []Evidence
}

// note is a finding about the operation as a whole.
func (s *subject) note(format string, args ...any) finding {
	for i, a := range args {
		if text, ok := a.(string); ok {
			args[i] = clip(text)
		}
	}
	return finding{text: fmt.Sprintf(format, args...)}
}

// at adds a line to a finding. A line of 0 or less is none.
func (f finding) at(s *subject, after bool, l line) finding {
	if l.n > 0 && len(f.evidence) < maxEvidence {
		f.evidence = append(f.evidence, Evidence{Op: s.op, After: after, Line: l.n, Text: clip(l.text)})
	}
	return f
}

// change adds a line of each side.
func (f finding) change(s *subject, before, after line) finding {
	return f.at(s, false, before).at(s, true, after)
}

// add records a finding of the rule's class.
func (s *subject) add(sev Severity, f finding) { s.addAs(s.class, sev, f) }

func (s *subject) addAs(class Class, sev Severity, f finding) {
	if s.found == nil {
		s.found = map[Class]int{}
	}
	s.found[class]++
	switch n := s.found[class]; {
	case n > maxFindings:
		s.worsen(class, sev)
		return
	case n == maxFindings:
		f = s.note("%s has more changes of this kind than are listed", s.path)
	}
	if len(f.evidence) == 0 {
		f.evidence = []Evidence{{Op: s.op, After: !s.c.After.Absent()}}
	}
	s.j.risks = append(s.j.risks, Risk{Class: class, Severity: sev, Op: s.op, Text: f.text, Evidence: f.evidence})
}

// worsen keeps the entry that stands for the unlisted ones at their worst.
func (s *subject) worsen(class Class, sev Severity) {
	for i := len(s.j.risks) - 1; i >= 0; i-- {
		if r := &s.j.risks[i]; r.Class == class && r.Op == s.op {
			r.Severity = max(r.Severity, sev)
			return
		}
	}
}

// garbled records lines that are no valid entries.
func (s *subject) garbled(sev Severity, after bool, bad []line) {
	if len(bad) == 0 {
		return
	}
	f := s.note("%s could not be parsed in %d lines: judge it yourself", s.path, len(bad))
	for _, l := range bad {
		f = f.at(s, after, line{l.n, ""}) // whatever it is, it may be a secret
	}
	s.add(sev, f)
}

// clip shortens text to what fits a line.
func clip(text string) string {
	if len(text) <= maxQuote {
		return text
	}
	n := maxQuote
	for n > maxQuote-utf8.UTFMax && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n] + "..."
}

// line is a line of a file, from 1.
type line struct {
	n    int
	text string
}

// eachLine yields the lines of text, up to maxLines; a longer one is not judged.
func eachLine(text string) func(yield func(line) bool) {
	return func(yield func(line) bool) {
		for n := 1; text != "" && n <= maxLines; n++ {
			l, rest, _ := strings.Cut(text, "\n")
			text = rest
			if !yield(line{n, strings.TrimSuffix(l, "\r")}) {
				return
			}
		}
	}
}

// entry is a parsed piece of a file. Entries with the same key are told apart by
// their order.
type entry struct {
	key, value string
	line
}

type pair struct{ before, after entry }

// compare matches entries by key. Results are in the order of the files.
func compare(before, after []entry) (added, removed []entry, changed []pair) {
	type number struct {
		key string
		n   int // among those with the same key
	}
	old := make(map[number]entry, len(before))
	seen := make(map[string]int, len(before))
	numbered := func(e entry) number {
		seen[e.key]++
		return number{e.key, seen[e.key]}
	}
	for _, e := range before {
		old[numbered(e)] = e
	}
	clear(seen)
	for _, e := range after {
		k := numbered(e)
		o, ok := old[k]
		delete(old, k)
		switch {
		case !ok:
			added = append(added, e)
		case o.value != e.value:
			changed = append(changed, pair{o, e})
		}
	}
	clear(seen)
	for _, e := range before {
		if _, ok := old[numbered(e)]; ok {
			removed = append(removed, e)
		}
	}
	return added, removed, changed
}

// statements returns the lines that say something, with white space normalised.
// comment are the characters that begin one.
func statements(text, comment string) []entry {
	var out []entry
	for l := range eachLine(text) {
		if t := strings.TrimSpace(l.text); t != "" && !strings.ContainsRune(comment, rune(t[0])) {
			out = append(out, statement(t, l))
		}
	}
	return out
}

// continued is statements for formats where a backslash at the end of a line joins
// it with the next. A comment is never joined: what follows it is judged.
func continued(text, comment string) []entry {
	var out []entry
	var joined strings.Builder
	first := line{}
	for l := range eachLine(text) {
		t := strings.TrimSpace(l.text)
		if joined.Len() == 0 {
			if t == "" || strings.ContainsRune(comment, rune(t[0])) {
				continue
			}
			first = l
		}
		more := strings.HasSuffix(t, "\\") && (joined.Len() > 0 || t[0] != '#')
		joined.WriteString(strings.TrimSuffix(t, "\\"))
		joined.WriteByte(' ')
		if more && joined.Len() < 64<<10 {
			continue
		}
		out = append(out, statement(joined.String(), first))
		joined.Reset()
	}
	if joined.Len() > 0 {
		out = append(out, statement(joined.String(), first))
	}
	return out
}

func statement(text string, l line) entry {
	return entry{key: strings.Join(strings.Fields(text), " "), line: l}
}

// withoutTail cuts a trailing comment that follows white space.
func withoutTail(text string) string {
	if i := strings.Index(text, " #"); i >= 0 {
		return strings.TrimSpace(text[:i])
	}
	return text
}

// judgeStatements reports statements that appeared or vanished; weigh gives the
// severity of one, 0 for none, and a word on it.
func (s *subject) judgeStatements(before, after []entry, weigh func(e entry, added bool) (Severity, string)) {
	added, removed, _ := compare(before, after)
	for _, e := range added {
		if sev, what := weigh(e, true); sev > 0 {
			s.add(sev, s.note("%s: %s: %s", s.path, what, e.key).at(s, true, e.line))
		}
	}
	for _, e := range removed {
		if sev, what := weigh(e, false); sev > 0 {
			s.add(sev, s.note("%s: %s: %s", s.path, what, e.key).at(s, false, e.line))
		}
	}
}

func field(f []string, i int) string {
	if i < len(f) {
		return f[i]
	}
	return ""
}

func exactly(paths ...string) func(string) bool {
	return func(p string) bool { return slices.Contains(paths, p) }
}

func below(dirs ...string) func(string) bool {
	return func(p string) bool {
		for _, d := range dirs {
			if strings.HasPrefix(p, d) && len(p) > len(d) {
				return true
			}
		}
		return false
	}
}

func anyOf(matches ...func(string) bool) func(string) bool {
	return func(p string) bool {
		for _, m := range matches {
			if m(p) {
				return true
			}
		}
		return false
	}
}

func base(names ...string) func(string) bool {
	return func(p string) bool { return slices.Contains(names, p[strings.LastIndexByte(p, '/')+1:]) }
}
