package web

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"strings"
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
	ended time.Time
	done  chan struct{} // closed at the end
	more  chan struct{} // closed when there is more; then a new one
}

func newActs(ctx context.Context) *acts { return &acts{ctx: ctx, all: map[string]*action{}} }

// beginTime is how long a form waits for an act that may fail at once.
const beginTime = 400 * time.Millisecond

// start runs do, unless something is done to the session already.
func (a *acts) start(ctx context.Context, id string, do func(ctx context.Context, say func(line string)) error) error {
	a.mu.Lock()
	if x := a.all[id]; x != nil {
		select {
		case <-x.done:
		default:
			a.mu.Unlock()
			return diag.New(diag.Conflict, "act on "+id, "follow it on its page", "something is being done to it already")
		}
	}
	maps.DeleteFunc(a.all, func(_ string, x *action) bool { return x.old() })
	x := &action{done: make(chan struct{}), more: make(chan struct{})}
	a.all[id] = x
	a.mu.Unlock()
	go func() {
		// It goes on when the browser leaves: half an apply helps nobody.
		err := do(context.WithoutCancel(ctx), x.add)
		x.end(err)
	}()
	select {
	case <-x.done:
		return x.err
	case <-time.After(beginTime):
		return nil
	}
}

// of returns what is or was done to a session or fleet, nil for nothing.
func (a *acts) of(id string) *action {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.all[id]
}

// under reports whether something is being done to a session, or just was.
func (a *acts) under(id string) bool {
	x := a.of(id)
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
	x.err, x.ended = err, time.Now()
	close(x.done)
}

// keepFor is how long it is remembered what was done.
const keepFor = 10 * time.Minute

// old reports whether it ended long ago.
func (x *action) old() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return !x.ended.IsZero() && time.Since(x.ended) > keepFor
}

// after returns the lines from n on, and what is closed when there are more.
func (x *action) after(n int) ([]string, <-chan struct{}) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.lines[min(n, len(x.lines)):], x.more
}

// stream sends events to a browser.
type stream struct {
	w  http.ResponseWriter
	rc *http.ResponseController
}

func newStream(w http.ResponseWriter) stream {
	w.Header().Set("Content-Type", "text/event-stream")
	return stream{w, http.NewResponseController(w)}
}

// send reports whether the reader is still there.
func (s stream) send(event, line string) bool {
	if s.rc.SetWriteDeadline(time.Now().Add(10*time.Second)) != nil {
		return false
	}
	if _, err := fmt.Fprintf(s.w, "event: %s\ndata: %s\n\n", event, strings.ReplaceAll(text(line), "\n", " ")); err != nil {
		return false
	}
	return s.rc.Flush() == nil
}

// follow streams what becomes of a session: the events of the operation that its page
// names, or of what this process does to it.
func (s *Site) follow(w http.ResponseWriter, r *http.Request) error {
	x, err := s.find(r)
	if err != nil {
		return err
	}
	if op := r.URL.Query().Get("op"); op != "" && s.about(r.Context(), op, x.ID) {
		s.followOperation(newStream(w), r, op)
		return nil
	}
	to := newStream(w)
	a := s.acts.of(x.ID)
	if a == nil {
		s.followStatus(to, r, x)
		return nil
	}
	a.follow(to, r.Context())
	return nil
}

func (s *Site) followOperation(to stream, r *http.Request, op string) {
	for e, err := range s.cfg.Client.WatchOperation(r.Context(), op, 0) {
		if err != nil {
			return // the reader left, or comes back
		}
		if line := progressLine(e); line != "" && !to.send("progress", line) {
			return
		}
	}
	to.send("end", "")
}

// statusEvery is how often a session is looked at that somebody else works on.
const statusEvery = time.Second

// followStatus waits until a session is in another state.
func (s *Site) followStatus(to stream, r *http.Request, x bowline.Session) {
	tick := time.NewTicker(statusEvery)
	defer tick.Stop()
	for {
		select {
		case <-r.Context().Done():
			return
		case <-tick.C:
		}
		now, err := s.cfg.Client.Session(r.Context(), x.ID)
		if err != nil || now.Status != x.Status {
			to.send("end", "")
			return
		}
		if !to.send("alive", "") {
			return
		}
	}
}

// follow streams the lines of an action until it ends.
func (x *action) follow(to stream, ctx context.Context) {
	for n := 0; ; {
		lines, more := x.after(n)
		for _, l := range lines {
			if !to.send("progress", l) {
				return
			}
			n++
		}
		select {
		case <-x.done:
			if rest, _ := x.after(n); len(rest) == 0 {
				to.send("end", "")
				return
			}
		case <-more:
		case <-ctx.Done():
			return
		}
	}
}
