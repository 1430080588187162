package attack

import (
	"testing"
	"time"

	"github.com/bowline-sh/bowline/internal/transport/local"
	"github.com/bowline-sh/bowline/profile"
)

func TestTry(t *testing.T) {
	for _, n := range profile.BuiltinNames() {
		p, _ := profile.Builtin(n)
		c := local.Dial()
		start := time.Now()
		fs, err := Run(t.Context(), c, p)
		t.Log(n, err, time.Since(start))
		for _, f := range fs {
			if !f.Held || n == "script" {
				t.Logf("%v %s: %s", f.Held, f.Name, f.Detail)
			}
		}
	}
}
