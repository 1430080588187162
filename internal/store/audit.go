package store

import (
	"context"
	"time"
)

// Chain is the audit log of one machine, and the key that it signs with.
type Chain struct {
	ID   string // of its key, see package witness
	Host string
	Key  []byte // ed25519 public key
}

// AuditLine is one entry of a chain, as its log holds it.
type AuditLine struct {
	Seq  uint64
	Line []byte // without newline
	Hash string
}

// Statement is a signed word of one machine about a chain, its own or another's: entry
// Seq has this hash. The statements of one machine are numbered and chained.
type Statement struct {
	Signer    string // chain id of who says so
	N         int64  // from 1, without gaps
	Chain     string
	Seq       uint64
	Hash      string
	Time      time.Time
	Prev      string // digest of the signer's statement before; "" for the first
	Signature []byte
}

// Audit keeps copies of audit logs, and what machines say about each other's. Nothing is
// ever changed or deleted through it.
type Audit interface {
	// AddChain makes a chain known; again, it changes nothing.
	AddChain(ctx context.Context, c Chain) error
	Chains(ctx context.Context) ([]Chain, error)
	// AddLines adds entries to a chain. Those that are there already, with whatever
	// content, stay as they are.
	AddLines(ctx context.Context, chain string, lines []AuditLine) error
	// Lines returns up to limit entries after a number.
	Lines(ctx context.Context, chain string, after uint64, limit int) ([]AuditLine, error)
	// LastLine returns the newest entry of a chain, or ErrNotFound.
	LastLine(ctx context.Context, chain string) (AuditLine, error)
	// AddStatement adds one. ErrExists if there is one of the signer with its number.
	AddStatement(ctx context.Context, s Statement) error
	// Statements returns those of a signer after a number, up to limit.
	Statements(ctx context.Context, signer string, after int64, limit int) ([]Statement, error)
	// LastStatement returns the newest of a signer about a chain, or with "" about any,
	// or ErrNotFound.
	LastStatement(ctx context.Context, signer, chain string) (Statement, error)
}
