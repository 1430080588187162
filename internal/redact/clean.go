package redact

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// ellipsis ends a text that Clean cut.
const ellipsis = "…"

// Clean returns s fit for a terminal, a page or a line of a log: at most max
// bytes of valid UTF-8 on one line, in which control characters, bidirectional
// overrides, invisible characters and invalid bytes are shown as escapes in
// the manner of Go ("\n", "\x1b", "\u202e"). A text that was cut ends in "…".
// A backslash is left alone, so Clean is idempotent, but the original cannot
// be told from the result.
func Clean(s string, max int) string {
	if len(s) <= max && isClean(s) {
		return s
	}
	var b strings.Builder
	cut := 0 // length up to which an ellipsis still fits
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		piece := escape(s[i:i+n], r)
		if b.Len()+len(piece) > max {
			return shorten(b.String(), cut, max)
		}
		b.WriteString(piece)
		if b.Len()+len(ellipsis) <= max {
			cut = b.Len()
		}
		i += n
	}
	return b.String()
}

func shorten(s string, cut, max int) string {
	if max < len(ellipsis) {
		return s
	}
	return s[:cut] + ellipsis
}

func isClean(s string) bool {
	for i, r := range s {
		if r == utf8.RuneError || Hostile(r) {
			if r == utf8.RuneError && strings.HasPrefix(s[i:], "\uFFFD") {
				continue
			}
			return false
		}
	}
	return true
}

func escape(raw string, r rune) string {
	switch {
	case r == utf8.RuneError && len(raw) == 1:
		return fmt.Sprintf(`\x%02x`, raw[0])
	case r == '\n':
		return `\n`
	case r == '\r':
		return `\r`
	case r == '\t':
		return `\t`
	case !Hostile(r):
		return raw
	case r < 0x80:
		return fmt.Sprintf(`\x%02x`, r)
	case r > 0xffff:
		return fmt.Sprintf(`\U%08x`, r)
	}
	return fmt.Sprintf(`\u%04x`, r)
}

// Hostile reports whether r can repaint a terminal, break a line or hide or
// reorder the text around it: C0 and C1 controls, DEL, and the invisible and
// bidirectional characters of Unicode Technical Report 36.
func Hostile(r rune) bool {
	switch {
	case r < 0x20, 0x7f <= r && r <= 0x9f:
		return true
	case r < 0xad:
		return false
	case r == 0xad, r == 0x34f, r == 0x61c, r == 0x115f, r == 0x1160, r == 0x180e, r == 0x3164, r == 0xfeff, r == 0xffa0:
		return true
	case 0x200b <= r && r <= 0x200f, 0x2028 <= r && r <= 0x202e, 0x2060 <= r && r <= 0x206f:
		return true
	case 0xfe00 <= r && r <= 0xfe0f, 0xfff0 <= r && r <= 0xfffb, 0xe0000 <= r && r <= 0xe0fff:
		return true
	}
	return false
}
