package audit

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// tamper replaces the active segment and checks that Verify names the first
// bad entry, and that the log cannot be opened for writing if want says so.
func tamper(t *testing.T, dir, name string, data []byte, want Problem) {
	t.Helper()
	put(t, filepath.Join(dir, activeName), data)
	r := verify(t, dir)
	if r.OK || r.Problem == nil {
		t.Fatalf("%s: Verify finds nothing wrong", name)
	}
	got := *r.Problem
	got.Detail = ""
	want.File = activeName
	if got != want {
		t.Errorf("%s: Verify finds %+v, want %+v", name, got, want)
	}
	if r.Entries != want.Seq-1 && want.Kind != Duplicate {
		t.Errorf("%s: %d entries found good, want %d", name, r.Entries, want.Seq-1)
	}
}

func TestVerifyFindsEveryTampering(t *testing.T) {
	t.Parallel()
	const n = 30
	dir := newLog(t, n, 0)
	wantOK(t, dir, n)
	good := lines(read(t, filepath.Join(dir, activeName)))
	if len(good) != n {
		t.Fatalf("%d lines, want %d", len(good), n)
	}
	for i := range n {
		seq, ln := uint64(i+1), i+1
		edited := slices.Clone(good)
		edited[i] = bytes.Replace(good[i], []byte("run"), []byte("cat"), 1)
		tamper(t, dir, fmt.Sprintf("edit %d", seq), join(edited), Problem{Kind: Edited, Line: ln, Seq: seq})

		edited[i] = rehash(t, edited[i])
		tamper(t, dir, fmt.Sprintf("edit and rehash %d", seq), join(edited), Problem{Kind: Edited, Line: ln, Seq: seq})

		edited[i] = []byte("{}\n")
		tamper(t, dir, fmt.Sprintf("replace %d", seq), join(edited), Problem{Kind: Unparseable, Line: ln, Seq: seq})

		kind := Dropped
		if i == n-1 {
			kind = Truncated
		}
		tamper(t, dir, fmt.Sprintf("drop %d", seq), join(good[:i], good[i+1:]), Problem{Kind: kind, Line: ln, Seq: seq})

		tamper(t, dir, fmt.Sprintf("truncate before %d", seq), join(good[:i]), Problem{Kind: Truncated, Line: ln, Seq: seq})
		cut := append(join(good[:i]), good[i][:len(good[i])/2]...)
		tamper(t, dir, fmt.Sprintf("truncate within %d", seq), cut, Problem{Kind: Truncated, Line: ln, Seq: seq})
		whole := join(good[:i+1])
		tamper(t, dir, fmt.Sprintf("truncate newline of %d", seq), whole[:len(whole)-1], Problem{Kind: Truncated, Line: ln, Seq: seq})

		for j := i; j < n; j++ {
			again := slices.Insert(slices.Clone(good), j+1, good[i])
			tamper(t, dir, fmt.Sprintf("copy %d after %d", seq, j+1), join(again), Problem{Kind: Duplicate, Line: j + 2, Seq: seq})
			if j > i {
				swapped := slices.Clone(good)
				swapped[i], swapped[j] = swapped[j], swapped[i]
				tamper(t, dir, fmt.Sprintf("swap %d and %d", seq, j+1), join(swapped), Problem{Kind: Reordered, Line: ln, Seq: seq})
			}
		}
	}
	put(t, filepath.Join(dir, activeName), join(good))
	wantOK(t, dir, n)
}

// rehash gives a changed line a valid hash of its own.
func rehash(t *testing.T, l []byte) []byte {
	t.Helper()
	body := l[:len(l)-1-sealLen]
	out := append(bytes.Clone(body), hashOpen+hashOf(body)+hashClose+"\n"...)
	if _, err := ParseEntry(out[:len(out)-1]); err != nil {
		t.Fatal(err)
	}
	return out
}

// A rewrite of everything from an entry on, with valid hashes, is found by the
// head.
func TestVerifyRewrittenChain(t *testing.T) {
	t.Parallel()
	dir := newLog(t, 6, 0)
	other := testConfig(filepath.Join(t.TempDir(), "other"))
	l := open(t, other)
	fill(t, l, 4)
	if err := l.Note(t.Context(), Note{Subject: Subject{Verb: "forged"}}); err != nil {
		t.Fatal(err)
	}
	fill(t, l, 1)
	forged := read(t, filepath.Join(other.Dir, activeName))
	put(t, filepath.Join(dir, activeName), forged)
	if r := verify(t, dir); r.OK || r.Problem.Kind != Edited || r.Problem.Seq != 6 {
		t.Errorf("Verify of a rewritten chain = %v, want entry 6 not to be the head's", r.Problem)
	}
	if _, err := Open(t.Context(), testConfig(dir)); !errors.Is(err, ErrTampered) {
		t.Errorf("Open of a rewritten chain = %v", err)
	}
}

func TestVerifyFindsEveryByteFlip(t *testing.T) {
	t.Parallel()
	dir := newLog(t, 3, 0)
	for _, name := range []string{activeName, headName} {
		path := filepath.Join(dir, name)
		good := read(t, path)
		for i := range good {
			for _, mask := range []byte{0x01, 0x20, 0x80, 0xff} {
				bad := bytes.Clone(good)
				bad[i] ^= mask
				put(t, path, bad)
				if r := verify(t, dir); r.OK {
					t.Fatalf("%s: byte %d (%q) ^ %#x is not found", name, i, good[i], mask)
				}
			}
		}
		put(t, path, good)
	}
	wantOK(t, dir, 3)
}

func TestVerifyHead(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		change func(t *testing.T, dir string)
		kind   ProblemKind
	}{
		{"missing", func(t *testing.T, dir string) { remove(t, dir, headName) }, HeadMissing},
		{"garbage", func(t *testing.T, dir string) { put(t, filepath.Join(dir, headName), []byte("{}")) }, HeadDamaged},
		{"empty", func(t *testing.T, dir string) { put(t, filepath.Join(dir, headName), nil) }, HeadDamaged},
		{"log gone", func(t *testing.T, dir string) { remove(t, dir, activeName) }, Truncated},
		{"log emptied", func(t *testing.T, dir string) { put(t, filepath.Join(dir, activeName), nil) }, Truncated},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := newLog(t, 4, 0)
			tt.change(t, dir)
			if r := verify(t, dir); r.OK || r.Problem.Kind != tt.kind {
				t.Errorf("Verify = %v, want %s", r.Problem, tt.kind)
			}
			if l, err := Open(t.Context(), testConfig(dir)); err == nil {
				l.Close()
				t.Error("the log can be opened for writing")
			}
		})
	}
}

func remove(t *testing.T, dir, name string) {
	t.Helper()
	if err := os.Remove(filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
}

func TestVerifySegments(t *testing.T) {
	t.Parallel()
	const n = 30
	names := func(dir string) []string {
		s, err := closedSegments(dir)
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, s := range s {
			out = append(out, s.name)
		}
		return out
	}
	dir := newLog(t, n, 2000)
	r := wantOK(t, dir, n)
	closed := names(dir)
	if len(closed) < 4 || r.Segments != len(closed)+1 || closed[0] != "audit-000001.jsonl" {
		t.Fatalf("segments: %v, want some", closed)
	}
	for i, name := range closed {
		path := filepath.Join(dir, name)
		good := read(t, path)
		first, err := ParseEntry(bytes.TrimSuffix(lines(good)[0], []byte("\n")))
		if err != nil {
			t.Fatal(err)
		}
		remove(t, dir, name)
		if r := verify(t, dir); r.OK || r.Problem.Kind != Dropped || r.Problem.Seq != first.Seq {
			t.Errorf("without %s: %v, want entry %d dropped", name, r.Problem, first.Seq)
		}
		put(t, path, good[:len(good)-1])
		if r := verify(t, dir); r.OK || r.Problem.Kind != Unparseable || r.Problem.File != name {
			t.Errorf("%s cut short: %v", name, r.Problem)
		}
		put(t, path, good)
		if i > 0 {
			before := filepath.Join(dir, closed[i-1])
			was := read(t, before)
			put(t, before, good)
			put(t, path, was)
			if r := verify(t, dir); r.OK || r.Problem.Kind != Reordered || r.Problem.File != closed[i-1] {
				t.Errorf("%s and the one before swapped: %v", name, r.Problem)
			}
			put(t, before, was)
			put(t, path, good)
		}
	}
	wantOK(t, dir, n)
}

func TestVerifyNoLog(t *testing.T) {
	t.Parallel()
	if r := verify(t, t.TempDir()); !r.OK || r.Entries != 0 {
		t.Errorf("Verify without a log = %+v", r)
	}
	wantOK(t, newLog(t, 0, 0), 0)
}
