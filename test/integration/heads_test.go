package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bowline-sh/bowline"
)

// headsWorld is a client that has applied something on a target, and was then set back:
// its log, the head of it and its store are as they were before.
type headsWorld struct {
	c      *bowline.Client
	file   string // of heads, on the target
	state  string
	before map[string][]byte // log and head before the apply
}

func newHeadsWorld(t *testing.T) headsWorld {
	t.Helper()
	s, home, dir := site(t)
	c := open(t, s)
	state := filepath.Dir(c.Paths().Store)
	x := approved(t, c, "echo a > "+dir+"/a")
	before := map[string][]byte{}
	for _, name := range []string{"audit/audit.jsonl", "audit-head.json"} {
		b, err := os.ReadFile(filepath.Join(state, name))
		if err != nil {
			t.Fatal(err)
		}
		before[name] = b
	}
	if _, err := c.Apply(t.Context(), x.ID, bowline.ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(home, ".local/share/bowline/heads/????????????????????????????????"))
	if err != nil || len(files) != 1 {
		t.Fatalf("heads on the target: %v, %v", files, err)
	}
	return headsWorld{c, files[0], state, before}
}

// says is what a target and the log say.
func (w headsWorld) says(t *testing.T) string {
	t.Helper()
	list, problems, err := w.c.VerifyAuditOn(t.Context(), []string{"t0"})
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	x := list[0]
	r, err := w.c.VerifyAudit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("log %v; %d hold, %d against, %d bad, %d unknown, error %v; %s", r.OK, x.Holds, x.Against, x.Bad, len(x.Unknown), x.Err, strings.Join(problems, "; "))
}

// setBack brings log and head back to what they were before the apply: all that this
// machine has agrees with itself then.
func (w headsWorld) setBack(t *testing.T) {
	t.Helper()
	for name, b := range w.before {
		if err := os.WriteFile(filepath.Join(w.state, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestHeadsOnTargets: what is cut from the only log there is, with its head, so that it
// verifies, is found by a target; a target that lies says nothing about the log.
func TestHeadsOnTargets(t *testing.T) {
	w := newHeadsWorld(t)
	if got := w.says(t); got != "log true; 2 hold, 0 against, 0 bad, 0 unknown, error <nil>; " {
		t.Fatal(got)
	}
	kept, err := os.ReadFile(w.file)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"another number": strings.Replace(string(kept), `"seq":`, `"seq":1`, 1),
		"another host":   strings.Replace(string(kept), `"host":"`, `"host":"x`, 1),
		"no signature":   strings.Replace(string(kept), `"signature":"`, `"signature":"AAAA`, 1),
	} {
		if err := os.WriteFile(w.file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := w.says(t); got != "log true; 1 hold, 0 against, 1 bad, 0 unknown, error <nil>; " {
			t.Errorf("%s: %s", name, got)
		}
	}
	for name, text := range map[string]string{"noise": "\x00{}[\n\n{\"chain\":1}\n", "nothing": ""} {
		if err := os.WriteFile(w.file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := w.says(t); got != "log true; 0 hold, 0 against, 0 bad, 0 unknown, error <nil>; " {
			t.Errorf("%s: %s", name, got)
		}
	}
	if err := os.WriteFile(w.file, kept, 0o600); err != nil {
		t.Fatal(err)
	}
	w.setBack(t)
	if got := w.says(t); !strings.HasPrefix(got, "log true; 1 hold, 1 against, 0 bad, 0 unknown, error <nil>; log of this machine: target t0 holds a signed head of entry") {
		t.Errorf("the log was cut, and: %s", got)
	}
	// With a new key nobody is accused, and the old log is named.
	if err := os.Remove(filepath.Join(w.state, "audit-key")); err != nil {
		t.Fatal(err)
	}
	if got := w.says(t); got != "log true; 0 hold, 0 against, 0 bad, 1 unknown, error <nil>; " {
		t.Errorf("the key is gone, and: %s", got)
	}
}
