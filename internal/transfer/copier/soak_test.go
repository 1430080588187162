package copier_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bowline-sh/bowline/internal/transfer"
)

// full reports whether the long campaigns are asked for (scripts/soak.sh).
func full() bool { return os.Getenv("BOWLINE_TRANSFER") == "full" }

// peak watches the memory that this process has from the system until stop, which
// returns the most it had, in bytes. sshd, the helper and the target are others.
func peak() (stop func() uint64) {
	quit, done := make(chan struct{}), make(chan uint64)
	go func() {
		var most uint64
		for tick := time.NewTicker(20 * time.Millisecond); ; {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			most = max(most, m.Sys-m.HeapReleased)
			select {
			case <-quit:
				tick.Stop()
				done <- most
				return
			case <-tick.C:
			}
		}
	}()
	return func() uint64 { close(quit); return <-done }
}

// TestLargeFile: 2 GiB (48 MiB where nobody asks for the full campaign) within 64 MiB of memory, up and down, with and without a
// helper.
func TestLargeFile(t *testing.T) {
	size := int64(48 << 20)
	if full() {
		size = 2 << 30
	}
	w := newWorld(t)
	dir, err := os.MkdirTemp("/var/tmp", "bowline-test-") // not in memory
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	src, dst := filepath.Join(dir, "src"), filepath.Join(dir, "dst")
	must(t, exec.Command("sh", "-c", fmt.Sprintf("head -c %d /dev/urandom >%s", size, src)).Run())
	for _, way := range ways {
		for _, r := range [][2]string{{src, way + ":" + dst}, {way + ":" + src, dst}} {
			runtime.GC()
			start, stop := time.Now(), peak()
			res := w.cp(r[0], r[1])
			most := stop()
			t.Logf("%s to %s: %v, %d MiB", r[0], r[1], time.Since(start).Round(time.Millisecond), most>>20)
			if most > 64<<20 {
				t.Errorf("%d bytes of memory", most)
			}
			if f := res.Files[0]; f.Status != transfer.Verified || f.Size != size {
				t.Errorf("%+v", f)
			}
			must(t, exec.Command("cmp", src, dst).Run())
			must(t, os.Remove(dst))
		}
	}
}

// TestLargeTree: 100,000 entries (2,000), up and down.
func TestLargeTree(t *testing.T) {
	dirs := 20 // more files than sshd may have open
	if full() {
		dirs = 1000
	}
	w := newWorld(t)
	dir, err := os.MkdirTemp("/var/tmp", "bowline-test-")
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	// What a login has on most systems.
	must(t, unix.Prlimit(w.server.PID, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 1024, Max: 1024}, nil))
	src := filepath.Join(dir, "src")
	for i := range dirs {
		sub := filepath.Join(src, fmt.Sprintf("d%02d/e%d", i/10, i%10))
		must(t, os.MkdirAll(sub, 0o755))
		for j := range 98 {
			must(t, os.WriteFile(filepath.Join(sub, fmt.Sprint(j)), fmt.Append(nil, i, j), 0o644))
		}
		must(t, os.Symlink("0", filepath.Join(sub, "link")))
	}
	for _, way := range ways {
		up, down := filepath.Join(dir, "up-"+way), filepath.Join(dir, "down-"+way)
		for _, r := range [][2]string{{src, way + ":" + up}, {way + ":" + up, down}} {
			runtime.GC()
			start, stop := time.Now(), peak()
			res := w.cp(r[0], r[1])
			t.Logf("%s to %s: %d entries, %v, %d MiB", r[0], r[1], res.Total, time.Since(start).Round(time.Millisecond), stop()>>20)
			if len(res.Files) != res.Total || res.Total < 100*dirs {
				t.Errorf("%d of %d", len(res.Files), res.Total)
			}
		}
		sameTree(t, src, up)
		sameTree(t, up, down)
		noTemps(t, dir)
	}
}
