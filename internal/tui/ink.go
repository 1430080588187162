package tui

import (
	"strconv"
	"strings"

	"github.com/charmbracelet/x/ansi"

	"github.com/bowline-sh/bowline/internal/neutral"
)

// style is a colour (one of the eight that every terminal has, 0 for its own) and
// attributes. Nothing is said by colour alone.
type style uint8

const (
	normal  style = 0
	red     style = 1 // SGR 31 and so on
	green   style = 2
	yellow  style = 3
	magenta style = 5
	cyan    style = 6
	colours style = 7

	bold      style = 8
	faint     style = 16
	underline style = 32
	reverse   style = 64
)

// piece is text in one style. Pieces are made by ink alone, so that no text of a
// target reaches the screen as it is.
type piece struct {
	text  string
	style style
}

func ink(st style, s string) piece { return piece{neutral.Text(s), st} }

// line is one line of the screen, or of what is wrapped to several.
type line []piece

func says(st style, s string) line { return line{ink(st, s)} }

func (l line) text() string {
	if len(l) == 1 {
		return l[0].text
	}
	var b strings.Builder
	for _, p := range l {
		b.WriteString(p.text)
	}
	return b.String()
}

func (l line) width() int {
	n := 0
	for _, p := range l {
		n += columns(p.text)
	}
	return n
}

// columns is how many cells neutral text takes. Letters that take two do so by the
// tables of wcwidth, as in tmux and most terminals.
func columns(s string) int {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return ansi.StringWidthWc(s)
		}
	}
	return len(s)
}

// prefix is the longest beginning of s that fits n columns.
func prefix(s string, n int) string {
	if n <= 0 {
		return ""
	}
	if len(s) <= n {
		return s // no character takes more cells than bytes
	}
	p := ansi.TruncateWc(s, n, "")
	if len(p) > len(s) || s[:len(p)] != p { // cannot be: neutral text has no sequences
		return ""
	}
	return p
}

// cut shortens l to n columns; a mark stands for what is left out.
func (l line) cut(n int) line {
	if l.width() <= n {
		return l
	}
	out := l.first(n - 1)
	return append(out, piece{"…", bold})
}

// first is the part of l that fits n columns.
func (l line) first(n int) line {
	var out line
	for _, p := range l {
		if w := columns(p.text); w > n {
			return append(out, piece{prefix(p.text, n), p.style})
		} else {
			n -= w
		}
		out = append(out, p)
	}
	return out
}

// wrap breaks l into lines of at most n columns: between words where hang is not
// negative, and then all but the first begin with so many spaces; anywhere else.
func (l line) wrap(n, hang int) []line {
	n = max(n, 2)
	if l.width() <= n {
		return []line{l}
	}
	indent := piece{strings.Repeat(" ", min(max(hang, 0), n/2)), normal}
	var out []line
	var now line
	room := n
	next := func() {
		out, now, room = append(out, now), nil, n
		if indent.text != "" {
			now, room = line{indent}, n-len(indent.text)
		}
	}
	for _, p := range l {
		for rest := p.text; rest != ""; {
			head := prefix(rest, room)
			if len(head) < len(rest) && hang >= 0 {
				head = atWord(head, rest, room == n || room == n-len(indent.text))
			}
			if head == "" && room == n-len(indent.text) {
				head = firstRune(rest) // two columns where one is left
			}
			if head != "" {
				now, room = append(now, piece{head, p.style}), room-columns(head)
				rest = rest[len(head):]
			}
			if rest != "" {
				next()
				if hang >= 0 {
					rest = strings.TrimLeft(rest, " ")
				}
			}
		}
	}
	if len(now) > 0 || len(out) == 0 {
		out = append(out, now)
	}
	return out
}

// atWord shortens head, which begins rest, to whole words. whole says that a line
// is empty yet: a word longer than it is broken.
func atWord(head, rest string, whole bool) string {
	if strings.HasPrefix(rest[len(head):], " ") {
		return head
	}
	if i := strings.LastIndexByte(head, ' '); i >= 0 {
		return head[:i+1]
	}
	if whole {
		return head
	}
	return ""
}

func firstRune(s string) string {
	for i := range s {
		if i > 0 {
			return s[:i]
		}
	}
	return s
}

// mark underlines what find selects of l.
func (l line) mark(find string) line {
	if find == "" {
		return l
	}
	var out line
	for _, p := range l {
		for {
			i := index(p.text, find)
			if i < 0 {
				break
			}
			out = append(out, piece{p.text[:i], p.style}, piece{p.text[i : i+len(find)], p.style | reverse})
			p.text = p.text[i+len(find):]
		}
		out = append(out, p)
	}
	return out
}

// index finds text; without capitals in find, of any case.
func index(s, find string) int {
	if low := strings.ToLower(s); find == strings.ToLower(find) && len(low) == len(s) {
		s = low
	}
	return strings.Index(s, find)
}

// render writes l with SGR sequences; add goes to all of it.
func (l line) render(b *strings.Builder, add style, colour bool) {
	for _, p := range l {
		if p.text == "" {
			continue
		}
		st := p.style | add
		if !colour {
			st &^= colours
		}
		if st == normal {
			b.WriteString(p.text)
			continue
		}
		b.WriteString(sgr(st))
		b.WriteString(p.text)
		b.WriteString("\x1b[0m")
	}
}

func sgr(st style) string {
	var codes []string
	for _, a := range []struct {
		is   style
		code string
	}{{bold, "1"}, {faint, "2"}, {underline, "4"}, {reverse, "7"}} {
		if st&a.is != 0 {
			codes = append(codes, a.code)
		}
	}
	if c := st & colours; c != 0 {
		codes = append(codes, strconv.Itoa(30+int(c)))
	}
	return "\x1b[" + strings.Join(codes, ";") + "m"
}
