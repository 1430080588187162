package web

import (
	"context"
	"fmt"
	"html"
	"io"
	"strings"

	"github.com/bowline-sh/bowline/internal/neutral"
	"github.com/bowline-sh/bowline/internal/review"
)

// picture is a diff as a table.
type picture struct {
	Note, Cut string
	Split     bool
	Hunks     []hunk
}

type hunk struct {
	Head string
	Rows []pair
}

// pair is one row. Unified, its text is that of Left, and Right has only its number.
type pair struct{ Left, Right cell }

type cell struct {
	N     int
	Class string // same, ins, del, or "" where there is no line
	Mark  string
	Parts []part
	NoEOL bool
}

// Render writes the cell's text. No space stands between its parts but theirs.
func (c cell) Render(_ context.Context, w io.Writer) error {
	var b strings.Builder
	if c.Mark != "" {
		fmt.Fprintf(&b, `<span class="mark" role="img" aria-label="%s">%s</span>`, markWord(c.Mark), html.EscapeString(c.Mark))
	}
	for _, p := range c.Parts {
		text := html.EscapeString(p.Text)
		if p.Class != "" {
			text = `<span class="` + p.Class + `">` + text + `</span>`
		}
		b.WriteString(text)
	}
	if c.NoEOL {
		b.WriteString(`<span class="noeol">no newline at the end</span>`)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// part is a piece of a line in one colour. Class is one of ours.
type part struct{ Text, Class string }

// picture draws the diff of a row.
func (v sessionView) picture(row review.Row) picture {
	d := v.Doc.Diff(row.N)
	p := picture{Note: d.Note, Cut: d.Cut, Split: v.Split}
	lang := languageOf(row.Subject)
	for _, h := range d.Hunks {
		out := hunk{Head: h.Header()}
		if v.Split {
			out.Rows = splitRows(h.Lines, lang)
		} else {
			for _, l := range h.Lines {
				c := cellOf(l, lang)
				left := c
				left.N = l.Old
				out.Rows = append(out.Rows, pair{left, cell{N: l.New}})
			}
		}
		p.Hunks = append(p.Hunks, out)
	}
	return p
}

// splitRows sets what was removed beside what was added in its place.
func splitRows(lines []review.Line, lang language) []pair {
	var out []pair
	var del, ins []review.Line
	flush := func() {
		for i := range max(len(del), len(ins)) {
			var p pair
			if i < len(del) {
				p.Left = cellOf(del[i], lang)
				p.Left.N = del[i].Old
			}
			if i < len(ins) {
				p.Right = cellOf(ins[i], lang)
				p.Right.N = ins[i].New
			}
			out = append(out, p)
		}
		del, ins = nil, nil
	}
	for _, l := range lines {
		switch l.Kind {
		case review.Deleted:
			del = append(del, l)
		case review.Inserted:
			ins = append(ins, l)
		default:
			flush()
			c := cellOf(l, lang)
			left, right := c, c
			left.N, right.N = l.Old, l.New
			out = append(out, pair{left, right})
		}
	}
	flush()
	return out
}

func cellOf(l review.Line, lang language) cell {
	c := cell{NoEOL: l.NoEOL}
	switch l.Kind {
	case review.Deleted:
		c.Class, c.Mark = "del", "-"
	case review.Inserted:
		c.Class, c.Mark = "ins", "+"
	default:
		c.Class = "same"
	}
	if len(l.Spans) > 0 {
		c.Parts = marked(l)
	} else {
		c.Parts = lang.coloured(l.Text)
	}
	return c
}

// marked shows what changed within a line.
func marked(l review.Line) []part {
	var out []part
	at := 0
	for _, s := range l.Spans {
		out = append(out, part{neutral.Text(l.Text[at:s.Start]), ""}, part{neutral.Text(l.Text[s.Start:s.End]), "word"})
		at = s.End
	}
	return append(out, part{neutral.Text(l.Text[at:]), ""})
}
