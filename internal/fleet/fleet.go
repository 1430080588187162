// Package fleet does one thing on many targets: so many at a time, in waves, and no
// further when too many have failed. It knows nothing of what is done.
//
// # Invariants
//
//   - Every target gets exactly one result, in whatever order they end.
//   - A wave begins when all of the one before have ended.
//   - What was begun is never taken for not begun: only a target whose function was not
//     called is Skipped.
package fleet

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// DefaultFanout is how many targets are worked on at a time.
const DefaultFanout = 64

// Size is a number of targets, or a share of them.
type Size struct {
	N       int
	Percent bool
}

// ParseSize reads "12" or "10%".
func ParseSize(s string) (Size, error) {
	digits, percent := strings.CutSuffix(strings.TrimSpace(s), "%")
	n, err := strconv.Atoi(digits)
	if err != nil || n < 0 || percent && n > 100 {
		return Size{}, fmt.Errorf("%q is neither a number, as 3, nor a share, as 10%%", s)
	}
	return Size{n, percent}, nil
}

// ParseWaves reads sizes joined by commas, as in "1,10%,100%". Each is that of one wave;
// the last is repeated until all targets are done.
func ParseWaves(s string) ([]Size, error) {
	if s == "" {
		return nil, nil
	}
	var out []Size
	for part := range strings.SplitSeq(s, ",") {
		size, err := ParseSize(part)
		if err == nil && size.N == 0 {
			err = errors.New("a wave of nobody")
		}
		if err != nil {
			return nil, err
		}
		out = append(out, size)
	}
	return out, nil
}

// Of is the size among total targets. A share is rounded up, so that a wave is never empty.
func (s Size) Of(total int) int {
	if s.Percent {
		return (total*s.N + 99) / 100
	}
	return s.N
}

// Order is how targets are sorted.
type Order string

const (
	AsGiven Order = ""       // that of the configuration
	ByName  Order = "name"   // by name
	Random  Order = "random" // no two calls alike
)

// Options say how a fleet is worked on. The zero value is all at once, DefaultFanout at a
// time, whatever fails.
type Options struct {
	Fanout int
	Waves  []Size
	// MaxFailures stops the fleet when more targets than that have failed; nil: never,
	// but with Waves the first failure ends the fleet after its wave.
	MaxFailures *Size
	Order       Order
}

// Arrange returns targets in their order.
func (o Options) Arrange(targets []string) ([]string, error) {
	out := slices.Clone(targets)
	switch o.Order {
	case AsGiven:
	case ByName:
		slices.Sort(out)
	case Random:
		rand.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	default:
		return nil, fmt.Errorf("there is no order %q: use name or random", o.Order)
	}
	return out, nil
}

// waves cuts n targets up.
func (o Options) waves(n int) []int {
	if len(o.Waves) == 0 {
		return []int{n}
	}
	var out []int
	for i := 0; n > 0; i++ {
		size := min(o.Waves[min(i, len(o.Waves)-1)].Of(n+sum(out)), n)
		out = append(out, size)
		n -= size
	}
	return out
}

func sum(list []int) int {
	total := 0
	for _, n := range list {
		total += n
	}
	return total
}

// Do calls work for the targets, and skipped for those that it never gets to. Both are
// called from several goroutines. work reports whether the target failed. When ctx ends
// nothing more is begun; work gets the same ctx. Do returns when all work has.
func Do(ctx context.Context, o Options, targets []string, work func(ctx context.Context, target string) (ok bool), skipped func(target string)) {
	f := &fleet{o: o, work: work, total: len(targets)}
	for _, size := range o.waves(len(targets)) {
		for _, t := range f.wave(ctx, targets[:size]) {
			skipped(t)
		}
		targets = targets[size:]
	}
}

type fleet struct {
	o     Options
	work  func(context.Context, string) bool
	total int

	mu     sync.Mutex
	failed int
}

// wave works on targets and returns those that were not begun.
func (f *fleet) wave(ctx context.Context, targets []string) []string {
	if f.stopped(true) {
		return targets
	}
	fanout := f.o.Fanout
	if fanout <= 0 {
		fanout = DefaultFanout
	}
	slots := make(chan struct{}, fanout)
	var running sync.WaitGroup
	defer running.Wait()
	for i, t := range targets {
		select {
		case <-ctx.Done():
			return targets[i:]
		case slots <- struct{}{}:
		}
		if f.stopped(false) || ctx.Err() != nil {
			return targets[i:]
		}
		running.Go(func() {
			ok := f.work(ctx, t)
			f.mu.Lock()
			if !ok {
				f.failed++
			}
			f.mu.Unlock()
			<-slots
		})
	}
	return nil
}

// stopped reports whether too many have failed; between says that a wave has just ended.
func (f *fleet) stopped(between bool) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.o.MaxFailures != nil:
		return f.failed > f.o.MaxFailures.Of(f.total)
	case len(f.o.Waves) > 0:
		return between && f.failed > 0
	}
	return false
}
