//go:build linux

package apply

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/plan"
)

// wantRefused applies, and wants a kind of refusal with nothing touched.
func (f *fixture) wantRefused(t *testing.T, kind diag.Kind, before map[string]node) Outcome {
	t.Helper()
	s, err := Open(f.dir, f.host)
	var out Outcome
	if err == nil {
		defer s.Close()
		out, err = s.Apply(t.Context(), options())
	}
	if diag.KindOf(err) != kind {
		t.Fatalf("apply: kind %q, %v; want %q", diag.KindOf(err), err, kind)
	}
	wantTree(t, f.host, before)
	return out
}

func TestConflictBeforeTheFirstEffect(t *testing.T) {
	t.Parallel()
	root(t)
	for name, script := range map[string]string{
		"content":        `echo mine >etc/app/conf.d/a`,
		"mode":           `chmod 666 etc/app/conf.d/a`,
		"owner":          `chown 77 etc/app/conf.d/b`,
		"xattr":          `python3 -c 'import os; os.setxattr("home/u/s1","user.c",b"1")'`,
		"type":           `rm etc/file2dir; ln -s x etc/file2dir`,
		"appeared":       `mkdir opt; echo x >opt/x`,
		"vanished":       `rm etc/empty`,
		"link target":    `ln -sfn elsewhere etc/app/current`,
		"child appeared": `echo precious >var/lib/old/deep/mine`,
		"parent gone":    `mv etc/app/conf.d gone`,
		"parent a link":  `mv etc/app/conf.d gone; ln -s ../../gone etc/app/conf.d`,
		"second stretch": `mkdir -p home/u; echo x >home/u/s9`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t, start, work, work2)
			sh(t, f.host, script)
			out := f.wantRefused(t, diag.Conflict, picture(t, f.host))
			if len(out.Conflicts) == 0 {
				t.Error("the outcome lists no conflict")
			}
			if s := f.open(t); s.Status() != plan.Approved {
				t.Errorf("status %s; the approval must still be good", s.Status())
			}
		})
	}
}

func TestApprovalRefused(t *testing.T) {
	t.Parallel()
	root(t)
	for name, alter := range map[string]func(*plan.Approval){
		"expired":         func(a *plan.Approval) { a.Expires = testNow },
		"other digest":    func(a *plan.Approval) { a.Digest = "sha256:" + strings.Repeat("0", 64) },
		"other session":   func(a *plan.Approval) { a.Session = "20261121-other-a3f2" },
		"other host":      func(a *plan.Approval) { a.HostKey = "SHA256:x" },
		"rejected":        func(a *plan.Approval) { a.Reject = true },
		"from the future": func(a *plan.Approval) { a.Created = testNow.Add(time.Hour) },
		"nobody":          func(a *plan.Approval) { a.User = "" },
		"missing":         nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setupPending(t, `echo a >a`, `echo b >a`)
			if alter != nil {
				a := f.approval(t)
				alter(&a)
				f.approve(t, a)
			}
			f.wantRefused(t, diag.Denied, f.before)
		})
	}
}

func setupPending(t *testing.T, start string, stretches ...string) *fixture {
	t.Helper()
	f := setup(t, start, stretches...)
	sessions := filepath.Dir(f.dir)
	for _, err := range []error{
		os.Rename(filepath.Join(f.dir, LayerDir), filepath.Join(sessions, "layer")),
		os.RemoveAll(f.dir),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Create(sessions, f.plan, testNow); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(f.dir, LayerDir)); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(sessions, "layer"), filepath.Join(f.dir, LayerDir)); err != nil {
		t.Fatal(err)
	}
	return f
}

// An approval that was not used gives way to another; a rejection does not.
func TestBadApprovalSpoilsNothing(t *testing.T) {
	t.Parallel()
	root(t)
	f := setupPending(t, `echo a >a`, `echo b >a`)
	bad := f.approval(t)
	bad.Expires = testNow
	f.approve(t, bad)
	f.wantRefused(t, diag.Denied, f.before)
	f.approve(t, f.approval(t))
	f.apply(t)
	g := setupPending(t, `echo a >a`, `echo b >a`)
	no := g.approval(t)
	no.Reject = true
	g.approve(t, no)
	if err := g.open(t).Decide(g.approval(t), testNow); diag.KindOf(err) != diag.Refused {
		t.Errorf("approving what was rejected: %v", err)
	}
	g.wantRefused(t, diag.Denied, g.before)
}

func TestApprovalWorksOnce(t *testing.T) {
	t.Parallel()
	root(t)
	f := setup(t, `echo a >a`, `echo b >a`)
	sessions := filepath.Dir(f.dir)
	sh(t, sessions, "cp -a "+testID+" ../copy")
	f.apply(t)
	f.wantRefused(t, diag.Denied, picture(t, f.host))
	f.rollback(t)
	f.wantRefused(t, diag.Denied, f.before)
	// The session as it was before it was applied.
	sh(t, sessions, "rm -r "+testID+" && cp -a ../copy "+testID)
	f.wantRefused(t, diag.Denied, f.before)
	sh(t, sessions, "cp -a ../copy 20261121-other-a3f2")
	g := *f
	g.dir = filepath.Join(sessions, "20261121-other-a3f2")
	g.wantRefused(t, diag.Denied, f.before)
}

// A directory of a session that was replaced is no directory of the session.
func TestReplacedDirectory(t *testing.T) {
	t.Parallel()
	root(t)
	f := setup(t, `echo a >a`, `echo b >a`)
	sh(t, f.dir, "mv layer ../elsewhere; ln -s ../elsewhere layer")
	if _, err := Open(f.dir, f.host); !errors.Is(err, ErrTampered) || diag.KindOf(err) != diag.Denied {
		t.Errorf("open: %v", err)
	}
	wantTree(t, f.host, f.before)
}

// Any change of a byte of any file is found before the first effect.
func TestTampered(t *testing.T) {
	t.Parallel()
	root(t)
	first := setup(t, start, work, work2)
	top := filepath.Join(tempDir(t), "copy")
	flip := func(t *testing.T, path string) {
		t.Helper()
		b, err := os.ReadFile(path)
		if err != nil || len(b) == 0 {
			t.Fatal(path, err)
		}
		b[len(b)/2] ^= 1
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	blob := func(dir string) string {
		names, _ := filepath.Glob(filepath.Join(dir, "*"))
		for _, n := range names {
			if st, err := os.Stat(n); err == nil && st.Size() > 0 && len(filepath.Base(n)) == 64 {
				return n
			}
		}
		return ""
	}
	for _, name := range []string{planFile, approvalFile, sessionFile, "blob"} {
		f := first.again(t, top)
		path := filepath.Join(f.dir, name)
		if name == "blob" {
			path = blob(filepath.Join(f.dir, LayerDir))
		}
		flip(t, path)
		f.wantRefused(t, diag.Denied, picture(t, f.host))
	}
	for _, name := range []string{planFile, approvalFile, sessionFile, journalFile, "blob", "checkpoint/manifest.json", "cut", "more"} {
		f := first.again(t, top)
		f.apply(t)
		applied := picture(t, f.host)
		switch path := filepath.Join(f.dir, name); name {
		case "blob":
			flip(t, blob(filepath.Join(f.dir, CheckpointDir)))
		case "cut":
			path = filepath.Join(f.dir, journalFile)
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			b = b[:bytes.LastIndexByte(b[:len(b)-1], '\n')+1]
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
		case "more":
			sh(t, f.dir, "head -n 1 journal >> journal")
		default:
			flip(t, path)
		}
		s, err := Open(f.dir, f.host)
		if err == nil {
			_, err = s.Rollback(t.Context(), options())
			s.Close()
		}
		if !errors.Is(err, ErrTampered) || diag.KindOf(err) != diag.Denied {
			t.Errorf("%s: rollback after tampering: %v", name, err)
		}
		wantTree(t, f.host, applied)
	}
}

func TestRollbackRefusesWhatChangedSince(t *testing.T) {
	t.Parallel()
	root(t)
	for name, script := range map[string]string{
		"content":              `echo mine >etc/app/main.conf`,
		"mode":                 `chmod 777 etc/app/conf.d/a`,
		"type":                 `rm etc/empty; mkdir etc/empty`,
		"vanished":             `rm etc/todir2file`,
		"remade (d)":           `echo mine >home/u/h2`,
		"foreign in a new dir": `echo mine >opt/x/mine`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t, start, work, work2)
			f.apply(t)
			sh(t, f.host, script)
			changed := picture(t, f.host)
			s := f.open(t)
			out, err := s.Rollback(t.Context(), options())
			if diag.KindOf(err) != diag.Conflict || len(out.Conflicts) == 0 || out.Status != plan.Executed {
				t.Fatalf("rollback: %s, %v", out.Status, err)
			}
			wantTree(t, f.host, changed)
			opts := options()
			opts.Force = true
			if out, err = s.Rollback(t.Context(), opts); err != nil || out.Status != plan.RolledBack {
				t.Fatalf("forced rollback: %s, %v", out.Status, err)
			}
			if strings.HasPrefix(name, "foreign") {
				if b, err := os.ReadFile(filepath.Join(f.host, "opt/x/mine")); err != nil || string(b) != "mine\n" {
					t.Errorf("the foreign file holds %q, %v", b, err)
				}
				return
			}
			wantTree(t, f.host, f.before)
		})
	}
}

// Each case lost data in the earlier design (shannot.md 2.8).
func TestShannotCases(t *testing.T) {
	t.Parallel()
	root(t)
	for name, c := range map[string][2]string{
		"a: outside any view": {`mkdir etc; echo orig >etc/f`, `echo new >etc/f`},
		"b: was empty":        {`: >f`, `echo new >f`},
		"e: mode of deleted":  {`echo s >f; chmod 600 f`, `rm f`},
		"f: deleted symlink":  {`echo t >t; ln -s t l`, `rm l`},
		"g: new parents":      {`mkdir a`, `mkdir -p a/b/c; echo x >a/b/c/f`},
		"big directory":       {`mkdir d; for i in $(seq 150); do echo $i >d/$i; done`, `rm -r d`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t, c[0], c[1])
			f.apply(t)
			wantApplied(t, f)
			f.rollback(t)
			wantTree(t, f.host, f.before)
		})
	}
	// (c), (d) are TestConflictBeforeTheFirstEffect and TestRollbackRefusesWhatChangedSince.
}

func TestBusy(t *testing.T) {
	t.Parallel()
	root(t)
	f := setup(t, `echo a >a`, `echo b >a`)
	unlock, err := f.open(t).Lock()
	if err != nil {
		t.Fatal(err)
	}
	f.wantRefused(t, diag.Conflict, f.before)
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	f.apply(t)
}

func TestDrift(t *testing.T) {
	t.Parallel()
	root(t)
	f := setup(t, `echo a >a; echo b >b`, `echo c >a`)
	drift := func() string {
		cs, err := f.open(t).Drift(t.Context())
		return fmt.Sprint(len(cs), err)
	}
	if got := drift(); got != "0 <nil>" {
		t.Error("at first:", got)
	}
	f.apply(t)
	if got := drift(); got != "0 <nil>" {
		t.Error("after apply:", got)
	}
	sh(t, f.host, "echo d >a; echo other >b")
	if got := drift(); got != "1 <nil>" {
		t.Error("after a change:", got)
	}
}
