package neutral

import (
	"bytes"
	"io"
	"strings"
	"testing"
)

func TestText(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"plain text, ümlaut, 日本", "plain text, ümlaut, 日本"},
		{"\x1b[2J\x1b]0;title\x07", "^[[2J^[]0;title^G"},
		{"a\nb\tc\r", `a\nb^Ic^M`},
		{"\u202egnp.exe", `\u202egnp.exe`},
		{"zero\u200bwidth\ufeff", `zero\u200bwidth\ufeff`},
		{"c1 \u009b31m", `c1 \u009b31m`},
		{"bad \xff\xfe utf8", `bad \xff\xfe utf8`},
		{"del\x7f", "del^?"},
		{"soft\u00adhyphen, joiner\u2060", `soft\u00adhyphen, joiner\u2060`},
		{"filler\u3164 tag\U000e0041", `filler\u3164 tag\U000e0041`},
		{"nb\u00a0sp\u3000 \u2800", `nb\u00a0sp\u3000 \u2800`},
		{"heart\u2764\ufe0f", "heart\u2764" + `\ufe0f`},
		{"e\u0301 is a letter", "e\u0301 is a letter"},
		{"\u0301start", `\u0301start`},
		{"z" + strings.Repeat("\u0301", 6), "z" + strings.Repeat("\u0301", 4) + `\u0301\u0301`},
	} {
		if got := Text(tt.in); got != tt.want {
			t.Errorf("Text(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
}

// FuzzText: what comes out is printable, and stays as it is.
func FuzzText(f *testing.F) {
	f.Add("\x1b[31mx\u202e\u0301\xff")
	f.Fuzz(func(t *testing.T, in string) {
		out := Text(in)
		for _, r := range out {
			if r < 0x20 || r == 0x7f || Acts(r) || Hidden(r) {
				t.Fatalf("%U came out of %q", r, in)
			}
		}
		if again := Text(out); again != out {
			t.Fatalf("%q became %q", out, again)
		}
	})
}

// TestWriter: colours, newlines and tabs pass, whatever else acts on a
// terminal does not, however the stream is cut.
func TestWriter(t *testing.T) {
	in := "a\tb\n\x1b[31;1mred\x1b[0m \x1b[2Jclear \x1b]0;t\x07 日本 \xff \u202e x\x1b[999999999999999999999999999999m\x1b"
	want := "a\tb\n\x1b[31;1mred\x1b[0m ^[[2Jclear ^[]0;t^G 日本 \\xff \\u202e x^[[999999999999999999999999999999m^["
	for size := 1; size <= len(in); size++ {
		var out bytes.Buffer
		w := NewWriter(&out)
		for rest := in; rest != ""; {
			n := min(size, len(rest))
			if _, err := io.WriteString(w, rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		if out.String() != want {
			t.Errorf("in pieces of %d: %q, want %q", size, out.String(), want)
		}
	}
}

// FuzzWriter: nothing that acts on a terminal comes out but colours.
func FuzzWriter(f *testing.F) {
	f.Add([]byte("\x1b[31mx\x1b[0m"), 1)
	f.Add([]byte("\xe6\x97\xa5\x1b["), 2)
	f.Fuzz(func(t *testing.T, in []byte, size int) {
		size = max(1, size%64)
		var out bytes.Buffer
		w := NewWriter(&out)
		for rest := in; len(rest) > 0; {
			n := min(size, len(rest))
			_, _ = w.Write(rest[:n])
			rest = rest[n:]
		}
		_ = w.Flush()
		s := out.String()
		for i := strings.IndexByte(s, '\x1b'); i >= 0; i = strings.IndexByte(s, '\x1b') {
			n := sgr([]byte(s[i:]))
			if n == 0 {
				t.Fatalf("an escape that is no colour came out of %q: %q", in, s[i:])
			}
			s = s[i+n:]
		}
		for _, r := range out.String() {
			if r < 0x20 && r != '\n' && r != '\t' && r != '\x1b' || r >= 0x7f && r < 0xa0 || Acts(r) {
				t.Fatalf("%U came out of %q", r, in)
			}
		}
	})
}
