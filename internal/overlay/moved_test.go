//go:build linux

package overlay

import (
	"os"
	"path"
	"strings"
	"testing"
	"time"
)

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

// A script that deletes or moves what the dry run works in is not led into the view
// that lies there, and with it into the whole host.
func TestScratchIsNotTheHosts(t *testing.T) {
	root(t)
	for _, script := range []string{`rm -rf "$0"`, `mv "$0" "$0.x"`} {
		d := must(t, "true", func(r *Request) {
			r.Scratch = playground(t) + "/work/scratch"
			if err := os.MkdirAll(r.Scratch, 0o700); err != nil {
				t.Fatal(err)
			}
			r.Argv = []string{"/bin/sh", "-c", script, path.Dir(r.Scratch)}
			r.Timeout = time.Minute
		})
		if strings.Contains(d.summary(), "scratch/") || len(d.Ops) > 4 {
			t.Errorf("%s: %s", script, d.summary())
		}
	}
}
