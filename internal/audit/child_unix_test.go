//go:build unix

package audit

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/bowline-sh/bowline/diag"
)

// The test binary runs itself for what takes another process: writing at the
// same time, being killed, losing rights, running out of space.
func TestMain(m *testing.M) {
	dir := os.Getenv("AUDIT_DIR")
	switch os.Getenv("AUDIT_ROLE") {
	case "":
		goleak.VerifyTestMain(m)
	case "writer":
		childWriter(dir, 50)
	case "endless":
		childWriter(dir, 1<<30)
	case "nobody":
		childNobody(dir)
	case "full":
		childFull(dir)
	}
}

func child(t *testing.T, role, dir string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "AUDIT_ROLE="+role, "AUDIT_DIR="+dir)
	cmd.Stderr = os.Stderr
	return cmd
}

func childWriter(dir string, n int) {
	l, err := Open(context.Background(), Config{Dir: dir, MaxSize: 30_000})
	for range n {
		var id string
		if err == nil {
			id, err = l.Begin(context.Background(), Intent{Subject: Subject{Verb: "run"}, Argv: []string{"true"}})
		}
		if err == nil {
			err = l.End(context.Background(), id, Outcome{})
		}
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(id)
	}
}

func TestConcurrentProcesses(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "audit")
	var writers []*exec.Cmd
	for range 4 {
		w := child(t, "writer", dir)
		writers = append(writers, w)
		if err := w.Start(); err != nil {
			t.Fatal(err)
		}
	}
	cfg := testConfig(dir)
	cfg.MaxSize = 30_000
	fill(t, open(t, cfg), 100)
	for _, w := range writers {
		if err := w.Wait(); err != nil {
			t.Error(err)
		}
	}
	if r := wantOK(t, dir, 500); r.Segments < 2 || r.Healed != 0 {
		t.Errorf("%d segments, %d repairs; want a rotation and no repair", r.Segments, r.Healed)
	}
}

// Killed at any moment, a writer leaves a log that verifies and takes further
// entries, and loses none that it acknowledged.
func TestKilledWriters(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "audit")
	acknowledged := map[string]bool{}
	for i := range 25 {
		w := child(t, "endless", dir)
		out, err := w.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Start(); err != nil {
			t.Fatal(err)
		}
		s := bufio.NewScanner(out)
		for n := 0; s.Scan(); n++ {
			acknowledged[s.Text()] = true
			if n == 0 {
				time.AfterFunc(time.Duration(i*700)*time.Microsecond, func() { w.Process.Kill() })
			}
		}
		w.Wait()
		if r := verify(t, dir); !r.OK {
			t.Fatalf("after kill %d: %v", i, r.Problem)
		}
	}
	l := open(t, testConfig(dir))
	fill(t, l, 2)
	for _, e := range entries(t, dir, Filter{Event: EventOutcome}) {
		delete(acknowledged, e.ID)
	}
	if len(acknowledged) > 0 {
		t.Errorf("%d acknowledged entries are lost", len(acknowledged))
	}
	if r := verify(t, dir); !r.OK || r.Ahead != 0 || r.Torn != 0 {
		t.Errorf("in the end: %+v", r)
	}
}

// A reader that looks while others write sees a good log.
func TestVerifyWhileWriting(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "audit")
	w := child(t, "endless", dir)
	out, err := w.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	s := bufio.NewScanner(out)
	for range 150 {
		if !s.Scan() {
			t.Fatal("the writer ended")
		}
		if r := verify(t, dir); !r.OK {
			t.Fatalf("while writing: %v", r.Problem)
		}
	}
	w.Process.Kill()
	for s.Scan() {
	}
	w.Wait()
}

func childNobody(dir string) {
	if os.Getuid() == 0 { // root writes anywhere; become nobody
		if err := errors.Join(os.Chown(dir, 65534, -1), chownAll(dir), syscall.Setuid(65534)); err != nil {
			fmt.Println(err)
			return
		}
	}
	cfg := Config{Dir: dir, Actor: Actor{User: "nobody"}}
	l, err := Open(context.Background(), cfg)
	if err != nil {
		fmt.Println("open:", err)
		return
	}
	if err := os.Chmod(filepath.Join(dir, activeName), 0o400); err != nil {
		fmt.Println(err)
	}
	_, err = l.Begin(context.Background(), Intent{})
	fmt.Println(diag.KindOf(err), diag.HintOf(err))
	l.Close()
	os.Chmod(dir, 0o500)
	os.Remove(filepath.Join(dir, activeName)) // must fail
	_, err = Open(context.Background(), cfg)
	fmt.Println(diag.KindOf(err), diag.HintOf(err))
}

func chownAll(dir string) error {
	files, err := os.ReadDir(dir)
	for _, f := range files {
		err = errors.Join(err, os.Chown(filepath.Join(dir, f.Name()), 65534, -1))
	}
	return err
}

func TestUnwritableBlocks(t *testing.T) {
	t.Parallel()
	parent, err := os.MkdirTemp("", "audit") // t.TempDir is closed to other users
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(parent, "log")
	t.Cleanup(func() { os.Chmod(dir, 0o700); os.RemoveAll(parent) })
	if err := os.Chmod(parent, 0o755); err != nil {
		t.Fatal(err)
	}
	l := open(t, testConfig(dir))
	fill(t, l, 2)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	out, err := child(t, "nobody", dir).Output()
	want := "denied make it writable for you: chmod u+rwx " + dir + "\n"
	if err != nil || string(out) != want+want {
		t.Errorf("unwritable log: %q, %v; want twice %q", out, err, want)
	}
}

// childFull limits files to a size that the log soon reaches, which the kernel
// enforces as it does a full disk: a short write, then an error.
func childFull(dir string) {
	signal.Ignore(syscall.SIGXFSZ)
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 3000, Max: 3000}); err != nil {
		fmt.Println(err)
		return
	}
	l, err := Open(context.Background(), Config{Dir: dir})
	for err == nil {
		_, err = l.Begin(context.Background(), Intent{Subject: Subject{Verb: "run"}})
	}
	fmt.Println(diag.KindOf(err), diag.HintOf(err) != "")
	_, err = l.Begin(context.Background(), Intent{Subject: Subject{Verb: "run"}})
	fmt.Println(diag.KindOf(err))
}

func TestNoSpaceBlocksAndLeavesNothing(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "audit")
	out, err := child(t, "full", dir).Output()
	if err != nil || string(out) != "denied true\ndenied\n" {
		t.Errorf("log without space: %q, %v; want it denied twice", out, err)
	}
	r := verify(t, dir)
	if !r.OK || r.Entries < 3 || r.Torn != 0 || r.Ahead != 0 {
		t.Errorf("the log after it: %+v", r)
	}
	fill(t, open(t, testConfig(dir)), 2) // there is space again
	wantOK(t, dir, r.Entries+2)
}

func TestGuard(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		change func(t *testing.T, dir string)
		hint   string
	}{
		{"directory writable by others", func(t *testing.T, dir string) { chmod(t, dir, 0o722) }, "chmod go-w DIR"},
		{"log writable by group", func(t *testing.T, dir string) { chmod(t, filepath.Join(dir, activeName), 0o620) }, "chmod go-w DIR/audit.jsonl"},
		{"head writable by others", func(t *testing.T, dir string) { chmod(t, filepath.Join(dir, headName), 0o602) }, "chmod go-w DIR/head.json"},
		{"directory is a link", func(t *testing.T, dir string) { relink(t, dir) }, "see what it is and move it away: ls -ld DIR"},
		{"log is a link", func(t *testing.T, dir string) { relink(t, filepath.Join(dir, activeName)) }, "see what it is and move it away: ls -ld DIR/audit.jsonl"},
		{"head is a link", func(t *testing.T, dir string) { relink(t, filepath.Join(dir, headName)) }, "see what it is and move it away: ls -ld DIR/head.json"},
		{"lock is a link", func(t *testing.T, dir string) { relink(t, filepath.Join(dir, lockName)) }, "see the directory: ls -la DIR"},
		{"log is a FIFO", func(t *testing.T, dir string) {
			remove(t, dir, activeName)
			if err := unix.Mkfifo(filepath.Join(dir, activeName), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "see what it is and move it away: ls -ld DIR/audit.jsonl"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := newLog(t, 2, 0)
			l := open(t, testConfig(dir))
			tt.change(t, dir)
			_, beginErr := l.Begin(t.Context(), Intent{})
			_, openErr := Open(t.Context(), testConfig(dir))
			for _, err := range []error{beginErr, openErr} {
				hint := strings.ReplaceAll(diag.HintOf(err), dir, "DIR")
				if diag.KindOf(err) != diag.Denied || hint != tt.hint {
					t.Errorf("%v (hint %q), want it denied with hint %q", err, hint, tt.hint)
				}
			}
		})
	}
}

func TestGuardOwner(t *testing.T) {
	t.Parallel()
	info, err := os.Lstat("/proc/1") // root's; for root, a file of another user
	if os.Geteuid() == 0 {
		path := filepath.Join(t.TempDir(), "f")
		put(t, path, nil)
		if err := os.Chown(path, 65534, -1); err != nil {
			t.Fatal(err)
		}
		info, err = os.Lstat(path)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := guard("p", info); !errors.Is(err, errOwner) {
		t.Errorf("guard of another user's file = %v", err)
	}
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

// relink moves what is at path away and links to it.
func relink(t *testing.T, path string) {
	t.Helper()
	if err := errors.Join(os.Rename(path, path+".real"), os.Symlink(path+".real", path)); err != nil {
		t.Fatal(err)
	}
}
