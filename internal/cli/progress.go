package cli

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// fleetState is what the progress line shows.
type fleetState struct {
	done, failed int
	running      map[string]time.Time // since when
}

// fleetLine is one line on a terminal that is drawn over again. Without a writer it
// draws nothing. Methods may be called concurrently.
type fleetLine struct {
	w io.Writer

	mu    sync.Mutex
	state fleetState
	drawn bool
}

func (p *fleetLine) began(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state.running[name] = time.Now()
}

func (p *fleetLine) ended(name string, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.state.running, name)
	p.state.done++
	if !ok {
		p.state.failed++
	}
}

func (p *fleetLine) draw(total int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.w == nil {
		return
	}
	text := fmt.Sprintf("%d/%d done, %d failed, %d running", p.state.done, total, p.state.failed, len(p.state.running))
	if s := slowest(p.state.running, time.Now()); s != "" {
		text += "; " + s
	}
	const width = 79 // a line that wrapped could not be taken back
	fmt.Fprintf(p.w, "\r\x1b[K%s", safe(text[:min(len(text), width)]))
	p.drawn = true
}

// clear takes the line away.
func (p *fleetLine) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.drawn {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.drawn = false
	}
}
