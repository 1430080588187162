package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/internal/testkit"
)

// counted is a target whose commands leave their number in a file.
type counted struct {
	t      *testing.T
	client *bowline.Client
	server *testkit.Server
	file   string
}

func newCounted(t *testing.T, helper bool) *counted {
	t.Helper()
	home, dir := testkit.Dir(t), testkit.Dir(t)
	s := testkit.SSHD(t, testkit.ConfigLines("SetEnv HOME="+home, "MaxSessions 10", "MaxStartups 10:30:100"))
	w := &counted{t: t, server: s, client: open(t, s), file: filepath.Join(dir, "ran")}
	profiles := w.client.Paths().Profiles
	text := fmt.Sprintf("name = \"counter\"\nbinds = [\n"+
		"{ source = \"/usr\", target = \"/usr\" }, { source = \"/bin\", target = \"/bin\" }, { source = \"/lib\", target = \"/lib\" }, { source = \"/lib64\", target = \"/lib64\" },\n"+
		"{ source = %q, target = \"/count\", read_only = false } ]\n[environment]\nPATH = \"/usr/bin:/bin\"\n", dir)
	if err := os.MkdirAll(profiles, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(profiles, "counter.toml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if helper {
		placeHelper(t, s)
		useHelper(t, w.client, s)
	}
	return w
}

// run has command n leave its number.
func (w *counted) run(n int) {
	line := fmt.Sprintf("echo %d >>/count/ran", n) // one write of a few bytes at the end, see write(2)
	res, err := w.client.Run(w.t.Context(), bowline.RunRequest{Target: "t0", Profile: "counter", Argv: []string{"sh", "-c", line}, Timeout: 2 * time.Minute})
	if err != nil || res.ExitCode != 0 {
		w.t.Errorf("command %d: %d, %q, %v", n, res.ExitCode, res.Stderr, err)
	}
}

// atOnce runs the commands first to last-1, so many at a time.
func (w *counted) atOnce(first, last, width int) {
	numbers := make(chan int)
	var all sync.WaitGroup
	for range width {
		all.Go(func() {
			for n := range numbers {
				w.run(n)
			}
		})
	}
	for n := first; n < last; n++ {
		numbers <- n
	}
	close(numbers)
	all.Wait()
}

// check wants every command below n to have run exactly once, and to be on record.
func (w *counted) check(n int) {
	w.t.Helper()
	text, err := os.ReadFile(w.file)
	if err != nil {
		w.t.Fatal(err)
	}
	times := make([]int, n)
	for line := range strings.Lines(string(text)) {
		var i int
		if _, err := fmt.Sscanf(line, "%d\n", &i); err != nil || i < 0 || i >= n {
			w.t.Errorf("odd line %q", line)
			continue
		}
		times[i]++
	}
	for i, got := range times {
		if got != 1 {
			w.t.Errorf("command %d ran %d times", i, got)
		}
	}
	report, err := w.client.VerifyAudit(w.t.Context())
	if err != nil || !report.OK || report.Entries < uint64(2*n) {
		w.t.Errorf("audit: %+v, %v", report, err)
	}
}

// usage is what the client takes.
type usage struct {
	heap               uint64
	goroutines, files  int
	farFiles, farLines int
}

func (w *counted) usage() usage {
	w.t.Helper()
	var u usage
	u.goroutines = runtime.NumGoroutine()
	// Goroutines of the last command end a moment after it.
	for end := time.Now().Add(300 * time.Millisecond); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		u.goroutines = min(u.goroutines, runtime.NumGoroutine())
	}
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	u.heap = m.HeapAlloc
	u.files = files(w.t, os.Getpid())
	for _, pid := range w.server.Sessions(w.t) {
		u.farFiles += files(w.t, pid)
		u.farLines++
	}
	return u
}

func files(t *testing.T, pid int) int {
	t.Helper()
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// grown compares with what was taken before.
func (w *counted) grown(before usage) {
	w.t.Helper()
	after := w.usage()
	w.t.Logf("before %+v, after %+v", before, after)
	const slack = 3 // idle connections, and what the runtime keeps; the log of sshd is in our memory, too
	if after.goroutines > before.goroutines+slack || after.files > before.files+slack || after.farFiles > before.farFiles+slack || after.farLines > before.farLines {
		w.t.Errorf("more than before")
	}
	if after.heap > before.heap+4<<20 {
		w.t.Errorf("%d bytes of memory, %d before", after.heap, before.heap)
	}
}

// TestCommandsInARow and TestCommandsAtOnce: none lost, none run twice, and nothing grows.
func TestCommandsInARow(t *testing.T) {
	endure(t, campaign(10_000, 100), 1)
}

func TestCommandsAtOnce(t *testing.T) {
	endure(t, campaign(2_000, 128), 64)
}

func endure(t *testing.T, n, width int) {
	for name, helper := range map[string]bool{"with a helper": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			w := newCounted(t, helper)
			rest := goleak.IgnoreCurrent()
			warmUp := max(n/10, width)
			w.atOnce(0, warmUp, width)
			before := w.usage()
			started := time.Now()
			w.atOnce(warmUp, n, width)
			t.Logf("%d commands, %d at a time: %.1f ms each", n-warmUp, width, time.Since(started).Seconds()*1000/float64(n-warmUp))
			w.grown(before)
			w.check(n)
			if err := w.client.Close(); err != nil {
				t.Error(err)
			}
			if err := goleak.Find(rest); err != nil {
				t.Error(err)
			}
		})
	}
}
