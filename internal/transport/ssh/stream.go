package ssh

import (
	"io"
	"os"
	"sync"
)

const (
	// minChunk and maxChunk bound the two buffers of a stream, in bytes. They
	// start small, because an idle link keeps its streams open, and grow to
	// what a few SSH packets carry while a stream is busy.
	minChunk = 2 << 10
	maxChunk = 128 << 10
)

// stream is one output of a process. A Read of the channel itself cannot be
// given up: sshd closes its side only when the program has ended. So a
// goroutine, started by the first Read, reads ahead by at most two chunks.
type stream struct {
	src   io.Reader
	begin func(func()) bool // starts a goroutine of the connection
	given <-chan struct{}   // the process was closed
	over  <-chan struct{}   // the connection was closed by us

	once   sync.Once
	direct bool // read the source itself; set by once
	full   chan chunk
	free   chan []byte

	// mu guards the fields below: what the last chunk left.
	mu   sync.Mutex
	rest []byte
	buf  []byte
	err  error
}

// chunk is what one Read of the source gave.
type chunk struct {
	buf []byte // whole buffer
	n   int
	err error
}

func newStream(src io.Reader, begin func(func()) bool, given, over <-chan struct{}) *stream {
	return &stream{src: src, begin: begin, given: given, over: over, full: make(chan chunk, 2), free: make(chan []byte, 2)}
}

// Read returns os.ErrClosed once the process, or its connection, is closed by
// us.
func (s *stream) Read(p []byte) (int, error) {
	s.once.Do(s.start)
	if s.direct {
		return s.src.Read(p)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.rest) == 0 {
		if s.err != nil {
			return 0, s.err
		}
		select {
		case c := <-s.full:
			s.buf, s.rest, s.err = c.buf, c.buf[:c.n], c.err
		case <-s.given:
			return 0, os.ErrClosed
		case <-s.over:
			return 0, os.ErrClosed
		}
		if len(s.rest) == 0 {
			s.recycle()
		}
	}
	n := copy(p, s.rest)
	if s.rest = s.rest[n:]; len(s.rest) == 0 {
		s.recycle()
	}
	return n, nil
}

func (s *stream) recycle() {
	s.free <- s.buf // has room: there are two buffers
}

func (s *stream) start() {
	for range cap(s.free) {
		s.free <- make([]byte, minChunk)
	}
	if !s.begin(s.pump) {
		// The connection has ended, so that no Read of the source blocks.
		s.direct = true
	}
}

// pump fills buffers until the source ends.
func (s *stream) pump() {
	for {
		var buf []byte
		select {
		case buf = <-s.free:
		case <-s.given:
			return
		case <-s.over:
			return
		}
		n, err := s.src.Read(buf)
		if n == len(buf) && n < maxChunk {
			buf = append(buf, make([]byte, n)...)
		}
		s.full <- chunk{buf, n, err} // has room
		if err != nil {
			return
		}
	}
}
