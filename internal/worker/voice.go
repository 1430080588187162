package worker

import (
	"bytes"
	"context"
	"sync"
	"time"

	"github.com/bowline-sh/bowline/internal/work"
)

const (
	// flushEvery is how long what is said waits for more.
	flushEvery = 200 * time.Millisecond
	// maxPiece bounds one event, and maxSaid all events of one task, in bytes.
	maxPiece = 32 << 10
	maxSaid  = 512 << 10
)

// voice turns what is said into events, in bundles. That an event is lost is no error:
// the result holds what counts.
type voice struct {
	store work.Store
	task  work.Task
	now   func() time.Time
	done  chan struct{}
	over  sync.WaitGroup

	mu      sync.Mutex // guards the fields below
	pending []work.Event
	said    int
}

func newVoice(s work.Store, t work.Task, now func() time.Time) *voice {
	v := &voice{store: s, task: t, now: now, done: make(chan struct{})}
	v.over.Go(v.flushing)
	return v
}

// say is a [Say].
func (v *voice) say(kind string, data []byte) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.said >= maxSaid {
		return
	}
	if v.said += len(data) + 64; v.said >= maxSaid {
		v.pending = append(v.pending, work.Event{Time: v.now(), Task: v.task.ID, Kind: "truncated"})
		return
	}
	if n := len(v.pending); n > 0 && v.pending[n-1].Kind == kind && kind != "progress" && len(v.pending[n-1].Data)+len(data) <= maxPiece {
		v.pending[n-1].Data = append(v.pending[n-1].Data, data...)
		return
	}
	for len(data) > maxPiece {
		v.pending = append(v.pending, work.Event{Time: v.now(), Task: v.task.ID, Kind: kind, Data: bytes.Clone(data[:maxPiece])})
		data = data[maxPiece:]
	}
	v.pending = append(v.pending, work.Event{Time: v.now(), Task: v.task.ID, Kind: kind, Data: bytes.Clone(data)})
}

func (v *voice) flushing() {
	for last := false; !last; {
		select {
		case <-v.done:
			last = true
		case <-time.After(flushEvery):
		}
		v.mu.Lock()
		events := v.pending
		v.pending = nil
		v.mu.Unlock()
		_ = v.store.Emit(context.Background(), v.task.Operation, events) // see voice
	}
}

// close says the rest.
func (v *voice) close() {
	close(v.done)
	v.over.Wait()
}
