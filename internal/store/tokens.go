package store

import (
	"context"
	"time"
)

// Token is what lets a program or a person in at `bowline serve`, as it is kept: of the
// secret only its hash. Times are in UTC, to the millisecond; a zero one is "never".
type Token struct {
	ID       string // public part of the secret
	Name     string // what it is for, as its maker wrote
	Hash     []byte // SHA-256 of the secret
	User     string // who acts with it
	Scopes   string // comma-separated, as package token parses them
	Selector string // targets it may name; "" for all
	Profiles string // comma-separated; "" for all
	Maker    string // who made it
	Created  time.Time
	Expires  time.Time
	Revoked  time.Time
	Used     time.Time // roughly
}

// Tokens keeps tokens. Methods may be called concurrently, also by several processes on
// one store: a token that one of them revoked is refused by all at their next question.
type Tokens interface {
	// CreateToken stores a new token. ErrExists if its id is taken.
	CreateToken(ctx context.Context, t Token) error
	// Token returns one, revoked and expired ones too, or ErrNotFound.
	Token(ctx context.Context, id string) (Token, error)
	// Tokens returns all, newest first.
	Tokens(ctx context.Context) ([]Token, error)
	// RevokeToken ends a token for good; again, it changes nothing. ErrNotFound if
	// there is none.
	RevokeToken(ctx context.Context, id string, now time.Time) error
	// UseToken notes when a token was used last. It is no error if there is none.
	UseToken(ctx context.Context, id string, now time.Time) error
}
