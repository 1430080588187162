package tui

import (
	"fmt"
	"strings"

	"github.com/bowline-sh/bowline/internal/review"
)

// diffLayout draws the lines of a diff in so many columns.
type diffLayout struct {
	diff    review.Diff
	colour  colouring
	width   int // of one text: of the screen, or of one of two sides
	numbers int // columns of a line number
	sides   bool
	// memo holds the wrapped lines that were drawn last, one a side: rows of one
	// line are drawn one after the other.
	memo *[2]wrapped
}

type wrapped struct {
	of    *review.Line
	lines []line
}

// gap stands between two sides.
const gap = " │ "

func newDiffLayout(name string, d review.Diff, width int, sides bool) diffLayout {
	last := 0
	for _, h := range d.Hunks {
		last = max(last, h.OldStart+h.OldLines, h.NewStart+h.NewLines)
	}
	l := diffLayout{diff: d, colour: colouringOf(name), numbers: max(3, len(fmt.Sprint(last))), sides: sides, memo: new([2]wrapped)}
	if sides {
		l.width = (width-3)/2 - l.numbers - 3 // number, space, sign, space
	} else {
		l.width = width - 2*l.numbers - 4
	}
	return l
}

// rows appends the rows of hunk i.
func (d diffLayout) rows(out []opRow, i int) []opRow {
	ls := d.diff.Hunks[i].Lines
	put := func(left, right int) {
		n := 1
		if left >= 0 {
			n = max(n, d.height(ls[left]))
		}
		if right >= 0 && right != left {
			n = max(n, d.height(ls[right]))
		}
		for part := range n {
			out = append(out, opRow{text: -1, hunk: i, left: left, right: right, part: part})
		}
	}
	for at := 0; at < len(ls); {
		if !d.sides || ls[at].Kind == review.Equal {
			put(at, at)
			at++
			continue
		}
		// Deleted lines, and the inserted ones that took their place.
		ins := at
		for ins < len(ls) && ls[ins].Kind == review.Deleted {
			ins++
		}
		end := ins
		for end < len(ls) && ls[end].Kind == review.Inserted {
			end++
		}
		for k := 0; at+k < ins || ins+k < end; k++ {
			left, right := -1, -1
			if at+k < ins {
				left = at + k
			}
			if ins+k < end {
				right = ins + k
			}
			put(left, right)
		}
		at = end
	}
	return out
}

// height is how many rows a line takes.
func (d diffLayout) height(l review.Line) int {
	if !l.NoEOL && printable(l.Text) {
		return max(1, (len(l.Text)+d.width-1)/d.width)
	}
	return len(d.content(&l).wrap(d.width, -1))
}

// printable reports text that takes a column a byte.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

func (d diffLayout) plain(r opRow) string {
	switch {
	case r.left < 0 && r.right < 0:
		return d.diff.Hunks[r.hunk].Header()
	case r.part > 0:
		return ""
	}
	ls := d.diff.Hunks[r.hunk].Lines
	text := ""
	if r.left >= 0 {
		text = ls[r.left].Text
	}
	if r.right >= 0 && r.right != r.left {
		text += "\t" + ls[r.right].Text
	}
	return ink(normal, text).text
}

func (d diffLayout) draw(r opRow, folded bool) line {
	h := &d.diff.Hunks[r.hunk]
	if r.left < 0 && r.right < 0 {
		l := says(cyan, h.Header())
		if folded {
			l = append(l, ink(faint, fmt.Sprintf("  ▸ %d lines are folded; z shows them", len(h.Lines))))
		}
		return l
	}
	if !d.sides {
		return d.one(&h.Lines[r.left], r.part)
	}
	var left, right *review.Line
	if r.left >= 0 {
		left = &h.Lines[r.left]
	}
	if r.right >= 0 {
		right = &h.Lines[r.right]
	}
	l := d.side(left, 0, r.part)
	l = append(l, piece{strings.Repeat(" ", max(0, d.numbers+3+d.width-l.width())), normal}, piece{gap, faint})
	return append(l, d.side(right, 1, r.part)...)
}

// one is a row of a unified diff.
func (d diffLayout) one(x *review.Line, part int) line {
	l := line{ink(faint, d.number(x.Old, part)+" "+d.number(x.New, part)+" "), ink(kindStyle(x.Kind)|bold, d.sign(x, part)+" ")}
	return append(l, d.part(x, 0, part)...)
}

// side is a row of one of two versions.
func (d diffLayout) side(x *review.Line, which, part int) line {
	if x == nil {
		return nil
	}
	n := x.Old
	if which == 1 {
		n = x.New
	}
	l := line{ink(faint, d.number(n, part)+" "), ink(kindStyle(x.Kind)|bold, d.sign(x, part)+" ")}
	return append(l, d.part(x, which, part)...)
}

func (d diffLayout) number(n, part int) string {
	if n == 0 || part > 0 {
		return strings.Repeat(" ", d.numbers)
	}
	return fmt.Sprintf("%*d", d.numbers, n)
}

// sign marks every row of a line, so that a wrapped one cannot be taken for another.
func (d diffLayout) sign(x *review.Line, part int) string {
	if part > 0 && x.Kind == review.Equal {
		return "·"
	}
	return string(x.Kind)
}

func kindStyle(k review.LineKind) style {
	switch k {
	case review.Inserted:
		return green
	case review.Deleted:
		return red
	default:
		return normal
	}
}

// part is one row of the line's text.
func (d diffLayout) part(x *review.Line, which, part int) line {
	m := &d.memo[which]
	if m.of != x {
		*m = wrapped{x, d.content(x).wrap(d.width, -1)}
	}
	if part >= len(m.lines) {
		return nil
	}
	return m.lines[part]
}

// content is the text of a line in its colours: those of its change, with what
// changed within it underlined; of its language where nothing changed.
func (d diffLayout) content(x *review.Line) line {
	var l line
	st := kindStyle(x.Kind)
	at := 0
	for _, sp := range x.Spans {
		if sp.Start < at || sp.End < sp.Start || sp.End > len(x.Text) {
			continue
		}
		l = tabbed(l, st, x.Text[at:sp.Start])
		l = tabbed(l, st|bold|underline, x.Text[sp.Start:sp.End])
		at = sp.End
	}
	if at == 0 && (x.Kind == review.Equal || x.Kind == review.Inserted && d.fresh()) {
		for _, t := range d.colour.tokens(x.Text) {
			l = tabbed(l, t.style, t.text)
		}
	} else {
		l = tabbed(l, st, x.Text[at:])
	}
	if x.NoEOL {
		l = append(l, ink(faint, " (no newline at the end of the file)"))
	}
	return l
}

// fresh reports a file that is all new: its signs are green, its text has the
// colours of its language.
func (d diffLayout) fresh() bool {
	return len(d.diff.Hunks) == 1 && d.diff.Hunks[0].OldLines == 0
}

// tabWidth is how many columns a tab takes at least; it is drawn as an arrow, so
// that one cannot be taken for spaces.
const tabWidth = 4

func tabbed(l line, st style, text string) line {
	for {
		head, rest, tab := strings.Cut(text, "\t")
		if head != "" {
			l = append(l, ink(st, head))
		}
		if !tab {
			return l
		}
		l = append(l, piece{"→" + strings.Repeat(" ", tabWidth-1), faint})
		text = rest
	}
}
