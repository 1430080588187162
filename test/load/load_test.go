package load

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// size is how much of everything there is.
type size struct {
	api, models, pages int           // clients
	slow, stuck        int           // readers that stop reading, senders that stop sending
	think              time.Duration // between two questions of a client
	slack              time.Duration // how much longer than on a quiet server a read may take
	lasts              time.Duration
	sessions           int
}

// TestLoad: a team at work hears no error, and reads take no more than 100 ms longer than
// on a quiet server, at the 99th of 100; the server's memory stays bounded, and clients
// that read or send nothing more harm nobody. BOWLINE_LOAD=full is the size that
// docs/benchmarks.md tells of, and wants a machine of its own; the short one allows a second
// for what else the machine does.
func TestLoad(t *testing.T) {
	s := size{api: 30, models: 6, pages: 4, slow: 2, stuck: 20, think: 500 * time.Millisecond, slack: time.Second, lasts: 5 * time.Second, sessions: 5}
	if os.Getenv("BOWLINE_LOAD") == "full" {
		s = size{api: 200, models: 50, pages: 20, slow: 10, stuck: 200, think: time.Second, slack: 100 * time.Millisecond, lasts: 30 * time.Second, sessions: 40}
	}
	w := newWorld(t)
	l := &team{world: w, size: s, tokens: w.tokens(10), took: map[string][]time.Duration{}}
	l.http = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1000}, Timeout: 30 * time.Second}
	l.prepare()
	quiet := l.quiet()
	l.work()
	l.report(quiet)
}

// team is who works with the server, and what became of it.
type team struct {
	*world
	size
	tokens []string
	http   *http.Client
	ids    []string // of sessions

	mu     sync.Mutex // guards what follows
	took   map[string][]time.Duration
	errs   []error
	events int
	most   float64 // MiB
	busy   float64 // of one processor, while everybody worked
}

// reads are the questions whose time counts.
var reads = []string{"list", "session", "page", "home"}

// prepare makes the sessions that everybody reads, and opens the link.
func (l *team) prepare() {
	l.t.Helper()
	if err := os.WriteFile(filepath.Join(l.site, "log"), []byte("begin\n"), 0o644); err != nil {
		l.t.Fatal(err)
	}
	for i := range l.sessions {
		var doc struct{ ID string }
		body := fmt.Sprintf(`{"target":"web1","script":"#!/bin/sh\nfor i in $(seq %d); do seq 200 > %s/new$i; done\n"}`, i%20+1, l.site)
		if err := l.call(l.t.Context(), http.MethodPost, "/api/v1/sessions", l.tokens[0], body, &doc); err != nil {
			l.t.Fatal(err)
		}
		l.ids = append(l.ids, doc.ID)
	}
}

// call makes a request that must succeed.
func (l *team) call(ctx context.Context, method, path, token, body string, out any) error {
	req, err := http.NewRequestWithContext(ctx, method, l.url+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := l.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s %.200s: %w", method, path, resp.Status, data, err)
	}
	if out != nil {
		return json.Unmarshal(data, out)
	}
	return nil
}

// ask makes one question of a kind and notes how long it took.
func (l *team) ask(ctx context.Context, kind, token string) {
	id := l.ids[rand.IntN(len(l.ids))]
	began := time.Now()
	var err error
	switch kind {
	case "list":
		err = l.call(ctx, http.MethodGet, "/api/v1/sessions", token, "", nil)
	case "session":
		err = l.call(ctx, http.MethodGet, "/api/v1/sessions/"+id, token, "", nil)
	case "page":
		err = l.call(ctx, http.MethodGet, "/s/"+id, token, "", nil)
	case "home":
		err = l.call(ctx, http.MethodGet, "/", token, "", nil)
	case "audit":
		err = l.call(ctx, http.MethodGet, "/audit", token, "", nil)
	case "run":
		var r struct {
			Exit int `json:"exit_code"`
		}
		err = l.call(ctx, http.MethodPost, "/api/v1/run", token, `{"target":"web1","argv":["head","-1","`+l.site+`/log"]}`, &r)
		if err == nil && r.Exit != 0 {
			err = fmt.Errorf("run: exit %d", r.Exit)
		}
	}
	l.note(ctx, kind, time.Since(began), err)
}

func (l *team) note(ctx context.Context, kind string, took time.Duration, err error) {
	if ctx.Err() != nil {
		return // the end cut it off
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.took[kind] = append(l.took[kind], took)
	if err != nil {
		l.errs = append(l.errs, fmt.Errorf("%s after %s: %w", kind, took.Round(time.Millisecond), err))
	}
}

// quiet is how long reads take while nobody else asks.
func (l *team) quiet() map[string]time.Duration {
	l.t.Helper()
	for range 100 {
		for _, kind := range reads {
			l.ask(l.t.Context(), kind, l.tokens[0])
		}
	}
	out := map[string]time.Duration{}
	for _, kind := range reads {
		out[kind] = part(l.took[kind], 99)
	}
	if len(l.errs) > 0 {
		l.t.Fatal(errors.Join(l.errs...))
	}
	l.took = map[string][]time.Duration{}
	return out
}

// part is a percentile.
func part(list []time.Duration, percent int) time.Duration {
	if len(list) == 0 {
		return 0
	}
	list = slices.Clone(list)
	slices.Sort(list)
	return list[min(len(list)-1, len(list)*percent/100)]
}

// work lets everybody work for as long as it lasts.
func (l *team) work() {
	ctx, cancel := context.WithTimeout(l.t.Context(), l.lasts)
	defer cancel()
	before := l.processor()
	defer func() { l.busy = (l.processor() - before) / l.lasts.Seconds() }()
	var all sync.WaitGroup
	every := func(n int, do func(i int)) {
		for i := range n {
			all.Go(func() { do(i) })
		}
	}
	every(1, func(int) { l.writeLog(ctx) })
	every(l.api, func(i int) { l.client(ctx, l.tokens[i%len(l.tokens)]) })
	every(l.models, func(i int) { l.model(ctx, l.tokens[i%len(l.tokens)]) })
	every(l.pages, func(i int) { l.page(ctx, l.tokens[i%len(l.tokens)]) })
	every(l.slow, func(i int) { l.slowReader(ctx, l.tokens[i%len(l.tokens)]) })
	every(l.stuck, func(i int) { l.stuckSender(ctx, i) })
	for tick := time.NewTicker(100 * time.Millisecond); ctx.Err() == nil; <-tick.C {
		l.most = max(l.most, l.memory())
	}
	all.Wait()
}

// writeLog is what the target's log grows by.
func (l *team) writeLog(ctx context.Context) {
	f, err := os.OpenFile(filepath.Join(l.site, "log"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		l.note(ctx, "log", 0, err)
		return
	}
	defer f.Close()
	for i := 0; sleep(ctx, 100*time.Millisecond); i++ {
		if _, err := fmt.Fprintf(f, "line %d\n", i); err != nil {
			l.note(ctx, "log", 0, err)
		}
	}
}

// sleep is a person's or program's pause; false if it is over.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d/2 + rand.N(d)):
		return true
	}
}

// client reads most of the time and runs something now and then.
func (l *team) client(ctx context.Context, token string) {
	for sleep(ctx, l.think) {
		kind := "audit"
		switch n := rand.IntN(100); {
		case n < 40:
			kind = "list"
		case n < 65:
			kind = "session"
		case n < 85:
			kind = "page"
		case n < 96:
			kind = "home"
		case n < 98:
			kind = "run"
		}
		l.ask(ctx, kind, token)
	}
}

// bearer adds a token to requests.
type bearer struct {
	token string
	over  http.RoundTripper
}

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+b.token)
	return b.over.RoundTrip(r)
}

// model is an MCP client that reads files of the target.
func (l *team) model(ctx context.Context, token string) {
	c := mcp.NewClient(&mcp.Implementation{Name: "model", Version: "1"}, nil)
	s, err := c.Connect(ctx, &mcp.StreamableClientTransport{Endpoint: l.url + "/mcp", HTTPClient: &http.Client{Transport: bearer{token, l.http.Transport}}}, nil)
	if err != nil {
		l.note(ctx, "connect", 0, err)
		return
	}
	defer s.Close()
	for sleep(ctx, 4*l.think) { // it thinks longer than a program
		began := time.Now()
		r, err := s.CallTool(ctx, &mcp.CallToolParams{Name: "run", Arguments: map[string]any{"target": "web1", "argv": []string{"head", "-1", l.site + "/log"}}})
		if err == nil && r.IsError {
			text, _ := json.Marshal(r.Content)
			err = fmt.Errorf("%.300s", text)
		}
		l.note(ctx, "mcp", time.Since(began), err)
	}
}

// page follows the live output of a command.
func (l *team) page(ctx context.Context, token string) {
	resp, err := l.stream(ctx, token, `{"target":"web1","argv":["tail","-f","`+l.site+`/log"],"timeout_seconds":60}`)
	if err != nil {
		l.note(ctx, "stream", 0, err)
		return
	}
	defer resp.Body.Close()
	in := bufio.NewScanner(resp.Body)
	for in.Scan() {
		if strings.HasPrefix(in.Text(), "event: stdout") {
			l.mu.Lock()
			l.events++
			l.mu.Unlock()
		}
	}
	if ctx.Err() == nil {
		l.note(ctx, "stream", 0, fmt.Errorf("ended before its time: %w", in.Err()))
	}
}

func (l *team) stream(ctx context.Context, token, body string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, l.url+"/api/v1/run", strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Accept", "text/event-stream")
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.Join(errors.New(resp.Status), resp.Body.Close())
	}
	return resp, err
}

// slowReader asks for a stream without end and reads none of it.
func (l *team) slowReader(ctx context.Context, token string) {
	resp, err := l.stream(ctx, token, `{"target":"web1","argv":["seq","1","1000000000"],"timeout_seconds":60}`)
	if err != nil {
		l.note(ctx, "slow", 0, err)
		return
	}
	<-ctx.Done()
	_ = resp.Body.Close()
}

// stuckSender stops in the middle of its headers, or of its body.
func (l *team) stuckSender(ctx context.Context, i int) {
	conn, err := net.Dial("tcp", strings.TrimPrefix(l.url, "http://"))
	if err != nil {
		l.note(ctx, "stuck", 0, err)
		return
	}
	defer conn.Close()
	text := "GET /api/v1/sessions HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthoriz"
	if i%2 == 1 {
		text = "POST /api/v1/run HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer " + l.tokens[i%len(l.tokens)] + "\r\nContent-Length: 1000\r\n\r\n{\"target\":"
	}
	if _, err := io.Copy(conn, bytes.NewReader([]byte(text))); err != nil {
		l.note(ctx, "stuck", 0, err)
	}
	<-ctx.Done()
}

// maxMemory is what the server may have resident, in MiB.
const maxMemory = 400

// report says what was seen, and fails the test if it was too much.
func (l *team) report(quiet map[string]time.Duration) {
	l.t.Helper()
	if len(l.errs) > 0 {
		l.t.Errorf("%d errors, as\n%v", len(l.errs), errors.Join(l.errs[:min(10, len(l.errs))]...))
	}
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	for kind, list := range l.took {
		text := fmt.Sprintf("%-8s %6d  p50 %7.1f ms  p99 %7.1f ms  most %7.1f ms", kind, len(list), ms(part(list, 50)), ms(part(list, 99)), ms(slices.Max(list)))
		if q, ok := quiet[kind]; ok {
			text += fmt.Sprintf("  quiet p99 %6.1f ms", ms(q))
			if part(list, 99) > q+l.slack {
				l.t.Errorf("too slow: %s", text)
			}
		}
		l.t.Log(text)
	}
	l.t.Logf("%d pieces of live output; the server had %.0f MiB at most, and %.2f of one processor", l.events, l.most, l.busy)
	if l.events < l.pages {
		l.t.Errorf("only %d pieces of live output", l.events)
	}
	if l.most > maxMemory {
		l.t.Errorf("the server had %.0f MiB", l.most)
	}
}
