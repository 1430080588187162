package transfer

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Types of records.
const (
	recEntry = 'E'
	recData  = 'D'
	recZero  = 'Z'
	recKeep  = 'C'
	recOld   = 'O'
	recEnd   = 'F'
	recBasis = 'B'
	recDone  = 'R'
	recSync  = 'S'
)

// Block is how much content one record holds, in bytes: whole pages, and less than
// 256 KiB, so that no SSH packet holds only the rest of a record.
const Block = 252 << 10

// headLen is the length of what goes before the payload of a record.
const headLen = 5

// maxRecord bounds what a hostile peer makes us allocate. The largest honest
// record is a basis of maxChunks digests.
const maxRecord = 4 << 20

// errProtocol is wrapped by errors of a peer that broke a rule.
var errProtocol = errors.New("the other side broke the protocol of transfers")

// recordWriter writes records through a buffer, which small ones share.
type recordWriter struct {
	w   *bufio.Writer
	err error
}

func newRecordWriter(w io.Writer) *recordWriter {
	return &recordWriter{w: bufio.NewWriterSize(w, 64<<10)}
}

func (r *recordWriter) put(kind byte, payload []byte) error {
	if r.err != nil {
		return r.err
	}
	var head [headLen]byte
	putHead(head[:], kind, len(payload))
	if _, r.err = r.w.Write(head[:]); r.err == nil {
		_, r.err = r.w.Write(payload)
	}
	return r.err
}

func putHead(p []byte, kind byte, n int) {
	p[0] = kind
	binary.BigEndian.PutUint32(p[1:], uint32(n))
}

// large writes a record whose payload stands in p after headLen bytes of room. It
// goes out as it is, where a copy in the buffer would save nothing.
func (r *recordWriter) large(kind byte, p []byte) error {
	if len(p) < r.w.Size() {
		return r.put(kind, p[headLen:])
	}
	if r.flush() == nil {
		putHead(p, kind, len(p)-headLen)
		_, r.err = r.w.Write(p) // larger than the buffer: not copied
	}
	return r.err
}

func (r *recordWriter) doc(kind byte, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode record: %w", err)
	}
	if len(b) > maxRecord {
		return fmt.Errorf("record of %d bytes is larger than %d", len(b), maxRecord)
	}
	return r.put(kind, b)
}

func (r *recordWriter) numbers(kind byte, n ...int64) error {
	var b []byte
	for _, v := range n {
		b = binary.BigEndian.AppendUint64(b, uint64(v))
	}
	return r.put(kind, b)
}

func (r *recordWriter) flush() error {
	if r.err == nil {
		r.err = r.w.Flush()
	}
	return r.err
}

// recordReader reads records; the payload is good until the next call.
type recordReader struct {
	r   *bufio.Reader
	buf []byte
}

func newRecordReader(r io.Reader) *recordReader {
	return &recordReader{r: bufio.NewReaderSize(r, 64<<10)}
}

func (r *recordReader) next() (kind byte, payload []byte, err error) {
	var head [headLen]byte
	if _, err := io.ReadFull(r.r, head[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(head[1:])
	if n > maxRecord {
		return 0, nil, fmt.Errorf("%w: record of %d bytes", errProtocol, n)
	}
	if int(n) > cap(r.buf) {
		r.buf = make([]byte, n)
	}
	payload = r.buf[:n]
	if _, err := io.ReadFull(r.r, payload); err != nil {
		return 0, nil, unexpected(err)
	}
	return head[0], payload, nil
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// numbersOf reads n numbers that must not be negative.
func numbersOf(payload []byte, n int) ([]int64, error) {
	if len(payload) != 8*n {
		return nil, fmt.Errorf("%w: numbers of %d bytes", errProtocol, len(payload))
	}
	out := make([]int64, n)
	for i := range out {
		out[i] = int64(binary.BigEndian.Uint64(payload[8*i:]))
		if out[i] < 0 {
			return nil, fmt.Errorf("%w: negative number", errProtocol)
		}
	}
	return out, nil
}

func docOf(payload []byte, v any) error {
	if err := json.Unmarshal(payload, v); err != nil {
		return fmt.Errorf("%w: %w", errProtocol, err)
	}
	return nil
}
