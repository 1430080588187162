package frame

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/bowline-sh/bowline/diag"
)

// Request is a call as its handler sees it.
type Request struct {
	Verb   string
	Body   json.RawMessage
	Stdin  io.Reader      // what the client sends
	Stdout io.WriteCloser // to the client
	Stderr io.WriteCloser
	// Event sends one JSON document to the client. Not for concurrent use.
	Event func(v any) error
}

// Decode reads the request's body into v, strictly.
func (r *Request) Decode(v any) error {
	if err := json.Unmarshal(r.Body, v); err != nil {
		return diag.New(diag.Usage, "read request", "", "%w", err)
	}
	return nil
}

// Handler does one call and returns its result. ctx ends when the client
// cancels or the connection ends. Handlers run concurrently.
type Handler func(ctx context.Context, r *Request) (result any, err error)

// Serve writes the magic and answers calls until r ends or the client breaks a
// rule. It returns when every handler has returned; a client that went away is
// no error.
func Serve(ctx context.Context, r io.Reader, w io.Writer, handle Handler) error {
	if _, err := io.WriteString(w, Magic); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	s := &server{ctx: ctx, handle: handle, w: writer{w: w}, streams: map[uint32]*served{}}
	err := s.loop(newFrameReader(r))
	cancel()
	s.endAll(err)
	s.running.Wait()
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

type server struct {
	ctx     context.Context // of the connection; ends all handlers
	handle  Handler
	w       writer
	running sync.WaitGroup

	mu      sync.Mutex // guards the fields below
	last    uint32
	streams map[uint32]*served
}

type served struct {
	*stream
	cancel context.CancelFunc // nil until the request is whole
}

func (s *server) loop(frames *frameReader) error {
	for {
		f, err := frames.next()
		if err != nil {
			return err
		}
		if err := s.take(f); err != nil {
			return err
		}
	}
}

func (s *server) take(f frame) error {
	st, err := s.find(f)
	if err != nil || st == nil {
		return err
	}
	switch f.kind {
	case kindData, kindClose, kindGrant:
		return st.channel(f)
	case kindCancel:
		if st.cancel != nil {
			st.cancel()
		}
		return nil
	case kindOpen, kindMore:
		_, msg, whole, err := st.asm.add(f)
		if err != nil || !whole {
			return err
		}
		return s.start(st, msg)
	}
	return fmt.Errorf("%w: frame of type %d from the client", ErrProtocol, f.kind)
}

// find returns the stream of f, making it for an opening; nil for late frames of
// a stream that has ended.
func (s *server) find(f frame) (*served, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.kind != kindOpen {
		if f.stream > s.last {
			return nil, fmt.Errorf("%w: frame for a stream that was never opened", ErrProtocol)
		}
		return s.streams[f.stream], nil
	}
	if f.stream <= s.last || len(s.streams) >= MaxStreams {
		return nil, fmt.Errorf("%w: stream %d cannot be opened", ErrProtocol, f.stream)
	}
	s.last = f.stream
	st := &served{stream: newStream(&s.w, f.stream)}
	s.streams[f.stream] = st
	return st, nil
}

func (s *server) start(st *served, msg []byte) error {
	verb, body, err := splitOpen(msg)
	if err != nil || st.cancel != nil {
		return errors.Join(err, fmt.Errorf("%w: stream opened twice", ErrProtocol))
	}
	ctx, cancel := context.WithCancel(s.ctx)
	st.cancel = cancel
	req := &Request{
		Verb: verb, Body: body, Stdin: st.in[Input], Stdout: st.out[Output], Stderr: st.out[Errors],
		Event: func(v any) error {
			doc, err := json.Marshal(v)
			if err != nil {
				return err
			}
			return s.w.sendMessage(kindEvent, st.id, doc)
		},
	}
	s.running.Go(func() {
		defer cancel()
		result, err := s.handle(ctx, req)
		s.finish(st, result, err)
	})
	return nil
}

func (s *server) finish(st *served, result any, err error) {
	msg := endMessage(result, err)
	s.mu.Lock()
	delete(s.streams, st.id)
	s.mu.Unlock()
	st.end(io.ErrClosedPipe)
	_ = s.w.sendMessage(kindEnd, st.id, msg) // a client that is gone needs no answer
}

func endMessage(result any, err error) []byte {
	msg := bytes.NewBuffer([]byte{endResult})
	if err == nil {
		err = json.NewEncoder(msg).Encode(result)
	}
	if err == nil {
		return msg.Bytes()
	}
	doc, err := json.Marshal(errorDocOf(err))
	if err != nil {
		doc = []byte(`{"kind":"failure","message":"the error cannot be encoded"}`)
	}
	return append([]byte{endError}, doc...)
}

func errorDocOf(err error) *errorDoc {
	if e, ok := errors.AsType[*diag.Error](err); ok && e == err {
		return &errorDoc{Kind: e.Kind, Op: e.Op, Message: e.Err.Error(), Hint: e.Hint}
	}
	return &errorDoc{Kind: diag.KindOf(err), Message: err.Error(), Hint: diag.HintOf(err)}
}

func (s *server) endAll(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, st := range s.streams {
		st.end(cmpErr(err))
	}
}

func cmpErr(err error) error {
	if err == nil {
		return io.ErrUnexpectedEOF
	}
	return err
}
