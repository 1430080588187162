// Package neutral makes text of a target harmless for a terminal: whatever could
// act on the screen, reorder text or hide is shown as an escape. What [Text]
// returns holds printable characters alone, so that it can be measured, cut and
// coloured.
//
// # Sources
//
// Control functions are those of ECMA-48; characters that reorder text those of
// Unicode Standard Annex 9; invisible ones have the property
// Default_Ignorable_Code_Point.
package neutral

import (
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Text makes a line of text harmless: control characters and marks that reorder
// or hide text are shown as escapes, newlines and tabs too. What Text
// returned it returns unchanged.
func Text(s string) string {
	if plain(s) {
		return s
	}
	var b strings.Builder
	escape(&b, []byte(s), false)
	return b.String()
}

// plain reports text of printable ASCII, which most is.
func plain(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

// maxMarks is how many combining marks one letter may carry; languages need up to
// three. More would be drawn over other lines.
const maxMarks = 4

// escape writes p to b with everything escaped that could act on a terminal.
// With stream set, newlines, tabs and colours (SGR sequences) pass.
func escape(b *strings.Builder, p []byte, stream bool) {
	marks := maxMarks // no letter yet
	for len(p) > 0 {
		r, n := utf8.DecodeRune(p)
		if r >= 0x300 && unicode.In(r, unicode.Mn, unicode.Me) {
			marks++
		} else {
			marks = 0
		}
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(b, `\x%02x`, p[0])
		case stream && (r == '\n' || r == '\t'):
			b.WriteRune(r)
		case stream && r == '\x1b' && sgr(p) > 0:
			n = sgr(p)
			b.Write(p[:n])
		case r == '\n':
			b.WriteString(`\n`)
		case r < 0x20 || r == 0x7f:
			b.WriteString("^" + string(r^0x40))
		case Acts(r), !stream && (Hidden(r) || marks > maxMarks):
			code(b, r)
		default:
			b.Write(p[:n])
		}
		p = p[n:]
	}
}

func code(b *strings.Builder, r rune) {
	if r > 0xffff {
		fmt.Fprintf(b, `\U%08x`, r)
		return
	}
	fmt.Fprintf(b, `\u%04x`, r)
}

// Acts reports characters beyond ASCII that change how the text around them is
// shown, or show nothing at all: C1 controls, marks of direction, zero-width
// characters, fillers, tags and line ends.
func Acts(r rune) bool {
	return r >= 0x80 && (r < 0xa0 || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Other_Default_Ignorable_Code_Point))
}

// Hidden reports characters beyond ASCII that one does not see in a name: spaces
// of other kinds, and variants of the character before.
func Hidden(r rune) bool {
	const emptyBraille = 0x2800 // no space to Unicode, but looks like one
	return r >= 0x80 && (r == emptyBraille || unicode.In(r, unicode.Zs, unicode.Variation_Selector))
}

// sgr returns the length of the colour sequence (ECMA-48, 8.3.117) p begins
// with, or 0.
func sgr(p []byte) int {
	if len(p) < 3 || p[1] != '[' {
		return 0
	}
	for i := 2; i < min(len(p), maxRest); i++ {
		switch c := p[i]; {
		case c == 'm':
			return i + 1
		case c != ';' && c != ':' && (c < '0' || c > '9'):
			return 0
		}
	}
	return 0
}

// Writer neutralises a stream on its way to a terminal: newlines, tabs and colours
// pass. Sequences split between writes are put together as far as they are needed
// to judge them.
type Writer struct {
	w    io.Writer
	rest []byte
	err  error
}

// NewWriter returns a Writer to w. Flush it at the end.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// maxRest bounds what is held back: one character or one colour sequence.
const maxRest = 24

// Write implements io.Writer. It always takes all of p.
func (s *Writer) Write(p []byte) (int, error) {
	all := append(s.rest, p...)
	keep := incomplete(all)
	s.rest = append([]byte(nil), all[len(all)-keep:]...)
	s.put(all[:len(all)-keep])
	return len(p), s.err
}

// Flush writes what was held back.
func (s *Writer) Flush() error {
	s.put(s.rest)
	s.rest = nil
	return s.err
}

func (s *Writer) put(p []byte) {
	if s.err != nil || len(p) == 0 {
		return
	}
	var b strings.Builder
	escape(&b, p, true)
	_, s.err = io.WriteString(s.w, b.String())
}

// incomplete is the length of an unfinished character or colour sequence at the
// end of p.
func incomplete(p []byte) int {
	for n := 1; n < min(utf8.UTFMax, len(p)+1); n++ {
		if c := p[len(p)-n]; utf8.RuneStart(c) {
			if c >= 0x80 && !utf8.FullRune(p[len(p)-n:]) {
				return n
			}
			break
		}
	}
	if i := strings.LastIndexByte(string(p[max(0, len(p)-maxRest):]), '\x1b'); i >= 0 {
		tail := p[max(0, len(p)-maxRest)+i:]
		if sgr(tail) == 0 && strings.Trim(string(tail[1:]), "[;:0123456789") == "" {
			return len(tail)
		}
	}
	return 0
}
