// Package spans tells a collector what 'bowline serve' did for each request, as traces of
// OpenTelemetry over OTLP/HTTP in JSON.
//
// A request is a span with its method, route (never its path), status and the id of its
// token; what it did to targets are spans below it, see package wire. They hold names of
// targets, ids and kinds of errors: no argument vector, no text of a target or caller, and
// no secret. The context of a trace is taken from the request (W3C Trace Context).
//
// A collector that is slow or away delays nothing: spans wait in a bounded queue, and what
// does not fit is dropped.
package spans

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Config is what a Tracer is made of. Version and Logger are required.
type Config struct {
	Endpoint string // URL below which the collector has /v1/traces
	URL      string // of the traces themselves; comes before Endpoint
	Headers  http.Header
	Service  string // default "bowline"
	Version  string
	Logger   *slog.Logger
}

// FromEnv returns endpoint with what OTEL_EXPORTER_OTLP_ENDPOINT,
// OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, OTEL_EXPORTER_OTLP_HEADERS and OTEL_SERVICE_NAME say
// over it. An error does not repeat values: headers are secrets.
func FromEnv(endpoint string, env func(string) string) (Config, error) {
	c := Config{Endpoint: cmp.Or(env("OTEL_EXPORTER_OTLP_ENDPOINT"), endpoint), URL: env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"), Service: env("OTEL_SERVICE_NAME"), Headers: http.Header{}}
	for pair := range strings.SplitSeq(env("OTEL_EXPORTER_OTLP_HEADERS"), ",") {
		if strings.TrimSpace(pair) == "" {
			continue
		}
		name, value, ok := strings.Cut(pair, "=")
		value, err := url.PathUnescape(strings.TrimSpace(value))
		if !ok || err != nil {
			return Config{}, fmt.Errorf("OTEL_EXPORTER_OTLP_HEADERS: use name=value,name=value")
		}
		c.Headers.Set(strings.TrimSpace(name), value)
	}
	for _, text := range []string{c.Endpoint, c.URL} {
		if u, err := url.Parse(text); text != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
			return Config{}, fmt.Errorf("the address of the collector must begin with http:// or https://")
		}
	}
	return c, nil
}

// Wanted reports whether there is a collector.
func (c Config) Wanted() bool { return c.Endpoint != "" || c.URL != "" }

// Tracer makes spans. A nil Tracer makes none. It must be closed.
type Tracer struct {
	provider *sdk.TracerProvider
	tracer   trace.Tracer
	context  propagation.TraceContext
}

// New returns a Tracer. Sampling and the size of the queue are those of the variables
// OTEL_TRACES_SAMPLER and OTEL_BSP_*.
func New(cfg Config) *Tracer {
	about := resource.NewSchemaless(attribute.String("service.name", cmp.Or(cfg.Service, "bowline")), attribute.String("service.version", cfg.Version))
	p := sdk.NewTracerProvider(sdk.WithBatcher(newExporter(cfg)), sdk.WithResource(about))
	return &Tracer{provider: p, tracer: p.Tracer("github.com/bowline-sh/bowline")}
}

// closeTime bounds what waits for the collector at the end.
const closeTime = 5 * time.Second

// Close sends what waits.
func (t *Tracer) Close() error {
	if t == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	return t.provider.Shutdown(ctx)
}

// Requests returns a handler whose requests are spans. status says how an answer ended.
func (t *Tracer) Requests(h http.Handler, status func(w http.ResponseWriter) int) http.Handler {
	if t == nil {
		return h
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/healthz", "/readyz", "/metrics":
			h.ServeHTTP(w, r)
			return
		}
		ctx := t.context.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
		ctx, span := t.tracer.Start(ctx, method(r), trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(attribute.String("http.request.method", method(r))))
		defer span.End()
		r = r.WithContext(ctx)
		h.ServeHTTP(w, r) // the mux writes the pattern into r
		if _, route, ok := strings.Cut(r.Pattern, "/"); ok {
			span.SetName(method(r) + " /" + route)
			span.SetAttributes(attribute.String("http.route", "/"+route))
		}
		code := status(w)
		span.SetAttributes(attribute.Int("http.response.status_code", code))
		if code >= http.StatusInternalServerError {
			span.SetStatus(codes.Error, "")
		}
	})
}

// method is one that is known: any other is the caller's text.
func method(r *http.Request) string {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return r.Method
	}
	return "_OTHER"
}
