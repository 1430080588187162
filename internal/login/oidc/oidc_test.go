package oidc_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/internal/serve"
)

const secret = "s3cret-of-the-client"

// provider is an OpenID Connect provider: discovery, keys and the code flow with PKCE.
type provider struct {
	*httptest.Server
	t   *testing.T
	key *rsa.PrivateKey

	mu    sync.Mutex // guards what follows
	codes map[string]grant
	spoil func(claims map[string]any) // changes an ID token before it is signed
	sign  *rsa.PrivateKey             // signs instead of key
	away  bool                        // it describes itself to nobody
	asked int                         // how often it was asked meanwhile
}

// grant is what a code stands for, until it is used.
type grant struct{ nonce, challenge, redirect, mail string }

func newProvider(t *testing.T) *provider {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p := &provider{t: t, key: key, codes: map[string]grant{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.away {
			p.asked++
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"issuer": p.URL, "authorization_endpoint": p.URL + "/authorize", "token_endpoint": p.URL + "/token", "jwks_uri": p.URL + "/keys",
			"id_token_signing_alg_values_supported": []string{"RS256"}, "subject_types_supported": []string{"public"}, "response_types_supported": []string{"code"}})
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{"keys": []any{map[string]string{"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "1",
			"n": text(key.N.Bytes()), "e": text(big.NewInt(int64(key.E)).Bytes())}}})
	})
	mux.HandleFunc("POST /token", p.token)
	p.Server = httptest.NewServer(mux)
	t.Cleanup(p.Close)
	return p
}

// setAway returns how often the provider was asked while it was away.
func (p *provider) setAway(away bool) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.away = away
	return p.asked
}

func text(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// authorize lets a person in, and returns where the browser is sent.
func (p *provider) authorize(address, mail string) *url.URL {
	p.t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		p.t.Fatal(err)
	}
	q := u.Query()
	if !strings.HasPrefix(address, p.URL+"/authorize?") || q.Get("client_id") != "bowline" || q.Get("response_type") != "code" || q.Get("code_challenge_method") != "S256" || q.Get("scope") != "openid email" {
		p.t.Fatalf("sent to %s", address)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	code := rand.Text()
	p.codes[code] = grant{q.Get("nonce"), q.Get("code_challenge"), q.Get("redirect_uri"), mail}
	back, err := url.Parse(q.Get("redirect_uri"))
	if err != nil {
		p.t.Fatal(err)
	}
	back.RawQuery = url.Values{"code": {code}, "state": {q.Get("state")}}.Encode()
	return back
}

func (p *provider) token(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	id, pass, _ := r.BasicAuth()
	g, ok := p.codes[r.PostFormValue("code")]
	delete(p.codes, r.PostFormValue("code"))
	sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	if !ok || id != "bowline" || pass != secret || text(sum[:]) != g.challenge || r.PostFormValue("redirect_uri") != g.redirect {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"error":"invalid_grant"}`)
		return
	}
	claims := map[string]any{"iss": p.URL, "aud": "bowline", "sub": "1", "exp": time.Now().Add(time.Minute).Unix(), "iat": time.Now().Unix(), "nonce": g.nonce, "email": g.mail, "email_verified": true}
	if p.spoil != nil {
		p.spoil(claims)
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"access_token": "x", "token_type": "Bearer", "id_token": p.signed(claims)})
}

func (p *provider) signed(claims map[string]any) string {
	body, err := json.Marshal(claims)
	if err != nil {
		p.t.Error(err)
	}
	what := text([]byte(`{"alg":"RS256","kid":"1"}`)) + "." + text(body)
	sum := sha256.Sum256([]byte(what))
	key := p.key
	if p.sign != nil {
		key = p.sign
	}
	sig, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	if err != nil {
		p.t.Error(err)
	}
	return what + "." + text(sig)
}

// world is a server whose people have accounts at the provider.
type world struct {
	t      *testing.T
	at     *provider
	client *bowline.Client
	url    string
	file   string // config.toml
	log    *bytes.Buffer
}

func newWorld(t *testing.T) *world {
	p := newProvider(t)
	dir := t.TempDir()
	w := &world{t: t, at: p, file: filepath.Join(dir, "config.toml"), log: &bytes.Buffer{}}
	w.write("secret", secret+"\n")
	w.write("config.toml", fmt.Sprintf(`[serve.oidc]
issuer = %q
name = "The Office"
client_id = "bowline"
client_secret_file = %q

[[serve.people]]
email = "ann@example.com"
user = "ann"
scope = "read,approve"
targets = "local"
`, p.URL, filepath.Join(dir, "secret")))
	var err error
	w.client, err = bowline.Open(t.Context(), bowline.Config{ConfigDir: dir, StateDir: dir, RuntimeDir: dir, Surface: "api"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	s, err := serve.New(ctx, serve.Config{Client: w.client, Version: "test", Logger: slog.New(slog.NewTextHandler(w.log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(s)
	w.url = srv.URL
	t.Cleanup(func() {
		srv.Close()
		stop()
		if err := w.client.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *world) write(name, content string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(filepath.Dir(w.file), name), []byte(content), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// browser keeps cookies and follows nothing.
func browser(t *testing.T) *http.Client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &http.Client{Jar: jar, Timeout: 20 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func (w *world) get(b *http.Client, address string) (*http.Response, string) {
	w.t.Helper()
	resp, err := b.Get(address)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp, string(body)
}

// begin returns where the browser is sent to sign in.
func (w *world) begin(b *http.Client) string {
	w.t.Helper()
	resp, body := w.get(b, w.url+"/login/oidc")
	if resp.StatusCode != http.StatusSeeOther {
		w.t.Fatalf("%s: %s", resp.Status, body)
	}
	return resp.Header.Get("Location")
}

func TestSignIn(t *testing.T) {
	w := newWorld(t)
	b := browser(t)
	if _, page := w.get(b, w.url+"/login"); !strings.Contains(page, `href="/login/oidc"`) || !strings.Contains(page, "Sign in with The Office") {
		t.Errorf("the page does not say how: %s", page)
	}
	resp, page := w.get(b, w.at.authorize(w.begin(b), "Ann@Example.com").String())
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Refresh") != "0; url=/" {
		t.Fatalf("%s: %s", resp.Status, page)
	}
	for _, c := range resp.Cookies() {
		if !c.HttpOnly || c.Name == "bowline" && c.SameSite != http.SameSiteStrictMode || c.Name == "bowline-oidc" && c.MaxAge >= 0 {
			t.Errorf("cookie %v", c)
		}
	}
	if resp, page := w.get(b, w.url+"/"); resp.StatusCode != http.StatusOK || !strings.Contains(page, "ann") {
		t.Errorf("not signed in: %s", resp.Status)
	}
	list, err := w.client.Tokens(t.Context())
	if err != nil || len(list) != 2 {
		t.Fatalf("%v %v", list, err)
	}
	for _, x := range list {
		if x.User != "ann" || x.Scopes.String() != "read,approve" || x.Targets != "local" || time.Until(x.Expires) > 12*time.Hour {
			t.Errorf("%+v", x)
		}
	}
	// What she may do ends with the parent, as her entry in the file does with the next sign-in.
	parent := list[1]
	if parent.Parent != "" {
		parent = list[0]
	}
	if err := w.client.RevokeToken(t.Context(), parent.ID); err != nil {
		t.Fatal(err)
	}
	if resp, _ := w.get(b, w.url+"/"); resp.StatusCode != http.StatusSeeOther {
		t.Errorf("still signed in: %s", resp.Status)
	}
	if strings.Contains(w.log.String(), secret) {
		t.Error("the log holds the client's secret")
	}
}

// TestRefusals: each way to sign in as somebody else, or again, ends without a cookie.
func TestRefusals(t *testing.T) {
	w := newWorld(t)
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	claim := func(name string, value any) func(map[string]any) {
		return func(c map[string]any) {
			if value == nil {
				delete(c, name)
				return
			}
			c[name] = value
		}
	}
	for name, c := range map[string]struct {
		mail  string
		spoil func(map[string]any)
		sign  *rsa.PrivateKey
		back  func(u *url.URL, q url.Values)
		why   string // in the log
	}{
		"wrong nonce":         {spoil: claim("nonce", "other"), why: "nonce differs"},
		"no nonce":            {spoil: claim("nonce", nil), why: "nonce differs"},
		"wrong audience":      {spoil: claim("aud", "other"), why: "audience"},
		"wrong issuer":        {spoil: claim("iss", "https://evil.example"), why: "issued by a different provider"},
		"expired":             {spoil: claim("exp", time.Now().Add(-time.Hour).Unix()), why: "expired"},
		"another key":         {sign: other, why: "verify signature"},
		"unverified address":  {spoil: claim("email_verified", false), why: "not verified"},
		"nothing of verified": {spoil: claim("email_verified", nil), why: "not verified"},
		"no address":          {spoil: claim("email", nil), why: "unknown address"},
		"unknown person":      {mail: "eve@example.com", why: "unknown address"},
		"look-alike":          {mail: "ann@e\u0445ample.com", why: "unknown address"},
		"wrong state":         {back: func(_ *url.URL, q url.Values) { q.Set("state", "other") }, why: "another state"},
		"no state":            {back: func(_ *url.URL, q url.Values) { q.Del("state") }, why: "another state"},
		"wrong code":          {back: func(_ *url.URL, q url.Values) { q.Set("code", "other") }, why: "invalid_grant"},
		"answer of another":   {back: func(_ *url.URL, q url.Values) { q.Set("iss", "https://evil.example") }, why: "of another provider"},
		"provider's refusal":  {back: func(_ *url.URL, q url.Values) { q.Set("error", "access_denied\r\nforged: line") }, why: "access_denied"},
	} {
		t.Run(name, func(t *testing.T) {
			w.t, w.at.t = t, t
			w.log.Reset()
			mail := c.mail
			if mail == "" {
				mail = "ann@example.com"
			}
			w.at.mu.Lock()
			w.at.spoil, w.at.sign = c.spoil, c.sign
			w.at.mu.Unlock()
			b := browser(t)
			u := w.at.authorize(w.begin(b), mail)
			if c.back != nil {
				q := u.Query()
				c.back(u, q)
				u.RawQuery = q.Encode()
			}
			w.denied(b, u.String(), c.why)
		})
	}
}

// denied fails the test unless a sign-in ends without a cookie, for the reason given.
func (w *world) denied(b *http.Client, address, why string) {
	w.t.Helper()
	resp, page := w.get(b, address)
	if resp.StatusCode != http.StatusForbidden || !strings.Contains(page, `role="alert"`) {
		w.t.Errorf("%s: %s", resp.Status, page)
	}
	for _, c := range resp.Cookies() {
		if c.MaxAge >= 0 {
			w.t.Errorf("it gives the cookie %v", c)
		}
	}
	if log := w.log.String(); !strings.Contains(log, why) || strings.Contains(log, secret) {
		w.t.Errorf("the log says %s", log)
	}
	if list, err := w.client.Tokens(w.t.Context()); err != nil || len(list) != 0 {
		w.t.Errorf("tokens were made: %v %v", list, err)
	}
}

// TestReplay: an answer of the provider works once, and in the browser that asked.
func TestReplay(t *testing.T) {
	w := newWorld(t)
	b, thief := browser(t), browser(t)
	back := w.at.authorize(w.begin(b), "ann@example.com").String()
	w.denied(thief, back, "not begun in this browser")
	w.begin(thief) // has a cookie of an attempt of its own
	w.denied(thief, back, "another state")
	home, err := url.Parse(w.url)
	if err != nil {
		t.Fatal(err)
	}
	kept := b.Jar.Cookies(home)
	if resp, page := w.get(b, back); resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", resp.Status, page)
	}
	if resp, _ := w.get(b, back); resp.StatusCode != http.StatusForbidden {
		t.Errorf("the same answer works again: %s", resp.Status)
	}
	again := browser(t)
	again.Jar.SetCookies(home, kept)
	if resp, _ := w.get(again, back); resp.StatusCode != http.StatusForbidden || !strings.Contains(w.log.String(), "invalid_grant") {
		t.Errorf("the same code works again: %s", resp.Status)
	}
}

// TestFileIsAsked: the next sign-in is by the file as it is then; a secret that others
// can read is not used; without a provider there is no way.
func TestFileIsAsked(t *testing.T) {
	w := newWorld(t)
	was, err := os.ReadFile(w.file)
	if err != nil {
		t.Fatal(err)
	}
	b := browser(t)
	back := w.at.authorize(w.begin(b), "ann@example.com")
	w.write("config.toml", strings.Replace(string(was), "ann@example.com", "joanna@example.com", 1))
	w.denied(b, back.String(), "unknown address")
	hidden := filepath.Join(filepath.Dir(w.file), "secret")
	if err := os.Chmod(hidden, 0o640); err != nil {
		t.Fatal(err)
	}
	w.denied(b, w.url+"/login/oidc", "others can read")
	w.write("config.toml", "")
	w.denied(b, w.url+"/login/oidc", "no [serve.oidc]")
	if _, page := w.get(b, w.url+"/login"); strings.Contains(page, "/login/oidc") {
		t.Error("the page offers what does not work")
	}
}

// TestProviderIsAway: whoever asks while the provider is away waits no longer than one
// question takes, and the server tries again.
func TestProviderIsAway(t *testing.T) {
	w := newWorld(t)
	w.at.setAway(true)
	for range 5 {
		w.denied(browser(t), w.url+"/login/oidc", "503")
	}
	if n := w.at.setAway(false); n != 1 {
		t.Errorf("the provider was asked %d times", n)
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		resp, _ := w.get(browser(t), w.url+"/login/oidc")
		if resp.StatusCode == http.StatusSeeOther {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("it never asks again")
		}
		time.Sleep(100 * time.Millisecond) // between two looks
	}
}
