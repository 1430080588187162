// Package journal is the append-only record of what one session did to a target.
// It knows lines and their chain; what they mean is for package apply.
//
// # Format
//
// One record is one line: 32 hex digits, a space, JSON, a newline. The digits are
// the first half of SHA-256 over the digits of the line before (32 zeros at first)
// and the JSON. An edit, a drop or a change of order in the middle therefore breaks
// every line after it. Lines cut from the end are found by comparing [Journal.Head]
// with what was noted elsewhere.
//
// # Torn tail
//
// A crash may leave the last line incomplete. It was never acknowledged, so it is
// dropped, and cut off before the next append. A bad line with a line after it is
// no crash but [ErrTampered].
package journal

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// ErrTampered means that the journal is not what was written.
var ErrTampered = errors.New("the journal was altered")

const (
	sumLen = 32
	// maxLine bounds memory: the longest record holds a path (4 KiB, as base64) and
	// a few digests.
	maxLine = 64 << 10
	// MaxSize bounds a journal; a plan of a million operations needs a third of it.
	MaxSize = 1 << 30
)

var zero = strings.Repeat("0", sumLen)

// File is the part of *os.File that a journal uses. Writes go to its end.
type File interface {
	io.ReaderAt
	io.Writer
	Sync() error
	Truncate(size int64) error
}

// Journal appends. It belongs to one goroutine. After a failed Append it refuses
// everything: what is on disk is known only after it is opened again.
type Journal struct {
	f    File
	head string
	size int64
	err  error
	buf  bytes.Buffer
}

// Open reads all records of f, hands each to each, and returns the journal ready
// for appending. The bytes given to each are valid during the call only.
func Open(f File, each func(rec []byte) error) (*Journal, error) {
	j := &Journal{f: f, head: zero}
	head, size, total, err := Replay(io.NewSectionReader(f, 0, MaxSize+1), each)
	if err != nil {
		return nil, err
	}
	j.head, j.size = head, size
	if total > size {
		if err := f.Truncate(size); err != nil {
			return nil, fmt.Errorf("cut torn journal: %w", err)
		}
	}
	return j, nil
}

// Replay reads records and returns the head, the bytes of whole records, and the
// bytes there are.
func Replay(r io.Reader, each func(rec []byte) error) (head string, size, total int64, err error) {
	br := bufio.NewReaderSize(r, maxLine)
	head = zero
	for {
		line, err := br.ReadSlice('\n')
		total += int64(len(line))
		if errors.Is(err, bufio.ErrBufferFull) || total > MaxSize {
			return head, size, total, fmt.Errorf("%w: a line or the whole is too long", ErrTampered)
		}
		if err != nil && err != io.EOF {
			return head, size, total, fmt.Errorf("read journal: %w", err)
		}
		if err == io.EOF { // nothing, or a torn line
			return head, size, total, nil
		}
		sum, rec, ok := parse(head, line)
		if !ok {
			if rest, _ := br.Peek(1); len(rest) == 0 {
				return head, size, total, nil // torn: its blocks reached the disk out of order
			}
			return head, size, total, fmt.Errorf("%w: at byte %d", ErrTampered, size)
		}
		if err := each(rec); err != nil {
			return head, size, total, err
		}
		head, size = sum, size+int64(len(line))
	}
}

func parse(head string, line []byte) (sum string, rec []byte, ok bool) {
	if len(line) < sumLen+2 || line[sumLen] != ' ' {
		return "", nil, false
	}
	rec = line[sumLen+1 : len(line)-1]
	sum = next(head, rec)
	return sum, rec, sum == string(line[:sumLen])
}

func next(head string, rec []byte) string {
	h := sha256.New()
	io.WriteString(h, head)
	h.Write(rec)
	return hex.EncodeToString(h.Sum(nil))[:sumLen]
}

// Write appends a record without waiting for the disk. It survives the end of the
// process, and a power cut once Sync has returned.
func (j *Journal) Write(rec any) error {
	if j.err != nil {
		return j.err
	}
	b, err := json.Marshal(rec)
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	if len(b)+sumLen+2 > maxLine || j.size+int64(len(b)) > MaxSize-maxLine {
		return fmt.Errorf("journal: a record of %d bytes is too long", len(b))
	}
	sum := next(j.head, b)
	j.buf.Reset()
	j.buf.WriteString(sum)
	j.buf.WriteByte(' ')
	j.buf.Write(b)
	j.buf.WriteByte('\n')
	if _, err := j.f.Write(j.buf.Bytes()); err != nil {
		j.err = fmt.Errorf("append to journal: %w", err)
		return j.err
	}
	j.head, j.size = sum, j.size+int64(j.buf.Len())
	return nil
}

// Sync makes all records durable.
func (j *Journal) Sync() error {
	if j.err != nil {
		return j.err
	}
	if err := j.f.Sync(); err != nil {
		j.err = fmt.Errorf("sync journal: %w", err)
	}
	return j.err
}

// Append is Write and Sync.
func (j *Journal) Append(rec any) error {
	if err := j.Write(rec); err != nil {
		return err
	}
	return j.Sync()
}

// Head returns the last digest and the size. Noted elsewhere, they prove later that
// nothing was cut off; see [Prefix].
func (j *Journal) Head() (head string, size int64) { return j.head, j.size }

// Prefix reports whether the first size bytes of r are whole records that end in
// head.
func Prefix(r io.ReaderAt, head string, size int64) error {
	if size == 0 && head == "" {
		return nil
	}
	got, n, _, err := Replay(io.NewSectionReader(r, 0, size), func([]byte) error { return nil })
	if err != nil {
		return err
	}
	if got != head || n != size {
		return fmt.Errorf("%w: it does not hold what it held before", ErrTampered)
	}
	return nil
}
