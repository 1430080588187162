//go:build linux

package overlay

import (
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/overlay/deferral"
	"github.com/bowline-sh/bowline/plan"
)

// chunk bounds one piece of content on its way to the Sink; it is what a pipe
// or socket buffer takes at once.
const chunk = 64 << 10

// order is what Run tells the stage, over a socket: argument vectors and
// environments are visible to other accounts, this is not.
type order struct {
	Argv     []string
	Dir      string
	Env      []string
	Mode     plan.Mode
	HostNet  bool
	Timeout  time.Duration
	Table    []deferral.Rule
	Volatile []string
	Scratch  string
	MaxBytes int64
	UID, GID int
}

// message goes from the stage to Run. One field is set. Those that say so are
// answered with one reply.
type message struct {
	Op      *plan.Operation
	Chunk   []byte    // a piece of content
	End     string    // all of the content was sent; this is its digest. Answered
	Read    *readCall // a command to be run on the host. Answered
	Owner   string    // a path whose owner the stage cannot see. Answered
	Outcome *outcome  // the last message
}

type reply struct {
	Err      string
	Read     readAnswer
	UID, GID uint32
}

type readCall struct {
	Path     string
	Argv     []string
	Dir      string
	UID, GID uint32
	Groups   []uint32
	Home     string
}

type readAnswer struct {
	Stdout, Stderr []byte
	Exit           int
}

// outcome is the end of a dry run; errors lose their type on the way but not
// their kind and hint.
type outcome struct {
	Exit             int
	Signal           string
	TimedOut         bool
	Warnings, Labels []string
	Stats            Stats
	Kind             diag.Kind // "" for none
	Op, Hint, Err    string
}

func (o *outcome) fail(err error) {
	o.Kind, o.Hint, o.Err = diag.KindOf(err), diag.HintOf(err), err.Error()
	if e, ok := errors.AsType[*diag.Error](err); ok {
		o.Op, o.Err = e.Op, e.Err.Error()
	}
}

func (o *outcome) err() error {
	if o.Kind == "" {
		return nil
	}
	return &diag.Error{Kind: o.Kind, Op: o.Op, Hint: o.Hint, Err: errors.New(o.Err)}
}

// peer is one end of a socket that carries gob values: unlike JSON they keep
// strings that are not UTF-8.
type peer struct {
	mu  sync.Mutex // guards enc and dec, for the whole of a call
	enc *gob.Encoder
	dec *gob.Decoder
}

func newPeer(rw io.ReadWriter) *peer { return &peer{enc: gob.NewEncoder(rw), dec: gob.NewDecoder(rw)} }

// tell sends a message that is not answered.
func (p *peer) tell(m message) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.enc.Encode(m)
}

// ask sends a message and waits for its reply.
func (p *peer) ask(m message) (reply, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.askLocked(m)
}

func (p *peer) askLocked(m message) (reply, error) {
	var r reply
	if err := p.enc.Encode(m); err != nil {
		return r, fmt.Errorf("tell the caller: %w", err)
	}
	if err := p.dec.Decode(&r); err != nil {
		return r, fmt.Errorf("hear from the caller: %w", err)
	}
	if r.Err != "" {
		return r, errors.New(r.Err)
	}
	return r, nil
}

// send hands content to the Sink of the caller. It must have the digest.
func (p *peer) send(r io.Reader, digest string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	buf := make([]byte, chunk)
	for {
		n, err := io.ReadFull(r, buf)
		if n > 0 {
			if err := p.enc.Encode(message{Chunk: buf[:n]}); err != nil {
				return fmt.Errorf("tell the caller: %w", err)
			}
		}
		switch {
		case err == io.EOF, err == io.ErrUnexpectedEOF:
			_, err := p.askLocked(message{End: digest})
			return err
		case err != nil:
			return err
		}
	}
}
