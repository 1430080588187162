package gate

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/bowline-sh/bowline/internal/policy"
)

// Counter counts acts under limits: those of this process ([NewMemory]), or of all that
// share a store. Methods may be called concurrently.
type Counter interface {
	// Take takes a place in every limit, or in none with an error: a [*Full] if one lets
	// no more in. Whoever got places gives them back with leave.
	Take(ctx context.Context, places []Place, now time.Time) (leave func(), err error)
}

// Place is a limit for one caller.
type Place struct {
	Key   string // of limit and caller
	Limit policy.Limit
}

// Full says that a limit lets no more in.
type Full struct {
	Place Place
	Busy  bool          // as many as may be at a time are under way; else too many in the period
	Next  time.Duration // until there is a place, where that is known
}

// Error says which number is reached.
func (f *Full) Error() string {
	if f.Busy {
		return fmt.Sprintf("%d: as many as may be at a time are under way", f.Place.Limit.Concurrent)
	}
	return fmt.Sprintf("%d in %s; the next in %s", f.Place.Limit.Rate, f.Place.Limit.Per, f.Next.Round(time.Second))
}

// errCallers is the reason of a limit on what is remembered.
var errCallers = errors.New("more callers than can be counted")

// maxPeriod is the longest period of a limit; see [policy.ParseRate].
const maxPeriod = 24 * time.Hour

// maxCallers bounds what is remembered of callers: a client chooses its own name.
const maxCallers = 10000

// memory is a Counter of this process.
type memory struct {
	mu    sync.Mutex // guards what follows
	rates map[string][]time.Time
	busy  map[string]int
}

// NewMemory returns a Counter of this process: two processes of one caller have a limit
// each.
func NewMemory() Counter { return &memory{rates: map[string][]time.Time{}, busy: map[string]int{}} }

func (m *memory) Take(_ context.Context, places []Place, now time.Time) (leave func(), err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range places {
		if err := m.full(p, now); err != nil {
			return nil, err
		}
	}
	var held []string
	for _, p := range places {
		if p.Limit.Rate > 0 {
			m.rates[p.Key] = append(m.rates[p.Key], now)
		}
		if p.Limit.Concurrent > 0 {
			m.busy[p.Key]++
			held = append(held, p.Key)
		}
	}
	return sync.OnceFunc(func() { m.free(held) }), nil
}

func (m *memory) free(keys []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range keys {
		if m.busy[k]--; m.busy[k] == 0 {
			delete(m.busy, k)
		}
	}
}

// full says why a limit lets no more in, after forgetting what is too old to count.
func (m *memory) full(p Place, now time.Time) error {
	l := p.Limit
	if l.Concurrent > 0 && m.busy[p.Key] >= l.Concurrent {
		return &Full{Place: p, Busy: true}
	}
	if l.Rate == 0 {
		return nil
	}
	past := slices.DeleteFunc(m.rates[p.Key], func(t time.Time) bool { return now.Sub(t) >= l.Per })
	if len(past) == 0 {
		delete(m.rates, p.Key)
	} else {
		m.rates[p.Key] = past
	}
	if len(past) >= l.Rate {
		return &Full{Place: p, Next: past[0].Add(l.Per).Sub(now)}
	}
	if len(m.rates) >= maxCallers && m.rates[p.Key] == nil {
		m.sweep(now)
	}
	if len(m.rates) >= maxCallers && m.rates[p.Key] == nil {
		return errCallers
	}
	return nil
}

// sweep forgets callers who did not come back: no limit looks back further than a day.
func (m *memory) sweep(now time.Time) {
	maps.DeleteFunc(m.rates, func(_ string, past []time.Time) bool { return now.Sub(past[len(past)-1]) >= maxPeriod })
}
