package serve

import (
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/VictoriaMetrics/metrics"
)

// bodyTime is how long a piece of a body may take to arrive.
const bodyTime = 30 * time.Second

// timely returns a request whose body must arrive: each read gets bodyTime anew.
func timely(w http.ResponseWriter, r *http.Request) *http.Request {
	if r.ContentLength == 0 {
		return r
	}
	rc := http.NewResponseController(w)
	r.Body = &arriving{ReadCloser: r.Body, within: func() { _ = rc.SetReadDeadline(time.Now().Add(bodyTime)) }, arrived: func() { _ = rc.SetReadDeadline(time.Time{}) }}
	return r
}

// arriving calls within before each read, and arrived when there is no more.
type arriving struct {
	io.ReadCloser
	within, arrived func()
}

func (b *arriving) Read(p []byte) (int, error) {
	b.within()
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.arrived()
	}
	return n, err
}

// stats are the numbers of /metrics, in the text format of Prometheus.
type stats struct {
	set      *metrics.Set
	inFlight *metrics.Counter
}

func newStats() *stats {
	set := metrics.NewSet()
	return &stats{set: set, inFlight: set.NewCounter("bowline_http_requests_in_flight")}
}

func (s *stats) write(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	s.set.WritePrometheus(w)
	metrics.WriteProcessMetrics(w)
}

// counted counts requests by their kind of path and answer: no name of a target or
// session becomes a label.
func (s *stats) counted(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		s.inFlight.Inc()
		seen := &seeing{ResponseWriter: w}
		defer func() {
			s.inFlight.Dec()
			label := `{surface="` + surface(r.URL.Path) + `",code="` + class(seen.code()) + `"}`
			s.set.GetOrCreateCounter("bowline_http_requests_total" + label).Inc()
			s.set.GetOrCreateHistogram(`bowline_http_request_duration_seconds{surface="` + surface(r.URL.Path) + `"}`).UpdateDuration(began)
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
	case path == "/metrics" || path == "/healthz" || path == "/readyz":
		return "watch"
	default:
		return "web"
	}
}

func class(code int) string { return string(rune('0'+code/100)) + "xx" }

// seeing remembers the status of an answer.
type seeing struct {
	http.ResponseWriter
	status int
}

func (s *seeing) code() int {
	if s.status == 0 {
		return http.StatusOK
	}
	return s.status
}

func (s *seeing) WriteHeader(code int) {
	if s.status == 0 {
		s.status = code
	}
	s.ResponseWriter.WriteHeader(code)
}

// Unwrap lets http.ResponseController reach the connection.
func (s *seeing) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// logged writes a line for each answer that is an error, and at debug level for all. No
// query is logged: it is the caller's text.
func (s *Server) logged(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		seen := &seeing{ResponseWriter: w}
		h.ServeHTTP(seen, r)
		level := slog.LevelDebug
		if seen.code() >= 500 {
			level = slog.LevelWarn
		}
		s.cfg.Logger.Log(r.Context(), level, "request", "method", r.Method, "path", r.URL.Path, "status", seen.code(), "ms", time.Since(began).Milliseconds(), "remote", r.RemoteAddr)
	})
}
