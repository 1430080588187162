//go:build linux

package overlay

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/bowline-sh/bowline/change"
	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/overlay/deferral"
	"github.com/bowline-sh/bowline/plan"
)

// words are arguments or an environment, on their way between our processes: these
// tell each other JSON, whose strings hold UTF-8 alone, while words are any bytes.
type words []string

// MarshalJSON implements [json.Marshaler].
func (w words) MarshalJSON() ([]byte, error) {
	list := make([]change.Path, len(w))
	for i, s := range w {
		list[i] = change.Path(s)
	}
	return json.Marshal(list)
}

// UnmarshalJSON implements [json.Unmarshaler].
func (w *words) UnmarshalJSON(b []byte) error {
	var list []change.Path
	if err := json.Unmarshal(b, &list); err != nil {
		return err
	}
	*w = make(words, len(list))
	for i, p := range list {
		(*w)[i] = string(p)
	}
	return nil
}

// order is what Run tells the stage, over a socket: argument vectors and
// environments are visible to other accounts, this is not.
type order struct {
	Argv     words
	Dir      change.Path
	Env      words
	Mode     plan.Mode
	HostNet  bool
	Timeout  time.Duration
	Table    []deferral.Rule
	Volatile words
	Withhold change.Changeset
	Scratch  change.Path
	MaxBytes int64
	Cgroup   change.Path // that the script shall be in, or ""
	UID, GID int
}

// message goes from the stage to Run. One field is set. Those that say so are
// answered with one reply.
type message struct {
	Ops     []plan.Operation `json:",omitempty"`
	Read    *readCall        `json:",omitempty"` // a command to be run on the host. Answered
	Owner   change.Path      `json:",omitempty"` // a path whose owner the stage cannot see. Answered
	Outcome *outcome         `json:",omitempty"` // the last message
}

type reply struct {
	Err      string
	Read     readAnswer
	UID, GID uint32
}

type readCall struct {
	Path     change.Path
	Argv     words
	Dir      change.Path
	UID, GID uint32
	Groups   []uint32
	Home     change.Path
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

// peer is one end of a socket between two of our processes.
type peer struct {
	mu  sync.Mutex // guards enc and dec, for the whole of a call
	enc *json.Encoder
	dec *json.Decoder
}

func newPeer(rw io.ReadWriter) *peer {
	return &peer{enc: json.NewEncoder(rw), dec: json.NewDecoder(rw)}
}

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
