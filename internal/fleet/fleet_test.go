package fleet_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"github.com/bowline-sh/bowline/internal/fleet"
)

func names(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("t%03d", i)
	}
	return out
}

// do works on n targets, of which bad fail, and returns what happened.
func do(t testing.TB, o fleet.Options, n int, bad func(i int) bool) (done, skipped []string, most int) {
	t.Helper()
	var mu sync.Mutex
	var now, peak atomic.Int64
	targets := names(n)
	fleet.Do(context.Background(), o, targets, func(_ context.Context, name string) bool {
		peak.Store(max(peak.Load(), now.Add(1)))
		defer now.Add(-1)
		mu.Lock()
		defer mu.Unlock()
		done = append(done, name)
		return bad == nil || !bad(slices.Index(targets, name))
	}, func(name string) {
		mu.Lock()
		defer mu.Unlock()
		skipped = append(skipped, name)
	})
	return done, skipped, int(peak.Load())
}

func sizes(t testing.TB, s string) []fleet.Size {
	t.Helper()
	w, err := fleet.ParseWaves(s)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestWavesStopAtAFailure(t *testing.T) {
	none, one := fleet.Size{}, fleet.Size{N: 1}
	tenth := fleet.Size{N: 10, Percent: true}
	for _, tt := range []struct {
		name  string
		waves string
		max   *fleet.Size
		bad   []int
		want  int // done
	}{
		{"all", "", nil, []int{0, 5}, 20},
		{"canary fails", "1,100%", nil, []int{0}, 1},
		{"second wave fails", "1,25%,100%", nil, []int{3}, 6},
		{"last wave fails", "1,25%,100%", nil, []int{19}, 20},
		{"one may fail", "1,25%,100%", &one, []int{0}, 20},
		{"two fail where one may", "1,25%,100%", &one, []int{0, 3}, 4}, // it stops inside the wave
		{"share may fail", "5", &tenth, []int{0, 6}, 20},
		{"more than the share", "5", &tenth, []int{0, 6, 7}, 8},
		{"none may fail", "10,10", &none, []int{2}, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := fleet.Options{Waves: sizes(t, tt.waves), MaxFailures: tt.max, Fanout: 1}
			done, skipped, _ := do(t, o, 20, func(i int) bool { return slices.Contains(tt.bad, i) })
			if len(done)+len(skipped) != 20 {
				t.Fatalf("%d done, %d skipped", len(done), len(skipped))
			}
			if len(done) != tt.want {
				t.Errorf("%d done, want %d: %v", len(done), tt.want, done)
			}
		})
	}
}

func TestFanoutIsKept(t *testing.T) {
	_, _, most := do(t, fleet.Options{Fanout: 3}, 50, nil)
	if most > 3 {
		t.Errorf("%d at a time", most)
	}
}

// TestEachOnce: whatever the options, every target has exactly one end.
func TestEachOnce(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		n := rapid.IntRange(0, 60).Draw(r, "targets")
		o := fleet.Options{Fanout: rapid.IntRange(0, 9).Draw(r, "fanout")}
		for range rapid.IntRange(0, 4).Draw(r, "waves") {
			o.Waves = append(o.Waves, fleet.Size{N: rapid.IntRange(1, 100).Draw(r, "size"), Percent: rapid.Bool().Draw(r, "share")})
		}
		if rapid.Bool().Draw(r, "limited") {
			o.MaxFailures = &fleet.Size{N: rapid.IntRange(0, 20).Draw(r, "max"), Percent: rapid.Bool().Draw(r, "of all")}
		}
		every := rapid.IntRange(1, 9).Draw(r, "bad one in")
		done, skipped, _ := do(t, o, n, func(i int) bool { return i%every == 0 })
		all := slices.Concat(done, skipped)
		slices.Sort(all)
		if !slices.Equal(all, names(n)) {
			r.Fatalf("ends: %v", all)
		}
	})
}

func TestNothingBeginsAfterCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	var skipped atomic.Int64
	var done atomic.Int64
	fleet.Do(ctx, fleet.Options{Fanout: 1}, names(10), func(context.Context, string) bool {
		if done.Add(1) == 3 {
			cancel()
		}
		return true
	}, func(string) { skipped.Add(1) })
	if done.Load() != 3 || skipped.Load() != 7 {
		t.Errorf("%d done, %d skipped", done.Load(), skipped.Load())
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]string{"1,10%,100%": "1 2 20", "7": "7", "0%": "!", "": "", "x": "!", "101%": "!", "-1": "!", "1,": "!"} {
		w, err := fleet.ParseWaves(text)
		var got []string
		for _, s := range w {
			got = append(got, fmt.Sprint(s.Of(20)))
		}
		if g := strings.Join(got, " "); err != nil && want != "!" || err == nil && g != want {
			t.Errorf("%q: %q, %v; want %q", text, g, err, want)
		}
	}
}

func TestOrder(t *testing.T) {
	got, err := fleet.Options{Order: fleet.ByName}.Arrange([]string{"b", "a"})
	if err != nil || !slices.Equal(got, []string{"a", "b"}) {
		t.Error(got, err)
	}
	if _, err := (fleet.Options{Order: "sideways"}).Arrange(nil); err == nil {
		t.Error("an unknown order was accepted")
	}
	many := names(100)
	got, err = fleet.Options{Order: fleet.Random}.Arrange(many)
	if err != nil || slices.Equal(got, many) || len(got) != 100 {
		t.Error("random order is that of the names", err)
	}
}

func TestGroups(t *testing.T) {
	var g fleet.Groups
	g.Add("c", 0, []byte("x"))
	g.Add("a", 0, []byte("y"))
	g.Add("b", 0, []byte("x"))
	g.Add("d", 1, []byte("x"))
	list := g.List()
	if len(list) != 3 || fmt.Sprint(list[0].Targets) != "[b c]" || fmt.Sprint(list[1].Targets) != "[a]" || list[2].Exit != 1 {
		t.Errorf("%+v", list)
	}
}
