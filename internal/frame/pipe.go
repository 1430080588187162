package frame

import (
	"io"
	"sync"
)

// channels of a stream.
const (
	Input  = 0
	Output = 1
	Errors = 2

	channels = 3
)

// inbox holds data received on one channel until it is read. Reading grants the
// peer room for as much again, a good part of a window at a time: every grant is a
// packet of its own.
type inbox struct {
	grant func(n int) // tells the peer; called without the lock

	mu     sync.Mutex // guards the fields below
	ready  sync.Cond
	ring   []byte // what came, from at on and around; grows up to Window
	at     int
	n      int
	room   int // what the peer may still send
	owed   int // what was read and not granted yet
	closed bool
	err    error
}

func newInbox(grant func(int)) *inbox {
	b := &inbox{grant: grant, room: Window}
	b.ready.L = &b.mu
	return b
}

// put takes data from the peer; false means that it sent more than was granted.
// It keeps a copy.
func (b *inbox) put(p []byte) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(p) > b.room || b.closed {
		return b.err != nil // after a local end, what is under way is dropped
	}
	b.room -= len(p)
	b.fit(len(p))
	end := (b.at + b.n) % max(len(b.ring), 1)
	if k := copy(b.ring[end:], p); k < len(p) {
		copy(b.ring, p[k:])
	}
	b.n += len(p)
	b.ready.Broadcast()
	return true
}

// fit makes room for n bytes more. With the lock held.
func (b *inbox) fit(n int) {
	if b.n+n <= len(b.ring) {
		return
	}
	ring := make([]byte, min(Window, max(4<<10, 2*len(b.ring), 2*(b.n+n))))
	b.peek(ring[:b.n])
	b.ring, b.at = ring, 0
}

// peek copies from the beginning of what is there. With the lock held.
func (b *inbox) peek(p []byte) int {
	n := min(len(p), b.n)
	if k := copy(p[:n], b.ring[b.at:]); k < n {
		copy(p[k:n], b.ring)
	}
	return n
}

// close ends the channel: io.EOF after what is there, or err at once.
func (b *inbox) close(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	if err != nil && b.err == nil {
		b.err = err
		b.ring, b.at, b.n = nil, 0, 0
	}
	b.ready.Broadcast()
}

func (b *inbox) Read(p []byte) (int, error) {
	b.mu.Lock()
	for b.n == 0 && !b.closed {
		b.ready.Wait()
	}
	if b.n == 0 {
		err := b.err
		b.ring = nil
		b.mu.Unlock()
		if err == nil {
			err = io.EOF
		}
		return 0, err
	}
	n := b.peek(p)
	b.at, b.n = (b.at+n)%len(b.ring), b.n-n
	grant := b.owe(n)
	b.mu.Unlock()
	if grant > 0 {
		b.grant(grant)
	}
	return n, nil
}

// grantFrom is from how many bytes on a grant is worth a frame.
const grantFrom = Window / 4

// owe counts what was read, and returns what is to be granted now. With the lock
// held.
func (b *inbox) owe(n int) int {
	b.owed += n
	if b.closed || b.owed < grantFrom {
		return 0
	}
	n, b.owed = b.owed, 0
	b.room += n
	return n
}

// outbox sends data on one channel as far as the peer grants room.
type outbox struct {
	send func(p []byte) error
	end  func() error

	mu     sync.Mutex // guards the fields below
	ready  sync.Cond
	room   int
	closed bool
	err    error
}

func newOutbox(send func([]byte) error, end func() error) *outbox {
	b := &outbox{send: send, end: end, room: Window}
	b.ready.L = &b.mu
	return b
}

// grow takes a grant; false means more than a window in all.
func (b *outbox) grow(n int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.room += n
	b.ready.Broadcast()
	return b.room <= Window
}

func (b *outbox) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		b.err = err
	}
	b.ready.Broadcast()
}

// maxData is what one frame of data carries: with its head and the byte that names
// the channel it fills a pipe, or two SSH packets, and no byte more.
const maxData = 64<<10 - headLen - 1

func (b *outbox) Write(p []byte) (int, error) {
	total := 0
	for len(p) > 0 {
		n, err := b.take(len(p))
		if err != nil {
			return total, err
		}
		if err := b.send(p[:n]); err != nil {
			return total, err
		}
		p, total = p[n:], total+n
	}
	return total, nil
}

// take waits for room and uses up to n bytes of it.
func (b *outbox) take(n int) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.room == 0 && b.err == nil && !b.closed {
		b.ready.Wait()
	}
	switch {
	case b.err != nil:
		return 0, b.err
	case b.closed:
		return 0, io.ErrClosedPipe
	}
	n = min(n, b.room, maxData)
	b.room -= n
	return n, nil
}

// Close tells the peer that no more data comes. It is idempotent.
func (b *outbox) Close() error {
	b.mu.Lock()
	done := b.closed || b.err != nil
	b.closed = true
	b.ready.Broadcast()
	b.mu.Unlock()
	if done {
		return nil
	}
	return b.end()
}
