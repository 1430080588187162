//go:build linux

package apply

import "testing"

// 2,000 files of 1 KiB, replaced and brought back.
func BenchmarkApplyRollback(b *testing.B) {
	const start = `mkdir d; for i in $(seq 2000); do head -c 1024 /dev/zero | tr '\0' a >d/$i; done`
	const work = `for i in d/*; do { echo $i; head -c 1000 /dev/zero; } >$i; done`
	var apply, rollback, applySyncs, backSyncs float64
	for b.Loop() {
		b.StopTimer()
		f := setup(b, start, work)
		b.StartTimer()
		s := f.open(b)
		t0 := b.Elapsed()
		out, err := s.Apply(b.Context(), options())
		if err != nil {
			b.Fatal(err)
		}
		t1 := b.Elapsed()
		back, err := s.Rollback(b.Context(), options())
		if err != nil {
			b.Fatal(err)
		}
		apply, rollback = apply+float64(t1-t0), rollback+float64(b.Elapsed()-t1)
		applySyncs, backSyncs = float64(out.Syncs), float64(back.Syncs)
	}
	b.ReportMetric(apply/float64(b.N), "apply-ns/op")
	b.ReportMetric(rollback/float64(b.N), "rollback-ns/op")
	b.ReportMetric(applySyncs, "apply-syncs")
	b.ReportMetric(backSyncs, "rollback-syncs")
}
