package tui

import (
	"fmt"
	"strings"

	tea "charm.land/bubbletea/v2"

	"github.com/bowline-sh/bowline/internal/review"
)

// wideEnough is from how many columns on two versions stand side by side.
const wideEnough = 140

// operationScreen is one operation: its risks, its properties in full and its diff.
type operationScreen struct {
	page   page
	from   *sessionScreen
	n      int // operation, from 1
	diff   review.Diff
	ready  bool // diff is made
	secret bool // shown though it is sensitive
	brief  bool // properties folded
	single bool // never side by side
	folded map[int]bool
	rows   []opRow
	texts  lines // of rows that are no part of the diff
	lay    diffLayout
}

// opRow is one row of the page: a text, the header of a hunk, or a part of a line of
// one, or of two lines that stand side by side.
type opRow struct {
	text        int // index of texts; -1 if it is of the diff
	hunk        int
	left, right int // indexes of lines; -1 for none; both -1 for the header
	part        int // of the wrapped lines, from 0
}

type diffedMsg struct {
	doc  *review.Document
	n    int
	diff review.Diff
}

// look opens an operation and has its diff made.
func (a *app) look(from *sessionScreen, n int) tea.Cmd {
	s := &operationScreen{from: from, n: n}
	s.page = page{src: s}
	a.push(s)
	return s.show(a, n)
}

// show changes to operation n.
func (s *operationScreen) show(a *app, n int) tea.Cmd {
	s.n, s.diff, s.ready, s.secret, s.folded = n, review.Diff{}, false, false, map[int]bool{}
	s.page.top = 0
	a.layout()
	doc := s.from.doc
	return a.call(func() tea.Msg { return diffedMsg{doc, n, doc.Diff(n)} })
}

func (a *app) diffed(m diffedMsg) {
	if s, ok := a.screen().(*operationScreen); ok && s.from.doc == m.doc && s.n == m.n {
		s.diff, s.ready = m.diff, true
		a.layout()
	}
}

func (s *operationScreen) row() review.Row { return s.from.doc.Rows[s.n-1] }
func (s *operationScreen) body() *page     { return &s.page }

func (s *operationScreen) head(_ *app) []line {
	r := s.row()
	return []line{{ink(bold, fmt.Sprintf("Operation %d of %d  ", s.n, len(s.from.doc.Rows))), ink(symbolStyle(r.Symbol), r.Symbol+" "), ink(bold, r.Subject)}}
}

func (s *operationScreen) keys() []key {
	ks := []key{{"[ ]", "hunk"}, {"{ }", "file"}, {"z", "fold"}, {"f", "facts"}}
	if s.row().Sensitive {
		ks = append(ks, key{"x", "secrets"})
	}
	if s.page.width >= wideEnough {
		ks = append(ks, key{"s", "side by side"})
	}
	if s.page.find != "" {
		ks = append(ks, key{"n N", "next"})
	}
	return append(ks, key{"Space", "select"})
}

func (s *operationScreen) press(a *app, key string) tea.Cmd {
	switch key {
	case "enter", "l", "right":
		s.page.move(1)
	case "}", "J", "tab":
		return s.step(a, 1)
	case "{", "K", "shift+tab":
		return s.step(a, -1)
	case "]":
		s.hunk(a, 1)
	case "[":
		s.hunk(a, -1)
	case "z":
		s.fold()
	case "f":
		s.brief = !s.brief
	case "s":
		s.single = !s.single
	case "x":
		s.secret = !s.secret
	case "space":
		s.choose(a)
	case "left", "h":
		return a.pop()
	default:
		return nil
	}
	a.layout()
	return nil
}

// step goes to the next operation, or the one before.
func (s *operationScreen) step(a *app, by int) tea.Cmd {
	n := s.n + by
	if n < 1 || n > len(s.from.doc.Rows) {
		a.say(yellow, "there is no other operation")
		return nil
	}
	s.from.onto(n)
	return s.show(a, n)
}

// onto moves the cursor to operation n where it is listed.
func (v *sessionScreen) onto(n int) {
	for i, e := range v.entries {
		if e.row && e.op == n {
			v.page.to(i)
			return
		}
	}
}

func (s *operationScreen) choose(a *app) {
	v := s.from
	if !v.toggleOne(s.n) {
		a.say(yellow, "nothing is selected from this session")
		return
	}
	word := "selected"
	if v.without[s.n] {
		word = "left out"
	}
	a.say(normal, "operation %d is %s; %d of %d selected", s.n, word, len(v.doc.Rows)-len(v.without), len(v.doc.Rows))
}

// hunk goes to the next header of a hunk, or the one before.
func (s *operationScreen) hunk(a *app, by int) {
	for i := s.page.top + by; i >= 0 && i < len(s.rows); i += by {
		if r := s.rows[i]; r.text < 0 && r.left < 0 && r.right < 0 {
			if was := s.page.top; i > was && i > len(s.rows)-s.page.height && was >= len(s.rows)-s.page.height {
				break // on the screen already, and cannot come further up
			}
			s.page.to(i)
			return
		}
	}
	a.say(yellow, "no other hunk in this file; } goes to the next file")
}

// fold hides the lines of the hunk at the top of the screen, or shows them.
func (s *operationScreen) fold() {
	if len(s.rows) == 0 {
		return
	}
	for _, r := range s.rows[s.page.top:] {
		if r.text < 0 {
			s.folded[r.hunk] = !s.folded[r.hunk]
			return
		}
	}
}

// layout makes the rows. How many a line of the diff takes is computed from its
// width; it is not drawn.
func (s *operationScreen) layout(width, _ int) {
	s.rows, s.texts = s.rows[:0], s.texts[:0]
	s.lay = newDiffLayout(s.row().Subject, s.diff, width, !s.single && width >= wideEnough)
	s.about(width)
	diff := s.diff
	if s.row().Sensitive && !s.secret && len(diff.Hunks) > 0 {
		s.text(width, 0, says(yellow, "The content is secret. Press x to show it."))
		return
	}
	if !s.ready {
		s.text(width, 0, says(faint, "comparing..."))
		return
	}
	for _, note := range []string{diff.Note, diff.Cut} {
		if note != "" {
			s.text(width, 0, says(yellow, "("+note+")"))
		}
	}
	for i := range diff.Hunks {
		s.rows = append(s.rows, opRow{text: -1, hunk: i, left: -1, right: -1})
		if !s.folded[i] {
			s.rows = s.lay.rows(s.rows, i)
		}
	}
}

// text adds a wrapped line.
func (s *operationScreen) text(width, hang int, l line) {
	for _, x := range l.wrap(width, hang) {
		s.texts.add(x)
		s.rows = append(s.rows, opRow{text: len(s.texts) - 1})
	}
}

// about is what stands above the diff: the whole subject, risks and properties.
func (s *operationScreen) about(width int) {
	r := s.row()
	s.text(width, -1, line{ink(symbolStyle(r.Symbol), r.Symbol+" "), ink(bold, r.Subject)})
	s.text(width, 2, line{ink(faint, "  "+r.Detail)})
	for _, x := range r.Risks {
		for _, l := range riskLines(x, " ("+string(x.Class)+")") {
			s.text(width, 12, l)
		}
	}
	for _, c := range s.from.s.Commands {
		if c.Op == s.n && !s.from.drift {
			for _, l := range ranLines(c) {
				s.text(width, 9, l)
			}
		}
	}
	if s.brief {
		s.text(width, 0, says(cyan, "▸ facts are folded; f shows them"))
		return
	}
	facts := s.from.doc.Facts(s.n)
	column := 0
	for _, f := range facts {
		column = max(column, min(columns(ink(normal, f.Name).text), 24))
	}
	for _, f := range facts {
		s.fact(width, column, f)
	}
	s.text(width, 0, nil)
}

// fact shows a property whole, however long; values that changed stand out.
func (s *operationScreen) fact(width, column int, f review.Fact) {
	l := line{ink(faint, fmt.Sprintf("  %s%s  ", ink(normal, f.Name).text, strings.Repeat(" ", max(0, column-columns(ink(normal, f.Name).text)))))}
	switch {
	case f.Before == f.After:
		l = append(l, ink(normal, f.After))
	case f.Before == "":
		l = append(l, ink(green, f.After))
	case f.After == "" && f.Name == "modified" && s.row().Symbol != "-":
		l = append(l, ink(red, f.Before), ink(faint, " → when it is applied"))
	case f.After == "":
		l = append(l, ink(red, f.Before), ink(faint, " → nothing"))
	default:
		l = append(l, ink(red, f.Before), ink(faint, " → "), ink(green, f.After))
	}
	if s.row().Symbol == "!" && f.Before == "" && f.After == "" {
		l = append(l, ink(faint, "none"))
	}
	s.text(width, -1, l)
}

func (s *operationScreen) size() int { return len(s.rows) }

func (s *operationScreen) draw(i, _ int) line {
	r := s.rows[i]
	if r.text >= 0 {
		return s.texts[r.text]
	}
	return s.lay.draw(r, s.folded[r.hunk])
}

func (s *operationScreen) plain(i int) string {
	r := s.rows[i]
	if r.text >= 0 {
		return s.texts[r.text].text()
	}
	return s.lay.plain(r)
}
