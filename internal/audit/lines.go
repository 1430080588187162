package audit

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
)

// line is a line of a segment and where it stands.
type line struct {
	segment *segment
	number  int    // from 1; 0 when read backwards
	text    []byte // without the newline; valid until the next line
	torn    bool   // no newline at the end of the file
	long    bool   // longer than MaxLine; text is its beginning
	last    bool   // of the active segment: torn may be an append under way
}

// LineError says where in the log a line is that cannot be used.
type LineError struct {
	File string
	Line int // from 1; 0 if unknown
	Err  error
}

func (e *LineError) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: %v", e.File, e.Err)
	}
	return fmt.Sprintf("%s:%d: %v", e.File, e.Line, e.Err)
}

func (e *LineError) Unwrap() error { return e.Err }

// forward yields the lines of the segments, oldest first.
func forward(ctx context.Context, segments []segment) iter.Seq2[line, error] {
	return func(yield func(line, error) bool) {
		for i := range segments {
			if !forwardIn(ctx, &segments[i], i == len(segments)-1, yield) {
				return
			}
		}
	}
}

func forwardIn(ctx context.Context, s *segment, last bool, yield func(line, error) bool) bool {
	last = last && s.open != nil
	f, err := s.reader()
	if err != nil {
		yield(line{segment: s}, err)
		return false
	}
	defer f.Close()
	r := bufio.NewReaderSize(f, 64<<10)
	for n := 1; ; n++ {
		if ctx.Err() != nil {
			yield(line{}, ctx.Err())
			return false
		}
		text, torn, long, err := readLine(r)
		if err == io.EOF {
			return true
		}
		if !yield(line{s, n, text, torn, long, last}, err) || err != nil {
			return false
		}
		if torn { // its rest may come any moment, and is no line of its own
			return true
		}
	}
}

// readLine reads a line of any length and returns at most MaxLine bytes of it.
func readLine(r *bufio.Reader) (text []byte, torn, long bool, err error) {
	for {
		part, err := r.ReadSlice('\n')
		long = long || len(text)+len(part) > MaxLine
		if !long {
			text = append(text, part...)
		}
		switch {
		case err == nil:
			return bytes.TrimSuffix(text, []byte("\n")), false, long, nil
		case errors.Is(err, bufio.ErrBufferFull):
		case err == io.EOF && (len(text) > 0 || long):
			return text, true, long, nil
		default:
			return nil, false, false, err
		}
	}
}

// backward reads the lines of a file from its end.
type backward struct {
	r   io.ReaderAt
	pos int64  // what is before it has not been read
	buf []byte // what was read and not yet returned
}

func newBackward(r io.ReaderAt, size int64) *backward { return &backward{r: r, pos: size} }

// backwardChunk is how much is read at once: some hundred entries.
const backwardChunk = 64 << 10

// fill reads a chunk before buf and reports whether there was one.
func (b *backward) fill() (bool, error) {
	if b.pos == 0 {
		return false, nil
	}
	if len(b.buf) > MaxLine {
		return false, fmt.Errorf("%w: longer than %d bytes", ErrUnparseable, MaxLine)
	}
	n := min(b.pos, backwardChunk)
	chunk := make([]byte, n, n+int64(len(b.buf)))
	if _, err := b.r.ReadAt(chunk, b.pos-n); err != nil {
		return false, err
	}
	b.buf, b.pos = append(chunk, b.buf...), b.pos-n
	return true, nil
}

// torn returns what stands after the last newline. It must be called first.
func (b *backward) torn() ([]byte, error) {
	for {
		if i := bytes.LastIndexByte(b.buf, '\n'); i >= 0 {
			torn := b.buf[i+1:]
			b.buf = b.buf[:i+1]
			return torn, nil
		}
		if more, err := b.fill(); !more {
			torn := b.buf
			b.buf = nil
			return torn, err
		}
	}
}

// next returns the line before the one it returned last, or io.EOF.
func (b *backward) next() ([]byte, error) {
	for {
		if n := len(b.buf); n > 0 {
			i := bytes.LastIndexByte(b.buf[:n-1], '\n')
			if i >= 0 || b.pos == 0 {
				text := b.buf[i+1 : n-1]
				b.buf = b.buf[:i+1]
				return text, nil
			}
		}
		if more, err := b.fill(); err != nil {
			return nil, err
		} else if !more {
			return nil, io.EOF
		}
	}
}

// reader returns the segment opened for reading, for the caller to close.
func (s *segment) reader() (*os.File, error) {
	if s.open != nil {
		// Offsets belong to the open file, so rewind what a former pass read.
		if _, err := s.open.Seek(0, io.SeekStart); err != nil {
			return nil, err
		}
		f := s.open
		s.open = nil
		return f, nil
	}
	return openNoFollow(s.path, os.O_RDONLY)
}
