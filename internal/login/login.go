// Package login finds out who makes an HTTP request: by a bearer token, or by the
// cookie of a browser that showed one. Every surface of `bowline serve` stands behind
// it. What the caller may do is checked by scopes here, and act by act below every
// surface (package gate).
//
// # Cookies
//
// A browser's cookie is a token of its own, made from the one that was shown, with its
// scopes, 12 hours, and ended with it: what the browser keeps is not what the person
// typed, and signing out revokes it. The cookie is HttpOnly and SameSite=Strict, and
// Secure with the prefix __Host- wherever there is TLS (RFC 6265bis, section 4.1.3).
package login

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
)

// Life is how long a browser stays signed in.
const Life = 12 * time.Hour

// Desk lets requests in. Methods may be called concurrently.
type Desk struct {
	Client *bowline.Client
	Secure bool    // there is TLS between browser and server
	Once   *Once   // nil: there are no sign-in links
	Places *Places // nil: as many requests of a token at a time as it likes
}

// Visitor is who makes a request.
type Visitor struct {
	bowline.Token
	Browser bool // known by a cookie
}

// Errors of who cannot be let in; they are wrapped.
var (
	ErrNobody  = errors.New("a token is needed") // neither token nor cookie was shown
	ErrUnknown = bowline.ErrToken                // what was shown is no good
)

type key struct{}

// From returns who made the request of ctx; see [Desk.Identify].
func From(ctx context.Context) Visitor {
	v, _ := ctx.Value(key{}).(Visitor)
	return v
}

func (d Desk) cookie() string {
	if d.Secure {
		return "__Host-bowline"
	}
	return "bowline"
}

// Identify returns who makes a request. An error is of kind Denied, ErrNobody if nothing
// was shown; any other means that nobody could tell.
func (d Desk) Identify(r *http.Request) (Visitor, error) {
	if text := r.Header.Get("Authorization"); text != "" {
		scheme, secret, _ := strings.Cut(text, " ")
		if !strings.EqualFold(scheme, "Bearer") {
			return Visitor{}, diag.New(diag.Denied, "authenticate", "send 'Authorization: Bearer TOKEN'", "the scheme %.20q is not known", scheme)
		}
		t, err := d.Client.Authenticate(r.Context(), strings.TrimSpace(secret))
		return Visitor{Token: t}, err
	}
	c, err := r.Cookie(d.cookie())
	if err != nil {
		return Visitor{}, diag.New(diag.Denied, "authenticate", "send 'Authorization: Bearer TOKEN', or sign in at /login; 'bowline token create' makes one", "%w", ErrNobody)
	}
	t, err := d.Client.Authenticate(r.Context(), c.Value)
	return Visitor{Token: t, Browser: true}, err
}

// Let returns a handler that answers a request of who holds scope, and leaves all others
// to refuse. The request's context then says on whose behalf calls are made, through
// surface.
func (d Desk) Let(scope bowline.Scope, surface string, h http.Handler, refuse func(http.ResponseWriter, *http.Request, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v, err := d.Identify(r)
		if err == nil && !v.May(scope) {
			err = diag.New(diag.Refused, r.Method+" "+r.URL.Path, "use another token, or have one made with 'bowline token create --scope "+string(scope)+"'", "token %q lacks the scope %q", v.Name, string(scope))
		}
		if err != nil {
			refuse(w, r, err)
			return
		}
		leave, ok := d.Places.enter(v.ID)
		if !ok {
			w.Header().Set("Retry-After", "1")
			http.Error(w, "too many requests of this token at a time", http.StatusTooManyRequests)
			return
		}
		defer leave()
		trace.SpanFromContext(r.Context()).SetAttributes(attribute.String("bowline.token.id", v.ID), attribute.String("bowline.surface", surface))
		ctx, cut := context.WithCancel(r.Context())
		defer cut()
		defer d.watch(ctx, cut, v.ID)()
		ctx = context.WithValue(ctx, key{}, v)
		ctx = bowline.WithCaller(ctx, v.Caller(surface, "token "+v.Name))
		h.ServeHTTP(w, r.WithContext(ctx))
	})
}

// Recheck is how often what goes on for long asks whether its token still holds.
const Recheck = 5 * time.Second

// watch cuts a request that goes on for long when its token ends, until done is called.
// What must come to an end, as an apply, has a context of its own.
func (d Desk) watch(ctx context.Context, cut context.CancelFunc, id string) (done func()) {
	var again *time.Timer
	started := make(chan struct{})
	again = time.AfterFunc(Recheck, func() {
		<-started
		if ctx.Err() != nil {
			return
		}
		if err := d.Client.StillValid(ctx, id); diag.KindOf(err) == diag.Denied {
			cut()
			return
		}
		again.Reset(Recheck)
	})
	close(started)
	return func() { again.Stop() } // one that runs sees that ctx is over
}

// SignIn gives the browser a cookie for a token's secret.
func (d Desk) SignIn(w http.ResponseWriter, r *http.Request, secret string) (Visitor, error) {
	t, err := d.Client.Authenticate(r.Context(), secret)
	if err != nil {
		return Visitor{}, err
	}
	return d.Remember(w, r, t)
}

// SignInAs gives the browser a cookie for a person whom somebody else vouches for.
func (d Desk) SignInAs(w http.ResponseWriter, r *http.Request, p bowline.Person) (Visitor, error) {
	ctx := bowline.WithCaller(r.Context(), bowline.Caller{User: p.User, Surface: "web"})
	t, _, err := d.Client.CreateToken(ctx, bowline.TokenRequest{Name: "sign-in of " + p.Email, User: p.User, Scopes: p.Scopes, Both: true, Targets: p.Targets, Profiles: p.Profiles, Expires: Life})
	if err != nil {
		return Visitor{}, err
	}
	return d.Remember(w, r, t)
}

// Remember gives the browser a cookie for who was found to hold t.
func (d Desk) Remember(w http.ResponseWriter, r *http.Request, t bowline.Token) (Visitor, error) {
	ctx := bowline.WithCaller(r.Context(), bowline.Caller{User: t.User, Surface: "web"})
	own, secret, err := d.Client.CreateToken(ctx, bowline.TokenRequest{
		Name: "browser of " + t.Name, User: t.User, Scopes: t.Scopes.String(), Both: true, Targets: t.Targets, Profiles: t.Profiles,
		Expires: min(Life, time.Until(t.Expires)), Parent: t.ID,
	})
	if err != nil {
		return Visitor{}, err
	}
	d.set(w, secret, own.Expires)
	return Visitor{Token: own, Browser: true}, nil
}

func (d Desk) set(w http.ResponseWriter, value string, until time.Time) {
	http.SetCookie(w, &http.Cookie{Name: d.cookie(), Value: value, Path: "/", Expires: until, HttpOnly: true, Secure: d.Secure, SameSite: http.SameSiteStrictMode})
}

// SignOut ends the browser's own token.
func (d Desk) SignOut(w http.ResponseWriter, r *http.Request) error {
	d.set(w, "", time.Unix(1, 0))
	v, err := d.Identify(r)
	if err != nil || !v.Browser {
		return nil // it has ended already
	}
	return d.Client.RevokeToken(bowline.WithCaller(r.Context(), bowline.Caller{User: v.User, Surface: "web"}), v.ID)
}

// Places bounds the requests of each token at a time. Methods may be called concurrently.
type Places struct {
	Most int

	mu   sync.Mutex // guards busy
	busy map[string]int
}

// enter takes a place; not ok if there is none. A nil Places has as many as anybody wants.
func (p *Places) enter(id string) (leave func(), ok bool) {
	if p == nil {
		return func() {}, true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.busy == nil {
		p.busy = map[string]int{}
	}
	if p.busy[id] >= p.Most {
		return nil, false
	}
	p.busy[id]++
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.busy[id]--; p.busy[id] == 0 {
			delete(p.busy, id)
		}
	}, true
}
