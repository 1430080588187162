package journal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func open(t testing.TB, path string) (*Journal, []string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	var got []string
	j, err := Open(f, func(b []byte) error { got = append(got, string(b)); return nil })
	if err != nil {
		t.Fatal(err)
	}
	return j, got
}

func sample(t testing.TB, n int) (path string, data []byte) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "j")
	j, _ := open(t, path)
	for i := range n {
		if err := j.Append(map[string]int{"n": i}); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return path, data
}

func TestEveryTearIsDroppedAndAppendGoesOn(t *testing.T) {
	t.Parallel()
	path, data := sample(t, 3)
	for cut := range len(data) + 1 {
		if err := os.WriteFile(path, data[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		whole := bytes.Count(data[:cut], []byte("\n"))
		j, got := open(t, path)
		if len(got) != whole {
			t.Fatalf("cut at %d: %d records, want %d", cut, len(got), whole)
		}
		if err := j.Append("more"); err != nil {
			t.Fatal(err)
		}
		if _, got = open(t, path); len(got) != whole+1 || got[whole] != `"more"` {
			t.Fatalf("cut at %d, then appended: %q", cut, got)
		}
	}
}

func TestEveryEditIsFound(t *testing.T) {
	t.Parallel()
	_, data := sample(t, 4)
	last := bytes.LastIndexByte(data[:len(data)-1], '\n') + 1
	head, size, _, _ := Replay(bytes.NewReader(data), func([]byte) error { return nil })
	for i := range data {
		edited := bytes.Clone(data)
		edited[i] ^= 1
		n := 0
		_, _, _, err := Replay(bytes.NewReader(edited), func([]byte) error { n++; return nil })
		if i < last-1 && !errors.Is(err, ErrTampered) {
			t.Errorf("edit at byte %d of %d: %v", i, len(data), err)
		}
		if i >= last && n != 3 {
			t.Errorf("edit in the last line: %d records, want it dropped", n)
		}
		if Prefix(bytes.NewReader(edited), head, size) == nil {
			t.Errorf("edit at byte %d: the noted head still matches", i)
		}
	}
	if err := Prefix(bytes.NewReader(data), head, size); err != nil {
		t.Error(err)
	}
	if err := Prefix(bytes.NewReader(data[:last]), head, size); !errors.Is(err, ErrTampered) {
		t.Errorf("a line cut off: %v", err)
	}
}

func TestTooLong(t *testing.T) {
	t.Parallel()
	path, _ := sample(t, 1)
	j, _ := open(t, path)
	if err := j.Append(strings.Repeat("x", maxLine)); err == nil {
		t.Error("a record longer than a line was taken")
	}
	if err := j.Append("ok"); err != nil {
		t.Errorf("after a refused record: %v", err)
	}
	long := strings.NewReader(strings.Repeat("x", 2*maxLine))
	if _, _, _, err := Replay(long, func([]byte) error { return nil }); !errors.Is(err, ErrTampered) {
		t.Errorf("a line without end: %v", err)
	}
}

// faulty fails one call, before or after doing it.
type faulty struct {
	*os.File
	step int
	kept bool
}

var errFault = errors.New("fault")

func (f *faulty) hit(do func() error) error {
	f.step--
	if f.step == 0 && !f.kept {
		return errFault
	}
	err := do()
	if f.step == 0 {
		return errFault
	}
	return err
}

func (f *faulty) Write(p []byte) (n int, err error) {
	err = f.hit(func() error { n, err = f.File.Write(p); return err })
	return n, err
}

func (f *faulty) Sync() error { return f.hit(f.File.Sync) }

func TestAfterFault(t *testing.T) {
	t.Parallel()
	for step := 1; step <= 6; step++ {
		for _, kept := range []bool{false, true} {
			t.Run(fmt.Sprintf("step=%d,kept=%v", step, kept), func(t *testing.T) {
				t.Parallel()
				f, err := os.OpenFile(filepath.Join(t.TempDir(), "j"), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				j, err := Open(&faulty{f, step, kept}, func([]byte) error { return nil })
				if err != nil {
					t.Fatal(err)
				}
				acked := 0
				for i := range 3 {
					if err = j.Append(i); err != nil {
						break
					}
					acked++
				}
				if !errors.Is(err, errFault) || !errors.Is(j.Append(9), errFault) {
					t.Fatalf("the fault went unnoticed: %v", err)
				}
				n := 0
				if _, err := Open(f, func([]byte) error { n++; return nil }); err != nil || n < acked {
					t.Errorf("%d records and %v after %d acknowledged", n, err, acked)
				}
			})
		}
	}
}

func FuzzReplay(f *testing.F) {
	_, data := sample(f, 3)
	f.Add(data)
	f.Add(data[:len(data)-5])
	f.Fuzz(func(t *testing.T, b []byte) {
		var recs [][]byte
		head, size, total, err := Replay(bytes.NewReader(b), func(r []byte) error { recs = append(recs, bytes.Clone(r)); return nil })
		if size > total || total > int64(len(b)) {
			t.Fatalf("size %d, total %d of %d", size, total, len(b))
		}
		if err != nil {
			return
		}
		got, again, _, err := Replay(io.LimitReader(bytes.NewReader(b), size), func([]byte) error { return nil })
		if err != nil || got != head || again != size {
			t.Fatalf("the accepted part reads as %s, %d, %v", got, again, err)
		}
	})
}
