// Package warm keeps links open between invocations of the command line: a background
// process of the same user holds them, and later invocations use it through a socket.
// It is OpenSSH's ControlPersist for links and helpers.
//
// The process decides nothing. Configuration, profiles, gate and audit are those of the
// invocation, which names the target whole; the process dials what it is told, with the
// same host-key checks, and hands processes and calls on. Every invocation works without
// it.
//
// # Trust
//
// The socket lies in a directory of the user, 0700, and both ends ask the kernel for the
// other's uid (SO_PEERCRED, unix(7)). A directory or socket of somebody else is refused.
//
// # Protocol
//
// A connection begins with one line of JSON each way, see request and reply. For "conn"
// and "helper" it goes on as package frame says: processes of a target, or calls of the
// helper at its far end, handed on as they are. When an invocation ends, its connections
// do, and what it started is given up as if its own link had dropped.
//
// # Life
//
// The process ends when nothing was open for its idle time, when it is told to, and when
// a client of another build asks (after an upgrade), as soon as what is open has ended. A
// socket without a process is removed by the next one, under a lock.
//
// Unix only; elsewhere [Dialer.Dial] always gives [ErrNone].
package warm

import (
	"errors"
	"time"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/transport"
	"github.com/bowline-sh/bowline/target"
)

// ErrNone is wrapped by errors that mean: there is no background process that could do
// it, do it without. Nothing was started.
var ErrNone = errors.New("no background process")

// DefaultIdle is how long a process without work stays.
const DefaultIdle = 10 * time.Minute

// request is the first line of a client.
type request struct {
	Op     string         `json:"op"` // conn, helper, list, close
	Build  string         `json:"build"`
	Target *target.Target `json:"target,omitempty"`
	All    bool           `json:"all,omitempty"` // close: the process, too
}

// reply is the first line of the process.
type reply struct {
	OK    bool           `json:"ok"`
	Stale bool           `json:"stale,omitempty"` // it is of another build, and is going away
	None  bool           `json:"none,omitempty"`  // helper: there is none yet
	Error *failure       `json:"error,omitempty"`
	Info  transport.Info `json:"info"`
	Links []Link         `json:"links,omitempty"`
	PID   int            `json:"pid,omitempty"`
}

// failure carries a *diag.Error.
type failure struct {
	Kind    diag.Kind `json:"kind"`
	Op      string    `json:"op"`
	Message string    `json:"message"`
	Hint    string    `json:"hint"`
}

func newFailure(err error) *failure {
	f := &failure{Kind: diag.KindOf(err), Message: err.Error(), Hint: diag.HintOf(err)}
	if d, ok := err.(*diag.Error); ok {
		f.Op, f.Message = d.Op, d.Err.Error()
	}
	return f
}

func (f *failure) err() error {
	return &diag.Error{Kind: f.Kind, Op: f.Op, Hint: f.Hint, Err: errors.New(f.Message)}
}

// Link is one that the process keeps open.
type Link struct {
	Target  string    `json:"target"`
	Address string    `json:"address"`
	Login   string    `json:"login"`
	Since   time.Time `json:"since"`
	Used    time.Time `json:"used"`
	Busy    int       `json:"busy"` // connections of invocations
	Helper  bool      `json:"helper"`
}

// start is the body of the verbs start and subsystem.
type start struct {
	Line   string `json:"line"`
	Urgent bool   `json:"urgent,omitempty"`
}

const (
	verbStart     = "start"
	verbSubsystem = "subsystem"
	verbDial      = "dial" // to a socket as seen from the target
	verbKeep      = "keep" // a process that stays as long as the link
)

// dial is the body of the verb dial, see [link.Link.Dial].
type dial struct {
	Network string `json:"network"`
	Addr    string `json:"addr"`
}

// keep is the body of the verb keep. With Only nothing is started.
type keep struct {
	Line string `json:"line"`
	Only bool   `json:"only,omitempty"`
}

// said is the result of the verb keep: the first line that the process printed, "" with Only
// if there is none.
type said struct {
	First string `json:"first"`
	Why   string `json:"why,omitempty"` // as in ended
}
