package tui

import (
	"fmt"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/plan"
)

// What a person may have to wait for.
const (
	firstPaint = 200 * time.Millisecond
	oneKey     = 50 * time.Millisecond
)

// huge is a plan of 5,000 operations, one of them a file of 50 MiB that changed
// throughout.
func huge(t testing.TB) bowline.Session {
	kept := map[string][]byte{}
	var before, after strings.Builder
	for i := 0; before.Len() < 50<<20; i++ {
		fmt.Fprintf(&before, "%08d a line of a log that is as long as most of them are\n", i)
		fmt.Fprintf(&after, "%08d a line of a log that is as wrong as most of them are\n", i)
	}
	ops := []plan.Operation{file(kept, "/srv/data/log", before.String(), after.String())}
	for i := range 4998 {
		ops = append(ops, file(kept, fmt.Sprintf("/srv/tree/%02d/file%04d.conf", i/100, i), "key=1\n", fmt.Sprintf("key=%d\n", i+2)))
	}
	return sessionOf(t, kept, append(ops, command("systemctl", "restart", "nginx"))...)
}

// quickest is the best of some runs: what the machine does besides must not count.
func quickest(runs int, f func()) time.Duration {
	best := time.Hour
	for range runs {
		start := time.Now()
		f()
		best = min(best, time.Since(start))
	}
	return best
}

// TestSpeed holds the screen to its times with a plan of 5,000 operations and a
// diff of 50 MiB.
func TestSpeed(t *testing.T) {
	x := huge(t)
	var p *player
	paint := quickest(3, func() {
		p = play(t, 200, 60, x)
		p.press("enter") // reads it, checks its digest, makes its document
		p.a.View()
	})
	p.sees("4999 to change", "1 commands")
	report := func(what string, took, limit time.Duration) {
		t.Logf("%-34s %8.2f ms", what, float64(took.Microseconds())/1000)
		if took > limit && !raced {
			t.Errorf("%s takes %s, more than %s", what, took, limit)
		}
	}
	report("first paint of the session", paint, firstPaint)
	key := func(what string, keys ...string) {
		report(what, quickest(5, func() { p.press(keys...); p.a.View() }), oneKey)
	}
	for _, k := range []string{"down", "pgdown", "end", "g", "tab", "*"} {
		key("session: "+k, k)
	}
	key("session: find", "/", "type:file4997", "enter", "esc")
	key("session: unfold and fold", "g", "tab", "tab", "down", "down", "enter")
	report("session: resize", quickest(5, func() { p.send(tea.WindowSizeMsg{Width: 150, Height: 50}); p.a.View() }), oneKey)
	p.on(1)
	p.hold = true // the diff is made beside the loop
	start := time.Now()
	p.press("enter")
	p.a.View()
	report("operation: first paint", time.Since(start), oneKey)
	p.hold = false
	diff := quickest(3, func() {
		for _, c := range p.held {
			p.do(c)
		}
	})
	p.sees("- 00000000 a line", "only the first part of them")
	report("operation: diff of 50 MiB is there", diff, firstPaint)
	for _, k := range []string{"down", "pgdown", "end", "]", "s"} {
		key("operation: "+k, k)
	}
	key("operation: fold and unfold", "z", "z")
	key("operation: find", "g", "/", "type:not to be found", "enter", "esc")
	report("operation: resize", quickest(5, func() { p.send(tea.WindowSizeMsg{Width: 80, Height: 24}); p.a.View() }), oneKey)
}

// BenchmarkKey is one key and its picture in a plan of 5,000 operations.
func BenchmarkKey(b *testing.B) {
	p := play(&testing.T{}, 200, 60)
	p.f.sessions = []bowline.Session{huge(b)}
	p.do(p.a.refresh())
	p.press("enter")
	for b.Loop() {
		p.press("down")
		p.a.View()
	}
}
