//go:build unix

package ssh

import (
	"sync"
	"time"
)

// fakeNow is a clock that only moves when told to.
type fakeNow struct {
	mu sync.Mutex
	t  time.Time
}

func (f *fakeNow) get() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.t
}

func (f *fakeNow) add(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.t = f.t.Add(d)
}
