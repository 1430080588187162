package integration

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/testkit"
	"github.com/bowline-sh/bowline/plan"
)

// frozenSite is a site whose /etc is its own.
func frozenSite(t *testing.T) (s *testkit.Server, etc, home, dir string) {
	t.Helper()
	_, home, dir = site(t)
	etc = filepath.Join(testkit.Dir(t), "etc")
	if out, err := exec.Command("cp", "-a", "/etc", etc).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return testkit.SSHD(t, testkit.Bind(etc, "/etc"), testkit.ConfigLines("SetEnv HOME="+home)), etc, home, dir
}

// leaveApplying applies x, and leaves when its command runs.
func leaveApplying(t *testing.T, c *bowline.Client, x bowline.Session) {
	t.Helper()
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	_, err := c.Apply(ctx, x.ID, bowline.ApplyOptions{Progress: func(p bowline.Progress) {
		if strings.Contains(p.Text, "waiting") {
			leave()
		}
	}})
	if k := diag.KindOf(err); k != diag.Canceled && k != diag.Lost {
		t.Fatalf("leaving = %v", err)
	}
}

// killActing kills what applies a session for the account whose home this is, and waits
// until it is gone.
func killActing(t *testing.T, home string) {
	t.Helper()
	killed := 0
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		env, eerr := os.ReadFile(filepath.Join(filepath.Dir(f), "environ"))
		if err != nil || eerr != nil || string(text) != "bowline-act\x00" || !bytes.Contains(env, []byte("HOME="+home+"\x00")) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(f)))
		if err != nil {
			t.Fatal(err)
		}
		p, err := os.FindProcess(pid)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Kill(); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			if text, err := os.ReadFile(f); err != nil || len(text) == 0 { // gone, or a zombie
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("it does not die")
			}
		}
		killed++
	}
	if killed == 0 {
		t.Fatal("nothing was applying")
	}
}

// TestFreezeLetsRunningWorkGoOn: whoever resumes meanwhile follows, and gets its result.
func TestFreezeLetsRunningWorkGoOn(t *testing.T) {
	s, etc, _, dir := frozenSite(t)
	slowCommand(t)
	c := open(t, s)
	release := filepath.Join(testkit.Dir(t), "go")
	x := approved(t, c, fmt.Sprintf("echo a > %s/a; kubectl %s; echo b > %s/b", dir, release, dir))
	leaveApplying(t, c, x)
	_, there, err := c.Freeze(t.Context(), bowline.FreezeRequest{Selector: "t0", Reason: "stop"})
	if err != nil || len(there) != 1 || there[0].Did != "set" {
		t.Fatalf("%+v, %v", there, err)
	}
	if _, err := os.Stat(filepath.Join(etc, "bowline", "freeze")); err != nil {
		t.Error(err)
	}
	res, err := c.Resume(t.Context(), x.ID, bowline.ApplyOptions{Progress: func(p bowline.Progress) {
		if strings.Contains(p.Text, "waiting") {
			if err := os.WriteFile(release, nil, 0o600); err != nil {
				t.Error(err)
			}
		}
	}})
	if err != nil || res.Status != plan.Executed || res.Done != 3 {
		t.Fatalf("resume = %+v, %v", res, err)
	}
	if _, err := c.Rollback(t.Context(), x.ID, bowline.ApplyOptions{}); err != nil {
		t.Errorf("rollback while frozen = %v", err)
	}
}

// TestFreezeStopsResume: what was broken off is not taken further, be it frozen here or
// there, and can be rolled back.
func TestFreezeStopsResume(t *testing.T) {
	for _, here := range []bool{true, false} {
		t.Run(fmt.Sprintf("here=%v", here), func(t *testing.T) {
			s, _, home, dir := frozenSite(t)
			slowCommand(t)
			c := open(t, s)
			never := filepath.Join(testkit.Dir(t), "never")
			x := approved(t, c, fmt.Sprintf("echo a > %s/a; kubectl %s; echo b > %s/b", dir, never, dir))
			leaveApplying(t, c, x)
			killActing(t, home)
			if err := os.WriteFile(never, nil, 0o600); err != nil { // lets the command end
				t.Fatal(err)
			}
			if _, _, err := c.Freeze(t.Context(), bowline.FreezeRequest{Selector: "t0", Reason: "stop", Here: here}); err != nil {
				t.Fatal(err)
			}
			if !here { // another client, which knows of nothing
				if _, _, err := c.Unfreeze(t.Context(), bowline.FreezeRequest{Selector: "t0", Here: true}); err != nil {
					t.Fatal(err)
				}
			}
			_, err := c.Resume(t.Context(), x.ID, bowline.ApplyOptions{Rerun: true})
			if diag.KindOf(err) != diag.Refused || !strings.Contains(err.Error(), "frozen by") || !strings.Contains(err.Error(), "stop") {
				t.Fatalf("resume = %v", err)
			}
			if _, err := os.Stat(filepath.Join(dir, "b")); err == nil {
				t.Error("it went on")
			}
			res, err := c.Rollback(t.Context(), x.ID, bowline.ApplyOptions{})
			if err != nil || res.Status != plan.RolledBack {
				t.Fatalf("rollback = %+v, %v", res, err)
			}
			if _, err := os.Stat(filepath.Join(dir, "a")); err == nil {
				t.Error("the rollback left a file")
			}
		})
	}
}

// TestFreezeThroughHelper: a helper that runs already refuses by itself, and goes on when
// the file is gone.
func TestFreezeThroughHelper(t *testing.T) {
	s, etc, _, _ := frozenSite(t)
	c := open(t, s)
	placeHelper(t, s)
	sessions := useHelper(t, c, s)
	file := filepath.Join(etc, "bowline", "freeze")
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("by: root\nreason: by hand\x1b[2J\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	before := sessions()
	_, err := c.Run(t.Context(), bowline.RunRequest{Target: "t0", Argv: []string{"true"}})
	if diag.KindOf(err) != diag.Refused || !strings.Contains(err.Error(), "frozen by root: by hand?[2J") || !strings.Contains(diag.HintOf(err), "'bowline unfreeze t0'") {
		t.Errorf("%v (%s)", err, diag.HintOf(err))
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	run(t, c, bowline.RunRequest{Target: "t0", Argv: []string{"true"}})
	if n := sessions(); n != before {
		t.Errorf("%d sessions more: the helper was not asked", n-before)
	}
}
