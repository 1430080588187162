package ssh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/bowline-sh/bowline/diag"
)

// maxForeign bounds text of the far side inside an error, in bytes. One line
// of a banner fits; a page does not.
const maxForeign = 300

// errDeadline is the cause of a context whose dial took too long.
var errDeadline = errors.New("deadline of the dial passed")

// clean bounds s and escapes what could command a terminal.
func clean(s string) string {
	cut := ""
	if len(s) > maxForeign {
		s, cut = s[:maxForeign], "..."
	}
	q := strconv.Quote(s)
	q = q[1 : len(q)-1]
	return strings.ReplaceAll(q, `\"`, `"`) + cut
}

// cleanError shows the text of an error that may hold text of the far side.
type cleanError struct{ err error }

func (e cleanError) Error() string { return clean(e.err.Error()) }
func (e cleanError) Unwrap() error { return e.err }

// netCause returns the part of a network error that says what went wrong; the
// address is told by whoever reports it.
func netCause(err error) error {
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		if dns.IsNotFound {
			return fmt.Errorf("the name %q does not resolve: %w", dns.Name, cleanError{err})
		}
		return fmt.Errorf("resolve %q: %w", dns.Name, cleanError{err})
	}
	if open, ok := errors.AsType[*ssh.OpenChannelError](err); ok {
		return fmt.Errorf("the jump host cannot reach it: %w", cleanError{open})
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Err != nil {
		return cleanError{op.Err}
	}
	return cleanError{err}
}

// outOfFiles is the error for a dial that this process or machine had no file left for,
// or nil. Go raises the limit of the process to what it may be (package os); beyond that
// only a person can.
func outOfFiles(err error) error {
	switch {
	case errors.Is(err, syscall.EMFILE):
		return diag.New(diag.Unreachable, "", "let this shell open more files, and close links that are kept:\nulimit -Hn 65536; ulimit -Sn 65536; bowline link close --all",
			"too many files are open here for one more connection; each needs one: %w", err)
	case errors.Is(err, syscall.ENFILE):
		return diag.New(diag.Unreachable, "", "see how many there are, and may be:\ncat /proc/sys/fs/file-nr", "this machine has no file left for one more connection: %w", err)
	}
	return nil
}

// transient reports whether a failure before authentication may pass by
// itself: nothing listens yet, packets were lost, or sshd dropped the
// connection because of MaxStartups.
func transient(err error) bool {
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return dns.IsTemporary || dns.IsTimeout
	}
	for _, passing := range []error{
		io.EOF, io.ErrUnexpectedEOF, io.ErrClosedPipe, os.ErrDeadlineExceeded,
		syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.ECONNABORTED, syscall.EPIPE,
		syscall.ETIMEDOUT, syscall.EHOSTUNREACH, syscall.ENETUNREACH,
	} {
		if errors.Is(err, passing) {
			return true
		}
	}
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// phase is how far a dial has come; it is the place where a timeout struck.
type phase string

const (
	phaseConfig  phase = "reading ssh_config"
	phaseConnect phase = "connecting"
	phaseKeys    phase = "exchanging keys"
	phaseLogin   phase = "logging in"
)

// ended returns the error for a dial whose context is done, or nil.
func ended(ctx context.Context, limit time.Duration, at phase) error {
	cause := context.Cause(ctx)
	switch {
	case cause == nil:
		return nil
	case errors.Is(cause, errDeadline):
		return diag.New(diag.Unreachable, "", "", "timed out after %v while %s: %w", limit, at, context.DeadlineExceeded)
	case errors.Is(cause, context.DeadlineExceeded):
		return diag.New(diag.Unreachable, "", "", "the caller's deadline passed while %s: %w", at, cause)
	}
	return diag.New(diag.Canceled, "", "", "canceled while %s: %w", at, cause)
}

// withOp returns err under op, keeping its kind and hint.
func withOp(op string, err error) error {
	kind := diag.KindOf(err)
	if e, ok := errors.AsType[*diag.Error](err); ok && e.Op == "" && e == err {
		return &diag.Error{Kind: kind, Op: op, Hint: e.Hint, Err: e.Err}
	}
	return &diag.Error{Kind: kind, Op: op, Hint: diag.HintOf(err), Err: err}
}
