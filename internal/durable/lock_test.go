package durable

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

func TestLockBetweenGoroutines(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	var wg sync.WaitGroup
	n := 0 // guarded by the file lock alone, which the race detector cannot see
	counter := filepath.Join(t.TempDir(), "n")
	write(t, counter, "")
	for range 8 {
		wg.Go(func() {
			for range 20 {
				appendOne(t, path, counter)
			}
		})
	}
	wg.Wait()
	b, err := os.ReadFile(counter)
	if n = len(b); err != nil || n != 160 {
		t.Errorf("counted %d, %v; want 160", n, err)
	}
}

// appendOne adds a byte by read-modify-write, which loses bytes without a lock.
func appendOne(t *testing.T, lock, counter string) {
	l, err := Lock(t.Context(), lock)
	if err != nil {
		t.Error(err)
		return
	}
	b, err := os.ReadFile(counter)
	if err == nil {
		err = os.WriteFile(counter, append(b, 'x'), 0o600)
	}
	if err = errors.Join(err, l.Unlock()); err != nil {
		t.Error(err)
	}
}

func TestLockCanceled(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Lock(ctx, path); !errors.Is(err, context.Canceled) {
		t.Errorf("Lock with a canceled context = %v", err)
	}
	if _, err := os.Lstat(path); err == nil {
		t.Error("a canceled Lock created its file")
	}
}

func TestLockRefusesLink(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	link(t, "elsewhere", filepath.Join(dir, "lock"))
	if _, err := Lock(t.Context(), filepath.Join(dir, "lock")); err == nil {
		t.Error("Lock followed a symbolic link")
	}
}
