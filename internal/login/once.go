package login

import (
	"crypto/rand"
	"net/http"
	"sync"
	"time"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
)

// onceLife is how long a sign-in link holds.
const onceLife = 10 * time.Minute

// Once lets the person who started a server sign in without a token: whoever reads the
// server's terminal could make one anyway. A code works once. Methods may be called
// concurrently.
type Once struct {
	User string // who signs in

	mu    sync.Mutex // guards codes
	codes map[string]time.Time
}

// Code returns a new code.
func (o *Once) Code() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.codes == nil {
		o.codes = map[string]time.Time{}
	}
	code := rand.Text()
	o.codes[code] = time.Now().Add(onceLife)
	return code
}

// spend reports whether a code is good, and makes it bad.
func (o *Once) spend(code string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	until, ok := o.codes[code]
	delete(o.codes, code)
	return ok && time.Now().Before(until)
}

// SignInOnce gives the browser a cookie for a code.
func (d Desk) SignInOnce(w http.ResponseWriter, r *http.Request, code string) (Visitor, error) {
	if d.Once == nil || !d.Once.spend(code) {
		return Visitor{}, diag.New(diag.Denied, "sign in", "start 'bowline serve' again, or sign in with a token", "the link was used already, or is too old")
	}
	ctx := bowline.WithCaller(r.Context(), bowline.Caller{User: d.Once.User, Surface: "web"})
	t, _, err := d.Client.CreateToken(ctx, bowline.TokenRequest{Name: "sign-in link", User: d.Once.User, Scopes: "read,run,plan,approve,apply,admin", Both: true, Expires: Life})
	if err != nil {
		return Visitor{}, err
	}
	return d.Remember(w, r, t)
}
