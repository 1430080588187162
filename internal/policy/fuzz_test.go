package policy

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/bowline-sh/bowline/internal/testkit"
)

// FuzzSeen holds the parser to the real dash: a text of which it says that everything
// is seen is one that dash can parse too. Whatever the text, it does not crash, and a
// text that dash takes and the parser does not is never called seen.
func FuzzSeen(f *testing.F) {
	dash := testkit.Tool(f, "dash")
	for _, tt := range seen {
		f.Add(tt.text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r := Script("sh", text)
		for _, c := range r.Commands {
			if len(c.Words) == 0 {
				t.Fatalf("%q: a command without words", text)
			}
			for _, i := range c.Edges {
				if i < 1 || i >= len(c.Words) {
					t.Fatalf("%q: edge %d of %s", text, i, c)
				}
			}
		}
		if r.Dynamic() {
			return
		}
		cmd := exec.Command(dash, "-n")
		cmd.Stdin = strings.NewReader(text)
		if out, err := cmd.CombinedOutput(); err != nil && !strings.Contains(string(out), "not found") {
			t.Errorf("%q is said to be seen (%s), and dash says: %s", text, commandsOf(r), out)
		}
	})
}
