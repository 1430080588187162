package serve_test

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/internal/serve"
	"github.com/bowline-sh/bowline/internal/testkit"
)

// operations calls f for each operation of the API.
func (w *world) operations(f func(method, path string, op operation)) {
	for pattern, ops := range w.doc.Paths {
		for method, op := range ops {
			f(strings.ToUpper(method), regexp.MustCompile(`\{\w+\}`).ReplaceAllString(pattern, "20261121-none-ffff"), op)
		}
	}
}

// TestNobodyGetsIn: no operation answers who shows no token, a bad one, an expired or a
// revoked one.
func TestNobodyGetsIn(t *testing.T) {
	w := newWorld(t, "")
	expired, short, err := w.client.CreateToken(t.Context(), bowline.TokenRequest{Name: "short", Scopes: "admin", Expires: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	revoked, gone, err := w.client.CreateToken(t.Context(), bowline.TokenRequest{Name: "gone", Scopes: "admin", Expires: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.client.RevokeToken(t.Context(), revoked.ID); err != nil {
		t.Fatal(err)
	}
	for time.Now().Before(expired.Expires) {
		time.Sleep(time.Millisecond)
	}
	good := w.token("ann", "admin", "")
	n := 0
	for name, secret := range map[string]string{"none": "", "made up": "bwl_abcdefghij_ABCDEFGHIJKLMNOPQRSTUVWXYZ", "no token": "x", "another's random": good[:len(good)-1] + "A", "expired": short, "revoked": gone,
		"injection": "bwl_' or 1=1 --_ABCDEFGHIJKLMNOPQRSTUVWXYZ"} {
		w.operations(func(method, path string, op operation) {
			n++
			if code, _ := w.do(secret, method, path, nil); code != http.StatusUnauthorized {
				t.Errorf("%s, %s: %d", name, op.ID, code)
			}
		})
	}
	t.Logf("%d requests refused", n)
}

// TestScopes: every operation refuses a token with all scopes but the one it needs.
func TestScopes(t *testing.T) {
	w := newWorld(t, "")
	needs := regexp.MustCompile(`'(\w+)'`)
	w.operations(func(method, path string, op operation) {
		scope := needs.FindStringSubmatch(op.Description)[1]
		var others []string
		for _, s := range []string{"read", "run", "plan", "approve", "apply"} {
			if s != scope {
				others = append(others, s)
			}
		}
		if code, _ := w.do(w.token("bob", strings.Join(others, ","), ""), method, path, nil); code != http.StatusForbidden {
			t.Errorf("%s without %s: %d", op.ID, scope, code)
		}
	})
}

// TestBoundToken: a token for one target and profile neither sees nor touches others.
func TestBoundToken(t *testing.T) {
	w := newWorld(t, "[targets.other]\ntype = \"ssh\"\nhost = \"192.0.2.1\"\n")
	all, bound := w.token("ann", "admin", ""), w.token("bob", "read,run,plan,approve,apply", "other", "readonly")
	type o = map[string]any
	dir := place(t)
	code, s := w.do(all, "POST", "/sessions", o{"script": "#!/bin/sh\necho hi > " + dir + "/made\n"})
	if code != http.StatusCreated {
		t.Fatal(s)
	}
	id := s["id"].(string)
	code, f := w.do(all, "POST", "/fleets", o{"selector": "local", "plan": o{"script": "#!/bin/sh\necho hi > " + dir + "/made\n"}})
	if code != http.StatusCreated {
		t.Fatal(f)
	}
	fleet := f["id"].(string)
	for _, try := range []struct {
		method, path string
		body         any
	}{
		{"GET", "/sessions/" + id, nil}, {"GET", "/sessions/" + id + "/receipt", nil}, {"GET", "/sessions/" + id + "/drift", nil},
		{"POST", "/sessions/" + id + "/approve", o{"digest": s["digest"]}}, {"POST", "/sessions/" + id + "/reject", nil}, {"POST", "/sessions/" + id + "/cancel", nil},
		{"POST", "/sessions/" + id + "/select", o{"ops": []int{1}}}, {"POST", "/sessions/" + id + "/apply", nil}, {"POST", "/sessions/" + id + "/rollback", nil},
		{"GET", "/fleets/" + fleet, nil}, {"POST", "/fleets/" + fleet + "/approve", o{"effect": "sha256:x"}}, {"POST", "/fleets/" + fleet + "/apply", nil},
		{"POST", "/run", o{"argv": []string{"true"}}}, {"POST", "/run", o{"target": "local", "argv": []string{"true"}}}, {"POST", "/sessions", o{"argv": []string{"true"}}},
		{"POST", "/targets/local/test", nil}, {"GET", "/targets/local/files?path=/etc/hosts", nil}, {"PUT", "/targets/local/files?path=" + dir + "/x", "x"},
		{"POST", "/policy/explain", o{"do": "run", "target": "local"}}, {"POST", "/fleets", o{"selector": "local,other", "plan": o{"argv": []string{"true"}}}},
	} {
		if code, doc := w.do(bound, try.method, try.path, try.body); code != http.StatusNotFound {
			t.Errorf("%s %s: %d %v", try.method, try.path, code, doc)
		}
	}
	if code, doc := w.do(bound, "POST", "/run", o{"target": "other", "profile": "script", "argv": []string{"true"}}); code != http.StatusForbidden {
		t.Errorf("another profile: %d %v", code, doc)
	}
	for path, member := range map[string]string{"/sessions": "sessions", "/audit": "entries"} {
		if _, doc := w.do(bound, "GET", path, nil); len(doc[member].([]any)) > 1 {
			for _, e := range doc[member].([]any) {
				if e.(o)["target"] != "other" {
					t.Errorf("%s tells of %v", path, e)
				}
			}
		}
	}
	if _, doc := w.do(bound, "GET", "/targets", nil); len(doc["targets"].([]any)) != 1 {
		t.Errorf("targets: %v", doc)
	}
	if list, err := os.ReadDir(dir); err != nil || len(list) > 0 {
		t.Errorf("the world was changed: %v, %v", list, err)
	}
	if s, err := w.client.Session(t.Context(), id); err != nil || s.Status != "pending" {
		t.Errorf("%v, %v", s.Status, err)
	}
}

// signedIn returns a browser's client.
func (w *world) signedIn() *http.Client {
	w.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	c := &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := c.PostForm(w.url+"/login", url.Values{"token": {w.token("ann", "admin", "")}})
	if err != nil || resp.StatusCode != http.StatusSeeOther {
		w.t.Fatalf("%v, %v", resp, err)
	}
	_ = resp.Body.Close()
	u, err := url.Parse(w.url)
	if err != nil || len(jar.Cookies(u)) != 1 {
		w.t.Fatalf("%v, %v", jar.Cookies(u), err)
	}
	return c
}

// TestForeignPages: what a page of somebody else can make a browser send is refused: by
// origin, by the host it names, by method.
func TestForeignPages(t *testing.T) {
	w := newWorld(t, "")
	c := w.signedIn()
	dir := place(t)
	s, err := w.client.Plan(t.Context(), bowline.PlanRequest{Script: []byte("#!/bin/sh\necho hi > " + dir + "/made\n")})
	if err != nil {
		t.Fatal(err)
	}
	try := func(method, path, host string, header map[string]string) int {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, w.url+path, strings.NewReader("digest="+url.QueryEscape(s.Digest)))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if host != "" {
			req.Host = host
		}
		for k, v := range header {
			req.Header.Set(k, v)
		}
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp.StatusCode
	}
	path := "/s/" + s.ID + "/approve"
	for _, tt := range []struct {
		name, method, path, host string
		header                   map[string]string
		want                     int
	}{
		{"another origin", "POST", path, "", map[string]string{"Origin": "https://evil.example"}, 403},
		{"another site", "POST", path, "", map[string]string{"Sec-Fetch-Site": "cross-site"}, 403},
		{"another port", "POST", path, "", map[string]string{"Sec-Fetch-Site": "same-site"}, 403},
		{"null origin", "POST", path, "", map[string]string{"Origin": "null"}, 403},
		{"a rebound name", "GET", "/", "evil.example", nil, 421},
		{"a rebound name, to act", "POST", path, "evil.example:80", map[string]string{"Origin": "http://evil.example:80", "Sec-Fetch-Site": "same-origin"}, 421},
		{"the API by a rebound name", "GET", "/api/v1/sessions", "evil.example", nil, 421},
		{"the API with a cookie from elsewhere", "POST", "/api/v1/sessions/" + s.ID + "/approve", "", map[string]string{"Origin": "https://evil.example"}, 403},
		{"signing in from elsewhere", "POST", "/login", "", map[string]string{"Origin": "https://evil.example"}, 403},
		{"MCP from elsewhere", "POST", "/mcp", "", map[string]string{"Origin": "https://evil.example"}, 403},
		{"a form as a link", "GET", path, "", nil, 404},
	} {
		if got := try(tt.method, tt.path, tt.host, tt.header); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
	if x, err := w.client.Session(t.Context(), s.ID); err != nil || x.Status != "pending" {
		t.Errorf("%v, %v", x.Status, err)
	}
	if got := try("POST", path, "", map[string]string{"Sec-Fetch-Site": "same-origin"}); got != http.StatusSeeOther {
		t.Errorf("the page's own form: %d", got)
	}
}

// TestInjection: what a path, a query or a name holds stays where it is.
func TestInjection(t *testing.T) {
	w := newWorld(t, "")
	all := w.token("ann", "admin", "")
	dir := place(t)
	name := "a\"b\r\nSet-Cookie: x=1;é"
	if err := os.WriteFile(filepath.Join(dir, name), []byte("content"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{
		"/api/v1/targets/local/files?path=" + url.QueryEscape(filepath.Join(dir, name)),
		"/s/x%0d%0aSet-Cookie:%20x=1", "/f/..%2f..%2fetc", "/?after=x%0d%0aSet-Cookie:%20x=1", "/audit?before=%00&target=%0d%0a", "/static/../../etc/passwd", "/static/..%2f..%2fetc%2fpasswd",
		"/api/v1/sessions/..%2f..%2f", "/api/v1/sessions?cursor=';drop%20table%20sessions;--", "/problems/%3Cscript%3E", "//evil.example/", "/login?once=%22%3E%3Cscript%3E",
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+all)
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode >= 500 || len(resp.Header["Set-Cookie"]) > 0 || strings.HasPrefix(resp.Header.Get("Location"), "//") || strings.Contains(resp.Header.Get("Location"), ":") || bytes.Contains(body, []byte("root:x:0")) || bytes.Contains(body, []byte("<script>")) {
			t.Errorf("%s: %s %v\n%.300s", path, resp.Status, resp.Header, body)
		}
		if strings.Contains(path, "/files?") && (string(body) != "content" || resp.Header.Get("Content-Disposition") != "attachment; filename*=UTF-8''a%22b%0D%0ASet-Cookie%3A%20x%3D1%3B%C3%A9") {
			t.Errorf("%q, %v", body, resp.Header)
		}
	}
	if code, _ := w.do(all, "GET", "/sessions", nil); code != http.StatusOK {
		t.Error("the store is gone")
	}
}

// TestTooMuch: bodies, headers and numbers of requests beyond the bounds are refused, and
// the server still answers.
func TestTooMuch(t *testing.T) {
	w := newWorld(t, "")
	all := w.token("ann", "admin", "")
	if code, doc := w.do(all, "POST", "/run", `{"argv":["`+strings.Repeat("x", 17<<20)+`"]}`); code != http.StatusRequestEntityTooLarge {
		t.Errorf("a large body: %d %.200v", code, doc)
	}
	if code, _ := w.do(all, "POST", "/run", strings.Repeat("[", 1<<20)); code != http.StatusBadRequest {
		t.Errorf("a deep body: %d", code)
	}
	for _, body := range []string{`{"argv":["true"],"arvg":1}`, `{"argv":"true"}`, `{} {}`, `null x`, "\x00\xff", `{"timeout_seconds":1e400}`} {
		if code, _ := w.do(all, "POST", "/run", body); code != http.StatusBadRequest {
			t.Errorf("%q: %d", body, code)
		}
	}
	if resp := w.raw("GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("x", 1<<20) + "\r\n\r\n"); !strings.Contains(resp, "431") {
		t.Errorf("a large header: %q", resp)
	}
	if code, _ := w.do(all, "GET", "/audit?limit=1000000", nil); code != http.StatusBadRequest {
		t.Errorf("a large page: %d", code)
	}
}

// raw sends text as it is and returns the first line of the answer.
func (w *world) raw(text string) string {
	w.t.Helper()
	u, err := url.Parse(w.url)
	if err != nil {
		w.t.Fatal(err)
	}
	c, err := net.Dial("tcp", u.Host)
	if err != nil {
		w.t.Fatal(err)
	}
	defer c.Close()
	go func() { _, _ = io.WriteString(c, text) }() // the server may close first
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return err.Error()
	}
	return line
}

// TestExhaustion: one token's streams take no place from another's; all places taken
// leave questions about health; and what ends gives its place back.
func TestExhaustion(t *testing.T) {
	w := newWorld(t, "")
	const more = 10
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ann := w.token("ann", "run", "")
	refused := make(chan int, serve.MaxRequests)
	for range serve.MaxRequests/4 + more {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url+"/api/v1/run", &never{ctx})
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+ann)
		req.Close = true
		go func() {
			if resp, err := http.DefaultTransport.RoundTrip(req); err == nil { // else it was broken off below
				_ = resp.Body.Close()
				refused <- resp.StatusCode
			}
		}()
	}
	for range more {
		select {
		case status := <-refused:
			if status != http.StatusTooManyRequests {
				t.Errorf("a request too many: %d", status)
			}
		case <-time.After(20 * time.Second):
			t.Fatal("one token takes as many places as it likes")
		}
	}
	bob := w.token("bob", "read", "")
	if code, _ := w.do(bob, "GET", "/me", nil); code != http.StatusOK {
		t.Errorf("another token: %d", code)
	}
	resp, err := http.Get(w.url + "/healthz")
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("%v, %v", resp, err)
	}
	select {
	case status := <-refused:
		t.Errorf("one that has a place: %d", status)
	default:
	}
	stop()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if code, _ := w.do(ann, "POST", "/run", map[string]any{"argv": []string{"true"}}); code == http.StatusOK {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the places were not given back")
		}
	}
}

// never is a body that does not arrive.
type never struct{ ctx context.Context }

func (n *never) Read([]byte) (int, error) {
	<-n.ctx.Done()
	return 0, n.ctx.Err()
}

// FuzzRequests: no path, query or body makes the server fail in itself.
func FuzzRequests(f *testing.F) {
	f.Add("GET", "/api/v1/sessions?limit=3", "")
	f.Add("POST", "/api/v1/run", `{"argv":["true"]}`)
	f.Add("POST", "/api/v1/policy/explain", `{"do":"run","script":"#!/bin/sh\n"}`)
	f.Add("GET", "/s/20261121-x-ffff?view=split&from=-1&secret=99999999999999999999", "")
	f.Add("GET", "/audit?before=-1&target=%00", "")
	f.Add("POST", "/s/x/approve", "digest=%zz")
	f.Add("PUT", "/api/v1/targets/local/files?path=/x&mode=9", "x")
	w := newWorld(f, "")
	token := w.token("ann", "read", "") // what may be tried harms nothing
	f.Fuzz(func(t *testing.T, method, target, body string) {
		if _, err := url.ParseRequestURI(target); err != nil || !strings.HasPrefix(target, "/") || method == "" || strings.ContainsFunc(method, func(r rune) bool { return r < 'A' || r > 'Z' }) {
			return
		}
		req, err := http.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
		if err != nil {
			return
		}
		req.RequestURI, req.Host, req.RemoteAddr = target, "localhost", "127.0.0.1:1"
		req.Header.Set("Authorization", "Bearer "+token)
		rec := newRecorder()
		w.server.ServeHTTP(rec, req)
		if rec.code >= 500 {
			t.Errorf("%s %q %q: %d\n%.500s", method, target, body, rec.code, rec.body.String())
		}
	})
}

// recorder is an answer that nobody reads slowly.
type recorder struct {
	head http.Header
	code int
	body bytes.Buffer
}

func newRecorder() *recorder                         { return &recorder{head: http.Header{}, code: 200} }
func (r *recorder) Header() http.Header              { return r.head }
func (r *recorder) WriteHeader(code int)             { r.code = code }
func (r *recorder) Write(p []byte) (int, error)      { return r.body.Write(p) }
func (r *recorder) SetWriteDeadline(time.Time) error { return nil }
func (r *recorder) SetReadDeadline(time.Time) error  { return nil }
func (r *recorder) Flush()                           {}

// TestTwoPersons: where two are needed, who asked for a change cannot approve it, with
// whatever token; another person can.
func TestTwoPersons(t *testing.T) {
	w := newWorld(t, "[approval]\ntwo_person = true\n")
	type o = map[string]any
	asks, same, other := w.token("ann", "read,plan", ""), w.token("ann", "read,approve", ""), w.token("bob", "read,approve", "")
	code, s := w.do(asks, "POST", "/sessions", o{"script": "#!/bin/sh\necho hi > " + place(t) + "/made\n"})
	if code != http.StatusCreated || s["user"] != "ann" {
		t.Fatal(code, s)
	}
	path := "/sessions/" + s["id"].(string) + "/approve"
	if code, doc := w.do(same, "POST", path, o{"digest": s["digest"]}); code != http.StatusForbidden {
		t.Errorf("by who asked: %d %v", code, doc)
	}
	if code, doc := w.do(other, "POST", path, o{"digest": s["digest"]}); code != http.StatusOK || doc["user"] != "bob" {
		t.Errorf("by another: %d %v", code, doc)
	}
}

// TestServerSignsForNobody: the key of who runs the server never signs what others
// approve through it.
func TestServerSignsForNobody(t *testing.T) {
	key, _ := testkit.ClientKey(t, testkit.Dir(t), "server")
	type o = map[string]any
	for _, tt := range []struct {
		table string
		want  int
	}{{"sign = true", http.StatusOK}, {"require_signature = true", http.StatusForbidden}} {
		w := newWorld(t, "[approval]\n"+tt.table+"\nkey_file = \""+key+"\"\n")
		code, s := w.do(w.token("robot", "read,plan", ""), "POST", "/sessions", o{"script": "#!/bin/sh\necho hi > " + place(t) + "/made\n"})
		if code != http.StatusCreated {
			t.Fatal(code, s)
		}
		if code, doc := w.do(w.token("ann", "read,approve", ""), "POST", "/sessions/"+s["id"].(string)+"/approve", o{"digest": s["digest"]}); code != tt.want || doc["key_id"] != nil {
			t.Errorf("%s: %d %v", tt.table, code, doc)
		}
	}
}
