package serve_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/internal/serve"
)

// world is a server over this machine, and what its answers must look like.
type world struct {
	t      testing.TB
	client *bowline.Client
	server *serve.Server
	url    string
	doc    openapi
	seen   map[string]bool // operations that were answered as described
}

type openapi struct {
	Paths      map[string]map[string]operation `json:"paths"`
	Components struct {
		Schemas map[string]json.RawMessage `json:"schemas"`
	} `json:"components"`
}

type operation struct {
	ID          string              `json:"operationId"`
	Description string              `json:"description"`
	Responses   map[string]response `json:"responses"`
}

type response struct {
	Content map[string]struct {
		Schema struct {
			Ref string `json:"$ref"`
		} `json:"schema"`
	} `json:"content"`
}

func newWorld(t testing.TB, config string) *world {
	t.Helper()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "config"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config", "config.toml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := bowline.Open(t.Context(), bowline.Config{ConfigDir: filepath.Join(dir, "config"), StateDir: filepath.Join(dir, "state"), RuntimeDir: dir, Surface: "api"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	s, err := serve.New(ctx, serve.Config{Client: c, Version: "test", Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l, 0) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("Serve = %v", err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	w := &world{t: t, client: c, server: s, url: "http://" + l.Addr().String(), seen: map[string]bool{}}
	resp, err := http.Get(w.url + "/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&w.doc); err != nil {
		t.Fatal(err)
	}
	return w
}

// token makes one of user with scopes, for targets.
func (w *world) token(user, scopes, targets string, profiles ...string) string {
	w.t.Helper()
	_, secret, err := w.client.CreateToken(w.t.Context(), bowline.TokenRequest{Name: user, User: user, Scopes: scopes, Targets: targets, Profiles: profiles, Both: true, Expires: time.Hour})
	if err != nil {
		w.t.Fatal(err)
	}
	return secret
}

// do sends a request of the API and checks the answer against the description.
func (w *world) do(token, method, path string, body any, header ...string) (int, map[string]any) {
	w.t.Helper()
	var in io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		in = strings.NewReader(b)
	default:
		data, err := json.Marshal(b)
		if err != nil {
			w.t.Fatal(err)
		}
		in = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.url+"/api/v1"+path, in)
	if err != nil {
		w.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	w.describes(method, path, resp, data)
	out := map[string]any{}
	if strings.Contains(resp.Header.Get("Content-Type"), "json") {
		if err := json.Unmarshal(data, &out); err != nil {
			w.t.Fatalf("%s %s: %v in %q", method, path, err, data)
		}
	}
	return resp.StatusCode, out
}

// describes fails the test if an answer is not as /openapi.json says.
func (w *world) describes(method, path string, resp *http.Response, data []byte) {
	w.t.Helper()
	path, _, _ = strings.Cut(path, "?")
	for pattern, ops := range w.doc.Paths {
		op, ok := ops[strings.ToLower(method)]
		re := regexp.MustCompile("^" + regexp.MustCompile(`\{\w+\}`).ReplaceAllString(pattern, "[^/]+") + "$")
		if !ok || !re.MatchString(path) {
			continue
		}
		if _, exact := w.doc.Paths[path]; exact && pattern != path {
			continue
		}
		r, known := op.Responses[resp.Status[:3]]
		if !known {
			r = op.Responses["default"]
			if resp.StatusCode < 400 {
				w.t.Errorf("%s %s answers %s, which is not described", method, path, resp.Status)
			}
		}
		kind, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
		c, described := r.Content[kind]
		if !described && len(data) > 0 {
			w.t.Errorf("%s %s answers with %q, which is not described", method, path, kind)
		}
		if c.Schema.Ref != "" {
			w.valid(op.ID, c.Schema.Ref, data)
		}
		if resp.StatusCode < 400 {
			w.seen[op.ID] = true
		}
		return
	}
	w.t.Errorf("%s %s is not described", method, path)
}

func (w *world) valid(id, ref string, data []byte) {
	w.t.Helper()
	var s jsonschema.Schema
	if err := json.Unmarshal(w.doc.Components.Schemas[strings.TrimPrefix(ref, "#/components/schemas/")], &s); err != nil {
		w.t.Fatalf("%s: %v", ref, err)
	}
	resolved, err := s.Resolve(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		w.t.Fatal(err)
	}
	if err := resolved.Validate(v); err != nil {
		w.t.Errorf("%s answers with what it does not describe: %v\n%s", id, err, data)
	}
}

// TestDescribed goes through the life of a change and everything beside it; every
// operation must answer well once, as it is described.
func TestDescribed(t *testing.T) {
	w := newWorld(t, "")
	all := w.token("ann", "read,run,plan,approve,apply,admin", "")
	dir := place(t)
	file := filepath.Join(dir, "made")
	ok := func(method, path string, body any) map[string]any {
		t.Helper()
		code, doc := w.do(all, method, path, body)
		if code >= 300 {
			t.Fatalf("%s %s: %d %v", method, path, code, doc)
		}
		return doc
	}
	type o = map[string]any
	ok("GET", "/me", nil)
	ok("GET", "/targets", nil)
	ok("POST", "/targets/local/test", nil)
	ok("GET", "/profiles", nil)
	ok("POST", "/policy/explain", o{"do": "run", "argv": []string{"ls"}})
	if r := ok("POST", "/run", o{"argv": []string{"echo", "hi"}}); r["stdout"] != "aGkK" || r["exit_code"] != 0.0 {
		t.Errorf("%v", r)
	}
	planned := func() (id, digest string) {
		s := ok("POST", "/sessions", o{"script": "#!/bin/sh\necho hi > " + file + "\necho ho > " + file + "2\n", "note": "because"})
		return s["id"].(string), s["digest"].(string)
	}
	id, digest := planned()
	if l := ok("GET", "/sessions?status=pending", nil)["sessions"].([]any); len(l) != 1 {
		t.Errorf("%v", l)
	}
	ok("GET", "/sessions/"+id, nil)
	if r := ok("GET", "/sessions/"+id+"/review", nil); r["digest"] != digest || r["operations"].([]any)[0].(o)["hunks"].([]any)[0].(o)["lines"].([]any)[0] != "+hi" {
		t.Errorf("%v", r)
	}
	for _, bad := range []any{nil, o{"digest": "sha256:0"}} {
		if code, doc := w.do(all, "POST", "/sessions/"+id+"/approve", bad); code < 400 {
			t.Errorf("approved without what was read: %v", doc)
		}
	}
	ok("POST", "/sessions/"+id+"/approve", o{"digest": digest})
	if r := ok("POST", "/sessions/"+id+"/apply", nil); r["status"] != "executed" || r["done"] != 2.0 {
		t.Errorf("%v", r)
	}
	ok("GET", "/sessions/"+id+"/drift", nil)
	ok("GET", "/sessions/"+id+"/receipt", nil)
	ok("GET", "/targets/local/files?path="+file, nil)
	ok("PUT", "/targets/local/files?mode=0600&path="+file+"3", "content")
	if r := ok("POST", "/sessions/"+id+"/rollback", nil); r["status"] != "rolled_back" {
		t.Errorf("%v", r)
	}
	other, _ := planned()
	part := ok("POST", "/sessions/"+other+"/select", o{"ops": []int{1}})["id"].(string)
	ok("POST", "/sessions/"+other+"/cancel", o{"reason": "no"})
	ok("POST", "/sessions/"+part+"/reject", o{"reason": "no"})
	f := ok("POST", "/fleets", o{"selector": "all", "plan": o{"script": "#!/bin/sh\necho hi > " + file + "\n"}})
	fleet, effect := f["id"].(string), f["classes"].([]any)[0].(o)["effect"].(string)
	ok("GET", "/fleets/"+fleet, nil)
	if code, _ := w.do(all, "POST", "/fleets/"+fleet+"/approve", nil); code != http.StatusBadRequest {
		t.Errorf("a class was approved without what was read: %d", code)
	}
	ok("POST", "/fleets/"+fleet+"/approve", o{"effect": effect})
	ok("POST", "/fleets/"+fleet+"/apply", nil)
	ok("POST", "/fleets/"+fleet+"/rollback", nil)
	f = ok("POST", "/fleets", o{"selector": "all", "plan": o{"script": "#!/bin/sh\necho hi > " + file + "\n"}})
	ok("POST", "/fleets/"+f["id"].(string)+"/reject", o{"reason": "no"})
	page := ok("GET", "/audit?limit=3", nil)
	if next := page["next"].(string); len(page["entries"].([]any)) != 3 || next == "" {
		t.Errorf("%v", page)
	} else if more := ok("GET", "/audit?limit=3&cursor="+next, nil)["entries"].([]any)[0].(o)["seq"].(float64); more >= page["entries"].([]any)[2].(o)["seq"].(float64) {
		t.Errorf("the next page begins with %v", more)
	}
	if v := ok("GET", "/audit/verify", nil); v["ok"] != true {
		t.Errorf("%v", v)
	}
	ok("GET", "/tokens", nil)
	made := ok("POST", "/tokens", o{"name": "ci", "scopes": []string{"read"}, "expires_days": 1})
	ok("DELETE", "/tokens/"+made["id"].(string), nil)
	ok("POST", "/freeze", o{"selector": "local", "reason": "fair", "here": true})
	if code, _ := w.do(all, "POST", "/run", o{"argv": []string{"true"}}); code != http.StatusForbidden && code != http.StatusBadGateway {
		t.Errorf("ran on what is frozen: %d", code)
	}
	ok("POST", "/unfreeze", o{"selector": "local", "here": true})
	// These need a session in states that take longer to reach; their suites are those of
	// the engine. Here they must refuse as described.
	for _, path := range []string{"/sessions/" + id + "/confirm", "/sessions/" + id + "/resume", "/fleets/" + fleet + "/resume"} {
		if code, doc := w.do(all, "POST", path, nil); code == http.StatusNotFound || code >= 500 {
			t.Errorf("%s: %d %v", path, code, doc)
		}
		w.seen[strings.TrimPrefix(path[strings.LastIndex(path, "/"):], "/")] = true
	}
	w.seen["resumeFleet"] = true
	w.operate(t, all, file)
	ok("POST", "/sessions/prune", o{"older_than_days": 0})
	// Boxes are remote-only; their suite has a server for them.
	for id, try := range map[string][2]string{"listBoxes": {"GET", "/targets/local/boxes"}, "getBox": {"GET", "/targets/local/boxes/web"}, "startBox": {"POST", "/targets/local/boxes/web/start"}, "stopBox": {"POST", "/targets/local/boxes/web/stop"}} {
		if code, doc := w.do(all, try[0], try[1], nil); code != http.StatusForbidden || !strings.Contains(doc["detail"].(string), "remote-only") {
			t.Errorf("%s: %d %v", id, code, doc)
		}
		w.seen[id] = true
	}
	for path, ops := range w.doc.Paths {
		for method, op := range ops {
			if !w.seen[op.ID] {
				t.Errorf("%s %s (%s) was never answered well", method, path, op.ID)
			}
		}
	}
}

// works carries out what is submitted, until stop is called.
func (w *world) works(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	worked := make(chan error, 1)
	go func() { worked <- w.client.ServeWork(ctx, bowline.WorkOptions{}) }()
	return func() {
		cancel()
		if err := <-worked; err != nil {
			t.Errorf("ServeWork = %v", err)
		}
	}
}

// operate submits work, has it done, and follows it.
func (w *world) operate(t *testing.T, all, file string) {
	t.Helper()
	stop := w.works(t)
	type o = map[string]any
	request := o{"verb": "run", "selector": "local", "run": o{"argv": []string{"echo", "hi"}}}
	code, first := w.do(all, "POST", "/operations", request, "Idempotency-Key", "k1")
	if code != http.StatusAccepted {
		t.Fatalf("%d %v", code, first)
	}
	if code, again := w.do(all, "POST", "/operations", request, "Idempotency-Key", "k1"); code != http.StatusAccepted || again["id"] != first["id"] {
		t.Errorf("the same again: %d %v", code, again)
	}
	request["run"] = o{"argv": []string{"echo", "ho"}}
	if code, other := w.do(all, "POST", "/operations", request, "Idempotency-Key", "k1"); code != http.StatusConflict {
		t.Errorf("another with the same key: %d %v", code, other)
	}
	id := first["id"].(string)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.url+"/api/v1/operations/"+id+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+all)
	req.Header.Set("Accept", "text/event-stream")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil || !strings.Contains(string(text), "event: stdout") || !strings.Contains(string(text), "event: result") || !strings.Contains(string(text), "id: 1\n") {
		t.Errorf("%v in %s", err, text)
	}
	w.seen["watchOperation"] = true
	if code, done := w.do(all, "GET", "/operations/"+id, nil); code != http.StatusOK || done["state"] != "succeeded" || done["tasks"].([]any)[0].(o)["stdout"] != "aGkK" {
		t.Errorf("%d %v", code, done)
	}
	if _, list := w.do(all, "GET", "/operations?limit=1", nil); len(list["operations"].([]any)) != 1 {
		t.Errorf("%v", list)
	}
	if code, doc := w.do(all, "POST", "/operations/"+id+"/cancel", nil); code != http.StatusOK || doc["state"] != "succeeded" {
		t.Errorf("cancelling what is over: %d %v", code, doc)
	}
	if code, doc := w.do(w.token("bob", "read,plan", ""), "POST", "/operations", request); code != http.StatusForbidden {
		t.Errorf("without the scope: %d %v", code, doc)
	}
	// A token that ends before its work begins begins nothing.
	stop()
	gone, secret, err := w.client.CreateToken(t.Context(), bowline.TokenRequest{Name: "gone", Scopes: "read,run", Expires: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	code, late := w.do(secret, "POST", "/operations", o{"verb": "run", "selector": "local", "run": o{"argv": []string{"echo", "hi"}}})
	if code != http.StatusAccepted {
		t.Fatalf("%d %v", code, late)
	}
	if err := w.client.RevokeToken(t.Context(), gone.ID); err != nil {
		t.Fatal(err)
	}
	defer w.works(t)()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		op, err := w.client.Operation(t.Context(), late["id"].(string))
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("%+v, %v", op, err)
		}
		if op.State == bowline.WorkFailed {
			break
		}
		if op.State == bowline.WorkSucceeded {
			t.Fatal("a revoked token's work was done")
		}
	}
}

// place is a directory that dry runs see the changes of.
func place(t *testing.T) string {
	t.Helper()
	base := "/srv"
	if os.Geteuid() != 0 {
		base = os.Getenv("HOME")
	}
	dir, err := os.MkdirTemp(base, "bowline-serve-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}
