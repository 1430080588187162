package review

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/aymanbagabas/go-udiff"

	"github.com/bowline-sh/bowline/change"
)

// Reason says in one word why there are no hunks.
type Reason string

const (
	Shown     Reason = ""          // there are hunks
	Unchanged Reason = "unchanged" // no content, or the same
	Binary    Reason = "binary"
	NotKept   Reason = "not-kept"  // the content is on the target, not here
	TooLarge  Reason = "too-large" // one line is larger than what is compared
)

// Diff is the picture of one operation's content.
type Diff struct {
	Reason Reason
	Note   string // the reason in one line; "" for Shown and Unchanged
	Cut    string // says truthfully what is not shown; "" if all is
	Hunks  []Hunk
}

// Hunk is a piece of a file around changed lines.
type Hunk struct {
	OldStart, OldLines int // first line before, from 1, and how many; as in a unified diff
	NewStart, NewLines int
	Lines              []Line
}

// Header is the hunk's line of a unified diff.
func (h Hunk) Header() string {
	start := func(at, n int) int {
		if n == 0 {
			return at - 1 // as diff and patch count an empty side
		}
		return at
	}
	return fmt.Sprintf("@@ -%d,%d +%d,%d @@", start(h.OldStart, h.OldLines), h.OldLines, start(h.NewStart, h.NewLines), h.NewLines)
}

// LineKind is the first column of a unified diff.
type LineKind byte

const (
	Equal    LineKind = ' '
	Deleted  LineKind = '-'
	Inserted LineKind = '+'
)

// Line is one line of a hunk.
type Line struct {
	Kind     LineKind
	Text     string // without its newline; any bytes
	Old, New int    // line number before and after; 0 where it does not exist
	Spans    []Span // what changed within the line; none if all of it, or unknown
	NoEOL    bool   // the file ends here without a newline
}

// Span is bytes [Start, End) of a line's text.
type Span struct{ Start, End int }

// Bounds of one diff. The library compares in time proportional to what it is
// given; half a MiB a side takes some milliseconds.
const (
	diffBytes = 512 << 10 // of the changed part, a side
	diffLines = 10000     // the same in lines
	context   = 3         // lines around a change
	spanPairs = 400       // lines that are compared within
	spanBytes = 1 << 10   // of such a line
)

// Diff compares the contents of operation n, from 1. It takes bounded time; a
// command, a directory and an unknown operation are Unchanged.
func (d *Document) Diff(n int) Diff {
	if n < 1 || n > len(d.in.Plan.Ops) || d.in.Plan.Ops[n-1].Change == nil {
		return Diff{Reason: Unchanged}
	}
	c := d.in.Plan.Ops[n-1].Change
	b, a := c.Before, c.After
	if b.SHA256 == a.SHA256 {
		return Diff{Reason: Unchanged}
	}
	before, okB := contentOf(b, d.in.Contents)
	after, okA := contentOf(a, d.in.Contents)
	sizes := sizeAndDigest(b) + " to " + sizeAndDigest(a)
	switch {
	case !okB || !okA:
		return Diff{Reason: NotKept, Note: "contents not kept: " + sizes}
	case !isText(before) || !isText(after):
		return Diff{Reason: Binary, Note: "binary: " + sizes}
	}
	out := diffTexts(before, after)
	if out.Reason == TooLarge {
		out.Note = "too large to show: " + sizes
	}
	return out
}

func contentOf(s change.State, contents map[string][]byte) (string, bool) {
	if s.Type != change.File || s.Size == 0 {
		return "", true
	}
	b, ok := contents[s.SHA256]
	return string(b), ok
}

func sizeAndDigest(s change.State) string {
	if s.Type != change.File {
		return "nothing"
	}
	return fmt.Sprintf("%d bytes %.12s", s.Size, s.SHA256)
}

// isText takes any encoding that has no NUL and no control characters in its
// beginning for text; a surface shows odd bytes as such.
func isText(s string) bool {
	if strings.IndexByte(s, 0) >= 0 {
		return false
	}
	if utf8.ValidString(s) {
		return true
	}
	for i := range min(len(s), 8<<10) {
		if c := s[i]; c < ' ' && strings.IndexByte("\t\n\v\f\r\x1b\b", c) < 0 {
			return false
		}
	}
	return true
}

func diffTexts(before, after string) Diff {
	start, endB, endA := window(before, after)
	first := strings.Count(before[:start], "\n") // the same on both sides
	b, cutB := shorten(before[start:endB])
	a, cutA := shorten(after[start:endA])
	if cutB && b == "" || cutA && a == "" {
		return Diff{Reason: TooLarge}
	}
	edits := udiff.Lines(b, a)
	var out Diff
	if cutB || cutA {
		b, edits = dropTail(b, a, edits)
		out.Cut = fmt.Sprintf("cut: lines %d to %d became lines %d to %d; only the first part of them, %d KiB or %d lines, is compared", first+1,
			first+strings.Count(before[start:endB], "\n"), first+1, first+strings.Count(after[start:endA], "\n"), diffBytes>>10, diffLines)
	}
	u, err := udiff.ToUnifiedDiff("", "", b, edits, context)
	if err != nil { // edits of the library that the library does not take
		return Diff{Reason: TooLarge}
	}
	budget := spanPairs
	for _, h := range u.Hunks {
		x := hunkOf(*h, first)
		markSpans(x.Lines, &budget)
		out.Hunks = append(out.Hunks, x)
	}
	return out
}

// window returns the part that differs, whole lines with some context:
// before[start:endB] and after[start:endA].
func window(before, after string) (start, endB, endA int) {
	p := commonPrefix(before, after)
	start = lineStart(before, p, context)
	s := commonSuffix(before[p:], after[p:])
	endB = lineEnd(before, len(before)-s, context)
	return start, endB, len(after) - (len(before) - endB)
}

// block is how many bytes are compared at once.
const block = 4 << 10

func commonPrefix(a, b string) int {
	i, n := 0, min(len(a), len(b))
	for i+block <= n && a[i:i+block] == b[i:i+block] {
		i += block
	}
	for i < n && a[i] == b[i] {
		i++
	}
	return i
}

func commonSuffix(a, b string) int {
	i, n := 0, min(len(a), len(b))
	for i+block <= n && a[len(a)-i-block:len(a)-i] == b[len(b)-i-block:len(b)-i] {
		i += block
	}
	for i < n && a[len(a)-i-1] == b[len(b)-i-1] {
		i++
	}
	return i
}

// lineStart returns where the line begins that is n lines before the one at i.
func lineStart(s string, i, n int) int {
	for range n + 1 {
		i = strings.LastIndexByte(s[:i], '\n')
		if i < 0 {
			return 0
		}
	}
	return i + 1
}

// lineEnd returns where the line ends that is n lines after the one at i.
func lineEnd(s string, i, n int) int {
	if i > 0 && s[i-1] == '\n' {
		n--
	}
	for range n + 1 {
		k := strings.IndexByte(s[i:], '\n')
		if k < 0 {
			return len(s)
		}
		i += k + 1
	}
	return i
}

// shorten cuts s to what is compared, at the end of a line.
func shorten(s string) (string, bool) {
	end := len(s)
	if end > diffBytes {
		end = strings.LastIndexByte(s[:diffBytes], '\n') + 1
	}
	at := 0
	for range diffLines {
		k := strings.IndexByte(s[at:end], '\n')
		if k < 0 {
			return s[:end], end < len(s)
		}
		at += k + 1
	}
	return s[:at], at < len(s)
}

// dropTail takes away an edit that reaches the end of a shortened side: what it
// says comes from the cut. An only edit stays, for else nothing were shown.
func dropTail(b, a string, edits []udiff.Edit) (string, []udiff.Edit) {
	n := len(edits)
	if n < 2 {
		return b, edits
	}
	last := edits[n-1]
	if last.End == len(b) || strings.HasSuffix(a, last.New) && last.Start == len(b) {
		return b[:last.Start], edits[:n-1]
	}
	return b, edits
}

func hunkOf(h udiff.Hunk, offset int) Hunk {
	out := Hunk{OldStart: h.FromLine + offset, NewStart: h.ToLine + offset, Lines: make([]Line, len(h.Lines))}
	for i, l := range h.Lines {
		text, eol := strings.CutSuffix(l.Content, "\n")
		x := Line{Text: text, NoEOL: !eol}
		switch l.Kind {
		case udiff.Delete:
			x.Kind = Deleted
		case udiff.Insert:
			x.Kind = Inserted
		default:
			x.Kind = Equal
		}
		if x.Kind != Inserted {
			x.Old = out.OldStart + out.OldLines
			out.OldLines++
		}
		if x.Kind != Deleted {
			x.New = out.NewStart + out.NewLines
			out.NewLines++
		}
		out.Lines[i] = x
	}
	return out
}

// markSpans compares each deleted line with the inserted line that took its place.
func markSpans(lines []Line, budget *int) {
	for i := 0; i < len(lines); {
		if lines[i].Kind != Deleted {
			i++
			continue
		}
		ins := i
		for ins < len(lines) && lines[ins].Kind == Deleted {
			ins++
		}
		end := ins
		for end < len(lines) && lines[end].Kind == Inserted {
			end++
		}
		for k := 0; i+k < ins && ins+k < end && *budget > 0; k++ {
			*budget--
			markPair(&lines[i+k], &lines[ins+k])
		}
		i = end
	}
}

func markPair(old, now *Line) {
	if len(old.Text) > spanBytes || len(now.Text) > spanBytes || !utf8.ValidString(old.Text) || !utf8.ValidString(now.Text) {
		return
	}
	shift, same := 0, len(old.Text)
	var del, ins []Span
	for _, e := range udiff.Strings(old.Text, now.Text) {
		del = addSpan(del, e.Start, e.End)
		ins = addSpan(ins, e.Start+shift, e.Start+shift+len(e.New))
		shift += len(e.New) - (e.End - e.Start)
		same -= e.End - e.Start
	}
	if 3*same < max(len(old.Text), len(now.Text)) {
		return // two different lines
	}
	old.Spans, now.Spans = del, ins
}

// addSpan appends a span, joined to the last if hardly anything is between them.
func addSpan(spans []Span, start, end int) []Span {
	if start == end {
		return spans
	}
	if n := len(spans); n > 0 && start-spans[n-1].End <= 1 {
		spans[n-1].End = end
		return spans
	}
	return append(spans, Span{start, end})
}
