// Package store is the contract of where a client keeps its sessions: what was
// planned, who decided, and what became of it. Implementations: store/sqlite
// and store/postgres, which share store/sqlstore.
//
// # Life of a session
//
// Create stores it as pending. Move is the only way its status changes: it names
// the status the caller saw, and fails with ErrStale if another process was
// faster, so that of two who apply at once one gets it. A move that plan.CanMove
// does not allow is refused. Nothing but Delete deletes.
//
// The target has its own copy of everything that apply and rollback need; this
// store is what a person lists and reviews.
package store

import (
	"context"
	"errors"
	"time"

	"github.com/bowline-sh/bowline/plan"
)

// Errors that callers branch on; they are wrapped.
var (
	ErrNotFound = errors.New("no such session")
	ErrExists   = errors.New("it exists already")
	ErrStale    = errors.New("it changed meanwhile")
	ErrMove     = errors.New("not a legal move")
	ErrNewer    = errors.New("a newer version of bowline made it; use that one")
)

// Session is one reviewed change as the client keeps it. Times are in UTC, to the
// millisecond.
type Session struct {
	ID      string
	Name    string
	Note    string
	Target  string // name on this client
	HostKey string
	Status  plan.Status
	Digest  string
	User    string // who asked for it, where, and through what
	Host    string
	Surface string
	Client  string // program that acted for the user, as it named itself
	Script  []byte // as it was run; nil for a command
	Plan    []byte // JSON of plan.Plan
	Created time.Time
	Updated time.Time
	Expires time.Time // of the wait for approval, then of the approval
	Message string    // why it failed or is partial; "" else
	Output  []byte    // of apply: JSON, bounded
	Fleet   string    // of one plan on many targets; "" if it was made alone
	Effect  string    // of the plan, see plan.Plan.Effect; "" before there were fleets
}

// Filter selects sessions. Zero fields select all.
type Filter struct {
	Status plan.Status
	Target string
	Fleet  string
	Before time.Time // not changed since
	Limit  int
	After  string // id: only what a list has after it; that session must exist
}

// Store keeps sessions. Methods may be called concurrently, also by several
// processes on one store.
type Store interface {
	// Create stores a new session. It must be pending. ErrExists if its id is
	// taken.
	Create(ctx context.Context, s Session) error
	// Get returns a session, or ErrNotFound.
	Get(ctx context.Context, id string) (Session, error)
	// List returns sessions without Script, Plan and Output, newest first.
	List(ctx context.Context, f Filter) ([]Session, error)
	// Move changes the status from what the caller saw, and with it message,
	// output and expiry where they are set in u. ErrStale if the status is no
	// longer from, ErrMove if the move is not legal; nothing is changed then.
	Move(ctx context.Context, id string, from, to plan.Status, u Update) error
	// Decide stores an approval or rejection. ErrExists if its id is known.
	Decide(ctx context.Context, a plan.Approval) error
	// Decisions returns the approvals and rejections of a session, oldest first.
	Decisions(ctx context.Context, session string) ([]plan.Approval, error)
	// Note changes message and output as u says, and nothing else. ErrNotFound if
	// there is no such session.
	Note(ctx context.Context, id string, u Update) error
	// Delete forgets a session and its decisions. ErrStale if its status is no
	// longer the one the caller saw, or if it is applying or partial.
	Delete(ctx context.Context, id string, status plan.Status) error
	Tokens

	// Close releases the store.
	Close() error
}

// Update is what a move changes besides the status. Zero fields leave the stored
// value.
type Update struct {
	Now     time.Time // required
	Message string
	Output  []byte
	Expires time.Time
}
