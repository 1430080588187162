package spans_test

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bowline-sh/bowline/internal/spans"
)

// collector keeps what is sent to it, as a collector would read it.
type collector struct {
	*httptest.Server
	mu     sync.Mutex // guards what follows
	bodies []string
	header http.Header
	answer []int // for the next requests; then 200
}

func newCollector(t *testing.T) *collector {
	c := &collector{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.URL.Path != "/v1/traces" || r.Method != http.MethodPost {
			t.Errorf("%s %s: %v", r.Method, r.URL.Path, err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if len(c.answer) > 0 {
			w.WriteHeader(c.answer[0])
			c.answer = c.answer[1:]
			return
		}
		c.bodies, c.header = append(c.bodies, string(body)), r.Header.Clone()
	}))
	t.Cleanup(c.Close)
	return c
}

func status(w http.ResponseWriter) int { return w.(*httptest.ResponseRecorder).Code }

func TestRequest(t *testing.T) {
	c := newCollector(t)
	c.answer = []int{http.StatusServiceUnavailable} // is asked again
	cfg, err := spans.FromEnv("http://nowhere.invalid", func(name string) string {
		return map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": c.URL, "OTEL_EXPORTER_OTLP_HEADERS": "api-key=hunter%202,x=y", "OTEL_SERVICE_NAME": "team"}[name]
	})
	if err != nil || !cfg.Wanted() {
		t.Fatal(err)
	}
	cfg.Version, cfg.Logger = "1", slog.New(slog.NewTextHandler(t.Output(), nil))
	tr := spans.New(cfg)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /s/{id}", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	h := tr.Requests(mux, status)
	for _, path := range []string{"/s/private?token=hunter2", "/healthz"} {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.Header.Set("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
		h.ServeHTTP(httptest.NewRecorder(), r)
	}
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("HACK", "/", nil))
	if err := tr.Close(); err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	all := strings.Join(c.bodies, "\n")
	if len(c.bodies) != 1 || c.header.Get("Api-Key") != "hunter 2" || c.header.Get("Content-Type") != "application/json" {
		t.Fatalf("%v %q", c.header, c.bodies)
	}
	for _, bad := range []string{"private", "hunter", "healthz", "HACK"} {
		if strings.Contains(all, bad) {
			t.Errorf("%q was sent: %s", bad, all)
		}
	}
	var doc struct {
		ResourceSpans []struct {
			Resource   struct{ Attributes []pair }
			ScopeSpans []struct {
				Spans []struct {
					TraceID      string `json:"traceId"`
					SpanID       string `json:"spanId"`
					ParentSpanID string `json:"parentSpanId"`
					Name         string
					Kind         int
					Start        string `json:"startTimeUnixNano"`
					End          string `json:"endTimeUnixNano"`
					Attributes   []pair
					Status       struct{ Code int }
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(all), &doc); err != nil {
		t.Fatal(err)
	}
	list := doc.ResourceSpans[0].ScopeSpans[0].Spans
	if len(list) != 2 {
		t.Fatalf("%d spans", len(list))
	}
	s := list[0]
	if s.TraceID != "0af7651916cd43dd8448eb211c80319c" || s.ParentSpanID != "b7ad6b7169203331" || len(s.SpanID) != 16 || s.Name != "GET /s/{id}" || s.Kind != 2 || s.Status.Code != 2 || len(s.Start) != 19 || s.End < s.Start {
		t.Errorf("%+v", s)
	}
	if a := flat(s.Attributes); a["http.route"] != "/s/{id}" || a["http.response.status_code"] != "500" || a["http.request.method"] != "GET" {
		t.Errorf("%v", a)
	}
	if list[1].Name != "_OTHER" || list[1].TraceID == s.TraceID {
		t.Errorf("%+v", list[1])
	}
	if a := flat(doc.ResourceSpans[0].Resource.Attributes); a["service.name"] != "team" || a["service.version"] != "1" {
		t.Errorf("%v", a)
	}
}

type pair struct {
	Key   string
	Value struct {
		StringValue string `json:"stringValue"`
		IntValue    string `json:"intValue"`
	}
}

func flat(list []pair) map[string]string {
	out := map[string]string{}
	for _, p := range list {
		out[p.Key] = p.Value.StringValue + p.Value.IntValue
	}
	return out
}

// TestCollectorIsAway: requests do not wait for it, and the log says once what is lost.
func TestCollectorIsAway(t *testing.T) {
	c := newCollector(t)
	c.answer = []int{400, 400, 400, 400}
	var log strings.Builder
	tr := spans.New(spans.Config{Endpoint: c.URL, Version: "1", Logger: slog.New(slog.NewTextHandler(&log, nil))})
	h := tr.Requests(http.NotFoundHandler(), status)
	began := time.Now()
	for range 3000 { // more than the queue holds
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("requests took %s", took)
	}
	if err := tr.Close(); err != nil {
		t.Error(err)
	}
	if strings.Count(log.String(), "traces were lost") != 1 {
		t.Errorf("the log says %s", log.String())
	}
}

func TestNone(t *testing.T) {
	var tr *spans.Tracer
	if err := tr.Close(); err != nil {
		t.Error(err)
	}
	h := http.NotFoundHandler()
	w := httptest.NewRecorder()
	tr.Requests(h, status).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	if w.Code != http.StatusNotFound {
		t.Error(w.Code)
	}
}

func TestFromEnv(t *testing.T) {
	for name, env := range map[string]map[string]string{
		"header":   {"OTEL_EXPORTER_OTLP_HEADERS": "hunter2"},
		"escape":   {"OTEL_EXPORTER_OTLP_HEADERS": "a=hunter2%zz"},
		"endpoint": {"OTEL_EXPORTER_OTLP_ENDPOINT": "hunter2:4318"},
		"scheme":   {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "grpc://hunter2"},
	} {
		if _, err := spans.FromEnv("", func(n string) string { return env[n] }); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if c, err := spans.FromEnv("", func(string) string { return "" }); err != nil || c.Wanted() {
		t.Errorf("%+v %v", c, err)
	}
}
