package serve_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/bowline-sh/bowline"
)

// TestProfileIsNoFile: a name of a profile that comes with a token names no file of the
// server: neither its own profile, called as one that the token may use, nor a file whose
// errors would tell of its content.
func TestProfileIsNoFile(t *testing.T) {
	w := newWorld(t, "")
	dir := t.TempDir()
	mine := filepath.Join(dir, "readonly.toml")
	text := "name = \"readonly\"\nbinds = [{ source = \"/\", target = \"/\" }]\ncwd = \"/\"\n"
	if err := os.WriteFile(mine, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	secret := filepath.Join(dir, "secret.toml")
	if err := os.WriteFile(secret, []byte("store = \"postgres://u:hunter2@db/x\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	worked := make(chan error, 1)
	ctx, stop := context.WithCancel(t.Context())
	go func() { worked <- w.client.ServeWork(ctx, bowline.WorkOptions{}) }()
	defer func() {
		stop()
		<-worked
	}()
	type o = map[string]any
	for name, token := range map[string]string{"bound to a profile": w.token("bob", "read,run,plan", "", "readonly"), "not bound": w.token("ann", "admin", "")} {
		for _, file := range []string{mine, secret, filepath.Join(dir, "absent.toml"), "secret.json", `..\\x`} {
			for path, body := range map[string]o{
				"/run":            {"argv": []string{"true"}, "profile": file},
				"/sessions":       {"argv": []string{"true"}, "profile": file},
				"/policy/explain": {"do": "run", "argv": []string{"true"}, "profile": file},
				"/fleets":         {"selector": "local", "plan": o{"argv": []string{"true"}, "profile": file}},
			} {
				code, doc := w.do(token, "POST", path, body)
				said, _ := json.Marshal(doc)
				if path == "/fleets" && code == http.StatusCreated { // the answer says how each target fared
					code = http.StatusForbidden
					if doc["id"] != "" {
						t.Errorf("%s: %s planned with %s", name, path, file)
					}
				}
				if code != http.StatusForbidden || strings.Contains(string(said), "hunter2") || strings.Contains(string(said), "no such file") {
					t.Errorf("%s: %s with %s: %d %s", name, path, file, code, said)
				}
			}
			_, op := w.do(token, "POST", "/operations", o{"verb": "run", "selector": "local", "run": o{"argv": []string{"true"}, "profile": file}})
			for deadline := time.Now().Add(20 * time.Second); op["state"] == "queued" || op["state"] == "running"; time.Sleep(20 * time.Millisecond) {
				if _, op = w.do(token, "GET", "/operations/"+op["id"].(string), nil); time.Now().After(deadline) {
					t.Fatal("the operation does not end")
				}
			}
			if said, _ := json.Marshal(op); op["state"] == "succeeded" || strings.Contains(string(said), "hunter2") {
				t.Errorf("%s: an operation with %s: %s", name, file, said)
			}
		}
	}
}

// TestStolenCookie: what a browser keeps makes no token that outlives it, and ends with
// the token that the person showed, however often it was shown again.
func TestStolenCookie(t *testing.T) {
	w := newWorld(t, "")
	first, secret, err := w.client.CreateToken(t.Context(), bowline.TokenRequest{Name: "ann", User: "ann", Scopes: "admin", Expires: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	cookie := secret
	for range 3 { // the thief signs in with the cookie, and with what that gives
		jar, err := cookiejar.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		c := &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		resp, err := c.PostForm(w.url+"/login", url.Values{"token": {cookie}})
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		u, err := url.Parse(w.url)
		if err != nil {
			t.Fatal(err)
		}
		if list := jar.Cookies(u); len(list) == 1 {
			cookie = list[0].Value
		}
	}
	if code, doc := w.do(cookie, "POST", "/tokens", map[string]any{"name": "forever", "scopes": []string{"admin"}, "expires_days": 300}); code != http.StatusForbidden {
		t.Errorf("a cookie made a token: %d %v", code, doc)
	}
	if code, _ := w.do(cookie, "GET", "/me", nil); code != http.StatusOK {
		t.Fatalf("the cookie does not work: %d", code)
	}
	if err := w.client.RevokeToken(t.Context(), first.ID); err != nil {
		t.Fatal(err)
	}
	if code, _ := w.do(cookie, "GET", "/me", nil); code != http.StatusUnauthorized {
		t.Errorf("it outlives the token that it was made from: %d", code)
	}
}

// TestStreamsEndWithTheirToken: who watches stops seeing when the token is revoked.
func TestStreamsEndWithTheirToken(t *testing.T) {
	w := newWorld(t, "")
	made, secret, err := w.client.CreateToken(t.Context(), bowline.TokenRequest{Name: "ann", User: "ann", Scopes: "read,run", Expires: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(map[string]any{"argv": []string{"sh", "-c", "echo begun; sleep 60"}, "profile": "script", "timeout_seconds": 90})
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.url+"/api/v1/run", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+secret)
	req.Header.Set("Accept", "text/event-stream")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	if !lines.Scan() {
		t.Fatal("nothing came")
	}
	if err := w.client.RevokeToken(t.Context(), made.ID); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for lines.Scan() {
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it went on for %v", took)
	}
}

// TestOthersOperations: the output of what somebody ran is theirs, and who may only run
// stops no apply.
func TestOthersOperations(t *testing.T) {
	w := newWorld(t, "")
	type o = map[string]any
	ann, bob := w.token("ann", "read,run,plan,apply", ""), w.token("bob", "read,run", "")
	code, op := w.do(ann, "POST", "/operations", o{"verb": "run", "selector": "local", "run": o{"argv": []string{"true"}}})
	if code != http.StatusAccepted {
		t.Fatal(op)
	}
	id := op["id"].(string)
	for _, try := range [][2]string{{"GET", "/operations/" + id}, {"POST", "/operations/" + id + "/cancel"}, {"GET", "/operations/" + id + "/events"}} {
		if code, doc := w.do(bob, try[0], try[1], nil, "Accept", "text/event-stream"); code != http.StatusNotFound {
			t.Errorf("another's %v: %d %v", try, code, doc)
		}
	}
	if code, _ := w.do(w.token("root", "admin", ""), "GET", "/operations/"+id, nil); code != http.StatusOK {
		t.Errorf("an administrator: %d", code)
	}
	code, plan := w.do(ann, "POST", "/operations", o{"verb": "plan", "selector": "local", "plan": o{"argv": []string{"true"}}})
	if code != http.StatusAccepted {
		t.Fatal(plan)
	}
	if code, doc := w.do(bob, "POST", "/operations/"+plan["id"].(string)+"/cancel", nil); code != http.StatusForbidden {
		t.Errorf("cancelled a plan with the scope run: %d %v", code, doc)
	}
}

// TestBoundAdministrator: one who is bound to a target has no say about tokens.
func TestBoundAdministrator(t *testing.T) {
	w := newWorld(t, "[targets.other]\ntype = \"ssh\"\nhost = \"192.0.2.1\"\n")
	victim, _, err := w.client.CreateToken(t.Context(), bowline.TokenRequest{Name: "v", User: "v", Scopes: "read", Expires: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	for name, token := range map[string]string{"target": w.token("bob", "admin", "other"), "profile": w.token("bob", "admin", "", "readonly")} {
		for _, try := range []struct {
			method, path string
			body         any
		}{
			{"GET", "/tokens", nil}, {"DELETE", "/tokens/" + victim.ID, nil}, {"POST", "/tokens", map[string]any{"name": "x", "scopes": []string{"read"}, "expires_days": 1}},
		} {
			if code, doc := w.do(token, try.method, try.path, try.body); code != http.StatusForbidden {
				t.Errorf("bound to a %s: %s %s: %d %v", name, try.method, try.path, code, doc)
			}
		}
	}
}

// TestModelsOfOneName: what a model proposed is shown to its token, and not to another
// that somebody gave the same name.
func TestModelsOfOneName(t *testing.T) {
	w := newWorld(t, "")
	call := func(token, tool string, args map[string]any) string {
		t.Helper()
		res, err := w.model(token).CallTool(t.Context(), &mcp.CallToolParams{Name: tool, Arguments: args})
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(res)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	one, other := w.token("laptop", "read,plan,apply", ""), w.token("laptop", "read,plan,apply", "")
	id := regexp.MustCompile(`\d{8}-[a-z]+-[0-9a-f]{4}`).FindString(call(one, "propose", map[string]any{"target": "local", "argv": []string{"true"}, "note": "mine"}))
	if id == "" {
		t.Fatal("nothing was proposed")
	}
	if got := call(one, "session", map[string]any{"session": id}); strings.Contains(got, `"isError":true`) {
		t.Errorf("its own: %s", got)
	}
	if got := call(other, "session", map[string]any{"session": id}); !strings.Contains(got, "not made by this client") {
		t.Errorf("another's: %s", got)
	}
	if got := call(other, "session", nil); strings.Contains(got, id) {
		t.Errorf("another's list: %s", got)
	}
}

// shown is a token that goes with every request.
type shown string

func (s shown) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+string(s))
	return http.DefaultTransport.RoundTrip(r)
}

// model connects an MCP client with a token.
func (w *world) model(token string) *mcp.ClientSession {
	w.t.Helper()
	c := mcp.NewClient(&mcp.Implementation{Name: "model", Version: "1"}, nil)
	ss, err := c.Connect(w.t.Context(), &mcp.StreamableClientTransport{Endpoint: w.url + "/mcp", HTTPClient: &http.Client{Transport: shown(token)}, MaxRetries: -1}, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { ss.Close() })
	return ss
}

// TestBackgroundEndsWithItsToken: what a model left running is killed when its token is
// revoked.
func TestBackgroundEndsWithItsToken(t *testing.T) {
	w := newWorld(t, "")
	made, secret, err := w.client.CreateToken(t.Context(), bowline.TokenRequest{Name: "model", Scopes: "read,run", Expires: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	res, err := w.model(secret).CallTool(t.Context(), &mcp.CallToolParams{Name: "run", Arguments: map[string]any{"target": "local", "profile": "script", "argv": []string{"sleep", "25"}, "background": true}})
	if err != nil || res.IsError {
		t.Fatalf("%+v, %v", res, err)
	}
	if err := w.client.RevokeToken(t.Context(), made.ID); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(15 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		for e, err := range w.client.Audit(t.Context(), bowline.AuditQuery{Verb: "run", Event: "outcome"}) {
			if err != nil {
				t.Fatal(err)
			}
			if e.Status == "ok" {
				t.Error("it ran to its end")
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("it still runs")
		}
	}
}

// TestReadTokenTriesNothing: a token that reads looks at what is known; neither a tool
// nor an address makes the server log in to a target for it.
func TestReadTokenTriesNothing(t *testing.T) {
	w := newWorld(t, "")
	token := w.token("bob", "read", "")
	ctx := t.Context()
	ss := w.model(token)
	list, err := ss.ListTools(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	args := map[string]map[string]any{
		"targets": {"test": true, "selector": "local"}, "run": {"target": "local", "argv": []string{"true"}}, "propose": {"target": "local", "argv": []string{"true"}},
		"read_file": {"target": "local", "path": "/etc/hostname"}, "search": {"target": "local", "path": "/etc", "text": "x"},
		"copy": {"from": "local:/etc/hostname", "to": "/tmp/x"},
	}
	for _, tool := range list.Tools {
		res, err := ss.CallTool(ctx, &mcp.CallToolParams{Name: tool.Name, Arguments: args[tool.Name]})
		if err != nil || res.IsError {
			continue
		}
		if text, _ := json.Marshal(res.Content); args[tool.Name] != nil && !strings.Contains(string(text), "lacks the scope") {
			t.Errorf("%s: %s", tool.Name, text)
		}
	}
	for e, err := range w.client.Audit(ctx, bowline.AuditQuery{Target: "local"}) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Event == "outcome" && e.Status == "ok" {
			t.Errorf("done for a token that reads: %s", e.Raw)
		}
	}
}

// TestSecretsAreForReviewers: what a diff hides is unfolded for who may approve.
func TestSecretsAreForReviewers(t *testing.T) {
	w := newWorld(t, "")
	_, s := w.do(w.token("ann", "admin", ""), "POST", "/sessions", map[string]any{"script": "#!/bin/sh\necho hunter2 > " + place(t) + "/id_ed25519\n"})
	for scopes, want := range map[string]int{"read": http.StatusForbidden, "read,plan,apply": http.StatusForbidden, "read,approve": http.StatusOK} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.url+"/s/"+s["id"].(string)+"?secret=1", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := shown(w.token("bob", scopes, "")).RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != want || strings.Contains(string(text), "hunter2") != (want == http.StatusOK) {
			t.Errorf("%s: %s, %v", scopes, resp.Status, err)
		}
	}
}

// TestNumbersOutOfRange: seconds that no clock has are refused: they neither overflow into
// others nor become none, which would leave out a limit or a window.
func TestNumbersOutOfRange(t *testing.T) {
	w := newWorld(t, "")
	token := w.token("ann", "admin", "")
	for _, n := range []string{"-1", "-1e300", "1e300", "9223372036.854775807", "9.3e9", "18446744074.7"} {
		if code, doc := w.do(token, "POST", "/run", `{"argv":["true"],"timeout_seconds":`+n+`}`); code != http.StatusBadRequest {
			t.Errorf("run for %s: %d %v", n, code, doc)
		}
	}
	if code, doc := w.do(token, "POST", "/sessions", `{"argv":["true"],"timeout_seconds":-1}`); code != http.StatusBadRequest {
		t.Errorf("plan for -1: %d %v", code, doc)
	}
	_, s := w.do(token, "POST", "/sessions", `{"argv":["true"]}`)
	id := s["id"].(string)
	if code, doc := w.do(token, "POST", "/sessions/"+id+"/approve", map[string]any{"digest": s["digest"]}); code != http.StatusOK {
		t.Fatal(doc)
	}
	if code, doc := w.do(token, "POST", "/sessions/"+id+"/apply", `{"confirm_seconds":-5}`); code != http.StatusBadRequest {
		t.Errorf("applied without the window that was asked for: %d %v", code, doc)
	}
}
