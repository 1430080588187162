// Package work is durable work: an operation is one verb for many targets, a task its
// share of one target. It holds their states, the table of legal moves and the contract
// of where they are kept; package worker carries them out.
//
// # Life of a task
//
// Submit stores an operation with its tasks, which are queued. A process claims a task
// before it does anything for it, and of two processes one gets it. What was claimed is
// never queued again, whatever becomes of its process: nobody knows what was done. The
// process that claimed it records how it ended. If that process dies, another settles
// the task: a run is unknown, a plan failed and left the target unchanged, an apply or
// rollback is adopted, for the target's journal says how far it came and how to go on.
// A state that is the last never changes.
//
// # Life of a process
//
// A process joins, and beats until it leaves. Whoever sees the beat of another stand
// still for [DeadAfter], while it reaches the store itself, declares it dead; then it
// claims nothing more, and its claims are settled by others. A process that was declared
// dead but lives finds that out at its next beat: it stops its tasks, and joins anew under
// another name. Of what is said about a task by it and by who settles it, the first counts.
package work

import (
	"context"
	"errors"
	"time"
)

// Beat is how often a process says that it lives, and DeadAfter how long it may not.
const (
	Beat      = 2 * time.Second
	DeadAfter = 10 * time.Second
)

// Verb is what an operation does.
type Verb string

const (
	Run      Verb = "run"
	Plan     Verb = "plan"
	Apply    Verb = "apply"
	Rollback Verb = "rollback"
)

// Verbs are all verbs.
func Verbs() []Verb { return []Verb{Run, Plan, Apply, Rollback} }

// Exclusive reports whether only one task of this kind may be under way on a target.
func (v Verb) Exclusive() bool { return v == Apply || v == Rollback }

// State is where a task stands, or an operation.
type State string

const (
	Queued    State = "queued"
	Running   State = "running"
	Succeeded State = "succeeded"
	Failed    State = "failed"
	Unknown   State = "unknown" // its process died; whatever it did on the target, it is not done again
	Cancelled State = "cancelled"
)

// States are all states.
func States() []State { return []State{Queued, Running, Succeeded, Failed, Unknown, Cancelled} }

// Over reports whether a state is the last.
func (s State) Over() bool { return s != Queued && s != Running }

// CanMove is the table of legal moves of a task.
func CanMove(from, to State) bool {
	switch from {
	case Queued:
		return to == Running || to == Cancelled
	case Running:
		return to.Over()
	}
	return false
}

// Caller is for whom an operation is carried out, and with which rights it was asked for.
type Caller struct {
	User    string `json:"user"`
	Surface string `json:"surface"`
	Client  string `json:"client,omitempty"`
	Token   string `json:"token,omitempty"`  // id; "" without
	Scopes  string `json:"scopes,omitempty"` // as the token had them
}

// Operation is one verb for some targets. Times are in UTC, to the millisecond.
type Operation struct {
	ID        string // ULID: later ones sort higher
	Verb      Verb
	Request   []byte // JSON, as its maker reads it
	Caller    Caller
	Key       string // of idempotency, unique for a user and token; "" for none
	KeyHash   []byte // of what was asked with it
	State     State  // of the whole: failed if any task is neither succeeded nor cancelled
	Created   time.Time
	Ended     time.Time
	Cancelled time.Time // when it was asked to stop
	Counts    map[State]int
}

// Task is the share of one target.
type Task struct {
	ID        string // the operation's and a number
	Operation string
	Number    int // from 1
	Verb      Verb
	Target    string
	Session   string // of an apply or rollback from the start, of a plan when it is made
	State     State
	Process   string // that claimed it last; "" before
	Claim     string // what only that claim wrote; "" before
	Attempt   int    // how many processes had it
	Created   time.Time
	Started   time.Time
	Ended     time.Time
	Result    []byte // JSON, up to MaxResult
	Output    []byte // up to MaxOutput
	Truncated bool   // more was written than Output holds
	Kind      string // of the error: a diag.Kind; "" for none
	Error     string
}

// Limits of what is stored, in bytes.
const (
	MaxRequest = 8 << 20
	MaxResult  = 256 << 10
	MaxOutput  = 1 << 20
	MaxError   = 8 << 10
)

// Outcome is how a task ended.
type Outcome struct {
	State     State // one that is the last
	Session   string
	Result    []byte
	Output    []byte
	Truncated bool
	Kind      string
	Error     string
}

// Event is something that happened in an operation. Events are only ever added.
type Event struct {
	Seq   int64 // from 1, without gaps, for each operation
	Time  time.Time
	Task  string // "" for the operation itself
	Kind  string // "state", or what the runner calls it: "output", "progress"
	State State  // of a "state"
	Data  []byte
}

// Query selects operations, newest first.
type Query struct {
	User   string // "" for all
	State  State
	Before string // id: only older ones
	Limit  int    // 0 means 50
}

// Limits are how much may be under way at a time.
type Limits struct {
	PerTarget int // tasks that are not exclusive, on one target; at least 1
}

// Errors that callers branch on; they are wrapped.
var (
	ErrNotFound = errors.New("no such operation")
	ErrConflict = errors.New("the idempotency key was used for another request")
	ErrBusy     = errors.New("as many tasks as may be are under way on the target")
	ErrTaken    = errors.New("it is not there to be claimed any more")
	ErrFenced   = errors.New("the process was declared dead")
	ErrLost     = errors.New("another process settled it")
)

// Store keeps operations and tasks. Methods may be called concurrently, also by several
// processes on one store. now is the caller's clock; nothing is decided by it.
type Store interface {
	// Submit stores an operation with its tasks, all queued, and offers them to
	// processes. With a key that the caller used before it stores nothing: the
	// operation of then is returned, or ErrConflict if its KeyHash is another.
	Submit(ctx context.Context, op Operation, tasks []Task) (Operation, error)
	// Operation returns one with its counts, or ErrNotFound.
	Operation(ctx context.Context, id string) (Operation, error)
	Operations(ctx context.Context, q Query) ([]Operation, error)
	// Tasks returns those of an operation in order, without Output unless it is asked for.
	Tasks(ctx context.Context, operation string, output bool) ([]Task, error)
	// Task returns one whole, or ErrNotFound.
	Task(ctx context.Context, id string) (Task, error)
	// Cancel ends the queued tasks of an operation, and marks it so that its running
	// ones are stopped where that can be. Again, it changes nothing.
	Cancel(ctx context.Context, id string, now time.Time) error

	// Claim gives a queued task to a process. ErrBusy if the target has no place,
	// ErrTaken if it is not queued, ErrFenced if the process is not alive.
	Claim(ctx context.Context, id, process string, l Limits, now time.Time) (Task, error)
	// Adopt gives a running task of a process that is not alive to another; t is as
	// the caller saw it. ErrLost if it is not so any more.
	Adopt(ctx context.Context, t Task, process string, now time.Time) (Task, error)
	// Finish ends a task that the caller has claimed, or found left by a dead process.
	// ErrLost if that claim does not hold any more; nothing is changed then.
	Finish(ctx context.Context, t Task, o Outcome, now time.Time) error
	// Waiting returns up to limit queued tasks, oldest first, whose targets seem to
	// have a place.
	Waiting(ctx context.Context, l Limits, limit int) ([]string, error)
	// Left returns running tasks of processes that are not alive.
	Left(ctx context.Context) ([]Task, error)
	// Stopping returns the running tasks of a process whose operations are cancelled.
	Stopping(ctx context.Context, process string) ([]string, error)

	// Emit adds events to an operation.
	Emit(ctx context.Context, operation string, events []Event) error
	// Events returns those after a number, at most limit.
	Events(ctx context.Context, operation string, after int64, limit int) ([]Event, error)
	// Wake returns a channel that is closed when something may have happened to an
	// operation, or with "" to any work. Some wakes are lost: callers also look by
	// themselves from time to time.
	Wake(operation string) <-chan struct{}

	// Join makes a process known as alive.
	Join(ctx context.Context, p Process) error
	// Beat says that a process lives. ErrFenced if it was declared dead.
	Beat(ctx context.Context, id string, beat int64) error
	// Processes returns those that are alive.
	Processes(ctx context.Context) ([]Process, error)
	// Bury declares a process dead whose beat is still the one that the caller saw.
	Bury(ctx context.Context, id string, beat int64) error
	// Leave makes a process dead that says so itself.
	Leave(ctx context.Context, id string) error
	// Warm notes that a process has a link to a target.
	Warm(ctx context.Context, target, process string, now time.Time) error
	// Reoffer offers queued tasks anew whose offer went with a process, or that their
	// process does not get to.
	Reoffer(ctx context.Context, now time.Time) (int, error)
	// Prune forgets operations that ended before, and processes that are dead.
	Prune(ctx context.Context, before time.Time) error
}

// Process is one that carries out work.
type Process struct {
	ID      string // lower-case letters and digits
	Host    string
	PID     int
	Started time.Time
	Beat    int64
	Key     []byte // ed25519 public key; nil for none
}
