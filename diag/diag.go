// Package diag holds the one error type that reaches a person or a program
// outside Bowline: what was attempted, what state was left on the target, and
// what to type next.
//
// Packages below the surfaces wrap ordinary errors with fmt.Errorf; they make
// a [*Error] only where they know what a failure left behind or what to do
// about it. Exit codes and wording for people are decided in one place,
// package cli.
package diag

import (
	"errors"
	"fmt"
)

// Kind says what a failure left behind: the first thing its reader must know.
// Values appear in JSON and in the audit log, and pick the exit code. New ones
// may be added; the meaning of an existing one never changes.
type Kind string

const (
	Failure     Kind = "failure"     // no better word; see the message
	Usage       Kind = "usage"       // wrong flags, arguments, configuration or profile; nothing ran
	Unreachable Kind = "unreachable" // no usable link; nothing ran
	Untrusted   Kind = "untrusted"   // host key or helper digest mismatch; nothing ran
	Denied      Kind = "denied"      // authentication, approval or the audit log refused; nothing ran
	Refused     Kind = "refused"     // profile or policy forbids it; nothing ran
	NotFound    Kind = "not_found"   // the program does not exist inside the sandbox; nothing ran
	Sandbox     Kind = "sandbox"     // the target cannot build the sandbox; nothing ran
	Lost        Kind = "lost"        // the link dropped after the command may have started; outcome unknown
	Timeout     Kind = "timeout"     // the deadline passed; what ran was killed
	Canceled    Kind = "canceled"    // the caller stopped it; what ran was killed
	Conflict    Kind = "conflict"    // the target changed since the plan; nothing applied
	Partial     Kind = "partial"     // applied in part; the journal can undo it
)

// Error is a failure with a next step. Use it by pointer.
type Error struct {
	Kind Kind
	Op   string // what was attempted, as in "connect to web1"
	Hint string // one or more lines on what to do, each with the command to type; may be empty
	Err  error  // never nil
}

// Error returns "op: cause". It never contains the hint.
func (e *Error) Error() string {
	if e.Op == "" {
		return e.Err.Error()
	}
	return e.Op + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// New returns an [*Error] with a formatted cause; %w is honoured.
func New(kind Kind, op, hint, format string, args ...any) *Error {
	return &Error{Kind: kind, Op: op, Hint: hint, Err: fmt.Errorf(format, args...)}
}

// KindOf returns the kind of the outermost [*Error] in err's tree, [Failure]
// for any other non-nil error and "" for nil.
func KindOf(err error) Kind {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Failure
}

// HintOf returns the hint of the outermost [*Error] in err's tree, or "".
func HintOf(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Hint
	}
	return ""
}
