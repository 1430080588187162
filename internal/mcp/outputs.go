package mcp

import (
	"bytes"
	"context"
	"crypto/rand"
	"slices"
	"sync"

	"github.com/bowline-sh/bowline/diag"
)

// Bounds of what is kept of outputs, for all clients of a process.
const (
	maxKept     = 64       // outputs; the oldest that is over goes first
	maxRunning  = 16       // commands in the background
	maxKeptSize = 4 << 20  // bytes of one; what comes after is dropped, and said
	maxKeptAll  = 64 << 20 // bytes of all that are over
)

// output is the output of a command, kept so that a model can page through it.
type output struct {
	id, owner, title string
	target           string

	mu      sync.Mutex   // guards what follows
	text    bytes.Buffer // as it came
	clean   string       // the same for a model, when it is done
	dropped int64
	changed chan struct{} // closed when there is more, and replaced
	done    bool
	result  string // how it ended, in a line
	failed  bool
	stop    context.CancelFunc
}

// Write keeps p as far as there is room. It never fails: a command does not end
// because nobody reads it.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := min(len(p), max(maxKeptSize-o.text.Len(), 0))
	o.text.Write(p[:n])
	o.dropped += int64(len(p) - n)
	o.wakeLocked()
	return len(p), nil
}

func (o *output) wakeLocked() {
	close(o.changed)
	o.changed = make(chan struct{})
}

// end notes how the command ended.
func (o *output) end(result string, failed bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.done, o.result, o.failed = true, result, failed
	o.wakeLocked()
}

// wait returns when the command is over, or ctx is.
func (o *output) wait(ctx context.Context) {
	for {
		o.mu.Lock()
		done, changed := o.done, o.changed
		o.mu.Unlock()
		if done {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// outputs are those of one server, by handle.
type outputs struct {
	mu    sync.Mutex
	list  []*output // oldest first
	turns chan struct{}
}

func newOutputs() *outputs { return &outputs{turns: make(chan struct{}, maxRunning)} }

// add makes room for a new output of owner.
func (s *outputs) add(owner, target, title string) *output {
	o := &output{id: "out-" + rand.Text()[:16], owner: owner, target: target, title: title, changed: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, o)
	kept, excess := 0, len(s.list)-maxKept
	for _, old := range s.list {
		kept += old.size()
	}
	s.list = slices.DeleteFunc(s.list, func(old *output) bool {
		if excess <= 0 && kept <= maxKeptAll || !old.over() {
			return false
		}
		kept -= old.size()
		excess--
		return true
	})
	return o
}

func (o *output) over() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.done
}

// size is what o holds, in bytes.
func (o *output) size() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Len() + len(o.clean)
}

// of lists the outputs of owner.
func (s *outputs) of(owner string) []*output {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*output
	for _, o := range s.list {
		if o.owner == owner {
			out = append(out, o)
		}
	}
	return out
}

func (s *outputs) get(owner, id string) (*output, error) {
	for _, o := range s.of(owner) {
		if o.id == id {
			return o, nil
		}
	}
	return nil, diag.New(diag.Usage, "find output", "run the command again", "there is no output %q of this client; the oldest are forgotten", line(id, 64))
}
