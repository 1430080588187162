package audit

import (
	"path/filepath"
	"testing"
)

// BenchmarkBeginEnd is two entries: two fsyncs and what comes on top.
func BenchmarkBeginEnd(b *testing.B) {
	l := open(b, Config{Dir: filepath.Join(b.TempDir(), "audit")})
	in := Intent{Subject: Subject{Verb: "run", Target: "web1"}, Argv: []string{"journalctl", "-u", "nginx"}}
	b.ReportAllocs()
	for b.Loop() {
		id, err := l.Begin(b.Context(), in)
		if err == nil {
			err = l.End(b.Context(), id, Outcome{})
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkBeginEndParallel shows what goroutines gain by sharing fsyncs.
func BenchmarkBeginEndParallel(b *testing.B) {
	l := open(b, Config{Dir: filepath.Join(b.TempDir(), "audit")})
	in := Intent{Subject: Subject{Verb: "run", Target: "web1"}, Argv: []string{"journalctl", "-u", "nginx"}}
	b.SetParallelism(25)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			id, err := l.Begin(b.Context(), in)
			if err == nil {
				err = l.End(b.Context(), id, Outcome{})
			}
			if err != nil {
				b.Error(err)
			}
		}
	})
}

// BenchmarkFsync is the floor under BenchmarkBeginEnd: two appends with fsync
// and nothing else.
func BenchmarkFsync(b *testing.B) {
	f, err := openActive(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	line := make([]byte, 500)
	for b.Loop() {
		for range 2 {
			if _, err := f.Write(line); err != nil {
				b.Fatal(err)
			}
			if err := f.Sync(); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	dir := newLog(b, 1000, 0)
	for b.Loop() {
		l, err := Open(b.Context(), Config{Dir: dir})
		if err != nil {
			b.Fatal(err)
		}
		l.Close()
	}
}

func BenchmarkVerify(b *testing.B) {
	dir := newLog(b, 2000, 0)
	b.SetBytes(int64(len(read(b, filepath.Join(dir, activeName)))))
	for b.Loop() {
		if r, err := NewReader(dir, "").Verify(b.Context()); err != nil || !r.OK {
			b.Fatal(r, err)
		}
	}
}
