package arch

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestBehaviours: docs/remote-executor.md names R1 to R70 once each, and every file, test
// and text that it names exists.
func TestBehaviours(t *testing.T) {
	page, err := os.ReadFile("../../docs/remote-executor.md")
	if err != nil {
		t.Fatal(err)
	}
	next := 1
	for line := range strings.Lines(string(page)) {
		if !strings.HasPrefix(line, "| R") {
			continue
		}
		cells := strings.Split(line, " | ")
		if want := fmt.Sprintf("| R%d", next); len(cells) != 4 || cells[0] != want {
			t.Fatalf("a row of four cells that begins with %q is missing: %q", want, line)
		}
		next++
		checkReferences(t, cells[0], cells[2])
	}
	if next != 71 {
		t.Errorf("the table ends before R%d", next)
	}
}

var reference = regexp.MustCompile("^`([^`]+)`(?: `(Test\\w+)`)?(.*)$")

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
