package api

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// writeTime is how long a reader of events may take to accept one, and heartbeat how
// often a silent stream says that it lives.
const (
	writeTime = 10 * time.Second
	heartbeat = 15 * time.Second
)

// events is a stream of server-sent events (HTML standard, section 9.2). Methods may be
// called concurrently. A reader that accepts nothing for writeTime has lost its stream:
// writing fails, and what waits for it does not.
type events struct {
	w  http.ResponseWriter
	rc *http.ResponseController

	mu    sync.Mutex // guards what follows, and w
	began bool
	err   error
	timer *time.Timer
}

func newEvents(w http.ResponseWriter) *events {
	return &events{w: w, rc: http.NewResponseController(w)}
}

// send writes an event whose data is one line of JSON. id is for readers that come
// back; "" for none.
func (e *events) send(name, id string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	head := "event: " + name + "\n"
	if id != "" {
		head = "id: " + id + "\n" + head
	}
	return e.write(head + "data: " + string(data) + "\n\n")
}

func (e *events) write(text string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err != nil {
		return e.err
	}
	if !e.began {
		e.began = true
		h := e.w.Header()
		h.Set("Content-Type", "text/event-stream")
		h.Set("Cache-Control", "no-store")
		h.Set("X-Accel-Buffering", "no") // nginx
		e.timer = time.AfterFunc(heartbeat, e.beat)
	}
	e.err = e.rc.SetWriteDeadline(time.Now().Add(writeTime))
	if e.err == nil {
		_, e.err = io.WriteString(e.w, text)
	}
	if e.err == nil {
		e.err = e.rc.Flush()
	}
	e.timer.Reset(heartbeat)
	return e.err
}

func (e *events) beat() {
	if e.write(": still here\n\n") != nil {
		e.stop()
	}
}

func (e *events) stop() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.timer != nil {
		e.timer.Stop()
	}
	if e.err == nil {
		e.err = fmt.Errorf("the stream has ended")
	}
}

// end writes the last event.
func (e *events) end(out any, err error) {
	if err != nil {
		_ = e.send("problem", "", ProblemOf(err)) // the reader is gone
	} else {
		_ = e.send("result", "", out)
	}
	e.stop()
}

// output is a Writer whose bytes become events.
type output struct {
	*events
	stream string
}

// Output is a piece of what a command wrote.
type Output struct {
	Data []byte `json:"data"` // base64: bytes of any kind
}

func (o output) Write(p []byte) (int, error) {
	if err := o.send(o.stream, "", Output{p}); err != nil {
		return 0, err
	}
	return len(p), nil
}
