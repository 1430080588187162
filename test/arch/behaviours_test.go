package arch

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestBehaviours: docs/remote-executor.md names R1 to R70 once each, docs/l8s.md L1 to L42,
// and every file, test and text that they name exists.
func TestBehaviours(t *testing.T) {
	for _, page := range []struct {
		file, letter string
		rows         int
		mayLack      bool // "none" where the last cell says why
	}{{"remote-executor.md", "R", 70, false}, {"l8s.md", "L", 42, true}} {
		text, err := os.ReadFile("../../docs/" + page.file)
		if err != nil {
			t.Fatal(err)
		}
		next := 1
		for line := range strings.Lines(string(text)) {
			if !strings.HasPrefix(line, "| "+page.letter) {
				continue
			}
			cells := strings.Split(line, " | ")
			if want := fmt.Sprintf("| %s%d", page.letter, next); len(cells) != 4 || cells[0] != want {
				t.Fatalf("a row of four cells that begins with %q is missing: %q", want, line)
			}
			next++
			if page.mayLack && cells[2] == "none" && len(strings.Trim(cells[3], " |\n")) > 10 {
				continue
			}
			checkReferences(t, cells[0], cells[2])
		}
		if next != page.rows+1 {
			t.Errorf("%s ends before %s%d", page.file, page.letter, page.rows)
		}
	}
}

var reference = regexp.MustCompile("^`([^`]+)`(?: `((?:Test|Fuzz)\\w+)`)?(.*)$")

// checkReferences looks for what a cell names: "`file` `Test` "text"", joined by "; ".
func checkReferences(t *testing.T, row, cell string) {
	t.Helper()
	for ref := range strings.SplitSeq(cell, "; ") {
		m := reference.FindStringSubmatch(ref)
		if m == nil {
			t.Errorf("%s: %q names no test", row, ref)
			continue
		}
		text, err := os.ReadFile("../../" + m[1])
		if err != nil {
			t.Errorf("%s: %v", row, err)
			continue
		}
		isScript := strings.HasSuffix(m[1], ".txtar")
		if isScript == (m[2] != "") || !isScript && !strings.Contains(string(text), "\nfunc "+m[2]+"(") {
			t.Errorf("%s: %s has no test %q", row, m[1], m[2])
		}
		rest := strings.TrimSpace(m[3])
		if rest == "" {
			continue
		}
		q := strings.TrimSuffix(strings.TrimPrefix(rest, `"`), `"`)
		if len(q) < 3 || !strings.Contains(string(text), q) {
			t.Errorf("%s: %s does not hold %q", row, m[1], q)
		}
	}
}
