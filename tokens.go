package bowline

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/audit"
	"github.com/bowline-sh/bowline/internal/caller"
	"github.com/bowline-sh/bowline/internal/store"
	"github.com/bowline-sh/bowline/internal/token"
	"github.com/bowline-sh/bowline/internal/wire"
)

// Scope is a kind of act that a token allows.
type Scope = token.Scope

// Scopes of tokens; see 'bowline token create --help'.
const (
	ScopeRead    = token.Read
	ScopeRun     = token.Run
	ScopePlan    = token.Plan
	ScopeApprove = token.Approve
	ScopeApply   = token.Apply
	ScopeAdmin   = token.Admin
	ScopeHost    = token.Host
)

// TokenRequest says what a new token is for. Name and Scopes are required.
type TokenRequest struct {
	Name     string
	User     string // who acts with it; "" means who makes it
	Scopes   string // joined by commas
	Both     bool   // it may propose and approve
	Targets  string // selector, read anew with each use; "" means all
	Profiles []string
	Expires  time.Duration // from now; at most a year
	Parent   string        // id of the token it ends with; "" for none
}

// Token is what lets a program or a person in at a server.
type Token struct {
	ID       string
	Name     string
	User     string
	Scopes   token.Set
	Targets  string
	Profiles []string
	Maker    string
	Parent   string
	Created  time.Time
	Expires  time.Time
	Revoked  time.Time // zero if it is not
	Used     time.Time // to the minute; zero if never

	client *Client
	stored store.Token
}

// maxTokenLife bounds how long a token lives.
const maxTokenLife = 366 * 24 * time.Hour

// CreateToken makes a token and returns its secret, which is kept nowhere.
func (c *Client) CreateToken(ctx context.Context, req TokenRequest) (Token, string, error) {
	const op = "create token"
	if strings.TrimSpace(req.Scopes) == "" {
		return Token{}, "", diag.New(diag.Usage, op, "'bowline token create --name NAME --scope read,plan'; --help says what each scope allows", "it is not said what the token may do")
	}
	scopes, err := token.ParseSet(req.Scopes)
	if err != nil {
		return Token{}, "", diag.New(diag.Usage, op, "'bowline token create --name NAME --scope read,plan'", "%w", err)
	}
	if err := scopes.Separate(); err != nil && !req.Both {
		return Token{}, "", diag.New(diag.Usage, op, "make two tokens, or add --both for a person who reviews what others propose", "%w", err)
	}
	switch {
	case strings.TrimSpace(req.Name) == "" || len(req.Name) > 100:
		err = errors.New("a name of 1 to 100 letters is needed")
	case req.Expires <= 0 || req.Expires > maxTokenLife:
		err = errors.New("a token lives a year at most")
	case req.Targets != "":
		_, err = c.parts.Select(req.Targets)
	}
	for _, p := range req.Profiles {
		_, e := c.parts.Profiles.Get(p)
		err = errors.Join(err, e)
	}
	if err != nil {
		return Token{}, "", diag.New(diag.Usage, op, "see 'bowline token create --help'", "%w", err)
	}
	id, secret := token.New()
	now := time.Now().UTC().Truncate(time.Millisecond)
	x := store.Token{ID: id, Name: req.Name, Hash: token.Hash(secret), User: cmp.Or(req.User, caller.From(ctx, c.parts.Caller()).User), Scopes: scopes.String(),
		Selector: req.Targets, Profiles: strings.Join(req.Profiles, ","), Maker: caller.From(ctx, c.parts.Caller()).User, Created: now, Expires: now.Add(req.Expires)}
	if req.Parent != "" {
		x.Maker = wire.MadeFrom(req.Parent)
	}
	err = c.onTokens(ctx, "token.create", x, func(s store.Store) error { return s.CreateToken(ctx, x) })
	if err != nil {
		return Token{}, "", err
	}
	return c.tokenOf(x), secret, nil
}

// onTokens records and does something to a token.
func (c *Client) onTokens(ctx context.Context, verb string, x store.Token, act func(s store.Store) error) error {
	s, err := c.parts.Store(ctx)
	if err != nil {
		return err
	}
	id, err := c.parts.Recorder().Begin(ctx, audit.Intent{Subject: audit.Subject{Verb: verb}, Text: x.ID + " " + x.Name + " of " + x.User + ": " + x.Scopes})
	if err != nil {
		return err
	}
	err = act(s)
	return errors.Join(err, c.parts.Recorder().End(context.WithoutCancel(ctx), id, audit.Outcome{Err: err}))
}

func (c *Client) tokenOf(x store.Token) Token {
	g := c.parts.GrantOf(x)
	return Token{ID: x.ID, Name: x.Name, User: x.User, Scopes: g.Scopes, Targets: x.Selector, Profiles: g.Profiles, Maker: x.Maker, Parent: wire.ParentOf(x),
		Created: x.Created, Expires: x.Expires, Revoked: x.Revoked, Used: x.Used, client: c, stored: x}
}

// Tokens lists all tokens, those that ended too, newest first.
func (c *Client) Tokens(ctx context.Context) ([]Token, error) {
	s, err := c.parts.Store(ctx)
	if err != nil {
		return nil, err
	}
	list, err := s.Tokens(ctx)
	out := make([]Token, len(list))
	for i, x := range list {
		out[i] = c.tokenOf(x)
	}
	return out, err
}

// RevokeToken ends a token, and those that end with it, for every process of the store.
func (c *Client) RevokeToken(ctx context.Context, id string) error {
	s, err := c.parts.Store(ctx)
	if err != nil {
		return err
	}
	x, err := s.Token(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return diag.New(diag.NotFound, "revoke token "+id, "'bowline token list' shows them", "there is no such token")
	}
	if err != nil {
		return err
	}
	return c.onTokens(ctx, "token.revoke", x, func(s store.Store) error { return s.RevokeToken(ctx, id, time.Now()) })
}

// ErrToken is all that whoever shows a bad token is told.
var ErrToken = wire.ErrToken

// Authenticate returns the token of a secret. Kind Denied means that it is none, expired
// or revoked.
func (c *Client) Authenticate(ctx context.Context, secret string) (Token, error) {
	refused := diag.New(diag.Denied, "authenticate", "'bowline token create' makes one", "%w", ErrToken)
	id, ok := token.ID(secret)
	if !ok {
		return Token{}, refused
	}
	x, err := c.parts.Valid(ctx, id)
	if err != nil {
		return Token{}, err
	}
	if !token.Match(secret, x.Hash) {
		return Token{}, refused
	}
	if now := time.Now(); now.Sub(x.Used) > time.Minute && c.uses.first(id, now) {
		s, err := c.parts.Store(ctx)
		if err == nil {
			// A use that is not noted is a poorer list of tokens, and no reason to refuse.
			_ = s.UseToken(context.WithoutCancel(ctx), id, now)
		}
	}
	return c.tokenOf(x), nil
}

// uses are the tokens whose use somebody notes: of many requests at once, one writes.
type uses struct {
	mu    sync.Mutex // guards noted
	noted map[string]time.Time
}

// maxUses bounds what is kept; tokens beyond it are noted more often.
const maxUses = 10_000

// first reports whether nobody has noted a use in the last minute, and takes it on.
func (u *uses) first(id string, now time.Time) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if now.Sub(u.noted[id]) < time.Minute {
		return false
	}
	if u.noted == nil || len(u.noted) >= maxUses {
		u.noted = map[string]time.Time{}
	}
	u.noted[id] = now
	return true
}

// StillValid reports, as Authenticate does, whether the token with an id holds. It is for
// what goes on for long.
func (c *Client) StillValid(ctx context.Context, id string) error {
	_, err := c.parts.Valid(ctx, id)
	return err
}

// May reports whether the token allows acts of a scope.
func (t Token) May(s Scope) bool { return t.Scopes.Has(s) }

// Sees returns what tells whether a target is the token's, as the configuration is at its
// first use. It is not for concurrent use.
func (t Token) Sees() func(target string) bool { return t.client.parts.Sees(t.Targets) }

// Caller is who calls with the token, through a surface: what it does is bounded by it,
// below every surface.
func (t Token) Caller(surface, client string) Caller {
	return Caller{User: t.User, Surface: surface, Client: client, Grant: t.client.parts.GrantOf(t.stored)}
}

// Ping reports that the store answers, or why not.
func (c *Client) Ping(ctx context.Context) error {
	s, err := c.parts.Store(ctx)
	if err != nil {
		return err
	}
	_, err = s.List(ctx, store.Filter{Limit: 1})
	return err
}
