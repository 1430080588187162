package web

import (
	"context"
	"fmt"
	"html"
	"io"
	"path"
	"strings"

	"github.com/alecthomas/chroma/v2"
	"github.com/alecthomas/chroma/v2/lexers"

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
	lexer := lexerOf(row.Subject)
	for _, h := range d.Hunks {
		out := hunk{Head: h.Header()}
		if v.Split {
			out.Rows = splitRows(h.Lines, lexer)
		} else {
			for _, l := range h.Lines {
				c := cellOf(l, lexer)
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
func splitRows(lines []review.Line, lexer chroma.Lexer) []pair {
	var out []pair
	var del, ins []review.Line
	flush := func() {
		for i := range max(len(del), len(ins)) {
			var p pair
			if i < len(del) {
				p.Left = cellOf(del[i], lexer)
				p.Left.N = del[i].Old
			}
			if i < len(ins) {
				p.Right = cellOf(ins[i], lexer)
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
			c := cellOf(l, lexer)
			left, right := c, c
			left.N, right.N = l.Old, l.New
			out = append(out, pair{left, right})
		}
	}
	flush()
	return out
}

func cellOf(l review.Line, lexer chroma.Lexer) cell {
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
		c.Parts = coloured(l.Text, lexer)
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

// maxColoured bounds the lines that are given colours, in bytes: a lexer's time grows
// with what it reads, and who writes the line chooses it.
const maxColoured = 400

// lexerOf finds the language of a file by its name; nil for none.
func lexerOf(subject string) chroma.Lexer {
	return lexers.Match(path.Base(subject))
}

// coloured cuts a line into pieces by their kind.
func coloured(line string, lexer chroma.Lexer) []part {
	if lexer == nil || len(line) > maxColoured || strings.TrimSpace(line) == "" {
		return []part{{neutral.Text(line), ""}}
	}
	tokens, err := chroma.Tokenise(lexer, nil, line)
	if err != nil {
		return []part{{neutral.Text(line), ""}}
	}
	var out []part
	for _, t := range tokens {
		out = append(out, part{neutral.Text(strings.TrimSuffix(t.Value, "\n")), kindOf(t.Type)})
	}
	return out
}

func kindOf(t chroma.TokenType) string {
	switch {
	case t.InCategory(chroma.Comment):
		return "t-comment"
	case t.InCategory(chroma.Keyword):
		return "t-word"
	case t.InSubCategory(chroma.LiteralString):
		return "t-string"
	case t.InSubCategory(chroma.LiteralNumber):
		return "t-number"
	case t.InCategory(chroma.Name):
		if t == chroma.NameTag || t == chroma.NameAttribute || t == chroma.NameBuiltin {
			return "t-name"
		}
	}
	return ""
}
