package box

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/freeze"
	"github.com/bowline-sh/bowline/internal/transport"
)

// shell is a target that is this machine, with another place for the switch.
type shell struct {
	transport.Conn
	file string
}

type output struct {
	transport.Process
	out io.Reader
}

type closer struct{ io.Writer }

func (closer) Close() error { return nil }

func (o output) Stdin() io.WriteCloser { return closer{io.Discard} }
func (o output) Stdout() io.Reader     { return o.out }
func (o output) Stderr() io.Reader     { return strings.NewReader("") }
func (o output) Close() error          { return nil }

func (s shell) Start(ctx context.Context, line string) (transport.Process, error) {
	out, err := exec.CommandContext(ctx, "sh", "-c", strings.ReplaceAll(line, freeze.File, s.file)).Output()
	if err != nil && len(out) == 0 && !strings.Contains(s.file, "'") {
		return nil, err
	}
	return output{out: strings.NewReader("Welcome!\n" + string(out))}, nil
}

// TestFrozenThere: the target's own switch, in every form, and answers that say nothing.
func TestFrozenThere(t *testing.T) {
	file := filepath.Join(t.TempDir(), "bowline", "freeze")
	on := shell{file: file}
	if err := frozenThere(t.Context(), on, "dev1"); err != nil {
		t.Errorf("without a directory: %v", err)
	}
	if err := os.Mkdir(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := frozenThere(t.Context(), on, "dev1"); err != nil {
		t.Errorf("without a file: %v", err)
	}
	for name, make := range map[string]func() error{
		"text":     func() error { return os.WriteFile(file, []byte("holidays"), 0o644) },
		"empty":    func() error { return os.WriteFile(file, nil, 0o644) },
		"dangling": func() error { return os.Symlink("/nonexistent", file) },
		"dir":      func() error { return os.Mkdir(file, 0o755) },
	} {
		if err := make(); err != nil {
			t.Fatal(err)
		}
		err := frozenThere(t.Context(), on, "dev1")
		if diag.KindOf(err) != diag.Refused || !strings.Contains(diag.HintOf(err), "bowline unfreeze dev1") || name == "text" && !strings.Contains(err.Error(), "holidays") {
			t.Errorf("%s: %v", name, err)
		}
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	if err := frozenThere(t.Context(), shell{file: "/x'; echo"}, "dev1"); err == nil {
		t.Error("an answer that says nothing passes")
	}
}

// TestReadsAreFree: what a freeze leaves alone is listed, and nothing that changes a box is.
func TestReadsAreFree(t *testing.T) {
	for _, verb := range []string{"create", "exec", "start", "stop", "rm", "rebuild", "push", "ssh", "port", "prune", "build", "cp"} {
		if reads["box."+verb] {
			t.Errorf("box %s passes a freeze", verb)
		}
	}
}
