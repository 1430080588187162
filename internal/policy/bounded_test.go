package policy

import (
	"strings"
	"testing"
	"time"
)

// TestBounded: nobody keeps the gate busy with shells in shells.
func TestBounded(t *testing.T) {
	for name, text := range map[string]string{
		"eval":          strings.Repeat("eval ", 1000) + "x",
		"wrappers":      strings.Repeat("env ", 1000) + "x",
		"many":          strings.Repeat("sh -c 'eval eval eval eval eval eval a';", 1000),
		"brackets":      strings.Repeat("(", 60000),
		"substitutions": strings.Repeat("$(", 30000),
		"quotes":        strings.Repeat("`", 30001),
		"find":          "find " + strings.Repeat("-exec find -exec sh -c 'eval x' ';' ", 1000),
	} {
		start := time.Now()
		r := Script("sh", text)
		if d := time.Since(start); d > 5*time.Second {
			t.Errorf("%s took %s", name, d)
		}
		if !r.Dynamic() {
			t.Errorf("%s is said to be seen: %.200s", name, commandsOf(r))
		}
	}
}
