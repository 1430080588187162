package serve_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// sample is one line of a scrape.
type sample struct {
	name, labels string
	value        float64
}

// scrape reads /metrics as strictly as Prometheus' own linter: the format, a type for each
// family, no family in two places, and histograms that add up.
func scrape(t *testing.T, url, token string) (map[string]string, []sample) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/plain; version=0.0.4") {
		t.Fatalf("%s %v %s", resp.Status, err, data)
	}
	return parseMetrics(t, string(data))
}

func parseMetrics(t *testing.T, text string) (map[string]string, []sample) {
	t.Helper()
	if !strings.HasSuffix(text, "\n") {
		t.Error("the last line has no end")
	}
	comment := regexp.MustCompile(`^# (?:HELP ([a-z_0-9]+) ?.*|TYPE ([a-z_0-9]+) (counter|gauge|histogram|summary|untyped))$`)
	line := regexp.MustCompile(`^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\"n])*",? ?)+)\})? (\S+)$`)
	types, ended, family := map[string]string{}, map[string]bool{}, ""
	seen := map[string]bool{}
	var out []sample
	for l := range strings.Lines(text) {
		l = strings.TrimSuffix(l, "\n")
		if strings.HasPrefix(l, "#") {
			m := comment.FindStringSubmatch(l)
			if m == nil {
				t.Errorf("no comment of the format: %q", l)
				continue
			}
			if m[2] != "" {
				if types[m[2]] != "" {
					t.Errorf("two types for %s", m[2])
				}
				types[m[2]] = m[3]
			}
			continue
		}
		m := line.FindStringSubmatch(l)
		if m == nil {
			t.Errorf("no line of the format: %q", l)
			continue
		}
		v, err := strconv.ParseFloat(m[3], 64)
		if err != nil || math.IsNaN(v) {
			t.Errorf("%q: %v", l, err)
		}
		if seen[m[1]+"{"+m[2]] {
			t.Errorf("twice: %q", l)
		}
		seen[m[1]+"{"+m[2]] = true
		f := familyOf(m[1], types)
		if types[f] == "" {
			t.Errorf("%s has no type", m[1])
		}
		if f != family {
			if ended[f] {
				t.Errorf("%s stands in two places", f)
			}
			ended[family], family = true, f
		}
		if strings.Contains(m[2], "vmrange") {
			t.Errorf("not of Prometheus: %q", l)
		}
		out = append(out, sample{m[1], m[2], v})
	}
	return types, out
}

func familyOf(name string, types map[string]string) string {
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		if f, ok := strings.CutSuffix(name, suffix); ok && (types[f] == "histogram" || types[f] == "summary") {
			return f
		}
	}
	return name
}

func value(list []sample, name, labels string) float64 {
	for _, s := range list {
		if s.name == name && s.labels == labels {
			return s.value
		}
	}
	return math.NaN()
}

func TestMetrics(t *testing.T) {
	w := newWorld(t, "")
	token := w.token("ann", "read,run,plan", "")
	w.do(token, "POST", "/run", map[string]any{"argv": []string{"true"}})
	w.do(token, "POST", "/run", map[string]any{"argv": []string{"false"}})
	w.do(token, "POST", "/sessions", map[string]any{"script": "#!/bin/sh\ntrue > " + place(t) + "/x\n"})
	w.do("", "GET", "/sessions", nil)
	types, list := scrape(t, w.url, token)
	for _, c := range []struct {
		name, labels string
		want         float64
	}{
		{"bowline_acts_total", `verb="run",status="ok"`, 1},
		{"bowline_acts_total", `verb="run",status="failed"`, 1},
		{"bowline_acts_total", `verb="plan",status="ok"`, 1},
		{"bowline_sessions", `status="pending"`, 1},
		{"bowline_sessions", `status="partial"`, 0},
		{"bowline_audit_chain_ok", "", 1},
		{"bowline_http_requests_in_flight", "", 1},
		{"bowline_http_streams_open", "", 0},
		{"bowline_http_requests_total", `surface="api",code="4xx"`, 1},
		{"bowline_http_requests_total", `surface="api",code="2xx"`, 3},
		{"bowline_http_request_duration_seconds_count", `surface="api"`, 4},
		{"bowline_http_request_duration_seconds_bucket", `surface="api",le="+Inf"`, 4},
	} {
		if got := value(list, c.name, c.labels); got != c.want {
			t.Errorf("%s{%s} is %v, not %v", c.name, c.labels, got, c.want)
		}
	}
	if n := value(list, "bowline_audit_entries", ""); !(n >= 6) {
		t.Errorf("%v entries", n)
	}
	unit := regexp.MustCompile(`(_seconds|_bytes|_total|_info|_ok|_open|_in_flight|_entries|_sessions)$`)
	var last float64
	for _, s := range list {
		if strings.HasPrefix(s.name, "bowline_") && !unit.MatchString(familyOf(s.name, types)) {
			t.Errorf("%s has no unit", s.name)
		}
		if (types[s.name] == "counter") != strings.HasSuffix(s.name, "_total") && strings.HasPrefix(s.name, "bowline_") {
			t.Errorf("%s is a %s", s.name, types[s.name])
		}
		if s.name == "bowline_http_request_duration_seconds_bucket" {
			if !strings.Contains(s.labels, `le="0.001"`) && s.value < last {
				t.Errorf("buckets do not add up: %v after %v", s.value, last)
			}
			last = s.value
		}
	}
	if math.IsNaN(value(list, "process_resident_memory_bytes", "")) || math.IsNaN(value(list, "bowline_uptime_seconds", "")) {
		t.Error("nothing of the process")
	}
}

// TestStreamsAreCounted: a stream is open while it lasts, and its time is nobody's delay.
func TestStreamsAreCounted(t *testing.T) {
	w := newWorld(t, "")
	token := w.token("ann", "read,run", "")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url+"/api/v1/run", strings.NewReader(`{"argv":["tail","-f","/etc/hostname"]}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Accept", "text/event-stream")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := resp.Body.Read(make([]byte, 1)); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status, err)
	}
	if _, list := scrape(t, w.url, token); value(list, "bowline_http_streams_open", "") != 1 {
		t.Error("the stream is not counted")
	}
	cancel()
	deadline := time.Now().Add(20 * time.Second)
	for {
		_, list := scrape(t, w.url, token)
		if value(list, "bowline_http_streams_open", "") == 0 {
			if n := value(list, "bowline_http_request_duration_seconds_count", `surface="api"`); !math.IsNaN(n) {
				t.Errorf("the stream is among %v durations", n)
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the stream stays counted")
		}
		time.Sleep(50 * time.Millisecond) // between two looks
	}
}

// TestQueriesNameMetrics: the dashboard and the alerts ask only for what there is.
func TestQueriesNameMetrics(t *testing.T) {
	w := newWorld(t, "")
	token := w.token("ann", "read,run", "")
	w.do(token, "POST", "/run", map[string]any{"argv": []string{"true"}})
	types, list := scrape(t, w.url, token)
	known := map[string]bool{}
	for name := range types {
		known[name] = true
	}
	for _, s := range list {
		known[s.name] = true
	}
	name := regexp.MustCompile(`\b(?:bowline|process|go)_[a-z_]+`)
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
		Templating struct{ List []struct{ Query string } }
	}
	data, err := os.ReadFile("../../contrib/grafana/bowline.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &dashboard); err != nil {
		t.Fatal(err)
	}
	queries := map[string]string{}
	for _, p := range dashboard.Panels {
		for i, x := range p.Targets {
			queries[fmt.Sprint(p.Title, i)] = x.Expr
		}
	}
	for i, v := range dashboard.Templating.List {
		if strings.Contains(v.Query, "(") {
			queries[fmt.Sprint("variable", i)] = v.Query
		}
	}
	rules, err := os.ReadFile("../../contrib/prometheus/bowline.rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	for i, m := range regexp.MustCompile(`(?m)^ +expr: (.*)$`).FindAllStringSubmatch(string(rules), -1) {
		queries[fmt.Sprint("alert", i)] = m[1]
	}
	if len(queries) < 20 {
		t.Fatalf("only %d queries found", len(queries))
	}
	for where, q := range queries {
		found := name.FindAllString(q, -1)
		if len(found) == 0 {
			t.Errorf("%s asks for nothing: %s", where, q)
		}
		for _, n := range found {
			if !known[n] {
				t.Errorf("%s: there is no %s", where, n)
			}
		}
	}
}
