package web

import (
	"strings"
	"testing"
)

func TestColoured(t *testing.T) {
	for _, tt := range []struct{ file, line, want string }{
		{"x.sh", `if [ "$a" = 12 ]; then echo '# no' # yes`, `[t-word:if] [ [t-string:"$a"] = [t-number:12] ]; [t-word:then] echo [t-string:'# no'] [t-comment:# yes]`},
		{"x.py", `print("hi", 42)  # check`, `print([t-string:"hi"], [t-number:42])  [t-comment:# check]`},
		{"/etc/x.conf", `url http://a/#b "open`, `url http://a/#b "open`},
		{"x.json", `{"a\"b": true, "n": 1.5}`, `{[t-string:"a\"b"]: [t-word:true], [t-string:"n"]: [t-number:1.5]}`},
		{"x.md", `# title 1 "x"`, `# title 1 "x"`},
		{"x.sh", "\x1b[31m#x", `^[[[t-number:31]m#x`},
		{"x.sh", strings.Repeat("1 ", 300), strings.Repeat("1 ", 300)},
		{"x.sh", "", ""},
	} {
		var b strings.Builder
		for _, p := range languageOf(tt.file).coloured(tt.line) {
			if p.Class == "" {
				b.WriteString(p.Text)
			} else {
				b.WriteString("[" + p.Class + ":" + p.Text + "]")
			}
		}
		if b.String() != tt.want {
			t.Errorf("%s: %q\n got %s\nwant %s", tt.file, tt.line, b.String(), tt.want)
		}
	}
}

// FuzzColoured: colours lose and add no byte of a line.
func FuzzColoured(f *testing.F) {
	f.Add("x.sh", `a "b\" c # d`)
	f.Fuzz(func(t *testing.T, file, line string) {
		var b strings.Builder
		for _, p := range languageOf(file).coloured(line) {
			b.WriteString(p.Text)
		}
		if got, want := b.String(), text(strings.ReplaceAll(line, "\n", " ")); !strings.Contains(line, "\n") && len(got) < len(want) {
			t.Errorf("%q became %q", line, got)
		}
	})
}
