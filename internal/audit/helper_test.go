package audit

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bowline-sh/bowline/internal/durable"
)

// clock returns a Now that advances a second with each call.
func clock() func() time.Time {
	var seconds atomic.Int64
	return func() time.Time {
		return time.Date(2026, 11, 21, 10, 0, int(seconds.Add(1)), 123456789, time.UTC)
	}
}

func testConfig(dir string) Config {
	var n atomic.Int64
	return Config{
		Dir: dir, Now: clock(), Actor: Actor{User: "ann", Host: "laptop", PID: 7, Surface: "cli"},
		NewID: func() string { return fmt.Sprintf("id%d", n.Add(1)) },
	}
}

func open(t testing.TB, cfg Config) *Log {
	t.Helper()
	l, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// fill appends n entries, intents and outcomes in turn.
func fill(t testing.TB, l *Log, n int) {
	t.Helper()
	id := ""
	for i := range n {
		var err error
		if i%2 == 0 {
			in := Intent{Subject: Subject{Verb: "run", Target: fmt.Sprintf("web%d", i%4)}, Argv: []string{"echo", fmt.Sprint(i)}}
			id, err = l.Begin(t.Context(), in)
		} else {
			err = l.End(t.Context(), id, Outcome{ExitCode: new(int)})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// newLog returns the directory of a closed log with n entries.
func newLog(t testing.TB, n int, maxSize int64) string {
	t.Helper()
	cfg := testConfig(filepath.Join(t.TempDir(), "audit"))
	cfg.MaxSize = maxSize
	l := open(t, cfg)
	fill(t, l, n)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return cfg.Dir
}

func verify(t testing.TB, dir string) Report {
	t.Helper()
	report, err := NewReader(dir, "").Verify(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func wantOK(t testing.TB, dir string, entries uint64) Report {
	t.Helper()
	r := verify(t, dir)
	if !r.OK || r.Entries != entries {
		t.Fatalf("Verify = %d entries, %v; want %d good ones", r.Entries, r.Problem, entries)
	}
	return r
}

func entries(t testing.TB, dir string, f Filter) []Entry {
	t.Helper()
	var out []Entry
	for e, err := range NewReader(dir, "").List(t.Context(), f) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func put(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// lines splits a segment into lines with their newlines.
func lines(b []byte) [][]byte {
	l := bytes.SplitAfter(b, []byte("\n"))
	return l[:len(l)-1]
}

func join(parts ...[][]byte) []byte {
	var out []byte
	for _, p := range parts {
		out = append(out, bytes.Join(p, nil)...)
	}
	return out
}

// holdLock takes the lock of a log as another process would.
func holdLock(t *testing.T, dir string) (release func()) {
	t.Helper()
	lock, err := durable.Lock(t.Context(), filepath.Join(dir, lockName))
	if err != nil {
		t.Fatal(err)
	}
	return func() { lock.Unlock() }
}
