package serve_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/internal/serve"
	"github.com/bowline-sh/bowline/internal/spans"
)

// traced is a span as a collector sees it.
type traced struct {
	TraceID    string `json:"traceId"`
	SpanID     string `json:"spanId"`
	Parent     string `json:"parentSpanId"`
	Name       string
	Status     struct{ Code int }
	Attributes []struct {
		Key   string
		Value struct {
			StringValue string `json:"stringValue"`
			IntValue    string `json:"intValue"`
		}
	}
}

func (s traced) get(name string) string {
	for _, a := range s.Attributes {
		if a.Key == name {
			return a.Value.StringValue + a.Value.IntValue
		}
	}
	return ""
}

// collected are the spans of a request, and the text they came in.
func collected(t *testing.T, requests func(c *bowline.Client, url string)) ([]traced, string) {
	t.Helper()
	var mu sync.Mutex
	var text strings.Builder
	var list []traced
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var doc struct {
			ResourceSpans []struct {
				ScopeSpans []struct{ Spans []traced }
			}
		}
		if err != nil || json.Unmarshal(body, &doc) != nil {
			t.Errorf("%v: %s", err, body)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		text.Write(body)
		for _, r := range doc.ResourceSpans {
			for _, s := range r.ScopeSpans {
				list = append(list, s.Spans...)
			}
		}
	}))
	defer collector.Close()
	dir := t.TempDir()
	c, err := bowline.Open(t.Context(), bowline.Config{ConfigDir: dir, StateDir: dir, RuntimeDir: dir, Surface: "api"})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	tracer := spans.New(spans.Config{Endpoint: collector.URL, Version: "test", Logger: log})
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	s, err := serve.New(ctx, serve.Config{Client: c, Version: "test", Logger: log, Spans: tracer})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(s)
	requests(c, srv.URL)
	srv.Close()
	stop()
	if err := tracer.Close(); err != nil {
		t.Error(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	return list, text.String()
}

// TestSpans: a run and a plan are spans below that of their request, in the caller's trace;
// no word of what was run, and no secret, is in them.
func TestSpans(t *testing.T) {
	var id, secret, session string
	dir := place(t)
	list, text := collected(t, func(c *bowline.Client, url string) {
		tok, s, err := c.CreateToken(t.Context(), bowline.TokenRequest{Name: "ci", User: "ann", Scopes: "read,run,plan", Expires: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		id, secret = tok.ID, s
		post := func(path, body string) map[string]any {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/api/v1"+path, strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+secret)
			req.Header.Set("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			var doc map[string]any
			if err := json.NewDecoder(resp.Body).Decode(&doc); err != nil {
				t.Fatal(err)
			}
			return doc
		}
		post("/run", `{"argv":["echo","Zsecret-word"],"env":{"PASSWORD":"hunter2"}}`)
		post("/run", `{"argv":["cat","/nowhere/Zsecret-word"]}`)
		session = fmt.Sprint(post("/sessions", `{"script":"#!/bin/sh\necho Zsecret-word > `+filepath.Join(dir, "x")+`\n"}`)["id"])
	})
	for _, bad := range []string{"Zsecret-word", "hunter2", secret, dir} {
		if strings.Contains(text, bad) {
			t.Errorf("%q was sent: %s", bad, text)
		}
	}
	byID := map[string]traced{}
	for _, s := range list {
		byID[s.SpanID] = s
	}
	got := map[string]int{}
	for _, s := range list {
		if s.TraceID != "0af7651916cd43dd8448eb211c80319c" {
			t.Errorf("a trace of its own: %+v", s)
		}
		if s.Parent == "b7ad6b7169203331" {
			got[s.Name]++
			if s.get("bowline.token.id") != id || s.get("http.response.status_code") == "" || s.get("http.route") == "" {
				t.Errorf("%+v", s)
			}
			continue
		}
		above := byID[s.Parent]
		got[s.Name+" in "+above.Name]++
		if s.get("bowline.target") != "local" || s.get("bowline.audit_id") == "" {
			t.Errorf("%+v", s)
		}
		if s.Name == "bowline plan" && s.get("bowline.session") != session {
			t.Errorf("session %q, not %q", s.get("bowline.session"), session)
		}
	}
	for name, n := range map[string]int{"POST /api/v1/run": 2, "POST /api/v1/sessions": 1, "bowline run in POST /api/v1/run": 2, "bowline plan in POST /api/v1/sessions": 1} {
		if got[name] != n {
			t.Errorf("%d of %q, not %d: %v", got[name], name, n, got)
		}
	}
}
