package sandbox

import (
	"bytes"
	"io"
	"strings"
	"sync"
)

// capped passes the first max bytes on and drops the rest, counting all. A
// failing writer is not written to again: the command must not hang because
// whoever listened went away.
type capped struct {
	max int64 // immutable

	mu sync.Mutex // guards the fields below; held while w is written to
	w  io.Writer  // nil when nobody listens, or no longer
	n  int64
}

func newCapped(w io.Writer, max int64) *capped { return &capped{w: w, max: max} }

func (c *capped) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	room := c.max - c.n
	c.n += int64(len(p))
	if room > 0 && c.w != nil && len(p) > 0 {
		if _, err := c.w.Write(p[:min(int64(len(p)), room)]); err != nil {
			c.w = nil
		}
	}
	return len(p), nil
}

// detach returns when w is not written to and never will be.
func (c *capped) detach() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.w = nil
}

func (c *capped) total() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

func (c *capped) truncated() bool { return c.total() > c.max }

// Bounds on what is kept of the text around a command's output, in bytes.
const (
	maxNoise   = 16 << 10 // login banners and start-up files
	maxMark    = 64       // two process numbers behind the first nonce
	maxTrailer = 8 << 10  // bwrap's status report
	maxHeld    = 8 << 10  // errors of bwrap itself
)

// stream separates one output stream of BOOT into the noise of the login, the
// command's output, and BOOT's last line, which on standard error tells how the
// command ended. After it the login may make noise again.
//
//	noise... NONCE mark \n  output...  NONCE trailer \n  noise...
type stream struct {
	nonce string
	to    *capped

	begun   bool
	ended   bool
	noise   []byte // before the first nonce, bounded
	held    []byte // the start of the output, while it may be bwrap's own words
	holding bool
	tail    []byte // end of the output that may begin a nonce
	trailer []byte
}

func newStream(nonce string, to *capped, stderr bool) *stream {
	return &stream{nonce: nonce, to: to, holding: stderr}
}

// write takes the next bytes. mark is called once, with what follows the first
// nonce on its line.
func (s *stream) write(p []byte, mark func(string)) {
	if !s.begun {
		p = s.begin(p, mark)
	}
	switch {
	case len(p) == 0 || !s.begun:
	case s.ended:
		s.trailer = appendBounded(s.trailer, p, maxTrailer)
	default:
		s.untilTrailer(p)
	}
}

// begin looks for the first nonce and returns what follows its line.
func (s *stream) begin(p []byte, mark func(string)) []byte {
	// What was there before holds no whole nonce, or one whose line goes on.
	from := max(0, len(s.noise)-len(s.nonce)-maxMark)
	s.noise = append(s.noise, p...)
	i := bytes.Index(s.noise[from:], []byte(s.nonce))
	if i < 0 {
		s.noise = s.noise[max(0, len(s.noise)-maxNoise):]
		return nil
	}
	i += from
	line, rest, ok := bytes.Cut(s.noise[i+len(s.nonce):], []byte("\n"))
	if !ok {
		return nil
	}
	s.begun = true
	mark(strings.TrimSpace(string(line)))
	s.noise = s.noise[max(0, i-maxNoise):i]
	return rest
}

func (s *stream) untilTrailer(p []byte) {
	if len(s.tail) > 0 {
		p = append(s.tail, p...)
		s.tail = nil
	}
	if i := bytes.Index(p, []byte(s.nonce)); i >= 0 {
		s.pass(p[:i])
		s.ended = true
		s.trailer = appendBounded(s.trailer, p[i+len(s.nonce):], maxTrailer)
		return
	}
	keep := overlap(p, s.nonce)
	s.pass(p[:len(p)-keep])
	s.tail = bytes.Clone(p[len(p)-keep:])
}

// overlap is the length of the longest end of p that begins nonce.
func overlap(p []byte, nonce string) int {
	for n := min(len(p), len(nonce)-1); n > 0; n-- {
		if string(p[len(p)-n:]) == nonce[:n] {
			return n
		}
	}
	return 0
}

// pass hands output on. What looks like bwrap or our sh complaining is held
// back until it is known whether the command was executed at all.
func (s *stream) pass(p []byte) {
	if s.holding {
		s.held = append(s.held, p...)
		if len(s.held) <= maxHeld && ownWords(s.held) {
			return
		}
		p = s.held
		s.held, s.holding = nil, false
	}
	_, _ = s.to.Write(p) // never fails
}

// flush passes on what was held back; the command was executed.
func (s *stream) flush() {
	_, _ = s.to.Write(append(s.held, s.tail...))
	s.held, s.tail, s.holding = nil, nil, false
}

// ownWords reports whether text begins, or may begin, like a message of bwrap,
// of sh running BOOT or of what BOOT runs.
func ownWords(text []byte) bool {
	for _, prefix := range []string{"bwrap: ", "bowline: ", "unshare: ", "mount: ", "sh: ", "/bin/sh: "} {
		n := min(len(prefix), len(text))
		if string(text[:n]) == prefix[:n] {
			return true
		}
	}
	return false
}

func appendBounded(to, p []byte, max int) []byte {
	return append(to, p[:min(len(p), max-len(to))]...)
}
