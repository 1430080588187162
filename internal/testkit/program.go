package testkit

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Main is for TestMain of tests that run the built bowline: it builds it, puts its path
// into program, runs the tests and returns their exit code. Nothing of it is left.
func Main(m *testing.M, program *string) int {
	dir, err := os.MkdirTemp("", "bowline-program-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	*program = filepath.Join(dir, "bowline")
	if out, err := exec.Command("go", "build", "-o", *program, "github.com/bowline-sh/bowline/cmd/bowline").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}
