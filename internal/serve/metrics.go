package serve

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/plan"
)

// countsAge is how old numbers from the store may be, and chainTime how long looking at
// the audit log may take, for one scrape.
const (
	countsAge = 10 * time.Second
	chainTime = 5 * time.Second
)

// stats are the numbers of /metrics, in the text format of Prometheus, version 0.0.4. No
// name of a target, session, token or person is a label.
type stats struct {
	cfg               Config
	began             time.Time
	set               *metrics.Set
	inFlight, streams atomic.Int64

	mu    sync.Mutex // guards what follows; held while the store is asked
	last  bowline.Counts
	asked time.Time
}

func newStats(cfg Config) *stats {
	metrics.ExposeMetadata(true) // "# TYPE" lines; of the whole process, like all of this library's settings
	return &stats{cfg: cfg, began: time.Now(), set: metrics.NewSet()}
}

func (s *stats) write(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	s.set.WritePrometheus(w)
	s.gauges(r.Context(), w)
	metrics.WriteProcessMetrics(w)
	metrics.WriteFDMetrics(w)
}

// gauges writes what is looked up when somebody asks. What cannot be is left out: a
// missing number raises an alarm, a wrong one does not.
func (s *stats) gauges(ctx context.Context, w io.Writer) {
	one := func(name, kind string, value any) { fmt.Fprintf(w, "# TYPE %s %s\n%s %v\n", name, kind, name, value) }
	fmt.Fprintf(w, "# TYPE bowline_build_info gauge\nbowline_build_info{version=%s,go=%s} 1\n", label(s.cfg.Version), label(runtime.Version()))
	one("bowline_uptime_seconds", "gauge", strconv.FormatFloat(time.Since(s.began).Seconds(), 'f', 3, 64))
	one("bowline_http_requests_in_flight", "gauge", s.inFlight.Load())
	one("bowline_http_streams_open", "gauge", s.streams.Load())
	if c, err := s.counts(ctx); err == nil {
		one("bowline_links_open", "gauge", c.Links)
		fmt.Fprintln(w, "# TYPE bowline_sessions gauge")
		for _, status := range plan.Statuses() {
			fmt.Fprintf(w, "bowline_sessions{status=%s} %d\n", label(string(status)), c.Sessions[status])
		}
		fmt.Fprintln(w, "# TYPE bowline_acts_total counter")
		for _, a := range slices.SortedFunc(maps.Keys(c.Acts), func(a, b bowline.Act) int { return strings.Compare(a.Verb+" "+a.Status, b.Verb+" "+b.Status) }) {
			fmt.Fprintf(w, "bowline_acts_total{verb=%s,status=%s} %d\n", label(a.Verb), label(a.Status), c.Acts[a])
		}
	} else {
		s.cfg.Logger.Warn("the store could not be counted", "err", err)
	}
	ctx, cancel := context.WithTimeout(ctx, chainTime)
	defer cancel()
	if r, err := s.cfg.Client.AuditState(ctx); err == nil {
		ok := 0
		if r.OK {
			ok = 1
		}
		one("bowline_audit_chain_ok", "gauge", ok)
		one("bowline_audit_entries", "gauge", r.Entries)
		one("bowline_audit_checked_timestamp_seconds", "gauge", r.Checked.Unix())
	} else {
		s.cfg.Logger.Warn("the audit log could not be checked", "err", err)
	}
}

// counts asks the store, not more often than once in countsAge.
func (s *stats) counts(ctx context.Context) (bowline.Counts, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.asked) < countsAge {
		return s.last, nil
	}
	c, err := s.cfg.Client.Counts(ctx)
	if err == nil {
		s.last, s.asked = c, time.Now()
	}
	return c, err
}

// label quotes the value of a label.
func label(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(text) + `"`
}

// bounds are those of the histogram's buckets, in seconds.
func bounds() []float64 {
	return []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}
}

// counted counts requests by their kind of path and answer. How long a stream of events
// lasts is not the server's doing, and is not in the histogram.
func (s *stats) counted(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		s.inFlight.Add(1)
		seen := &seeing{ResponseWriter: w, streams: func() { s.streams.Add(1) }}
		defer func() {
			s.inFlight.Add(-1)
			of := surface(r.URL.Path)
			s.set.GetOrCreateCounter(`bowline_http_requests_total{surface="` + of + `",code="` + class(seen.code()) + `"}`).Inc()
			if seen.stream {
				s.streams.Add(-1)
				return
			}
			s.set.GetOrCreatePrometheusHistogramExt(`bowline_http_request_duration_seconds{surface="`+of+`"}`, bounds()).UpdateDuration(began)
		}()
		h.ServeHTTP(seen, r)
	})
}

func surface(path string) string {
	switch {
	case strings.HasPrefix(path, "/api/"):
		return "api"
	case strings.HasPrefix(path, "/mcp"):
		return "mcp"
	case strings.HasPrefix(path, "/host/"):
		return "host"
	case path == "/metrics" || path == "/healthz" || path == "/readyz":
		return "watch"
	default:
		return "web"
	}
}

func class(code int) string { return string(rune('0'+code/100)) + "xx" }
