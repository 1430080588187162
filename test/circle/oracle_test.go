//go:build linux

package circle

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bowline-sh/bowline/plan"
)

// TestOracle holds the circle to what a script does when a person runs it: the
// world after a plan is as before, after apply as after the direct run, and after
// rollback as before; and every deferred command ran once, at apply, as in the
// direct run.
func TestOracle(t *testing.T) {
	oracles(t, seed, corpus)
}

// oracles shares one untouched world between many scripts.
func oracles(t *testing.T, seed string, scripts map[string]string) {
	pristine := newWorld(t, seed)
	many(t, scripts, func(t *testing.T, h *host, script string) { oracle(t, h, pristine, seed, script) })
}

// few scripts all run by default.
const few = 6

// many runs a test of each script on one of two hosts.
func many(t *testing.T, scripts map[string]string, test func(t *testing.T, h *host, script string)) {
	hosts := make(chan *host, 2)
	for range cap(hosts) {
		hosts <- newHost(t)
	}
	for i, name := range slices.Sorted(maps.Keys(scripts)) {
		if !full() && len(scripts) > few && i%4 != 0 && !strings.HasPrefix(name, "deferred l") && !strings.Contains(name, "link moved") {
			continue // by default one of four, and what was wrong before
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := <-hosts
			defer func() { hosts <- h }()
			test(t, h, scripts[name])
		})
	}
}

func oracle(t *testing.T, h *host, pristine *world, seed, script string) {
	if !strings.HasPrefix(script, "#!") {
		script = "cd " + play + "\n" + script
	}
	direct := newWorld(t, seed)
	h.in(t, direct)
	times := rule{was: pristine.at(t), since: [2]int64{now()}, skip: volatile}
	exit := h.direct(t, script)
	circle := newWorld(t, seed)
	h.in(t, circle)
	times.since[1] = now()
	s := h.plan(t, script)
	if s.Plan.Exit != exit {
		t.Errorf("exit code %d in the dry run, %d when run; it said %q", s.Plan.Exit, exit, s.Plan.Stderr)
	}
	same(t, "-before +after planning", pristine, circle, rule{exact: true})
	if c := circle.calls(t); len(c) > 0 {
		t.Errorf("the dry run ran %q", c)
	}
	h.approve(t, s)
	h.apply(t, s)
	same(t, "-script +plan", direct, circle, times)
	if want, got := direct.calls(t), circle.calls(t); !slices.Equal(want, got) {
		t.Errorf("deferred commands:\n%q\nwhen run:\n%q", got, want)
	}
	sealed(t, s.Plan)
	h.rollback(t, s)
	same(t, "-before +after rollback", pristine, circle, rule{exact: true})
	if t.Failed() {
		t.Log(describe(s.Plan))
	}
}

// now is the time from which on a time stamp is new: they lie behind the clock, and
// some programs keep whole seconds.
func now() int64 {
	return time.Now().Add(-20 * time.Millisecond).Truncate(time.Second).UnixNano()
}

// sealed holds a plan to what it promises of itself.
func sealed(t *testing.T, p plan.Plan) {
	t.Helper()
	if err := p.Valid(); err != nil {
		t.Errorf("the plan is not valid: %v", err)
	}
}

// calls are the commands that the service manager of the world was given, in
// order, with their surroundings. What belongs to the login is left out: it is not
// kept.
func (w *world) calls(t *testing.T) (out []string) {
	t.Helper()
	dirs, err := os.ReadDir(w.root("/run/calls"))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		text := ""
		for _, name := range []string{"argv", "cwd", "env", "stdin"} {
			b, err := os.ReadFile(filepath.Join(w.root("/run/calls"), d.Name(), name))
			if err != nil {
				t.Fatal(err)
			}
			if name == "env" {
				list := strings.Split(strings.TrimSuffix(string(b), "\x00"), "\x00")
				list = slices.DeleteFunc(list, func(e string) bool {
					key, _, _ := strings.Cut(e, "=")
					return strings.HasPrefix(key, "SSH_") || slices.Contains([]string{"_", "SHLVL", "PWD", "OLDPWD"}, key)
				})
				slices.Sort(list)
				b = []byte(strings.Join(list, " "))
			}
			text += fmt.Sprintf("%s %q; ", name, b)
		}
		out = append(out, text)
	}
	return out
}
