package frame

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// kind is the type of a frame.
type kind byte

const (
	kindOpen   kind = 1 // client: verb, NUL, first part of the request
	kindMore   kind = 2 // further part of the message that kindOpen, kindEvent or kindEnd began
	kindData   kind = 3 // one byte channel, then bytes
	kindClose  kind = 4 // one byte channel: no more data on it
	kindGrant  kind = 5 // one byte channel, 4 bytes: the window grows
	kindEvent  kind = 6 // helper: 1 byte last part or not, part of a JSON document
	kindEnd    kind = 7 // helper: 1 byte last part or not, part of the result
	kindCancel kind = 8 // client
)

const headLen = 9

// frame is one unit on the wire.
type frame struct {
	kind    kind
	stream  uint32
	payload []byte
}

func (f frame) valid() bool { return f.kind >= kindOpen && f.kind <= kindCancel }

// appendFrame encodes f.
func appendFrame(b []byte, f frame) []byte {
	return append(appendHead(b, f.kind, f.stream, len(f.payload)), f.payload...)
}

func appendHead(b []byte, k kind, stream uint32, n int) []byte {
	b = append(b, byte(k))
	b = binary.BigEndian.AppendUint32(b, stream)
	return binary.BigEndian.AppendUint32(b, uint32(n))
}

// frameReader reads frames out of its buffer, which holds the largest.
type frameReader struct {
	r    *bufio.Reader
	done int // of the buffer: the last frame
}

func newFrameReader(r io.Reader) *frameReader {
	return &frameReader{r: bufio.NewReaderSize(r, 2*MaxPayload)}
}

// next reads one frame. Its payload is good until the next call.
func (r *frameReader) next() (frame, error) {
	_, _ = r.r.Discard(r.done) // is there
	r.done = 0
	head, err := r.r.Peek(headLen)
	if err != nil {
		if len(head) > 0 && errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return frame{}, err
	}
	f := frame{kind: kind(head[0]), stream: binary.BigEndian.Uint32(head[1:5])}
	n := binary.BigEndian.Uint32(head[5:])
	if !f.valid() || n > MaxPayload {
		return frame{}, fmt.Errorf("bad frame: type %d, %d bytes", f.kind, n)
	}
	whole, err := r.r.Peek(headLen + int(n))
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return frame{}, fmt.Errorf("frame cut short: %w", err)
	}
	f.payload, r.done = whole[headLen:], len(whole)
	return f, nil
}
