package bench

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/bowline-sh/bowline"
)

// needRoot: dry runs of other people's files need root on the target, which is
// this machine.
func needRoot(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Fatal("this benchmark needs root")
	}
}

// BenchmarkPlanEmpty: a plan that changes nothing, on an open link, against the
// least that a sandbox costs there.
func BenchmarkPlanEmpty(b *testing.B) {
	needRoot(b)
	w := newWorld(b)
	w.placeHelper(b)
	w.line = "bwrap --ro-bind / / true"
	options := w.master(b)
	compare(b, func() { w.plan(b, "true") }, func() { w.peer(b, options...) })
}

// BenchmarkPlanLargeHost: empty plans on a host with 200,000 files more, against the
// same before they were there. What a plan costs grows with what the script touches,
// not with the disk: the ratio is about 1.
func BenchmarkPlanLargeHost(b *testing.B) {
	needRoot(b)
	w := newWorld(b)
	w.placeHelper(b)
	dir := scratch(b)
	measure := func() time.Duration {
		w.plan(b, "true")
		var all []time.Duration
		for range 20 {
			all = append(all, timed(func() { w.plan(b, "true") }))
		}
		return median(all)
	}
	before := measure()
	for i := range 200 {
		sub := filepath.Join(dir, fmt.Sprint(i))
		if err := os.Mkdir(sub, 0o755); err != nil {
			b.Fatal(err)
		}
		for j := range 1000 {
			if err := os.Symlink("x", filepath.Join(sub, fmt.Sprint(j))); err != nil {
				b.Fatal(err)
			}
		}
	}
	after := measure()
	b.ReportMetric(ms(after), "ours_ms")
	b.ReportMetric(ms(before), "small_host_ms")
	ratio := float64(after) / float64(before)
	b.ReportMetric(ratio, "ratio")
	b.ReportMetric(0, "ns/op")
	if ratio > 2 {
		b.Errorf("an empty plan takes %v on a large host and %v on a small one", after, before)
	}
}

func (w *world) plan(b *testing.B, line string) string {
	s, err := w.client.Plan(b.Context(), bowline.PlanRequest{Target: "web1", Argv: []string{"sh", "-c", line}})
	if err != nil {
		b.Fatal(err)
	}
	return s.ID
}

// BenchmarkPlanApply2000: a script that writes 2,000 files of 1 KiB, planned and
// applied, against running it.
func BenchmarkPlanApply2000(b *testing.B) {
	needRoot(b)
	w := newWorld(b)
	w.placeHelper(b)
	var plans []time.Duration
	compareRounds(b, 5, func() {
		dir, start := scratch(b), time.Now()
		id := w.plan(b, script(dir))
		plans = append(plans, time.Since(start))
		if _, err := w.client.Approve(b.Context(), id, ""); err != nil {
			b.Fatal(err)
		}
		if r, err := w.client.Apply(b.Context(), id, bowline.ApplyOptions{}); err != nil || r.Done != 2001 {
			b.Fatalf("%+v, %v", r, err)
		}
	}, func() { mustRun(b, exec.Command("sh", "-c", script(scratch(b)))) })
	b.ReportMetric(ms(median(plans)), "plan_ms")
}

// BenchmarkRollback2000: taking that back, against deleting the files.
func BenchmarkRollback2000(b *testing.B) {
	needRoot(b)
	w := newWorld(b)
	w.placeHelper(b)
	var ids, dirs []string
	for range 6 {
		dir := scratch(b)
		id := w.plan(b, script(dir))
		if _, err := w.client.Approve(b.Context(), id, ""); err != nil {
			b.Fatal(err)
		}
		if _, err := w.client.Apply(b.Context(), id, bowline.ApplyOptions{}); err != nil {
			b.Fatal(err)
		}
		direct := scratch(b)
		mustRun(b, exec.Command("sh", "-c", script(direct)))
		ids, dirs = append(ids, id), append(dirs, direct)
	}
	compareRounds(b, 5, func() {
		if _, err := w.client.Rollback(b.Context(), ids[0], bowline.ApplyOptions{}); err != nil {
			b.Fatal(err)
		}
		ids = ids[1:]
	}, func() {
		mustRun(b, exec.Command("rm", "-rf", dirs[0]+"/out"))
		dirs = dirs[1:]
	})
}

// script writes 2,000 files into a new directory below dir.
func script(dir string) string {
	return fmt.Sprintf(`mkdir %[1]s/out; x=$(printf %%01024d 7); i=0; while [ $i -lt 2000 ]; do echo "$x$i" > %[1]s/out/$i; i=$((i+1)); done`, dir)
}

// scratch is a directory that plans cover; /tmp is volatile.
func scratch(b *testing.B) string {
	dir, err := os.MkdirTemp("/srv", "bowline-bench-")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Clean(dir)
}

// BenchmarkPlanCompute: a script that reads files and computes, and changes nothing,
// inside the dry run against running it.
func BenchmarkPlanCompute(b *testing.B) {
	needRoot(b)
	w := newWorld(b)
	w.placeHelper(b)
	const line = "for i in 1 2 3 4; do find /usr/lib /usr/share -xdev -type f -size -64k -print0 | head -z -n 8000 | xargs -0 sha256sum >/dev/null; done"
	compareRounds(b, 5, func() { w.plan(b, line) }, func() { mustRun(b, exec.Command("sh", "-c", line)) })
}
