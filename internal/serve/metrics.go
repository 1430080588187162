package serve

import (
	"bytes"
	"cmp"
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

	"github.com/bowline-sh/bowline"
)

// countsAge is how old numbers from the store may be, and chainTime how long looking at
// the audit log may take, for one scrape.
const (
	countsAge = 10 * time.Second
	chainTime = 5 * time.Second
)

// stats are the numbers of /metrics. No name of a target, session, token or person is a
// label.
type stats struct {
	cfg               Config
	began             time.Time
	inFlight, streams atomic.Int64

	mu        sync.Mutex // guards what follows
	requests  map[answered]uint64
	durations map[string]*histogram // by surface

	asking sync.Mutex // guards what follows; held while the store is asked
	last   bowline.Counts
	asked  time.Time
}

// answered is a kind of path and of answer.
type answered struct{ surface, code string }

func newStats(cfg Config) *stats {
	return &stats{cfg: cfg, began: time.Now(), requests: map[answered]uint64{}, durations: map[string]*histogram{}}
}

// write answers in the text format of Prometheus, version 0.0.4.
func (s *stats) write(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	var b bytes.Buffer // so that nothing of ours waits for a slow reader
	s.counters(&b)
	s.gauges(r.Context(), &b)
	process(&b)
	_, _ = w.Write(b.Bytes()) // the reader is gone: nobody to tell
}

func (s *stats) counters(w io.Writer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintln(w, "# TYPE bowline_http_requests_total counter")
	for _, a := range slices.SortedFunc(maps.Keys(s.requests), func(a, b answered) int {
		return cmp.Or(strings.Compare(a.surface, b.surface), strings.Compare(a.code, b.code))
	}) {
		fmt.Fprintf(w, "bowline_http_requests_total{surface=%s,code=%s} %d\n", label(a.surface), label(a.code), s.requests[a])
	}
	const name = "bowline_http_request_duration_seconds"
	fmt.Fprintf(w, "# TYPE %s histogram\n", name)
	for _, of := range slices.Sorted(maps.Keys(s.durations)) {
		s.durations[of].write(w, name, "surface="+label(of))
	}
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
		for _, status := range slices.Sorted(maps.Keys(c.Sessions)) {
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
	s.asking.Lock()
	defer s.asking.Unlock()
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

// counted counts requests by their kind of path and answer. How long a stream of events
// lasts is not the server's doing, and is not in the histogram.
func (s *stats) counted(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		s.inFlight.Add(1)
		seen := &seeing{ResponseWriter: w, streams: func() { s.streams.Add(1) }}
		defer func() {
			s.inFlight.Add(-1)
			if seen.stream {
				s.streams.Add(-1)
			}
			s.add(answered{surface(r.URL.Path), class(seen.code())}, seen.stream, time.Since(began))
		}()
		h.ServeHTTP(seen, r)
	})
}

func (s *stats) add(a answered, stream bool, took time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests[a]++
	if stream {
		return
	}
	if s.durations[a.surface] == nil {
		s.durations[a.surface] = &histogram{}
	}
	s.durations[a.surface].add(took.Seconds())
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
