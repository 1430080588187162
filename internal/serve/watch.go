package serve

import (
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"
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

// seeing remembers the status of an answer, and calls streams, if set, once when it is a
// stream of events.
type seeing struct {
	http.ResponseWriter
	status  int
	stream  bool
	streams func()
}

func (s *seeing) code() int {
	if s.status == 0 {
		return http.StatusOK
	}
	return s.status
}

func (s *seeing) WriteHeader(code int) {
	s.begins(code)
	s.ResponseWriter.WriteHeader(code)
}

func (s *seeing) Write(p []byte) (int, error) {
	s.begins(http.StatusOK)
	return s.ResponseWriter.Write(p)
}

func (s *seeing) begins(code int) {
	if s.status != 0 {
		return
	}
	s.status = code
	if s.stream = strings.HasPrefix(s.Header().Get("Content-Type"), "text/event-stream"); s.stream && s.streams != nil {
		s.streams()
	}
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
