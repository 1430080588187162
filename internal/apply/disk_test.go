//go:build linux

package apply

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/plan"
)

// onDisk gives the fixture a host tree on a file system of its own.
func (f *fixture) onDisk(t *testing.T, options string) *fixture {
	t.Helper()
	g := f.again(t, filepath.Join(tempDir(t), "disk"))
	sh(t, filepath.Dir(g.host), "mv host was; mkdir host; chmod --reference=was host")
	if err := unix.Mount("tmpfs", g.host, "tmpfs", 0, options+",mode=700"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(g.host, unix.MNT_DETACH) })
	sh(t, filepath.Dir(g.host), "cp -a was/. host/")
	return g
}

func (f *fixture) remount(t *testing.T, flags uintptr, options string) {
	t.Helper()
	if err := unix.Mount("tmpfs", f.host, "tmpfs", unix.MS_REMOUNT|flags, options); err != nil {
		t.Fatal(err)
	}
}

// bothWays breaks an apply, mends the cause, and goes on in both directions.
func bothWays(t *testing.T, make func(t *testing.T) *fixture, fault func(f *fixture) func(string, int, bool) error, mend func(f *fixture)) {
	t.Helper()
	for _, forward := range []bool{true, false} {
		f := make(t)
		opts := options()
		if fault != nil {
			opts.fault = fault(f)
		}
		s := f.open(t)
		out, err := s.Apply(t.Context(), opts)
		if diag.KindOf(err) != diag.Partial || out.Status != plan.Partial || diag.HintOf(err) == "" {
			t.Fatalf("apply: %+v, %v", out, err)
		}
		t.Log(err)
		mend(f)
		if forward {
			f.onward(t)
		}
		f.back(t)
		f.noLeftovers(t)
	}
}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	root(t)
	first := setup(t, start, work, `head -c 3000000 /dev/zero | tr '\0' x >etc/big; rm -r home; echo in >etc/app/main.conf`)
	bothWays(t, func(t *testing.T) *fixture { return first.onDisk(t, "size=1M") }, nil, func(f *fixture) { f.remount(t, 0, "size=16M") })
	// In place: the old content must survive.
	first = setup(t, `echo a >a; ln a b`, `echo one >c`, `head -c 3000000 /dev/zero | tr '\0' x >a`)
	bothWays(t, func(t *testing.T) *fixture { return first.onDisk(t, "size=1M") }, nil, func(f *fixture) {
		if b, err := os.ReadFile(filepath.Join(f.host, "b")); err != nil || string(b) != "a\n" {
			t.Errorf("the other link holds %q, %v", b[:min(len(b), 10)], err)
		}
		f.remount(t, 0, "size=16M")
	})
}

func TestReadOnlyInTheMiddle(t *testing.T) {
	t.Parallel()
	root(t)
	first := setup(t, start, work, work2)
	bothWays(t, func(t *testing.T) *fixture { return first.onDisk(t, "size=64M") }, func(f *fixture) func(string, int, bool) error {
		renames := 0
		return func(name string, _ int, done bool) error {
			if renames += map[bool]int{true: 1}[name == "rename" && !done]; renames == 5 && name == "rename" && !done {
				f.remount(t, unix.MS_RDONLY, "")
			}
			return nil
		}
	}, func(f *fixture) { f.remount(t, 0, "") })
}

func TestParentVanishesInTheMiddle(t *testing.T) {
	t.Parallel()
	root(t)
	first := setup(t, start, work, work2)
	top := filepath.Join(tempDir(t), "copy")
	bothWays(t, func(t *testing.T) *fixture { return first.again(t, top) }, func(f *fixture) func(string, int, bool) error {
		return func(name string, _ int, done bool) error {
			if name == "rename" && !done {
				os.Rename(filepath.Join(f.host, "etc"), filepath.Join(f.host, "gone"))
			}
			return nil
		}
	}, func(f *fixture) {
		if err := os.Rename(filepath.Join(f.host, "gone"), filepath.Join(f.host, "etc")); err != nil {
			t.Error(err)
		}
	})
}

// Somebody writes to a file between the check of everything and its turn.
func TestChangedInTheMiddle(t *testing.T) {
	t.Parallel()
	root(t)
	f := setup(t, `echo a >a; echo b >b; echo c >c`, `rm a; echo 2 >b; echo 3 >c`)
	opts := options()
	opts.fault = func(name string, _ int, done bool) error {
		if name == "delete" && !done {
			sh(t, f.host, "echo mine >c")
		}
		return nil
	}
	_, err := f.open(t).Apply(t.Context(), opts)
	if diag.KindOf(err) != diag.Partial || !errors.Is(err, errChanged) {
		t.Fatalf("apply: %v", err)
	}
	if b, err := os.ReadFile(filepath.Join(f.host, "c")); err != nil || string(b) != "mine\n" {
		t.Errorf("c holds %q, %v; somebody's edit must survive", b, err)
	}
	out, err := f.open(t).Rollback(t.Context(), options())
	if diag.KindOf(err) != diag.Conflict || len(out.Conflicts) != 1 {
		t.Errorf("rollback: %+v, %v; want one conflict", out.Conflicts, err)
	}
}

// Every effect of a rollback fails in both ways; it is finished by another.
func TestRollbackAfterFault(t *testing.T) {
	t.Parallel()
	root(t)
	first := setup(t, start, work, work2)
	top := filepath.Join(tempDir(t), "copy")
	for _, kept := range []bool{false, true} {
		for step := 1; ; step++ {
			f := first.again(t, top)
			f.apply(t)
			hit := false
			opts := options()
			opts.fault = func(_ string, n int, done bool) error {
				if n == step && done == kept {
					hit = true
					return errFault
				}
				return nil
			}
			s, err := Open(f.dir, f.host)
			if err != nil {
				t.Fatal(err)
			}
			_, err = s.Rollback(t.Context(), opts)
			s.Close()
			if hit != errors.Is(err, errFault) {
				t.Fatalf("step %d, kept %v: the fault went unnoticed: %v", step, kept, err)
			}
			if !hit {
				break
			}
			f.back(t)
		}
	}
}
