package frame

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/bowline-sh/bowline/diag"
)

// maxBanner bounds what a login shell may print before the magic, in bytes.
const maxBanner = 64 << 10

// Client is the client's end of a connection. Methods may be called
// concurrently.
type Client struct {
	w    writer
	done chan struct{} // closed when the connection has ended; err is then set

	// opening is held from choosing a stream's number until its opening is
	// sent: the helper refuses numbers that go back. Lock order: opening, mu.
	opening sync.Mutex

	mu      sync.Mutex // guards the fields below
	next    uint32
	streams map[uint32]*Call
	err     error
}

// NewClient waits for the magic on r and returns a Client. It reads r until it
// ends; closing the underlying connection ends the Client. banner is what came
// before the magic: hostile text, also returned with an error.
func NewClient(r io.Reader, w io.Writer) (c *Client, banner string, err error) {
	frames := newFrameReader(r)
	banner, err = awaitMagic(frames.r)
	if err != nil {
		return nil, banner, err
	}
	c = &Client{w: writer{w: w}, done: make(chan struct{}), streams: map[uint32]*Call{}}
	go c.read(frames)
	return c, banner, nil
}

func awaitMagic(r *bufio.Reader) (string, error) {
	var seen []byte
	for len(seen) < maxBanner {
		b, err := r.ReadByte()
		if err != nil {
			return string(seen), fmt.Errorf("wait for the helper: %w", err)
		}
		seen = append(seen, b)
		if bytes.HasSuffix(seen, []byte(Magic)) {
			return string(seen[:len(seen)-len(Magic)]), nil
		}
	}
	return string(seen), errors.New("wait for the helper: too much text before it")
}

// Done is closed when the connection has ended.
func (c *Client) Done() <-chan struct{} { return c.done }

// Close tells the helper that no call will come and waits for the connection's
// end. Calls under way fail. It is idempotent.
func (c *Client) Close() error {
	var err error
	if closer, ok := c.w.w.(io.Closer); ok {
		err = closer.Close()
	}
	<-c.done
	return err
}

// Call is one call under way. Its channels must be read, or the helper waits.
type Call struct {
	Stdin  io.WriteCloser
	Stdout io.Reader
	Stderr io.Reader

	s      *stream
	c      *Client
	events func(json.RawMessage)
	result chan answer // gets one value
	once   sync.Once
}

type answer struct {
	result []byte
	err    error
}

// Open starts a call. events is told of every event, in order, on the reading
// goroutine of the connection: it must not block. The call must be ended with
// Wait.
func (c *Client) Open(verb string, request any, events func(json.RawMessage)) (*Call, error) {
	body, err := json.Marshal(request)
	if err != nil {
		return nil, fmt.Errorf("encode request: %w", err)
	}
	c.opening.Lock()
	defer c.opening.Unlock()
	c.mu.Lock()
	if c.err != nil {
		defer c.mu.Unlock()
		return nil, c.err
	}
	if len(c.streams) >= MaxStreams {
		c.mu.Unlock()
		return nil, fmt.Errorf("more than %d calls at once", MaxStreams)
	}
	c.next++
	call := &Call{s: newStream(&c.w, c.next), c: c, events: events, result: make(chan answer, 1)}
	call.Stdin, call.Stdout, call.Stderr = call.s.out[Input], call.s.in[Output], call.s.in[Errors]
	c.streams[c.next] = call
	c.mu.Unlock()
	if err := c.w.sendMessage(kindOpen, call.s.id, openMessage(verb, body)); err != nil {
		c.drop(call)
		return nil, fmt.Errorf("call helper: %w", err)
	}
	return call, nil
}

func (c *Client) drop(call *Call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.streams, call.s.id)
}

// Wait returns when the helper has ended the call, and decodes its result into
// result (which may be nil). When ctx ends first, the call is cancelled and Wait
// still waits for its end: what runs on the target is known to have ended. An
// error from the helper is a *diag.Error.
func (call *Call) Wait(ctx context.Context, result any) error {
	select {
	case a := <-call.result:
		return call.finish(a, result)
	case <-ctx.Done():
	}
	call.Cancel()
	a := <-call.result
	if err := call.finish(a, result); err != nil {
		return err
	}
	return nil
}

// Cancel asks the helper to end the call. It is idempotent and does not wait.
func (call *Call) Cancel() {
	call.once.Do(func() { _ = call.c.w.send(frame{kindCancel, call.s.id, nil}) }) // a broken connection ends the call too
}

func (call *Call) finish(a answer, result any) error {
	if a.err != nil || result == nil {
		return a.err
	}
	if err := json.Unmarshal(a.result, result); err != nil {
		return fmt.Errorf("decode result of helper: %w", err)
	}
	return nil
}

// First bytes of the message that closes a stream.
const (
	endResult = '+' // the rest is the result
	endError  = '-' // the rest is an errorDoc
)

// errorDoc is a *diag.Error on the wire.
type errorDoc struct {
	Kind    diag.Kind `json:"kind"`
	Op      string    `json:"op,omitempty"`
	Message string    `json:"message"`
	Hint    string    `json:"hint,omitempty"`
}

func (c *Client) read(frames *frameReader) {
	err := c.loop(frames)
	c.mu.Lock()
	c.err = fmt.Errorf("helper is gone: %w", err)
	calls := c.streams
	c.streams = map[uint32]*Call{}
	c.mu.Unlock()
	for _, call := range calls {
		call.s.end(c.err)
		call.result <- answer{err: c.err}
	}
	close(c.done)
}

func (c *Client) loop(frames *frameReader) error {
	for {
		f, err := frames.next()
		if err != nil {
			return err
		}
		c.mu.Lock()
		call := c.streams[f.stream]
		known := f.stream <= c.next
		c.mu.Unlock()
		if call == nil {
			if !known {
				return fmt.Errorf("%w: frame for a stream that was never opened", ErrProtocol)
			}
			continue // late frames of a call that has ended
		}
		if err := c.take(call, f); err != nil {
			return err
		}
	}
}

func (c *Client) take(call *Call, f frame) error {
	switch f.kind {
	case kindData, kindClose, kindGrant:
		return call.s.channel(f)
	case kindEvent, kindEnd, kindMore:
	default:
		return fmt.Errorf("%w: frame of type %d from the helper", ErrProtocol, f.kind)
	}
	k, msg, whole, err := call.s.asm.add(f)
	if err != nil || !whole {
		return err
	}
	if k == kindEvent {
		if call.events != nil {
			call.events(msg)
		}
		return nil
	}
	c.drop(call)
	call.s.end(nil)
	call.result <- decodeEnd(msg)
	return nil
}

func decodeEnd(msg []byte) answer {
	if len(msg) > 0 && msg[0] == endResult {
		return answer{result: msg[1:]}
	}
	var e errorDoc
	if len(msg) == 0 || msg[0] != endError {
		return answer{err: fmt.Errorf("%w: bad end of call", ErrProtocol)}
	}
	if err := json.Unmarshal(msg[1:], &e); err != nil {
		return answer{err: fmt.Errorf("decode end of call: %w", err)}
	}
	return answer{err: &diag.Error{Kind: e.Kind, Op: e.Op, Hint: e.Hint, Err: errors.New(e.Message)}}
}
