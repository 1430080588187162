package serve

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
)

// bounds are those of the histogram's buckets, in seconds.
var bounds = [...]float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}

// histogram counts durations. The zero value is ready to use.
type histogram struct {
	buckets [len(bounds)]uint64 // not cumulated
	count   uint64
	sum     float64
}

func (h *histogram) add(seconds float64) {
	h.count++
	h.sum += seconds
	for i, b := range bounds {
		if seconds <= b {
			h.buckets[i]++
			return
		}
	}
}

// write writes the lines of a histogram with labels besides "le".
func (h *histogram) write(w io.Writer, name, labels string) {
	var n uint64
	for i, b := range bounds {
		n += h.buckets[i]
		fmt.Fprintf(w, "%s_bucket{%s,le=\"%g\"} %d\n", name, labels, b, n)
	}
	fmt.Fprintf(w, "%s_bucket{%s,le=\"+Inf\"} %d\n%s_sum{%s} %g\n%s_count{%s} %d\n", name, labels, h.count, name, labels, h.sum, name, labels, h.count)
}

// clockTicks is USER_HZ, which Linux fixes for programs at 100 a second (proc(5)).
const clockTicks = 100

// process writes the numbers that all programs have, under their usual names. Where there
// is no /proc most are left out.
func process(w io.Writer) {
	one := func(name, kind string, value float64) {
		fmt.Fprintf(w, "# TYPE %s %s\n%s %s\n", name, kind, name, strconv.FormatFloat(value, 'f', -1, 64))
	}
	one("go_goroutines", "gauge", float64(runtime.NumGoroutine()))
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	one("go_memstats_heap_inuse_bytes", "gauge", float64(m.HeapInuse))
	stat, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return
	}
	// The second field is a name in parentheses; then utime is 14, stime 15, rss 24.
	f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	field := func(n int) float64 {
		if n-3 >= len(f) {
			return 0
		}
		v, err := strconv.ParseFloat(f[n-3], 64)
		if err != nil {
			return 0
		}
		return v
	}
	one("process_cpu_seconds_total", "counter", (field(14)+field(15))/clockTicks)
	one("process_resident_memory_bytes", "gauge", field(24)*float64(os.Getpagesize()))
	if fds, err := os.ReadDir("/proc/self/fd"); err == nil {
		one("process_open_fds", "gauge", float64(len(fds)))
	}
}
