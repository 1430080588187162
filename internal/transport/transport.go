// Package transport is the contract for carrying bytes and processes to a
// target. It knows nothing of profiles, plans or audit.
//
// # Life of a connection
//
// A [Conn] is dialled by one of the implementations (transport/ssh,
// transport/local), is usable until Done is closed, and must be closed once by
// whoever dialled it. After Done is closed every method returns an error.
//
// Each [Process] belongs to one Conn, has its own three streams, and ends with
// Wait or Close. Closing a process gives up its streams; it does not promise
// that the program on the target has ended (sshd keeps running what it
// started), which is why package sandbox kills process groups explicitly.
package transport

import (
	"context"
	"errors"
	"io"
	"time"
)

// ErrBusy is returned by Start when the target refuses a further process on
// this connection for now (sshd's MaxSessions). Nothing was started.
var ErrBusy = errors.New("target refuses another session on this connection")

// ErrLost is wrapped by errors of a connection that broke. What the process
// did on the target is unknown.
var ErrLost = errors.New("link lost")

// Conn is one authenticated connection to a target. Methods may be called
// concurrently.
type Conn interface {
	// Start runs line with the login shell of the account on the target, in
	// a session and process group of its own, without a terminal. line must
	// be one that every login shell reads alike; see sandbox.Quote.
	//
	// A nil error means the target accepted the request. ErrBusy means that
	// it refused and nothing runs. For any other error it is unknown whether
	// something runs, unless ctx was done before the call.
	Start(ctx context.Context, line string) (Process, error)

	// Info describes the far side. It does no I/O.
	Info() Info

	// Done is closed when the connection is no longer usable.
	Done() <-chan struct{}

	// Close ends the connection and is idempotent. Programs still running on
	// the target see their streams closed.
	Close() error
}

// Subsystems is what a [Conn] has where the far side may offer more than a login
// shell: programs that it knows by name, such as "sftp" (RFC 4254, section 6.5).
type Subsystems interface {
	// Subsystem starts one, with the errors of Start. ErrNoSubsystem means that
	// the target does not offer it and nothing was started.
	Subsystem(ctx context.Context, name string) (Process, error)
}

// ErrNoSubsystem is wrapped by errors of a subsystem the target does not offer.
var ErrNoSubsystem = errors.New("target does not offer this subsystem")

// Process is a program started on a target. The three streams are independent
// and may be used from different goroutines; Stdout and Stderr must be read,
// or the far side blocks.
type Process interface {
	// Stdin is closed by its Close, which the program sees as end of file.
	Stdin() io.WriteCloser
	Stdout() io.Reader
	Stderr() io.Reader

	// Wait returns when the program has ended and both output streams have
	// reached their end. An error wrapping ErrLost means that the connection
	// broke first and the outcome is unknown.
	Wait() (Exit, error)

	// Close gives up the streams and is idempotent.
	Close() error
}

// Exit is how a program ended: with a code, or by a signal.
type Exit struct {
	Code   int    // exit status, 0..255; 128+n if Signal is set
	Signal string // POSIX name without SIG ("KILL"), or ""
}

// Info is what a connection knows about its far side.
type Info struct {
	Address     string        // network address dialled, "host:port"; "local" for this machine
	Login       string        // account on the target
	HostKeyType string        // as in "ssh-ed25519"; "" for local
	Fingerprint string        // host key as "SHA256:..."; "" for local
	KeyID       string        // fingerprint of the key or certificate that logged in, where known
	Server      string        // version string of the server; hostile text
	DialTime    time.Duration // TCP (or proxy) and handshake and authentication
}
