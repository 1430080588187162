//go:build linux

package overlay

import "testing"

// A file with hard links that moves with its directory keeps them, and shows what
// was written through the names that stayed.
func TestMovedHardLinks(t *testing.T) {
	root(t)
	for name, script := range map[string]string{
		"untouched":          `mv link away`,
		"written after":      `mv link away; echo k >> h1; chmod 600 h2`,
		"moved twice":        `mkdir t; mv link t/; mv t u; systemctl restart x; mv u v; echo z >> h2`,
		"with all its links": `mkdir t; cp -p p1 t/q1; ln t/q1 t/q2; mv t u; ln u/q1 q3`,
	} {
		t.Run(name, func(t *testing.T) { oracle(t, script) })
	}
}
