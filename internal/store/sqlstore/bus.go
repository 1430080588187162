package sqlstore

import "sync"

// bus wakes those who wait for something to happen. The zero value is ready.
type bus struct {
	mu      sync.Mutex // guards waiting
	waiting map[string]chan struct{}
}

// wait returns a channel that the next wake of key closes.
func (b *bus) wait(key string) <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.waiting == nil {
		b.waiting = map[string]chan struct{}{}
	}
	c := b.waiting[key]
	if c == nil {
		c = make(chan struct{})
		b.waiting[key] = c
	}
	return c
}

// wake wakes who waits for key, and who waits for anything.
func (b *bus) wake(key string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, k := range []string{key, ""} {
		if c := b.waiting[k]; c != nil {
			close(c)
			delete(b.waiting, k)
		}
	}
}

// all wakes everybody: what they wait for may have been missed.
func (b *bus) all() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.waiting {
		close(c)
	}
	b.waiting = nil
}

// Wake implements [work.Store].
func (s *Store) Wake(operation string) <-chan struct{} { return s.bus.wait(operation) }

// Woken is called when another process said that something happened to an operation;
// "" means that this may have been missed.
func (s *Store) Woken(operation string) {
	if operation == "" {
		s.bus.all()
		return
	}
	s.bus.wake(operation)
}
