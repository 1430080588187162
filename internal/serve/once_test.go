package serve_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/bowline-sh/bowline/internal/login"
	"github.com/bowline-sh/bowline/internal/serve"
)

// TestSignInLink: the link of who started the server signs in once, by a form and never by
// being opened; signing out ends what it gave.
func TestSignInLink(t *testing.T) {
	w := newWorld(t, "")
	once := &login.Once{User: "ann"}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	s, err := serve.New(ctx, serve.Config{Client: w.client, Version: "test", Logger: slog.New(slog.NewTextHandler(t.Output(), nil)), Once: once})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(s)
	defer srv.Close()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	c := &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	status := func(resp *http.Response, err error) int {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp.StatusCode
	}
	code := once.Code()
	for range 2 { // a preview that opens the link spends nothing
		if got := status(c.Get(srv.URL + "/login?once=" + code)); got != http.StatusOK {
			t.Errorf("opening the link: %d", got)
		}
	}
	if got := status(c.PostForm(srv.URL+"/login", url.Values{"once": {code[1:] + "A"}})); got != http.StatusUnauthorized {
		t.Errorf("a made-up code: %d", got)
	}
	if got := status(c.PostForm(srv.URL+"/login", url.Values{"once": {code}})); got != http.StatusSeeOther {
		t.Fatalf("the code: %d", got)
	}
	if got := status(c.Get(srv.URL + "/")); got != http.StatusOK {
		t.Errorf("the page then: %d", got)
	}
	other := &http.Client{CheckRedirect: c.CheckRedirect}
	if got := status(other.PostForm(srv.URL+"/login", url.Values{"once": {code}})); got != http.StatusUnauthorized {
		t.Errorf("the code again: %d", got)
	}
	u, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	kept := jar.Cookies(u)
	if got := status(c.PostForm(srv.URL+"/logout", nil)); got != http.StatusSeeOther {
		t.Errorf("signing out: %d", got)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL+"/", strings.NewReader(""))
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range kept {
		req.AddCookie(k)
	}
	if got := status(other.Do(req)); got != http.StatusSeeOther {
		t.Errorf("a cookie that was kept, after signing out: %d", got)
	}
}
