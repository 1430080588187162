package web

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
)

// acts are what forms of this process began, by session.
type acts struct {
	ctx context.Context // ends with the process

	mu  sync.Mutex // guards all
	all map[string]*action
}

// action is one apply or rollback under way, and for a while after.
type action struct {
	mu    sync.Mutex // guards what follows
	lines []string   // progress so far, neutralised
	err   error
	done  chan struct{} // closed at the end
	more  chan struct{} // closed when there is more; then a new one
}

func newActs(ctx context.Context) *acts { return &acts{ctx: ctx, all: map[string]*action{}} }

// beginTime is how long a form waits for an act that may fail at once.
const beginTime = 400 * time.Millisecond

// start runs do, unless something is done to the session already.
func (a *acts) start(ctx context.Context, id string, do func(context.Context, func(bowline.Progress)) error) error {
	a.mu.Lock()
	if x := a.all[id]; x != nil {
		select {
		case <-x.done:
		default:
			a.mu.Unlock()
			return diag.New(diag.Conflict, "act on "+id, "follow it on its page", "something is being done to it already")
		}
	}
	x := &action{done: make(chan struct{}), more: make(chan struct{})}
	a.all[id] = x
	a.mu.Unlock()
	go func() {
		// It goes on when the browser leaves: half an apply helps nobody.
		err := do(context.WithoutCancel(ctx), x.progress)
		x.end(err)
	}()
	select {
	case <-x.done:
		return x.err
	case <-time.After(beginTime):
		return nil
	}
}

// under reports whether something is being done to a session, or just was.
func (a *acts) under(id string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	x := a.all[id]
	if x == nil {
		return false
	}
	select {
	case <-x.done:
		return false
	default:
		return true
	}
}

func (x *action) progress(p bowline.Progress) {
	x.add(fmt.Sprintf("%d %s %s", p.Op, p.What, p.Text))
}

// maxLines bounds what is kept of an action's progress.
const maxLines = 2000

func (x *action) add(line string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.lines) < maxLines {
		x.lines = append(x.lines, text(line))
	}
	close(x.more)
	x.more = make(chan struct{})
}

func (x *action) end(err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.err = err
	close(x.done)
}

// after returns the lines from n on, and what is closed when there are more.
func (x *action) after(n int) ([]string, <-chan struct{}) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.lines[min(n, len(x.lines)):], x.more
}

// follow streams what becomes of a session.
func (s *Site) follow(w http.ResponseWriter, r *http.Request) error {
	x, err := s.find(r)
	if err != nil {
		return err
	}
	s.acts.mu.Lock()
	a := s.acts.all[x.ID]
	s.acts.mu.Unlock()
	w.Header().Set("Content-Type", "text/event-stream")
	rc := http.NewResponseController(w)
	send := func(event, data string) bool {
		if rc.SetWriteDeadline(time.Now().Add(10*time.Second)) != nil {
			return false
		}
		if _, err := fmt.Fprintf(w, "event: %s\ndata: %s\n\n", event, data); err != nil {
			return false
		}
		return rc.Flush() == nil
	}
	if a == nil {
		send("status", string(x.Status))
		return nil
	}
	for n := 0; ; {
		lines, more := a.after(n)
		for _, l := range lines {
			if !send("progress", l) {
				return nil
			}
			n++
		}
		select {
		case <-a.done:
			if rest, _ := a.after(n); len(rest) == 0 {
				send("end", "")
				return nil
			}
		case <-more:
		case <-r.Context().Done():
			return nil
		}
	}
}
