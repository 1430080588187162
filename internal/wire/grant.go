package wire

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/caller"
	"github.com/bowline-sh/bowline/internal/store"
	"github.com/bowline-sh/bowline/internal/token"
)

// ErrToken is all that whoever shows a bad token is told.
var ErrToken = errors.New("the token is not valid: unknown, expired or revoked")

// Valid returns a token that holds, by its id. Kind Denied means that there is none. A
// token that was made from another one ends with it, and with what that was made from.
func (p *Parts) Valid(ctx context.Context, id string) (store.Token, error) {
	refused := diag.New(diag.Denied, "authenticate", "'bowline token create' makes one", "%w", ErrToken)
	s, err := p.Store(ctx)
	if err != nil {
		return store.Token{}, err
	}
	x, err := s.Token(ctx, id)
	if errors.Is(err, store.ErrNotFound) || err == nil && ended(x) {
		return store.Token{}, refused
	}
	up := x
	for n := 0; err == nil && ParentOf(up) != ""; n++ {
		up, err = s.Token(ctx, ParentOf(up))
		if errors.Is(err, store.ErrNotFound) || err == nil && ended(up) || n == maxParents {
			return store.Token{}, refused
		}
	}
	return x, err
}

// maxParents bounds how many tokens one was made from, one after the other: a browser
// that signs in with what it has been given makes one more.
const maxParents = 8

func ended(x store.Token) bool { return !x.Revoked.IsZero() || !x.Expires.After(time.Now()) }

// parentMark begins the maker of a token that ends with another.
const parentMark = "token:"

// MadeFrom is the maker of a token that ends with the one of an id.
func MadeFrom(id string) string { return parentMark + id }

// ParentOf is the id of the token that x ends with, "" for none.
func ParentOf(x store.Token) string {
	id, made := strings.CutPrefix(x.Maker, parentMark)
	if !made {
		return ""
	}
	return id
}

// Grant is what the token with an id allows.
func (p *Parts) Grant(ctx context.Context, id string) (caller.Grant, error) {
	x, err := p.Valid(ctx, id)
	if err != nil {
		return nil, err
	}
	return p.GrantOf(x), nil
}

// GrantOf is what a token allows. What cannot be read of it allows nothing.
func (p *Parts) GrantOf(x store.Token) *token.Grant {
	scopes, err := token.ParseSet(x.Scopes)
	if err != nil {
		scopes = nil
	}
	g := &token.Grant{Name: x.Name, Scopes: scopes, Target: func(name string) bool { return p.Sees(x.Selector)(name) }} // anew each time: the configuration changes
	if x.Profiles != "" {
		g.Profiles = strings.Split(x.Profiles, ",")
	}
	return g
}

// Sees returns what tells whether a selector means a target, as the configuration is at
// its first use. "" means all; one that means nothing any more allows nothing.
func (p *Parts) Sees(selector string) func(name string) bool {
	if selector == "" {
		return func(string) bool { return true }
	}
	var names []string
	var known bool
	return func(name string) bool {
		if !known {
			list, err := p.Select(selector)
			known = true
			for _, t := range list {
				if err == nil {
					names = append(names, t.Name)
				}
			}
		}
		return slices.Contains(names, name)
	}
}
