package frame

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
)

// ErrProtocol is wrapped by the error of a connection whose peer broke a rule.
var ErrProtocol = errors.New("protocol violation")

// writer sends frames one at a time.
type writer struct {
	mu  sync.Mutex // held while a frame is written
	w   io.Writer
	buf []byte
	err error
}

func (w *writer) send(f frame) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	w.buf = appendFrame(w.buf[:0], f)
	_, w.err = w.w.Write(w.buf)
	return w.err
}

// sendData sends p, at most maxData bytes, on a channel.
func (w *writer) sendData(stream uint32, channel byte, p []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	w.buf = append(appendHead(w.buf[:0], kindData, stream, len(p)+1), channel)
	w.buf = append(w.buf, p...)
	_, w.err = w.w.Write(w.buf)
	return w.err
}

// sendMessage sends a message of any length up to MaxMessage as parts: the first
// of kind k, later ones kindMore, each led by a byte that is 1 in the last one.
// Parts of different messages of one stream are never mixed, because each stream
// has one sender of messages.
func (w *writer) sendMessage(k kind, stream uint32, msg []byte) error {
	if len(msg) > MaxMessage {
		return fmt.Errorf("message of %d bytes is larger than %d", len(msg), MaxMessage)
	}
	for first := true; first || len(msg) > 0; first = false {
		n := min(len(msg), maxData)
		last := byte(0)
		if n == len(msg) {
			last = 1
		}
		if !first {
			k = kindMore
		}
		if err := w.send(frame{k, stream, append([]byte{last}, msg[:n]...)}); err != nil {
			return err
		}
		msg = msg[n:]
	}
	return nil
}

// assembler puts the parts of messages of one stream together.
type assembler struct {
	kind kind
	buf  []byte
	open bool
}

// add takes a part; it returns the message when it is whole.
func (a *assembler) add(f frame) (k kind, msg []byte, whole bool, err error) {
	if len(f.payload) == 0 || f.payload[0] > 1 {
		return 0, nil, false, fmt.Errorf("%w: part without its mark", ErrProtocol)
	}
	if (f.kind == kindMore) != a.open {
		return 0, nil, false, fmt.Errorf("%w: part out of order", ErrProtocol)
	}
	if !a.open {
		a.kind, a.open, a.buf = f.kind, true, nil
	}
	if len(a.buf)+len(f.payload) > MaxMessage {
		return 0, nil, false, fmt.Errorf("%w: message too large", ErrProtocol)
	}
	a.buf = append(a.buf, f.payload[1:]...)
	if f.payload[0] == 0 {
		return 0, nil, false, nil
	}
	a.open = false
	msg, a.buf = a.buf, nil
	return a.kind, msg, true, nil
}

// channelOf splits the payload of a frame about one channel.
func channelOf(f frame) (channel int, rest []byte, err error) {
	if len(f.payload) == 0 || f.payload[0] >= channels {
		return 0, nil, fmt.Errorf("%w: no such channel", ErrProtocol)
	}
	return int(f.payload[0]), f.payload[1:], nil
}

func grantFrame(stream uint32, channel, n int) frame {
	return frame{kindGrant, stream, binary.BigEndian.AppendUint32([]byte{byte(channel)}, uint32(n))}
}

func grantOf(rest []byte) (int, error) {
	if len(rest) != 4 {
		return 0, fmt.Errorf("%w: bad grant", ErrProtocol)
	}
	n := binary.BigEndian.Uint32(rest)
	if n == 0 || n > Window {
		return 0, fmt.Errorf("%w: grant of %d bytes", ErrProtocol, n)
	}
	return int(n), nil
}

// openMessage is verb, NUL, request.
func openMessage(verb string, request []byte) []byte {
	return append(append([]byte(verb), 0), request...)
}

func splitOpen(msg []byte) (verb string, request []byte, err error) {
	v, request, ok := bytes.Cut(msg, []byte{0})
	if !ok || len(v) == 0 || len(v) > 64 {
		return "", nil, fmt.Errorf("%w: bad opening", ErrProtocol)
	}
	return string(v), request, nil
}

// stream is the part that both sides share: three channels.
type stream struct {
	id  uint32
	in  [channels]*inbox  // that the peer sends on
	out [channels]*outbox // that we send on
	asm assembler         // owned by the reading goroutine
}

func newStream(w *writer, id uint32) *stream {
	s := &stream{id: id}
	for c := range channels {
		s.in[c] = newInbox(func(n int) { _ = w.send(grantFrame(id, c, n)) }) // a broken writer shows elsewhere
		s.out[c] = newOutbox(
			func(p []byte) error { return w.sendData(id, byte(c), p) },
			func() error { return w.send(frame{kindClose, id, []byte{byte(c)}}) })
	}
	return s
}

// channel handles data, close and grant frames.
func (s *stream) channel(f frame) error {
	c, rest, err := channelOf(f)
	if err != nil {
		return err
	}
	switch f.kind {
	case kindData:
		if !s.in[c].put(rest) {
			return fmt.Errorf("%w: more data than granted", ErrProtocol)
		}
	case kindClose:
		s.in[c].close(nil)
	case kindGrant:
		n, err := grantOf(rest)
		if err != nil {
			return err
		}
		if !s.out[c].grow(n) {
			return fmt.Errorf("%w: window too large", ErrProtocol)
		}
	}
	return nil
}

// end wakes everyone who waits on the stream.
func (s *stream) end(err error) {
	for c := range channels {
		if err == nil {
			s.in[c].close(nil)
			s.out[c].fail(io.ErrClosedPipe)
			continue
		}
		s.in[c].close(err)
		s.out[c].fail(err)
	}
}
