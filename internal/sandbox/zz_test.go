package sandbox_test

import (
	"bytes"
	"os"
	"testing"

	"github.com/bowline-sh/bowline/internal/sandbox"
	"github.com/bowline-sh/bowline/internal/transport/local"
)

func TestZZ(t *testing.T) {
	conn := local.Dial()
	defer conn.Close()
	for _, p := range []string{"script", "diagnostics"} {
		pr := builtin(t, p)
		if p == "script" {
		}
		var out bytes.Buffer
		res, err := sandbox.Exec(t.Context(), conn, sandbox.Command{Spec: sandbox.Spec{Profile: pr, Argv: []string{"sh", "-c", os.Getenv("ZZ")}}, Stdout: &out, Stderr: &out})
		t.Logf("%s %+v %v\n%s", p, res, err, out.String())
	}
}
