// Package serve is `bowline serve`: one process that a team shares. It puts the surfaces
// that speak HTTP (the API, the review page, MCP, metrics) behind one listener, with one
// way to sign in, and keeps what any of them could be attacked with: sizes, times, numbers
// and names of hosts.
//
// # Limits
//
// Headers take at most 64 KiB and 10 s, a body 30 s per piece of 64 KiB; a request that
// is not answered with events must be answered in time. At most MaxRequests are under
// way, of one token a quarter of them; who comes then gets 503 and when to come again. Slow
// readers lose their connection after 10 s in which they accept nothing.
package serve

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/internal/api"
	"github.com/bowline-sh/bowline/internal/login"
	"github.com/bowline-sh/bowline/internal/login/oidc"
	"github.com/bowline-sh/bowline/internal/spans"
	"github.com/bowline-sh/bowline/internal/web"
)

// MaxRequests bounds the requests at a time, streams included.
const MaxRequests = 1024

// Config is what a Server is made of. Client, Version and Logger are required.
type Config struct {
	Client  *bowline.Client
	Version string
	Logger  *slog.Logger
	Hosts   []string      // names, besides loopback's, under which browsers may reach it
	URL     string        // optional: as browsers reach it, without a path
	Secure  bool          // there is TLS, here or before it
	Host    bool          // this machine is lent to tokens of the scope host
	Once    *login.Once   // optional: sign-in links
	Spans   *spans.Tracer // optional: traces
}

// Server is the process's HTTP side.
type Server struct {
	cfg     Config
	handler http.Handler
	places  chan struct{}
	stats   *stats
	drain   sync.Once
	leaving chan struct{} // closed when it stops taking work
}

// New returns a Server. What its pages and tools leave running ends with ctx.
func New(ctx context.Context, cfg Config) (*Server, error) {
	s := &Server{cfg: cfg, places: make(chan struct{}, MaxRequests), stats: newStats(cfg), leaving: make(chan struct{})}
	desk := login.Desk{Client: cfg.Client, Secure: cfg.Secure, Once: cfg.Once, Places: &login.Places{Most: MaxRequests / 4}}
	a, err := api.New(api.Config{Client: cfg.Client, Desk: desk, Version: cfg.Version})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	a.Register(mux)
	flow := oidc.New(ctx, oidc.Config{Client: cfg.Client, Desk: desk, URL: cfg.URL, Logger: cfg.Logger})
	web.New(ctx, web.Config{Client: cfg.Client, Desk: desk, Flow: flow, Logger: cfg.Logger}).Register(mux)
	tools := newTools(ctx, cfg)
	mux.Handle("/mcp", desk.Let(bowline.ScopeRead, bowline.SurfaceMCP, tools, api.WriteProblem))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", s.ready)
	mux.Handle("GET /metrics", desk.Let(bowline.ScopeRead, "api", http.HandlerFunc(s.stats.write), api.WriteProblem))
	if cfg.Host {
		mux.Handle("GET "+hostPath, desk.Let(bowline.ScopeHost, "api", http.HandlerFunc(s.lend), api.WriteProblem))
	}
	s.handler = s.chain(mux)
	return s, nil
}

// chain puts what protects every path around h.
func (s *Server) chain(h http.Handler) http.Handler {
	h = http.NewCrossOriginProtection().Handler(h) // CSRF: Sec-Fetch-Site, Origin
	h = s.names(h)
	h = headers(h, s.cfg.Secure)
	h = s.bounded(h)
	h = s.cfg.Spans.Requests(h, func(w http.ResponseWriter) int { return w.(*seeing).code() })
	return s.stats.counted(s.logged(h))
}

// ServeHTTP answers a request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// ready says whether the process takes work: it can reach its store and does not stop.
func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	select {
	case <-s.leaving:
		http.Error(w, "stopping", http.StatusServiceUnavailable)
		return
	default:
	}
	ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
	defer cancel()
	if err := s.cfg.Client.Ping(ctx); err != nil {
		http.Error(w, "the store does not answer", http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ready")
}

// names refuses requests for other hosts: a page that rebinds its name to our address
// sends its own name (DNS rebinding).
func (s *Server) names(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		if !s.known(strings.Trim(host, "[]")) {
			http.Error(w, "this server has another name; see --host-name", http.StatusMisdirectedRequest)
			return
		}
		h.ServeHTTP(w, r)
	})
}

func (s *Server) known(host string) bool {
	if ip := net.ParseIP(host); ip != nil {
		return true // no name, so nobody rebinds it
	}
	for _, name := range append([]string{"localhost"}, s.cfg.Hosts...) {
		if strings.EqualFold(name, host) {
			return true
		}
	}
	return false
}

// headers are those of every answer; a page may not load, frame or send anything
// elsewhere, nor run a script that is not a file of ours.
func headers(h http.Handler, secure bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		head := w.Header()
		head.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		head.Set("X-Content-Type-Options", "nosniff")
		head.Set("X-Frame-Options", "DENY")
		head.Set("Referrer-Policy", "no-referrer")
		head.Set("Cross-Origin-Opener-Policy", "same-origin")
		head.Set("Cross-Origin-Resource-Policy", "same-origin")
		head.Set("Permissions-Policy", "camera=(), microphone=(), geolocation=()")
		head.Set("Cache-Control", "no-store")
		if secure {
			head.Set("Strict-Transport-Security", "max-age=31536000")
		}
		h.ServeHTTP(w, r)
	})
}

// bounded lets so many requests in at a time. Questions about health always get in.
func (s *Server) bounded(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "z") && (r.URL.Path == "/healthz" || r.URL.Path == "/readyz") {
			h.ServeHTTP(w, r)
			return
		}
		select {
		case s.places <- struct{}{}:
			defer func() { <-s.places }()
			h.ServeHTTP(w, timely(w, r))
		default:
			w.Header().Set("Retry-After", "1")
			http.Error(w, "too many requests at a time", http.StatusServiceUnavailable)
		}
	})
}

// Serve answers at l until ctx ends, then lets requests under way end for grace.
func (s *Server) Serve(ctx context.Context, l net.Listener, grace time.Duration) error {
	base, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	srv := &http.Server{
		Handler: s, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		BaseContext: func(net.Listener) context.Context { return base },
		ErrorLog:    slog.NewLogLogger(s.cfg.Logger.Handler(), slog.LevelWarn),
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	s.Leave()
	wait, cancel := context.WithTimeout(context.WithoutCancel(ctx), cmp.Or(grace, time.Nanosecond))
	defer cancel()
	err := srv.Shutdown(wait)
	if errors.Is(err, context.DeadlineExceeded) {
		cut()
		err = srv.Close()
	}
	<-done
	return err
}

// Leave makes the server say that it is not ready any more.
func (s *Server) Leave() { s.drain.Do(func() { close(s.leaving) }) }
