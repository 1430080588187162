// Package oidc signs people in through an OpenID Connect provider: the authorization code
// flow with PKCE (RFC 7636), which ends in the same cookie as a token that was shown.
//
// # Steps
//
//  1. Begin sends the browser to the provider, and gives it a cookie of ten minutes with
//     the state, the nonce and the code verifier of this one attempt.
//  2. Finish wants that cookie, and ends it first. It compares the state, gets the ID token
//     for the code and the verifier, and checks its signature, issuer, audience, expiry and
//     nonce.
//  3. The address in it must be verified, and stand in [[serve.people]] as the file is now.
//     A token of what that person may do, for twelve hours, is the parent of the cookie.
//
// Nothing else of the provider is believed: no group, no name, no account that is not in
// the file. What goes wrong is told to the browser in few words, and in full to the log.
package oidc

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	gooidc "github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/login"
)

// Paths of the two steps.
const (
	BeginPath  = "/login/oidc"
	FinishPath = "/login/oidc/back"
)

const (
	attemptTime  = 10 * time.Minute // from Begin to Finish
	providerTime = 10 * time.Second // for one answer of the provider
	retryTime    = 3 * time.Second  // after which a provider that failed is asked again
	maxAttempts  = 16               // that talk to the provider at a time
	maxSecret    = 4 << 10
)

// Config is what a Flow is made of. Client, Desk and Logger are required.
type Config struct {
	Client *bowline.Client
	Desk   login.Desk
	Logger *slog.Logger
	URL    string // as browsers reach this server, without a path; "" as they ask for it
}

// Flow signs people in. Methods may be called concurrently.
type Flow struct {
	cfg    Config
	ctx    context.Context // of the provider's keys, which are read again when they change
	places chan struct{}

	mu     sync.Mutex // guards what follows; held while the provider is asked for its description
	issuer string
	found  *gooidc.Provider
	err    error
	asked  time.Time
}

// New returns a Flow that talks to nobody yet.
func New(ctx context.Context, cfg Config) *Flow {
	ctx = gooidc.ClientContext(ctx, &http.Client{Timeout: providerTime})
	return &Flow{cfg: cfg, ctx: ctx, places: make(chan struct{}, maxAttempts)}
}

// Name is what people call the provider; "" means that there is none.
func (f *Flow) Name() string {
	s, err := f.cfg.Client.Serving()
	if err != nil {
		return ""
	}
	return s.OIDC.Name
}

// refused says in few words why nobody was signed in, and keeps the rest for the log.
func (f *Flow) refused(r *http.Request, err error, hint, words string) error {
	f.cfg.Logger.WarnContext(r.Context(), "sign-in refused", "why", words, "err", err, "remote", r.RemoteAddr)
	return diag.New(diag.Denied, "sign in", hint, "%s", words)
}

// enter takes a place among those that may talk to the provider.
func (f *Flow) enter() (leave func(), err error) {
	select {
	case f.places <- struct{}{}:
		return func() { <-f.places }, nil
	default:
		return nil, diag.New(diag.Denied, "sign in", "try again in some seconds", "too many people sign in at this moment")
	}
}

// Begin sends the browser to the provider. Kind Denied if that cannot be done.
func (f *Flow) Begin(w http.ResponseWriter, r *http.Request) error {
	leave, err := f.enter()
	if err != nil {
		return err
	}
	defer leave()
	o, _, err := f.client(r)
	if err != nil {
		return f.refused(r, err, "sign in with a token", "the provider of people's accounts cannot be asked")
	}
	a := attempt{rand.Text(), rand.Text(), oauth2.GenerateVerifier()}
	f.keep(w, a.String(), attemptTime)
	http.Redirect(w, r, o.AuthCodeURL(a.state, gooidc.Nonce(a.nonce), oauth2.S256ChallengeOption(a.verifier)), http.StatusSeeOther)
	return nil
}

// Finish signs in whom the provider sent back.
func (f *Flow) Finish(w http.ResponseWriter, r *http.Request) error {
	leave, err := f.enter()
	if err != nil {
		return err
	}
	defer leave()
	c, err := r.Cookie(f.cookie())
	f.keep(w, "", -1) // an attempt is over, however it ends
	if err != nil {
		return f.refused(r, err, "begin anew at /login", "this sign-in was not begun in this browser, or is too old")
	}
	a, ok := parseAttempt(c.Value)
	q := r.URL.Query()
	if !ok || subtle.ConstantTimeCompare([]byte(q.Get("state")), []byte(a.state)) != 1 {
		return f.refused(r, errors.New("another state"), "begin anew at /login", "this is not the sign-in that this browser began")
	}
	if q.Get("error") != "" {
		return f.refused(r, fmt.Errorf("the provider says %.100q", q.Get("error")), "begin anew at /login", "the provider did not sign you in")
	}
	o, p, err := f.client(r)
	if err != nil {
		return f.refused(r, err, "sign in with a token", "the provider of people's accounts cannot be asked")
	}
	mail, err := f.address(r, o, p, a)
	if err != nil {
		return f.refused(r, err, "begin anew at /login", "the provider's answer does not hold")
	}
	return f.admit(w, r, mail)
}

// admit gives the browser a cookie for the person with an address.
func (f *Flow) admit(w http.ResponseWriter, r *http.Request, mail string) error {
	s, err := f.cfg.Client.Serving()
	if err != nil {
		return f.refused(r, err, "'bowline config check'", "the configuration of this server cannot be read")
	}
	person, ok := s.Person(mail)
	if !ok {
		return f.refused(r, fmt.Errorf("unknown address %.200q", mail), "ask for an entry [[serve.people]] in the configuration of this server", "nobody here has this address")
	}
	if _, err := f.cfg.Desk.SignInAs(w, r, person); err != nil {
		return f.refused(r, err, "'bowline token list' on the server; its log says more", "what you may do here cannot be put into a token")
	}
	return nil
}

// address trades the code for an ID token and returns the verified address in it.
func (f *Flow) address(r *http.Request, o oauth2.Config, p *gooidc.Provider, a attempt) (string, error) {
	if iss := r.URL.Query().Get("iss"); iss != "" && iss != f.issuerNow() { // RFC 9207
		return "", fmt.Errorf("the answer is of another provider, %.200q", iss)
	}
	ctx, cancel := context.WithTimeout(gooidc.ClientContext(r.Context(), &http.Client{Timeout: providerTime}), providerTime)
	defer cancel()
	t, err := o.Exchange(ctx, r.URL.Query().Get("code"), oauth2.VerifierOption(a.verifier))
	if refusal, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
		return "", fmt.Errorf("the provider refuses the code: %.100q", refusal.ErrorCode) // its answer may repeat what was sent
	}
	if err != nil {
		return "", err
	}
	raw, ok := t.Extra("id_token").(string)
	if !ok {
		return "", errors.New("there is no id_token in the answer")
	}
	id, err := p.Verifier(&gooidc.Config{ClientID: o.ClientID}).Verify(ctx, raw)
	if err != nil {
		return "", err
	}
	if subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(a.nonce)) != 1 {
		return "", errors.New("the id_token is of another attempt: its nonce differs")
	}
	var claims struct {
		Email    string `json:"email"`
		Verified any    `json:"email_verified"`
	}
	if err := id.Claims(&claims); err != nil {
		return "", err
	}
	if claims.Verified != true && claims.Verified != "true" { // some providers write text
		return "", fmt.Errorf("the address %.200q is not verified", claims.Email)
	}
	return claims.Email, nil
}

// client returns who we are to the provider, and the provider, as the file is now.
func (f *Flow) client(r *http.Request) (oauth2.Config, *gooidc.Provider, error) {
	s, err := f.cfg.Client.Serving()
	if err != nil {
		return oauth2.Config{}, nil, err
	}
	if s.OIDC.Issuer == "" {
		return oauth2.Config{}, nil, errors.New("there is no [serve.oidc] in the configuration")
	}
	secret, err := readSecret(s.OIDC.SecretFile)
	if err != nil {
		return oauth2.Config{}, nil, fmt.Errorf("read client secret: %w", err)
	}
	p, err := f.provider(s.OIDC.Issuer)
	if err != nil {
		return oauth2.Config{}, nil, fmt.Errorf("ask %s for its description: %w", s.OIDC.Issuer, err)
	}
	scopes := s.OIDC.Scopes
	if len(scopes) == 0 {
		scopes = []string{"email"}
	}
	if !slices.Contains(scopes, gooidc.ScopeOpenID) {
		scopes = append([]string{gooidc.ScopeOpenID}, scopes...)
	}
	return oauth2.Config{ClientID: s.OIDC.ClientID, ClientSecret: secret, Endpoint: p.Endpoint(), RedirectURL: f.base(r) + FinishPath, Scopes: scopes}, p, nil
}

// base is where browsers find this server. The Host of a request was checked before.
func (f *Flow) base(r *http.Request) string {
	scheme := "http://"
	if f.cfg.Desk.Secure {
		scheme = "https://"
	}
	return cmp.Or(f.cfg.URL, scheme+r.Host)
}

func (f *Flow) issuerNow() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.issuer
}

// provider returns the provider's description, asking for it the first time, and again
// some time after that failed.
func (f *Flow) provider(issuer string) (*gooidc.Provider, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.issuer == issuer && (f.found != nil || time.Since(f.asked) < retryTime) {
		return f.found, f.err
	}
	f.issuer = issuer
	f.found, f.err = gooidc.NewProvider(f.ctx, issuer)
	f.asked = time.Now()
	return f.found, f.err
}

// attempt is what one sign-in is known by.
type attempt struct{ state, nonce, verifier string }

func (a attempt) String() string { return a.state + "." + a.nonce + "." + a.verifier }

func parseAttempt(text string) (attempt, bool) {
	parts := strings.Split(text, ".")
	if len(parts) != 3 || slices.Contains(parts, "") {
		return attempt{}, false
	}
	return attempt{parts[0], parts[1], parts[2]}, true
}

func (f *Flow) cookie() string {
	if f.cfg.Desk.Secure {
		return "__Host-bowline-oidc"
	}
	return "bowline-oidc"
}

// keep gives the browser the cookie of an attempt. It must come back with a navigation
// that the provider's page makes, so it cannot be SameSite=Strict.
func (f *Flow) keep(w http.ResponseWriter, value string, life time.Duration) {
	age := int(life.Seconds())
	if life < 0 {
		age = -1
	}
	http.SetCookie(w, &http.Cookie{Name: f.cookie(), Value: value, Path: "/", MaxAge: age, HttpOnly: true, Secure: f.cfg.Desk.Secure, SameSite: http.SameSiteLaxMode})
}

// readSecret reads the client's secret; "" is that of a public client.
func readSecret(name string) (string, error) {
	if name == "" {
		return "", nil
	}
	file, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return "", err
	}
	if info.Mode().Perm()&0o077 != 0 && runtime.GOOS != "windows" {
		return "", fmt.Errorf("others can read %s: 'chmod 600 %s'", name, name)
	}
	data, err := io.ReadAll(io.LimitReader(file, maxSecret))
	if err == nil && strings.TrimSpace(string(data)) == "" {
		err = fmt.Errorf("%s is empty", name)
	}
	return strings.TrimSpace(string(data)), err
}
