package redact

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestClean(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, in string
		max      int
		want     string
	}{
		{"plain", "grüße, 世界 \\n", 100, "grüße, 世界 \\n"},
		{"line breaks", "a\nb\r\nc\td", 100, `a\nb\r\nc\td`},
		{"terminal", "\x1b[2J\x07\x7f", 100, `\x1b[2J\x07\x7f`},
		{"C1", "\u009b2J", 100, `\u009b2J`},
		{"bidi", "a\u202eb\u2066c\u2069", 100, `a\u202eb\u2066c\u2069`},
		{"zero width", "a\u200bb\ufeff\u2028", 100, `a\u200bb\ufeff\u2028`},
		{"tags", "\U000e0041", 100, `\U000e0041`},
		{"invalid", "a\xffb\xc3", 100, `a\xffb\xc3`},
		{"replacement character", "a\ufffdb", 100, "a\ufffdb"},
		{"cut", "abcdefgh", 6, "abc…"},
		{"exact", "abcdef", 6, "abcdef"},
		{"cut between runes", "世界世界", 8, "世…"},
		{"cut between escapes", "a\nb\nc\n", 7, `a\nb…`},
		{"no room", "abc", 2, "ab"},
		{"nothing", "abc", 0, ""},
		{"negative", "abc", -1, ""},
	} {
		if got := Clean(tt.in, tt.max); got != tt.want {
			t.Errorf("%s: Clean(%q, %d) = %q, want %q", tt.name, tt.in, tt.max, got, tt.want)
		}
	}
}

func FuzzClean(f *testing.F) {
	f.Add("a\x1b\u202e\xff世", 5)
	f.Fuzz(func(t *testing.T, s string, max int) {
		got := Clean(s, max)
		if len(got) > max && got != "" || !utf8.ValidString(got) || strings.ContainsFunc(got, Hostile) {
			t.Errorf("Clean(%q, %d) = %q", s, max, got)
		}
		if again := Clean(got, max); again != got {
			t.Errorf("Clean(%q, %d) = %q, again %q", s, max, got, again)
		}
	})
}
