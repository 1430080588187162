package plan

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bowline-sh/bowline/change"
)

func sample() Plan {
	return Plan{Version: Version, Session: "20261121-x-a3f2", HostKey: "k", Mode: Root, Ops: []Operation{
		{Change: &change.Change{Path: "/a", After: change.State{Type: change.Dir, Mode: 0o755}}},
		{Command: &Command{Argv: []string{"c"}, Path: "/c"}},
		{Change: &change.Change{Path: "/a", Before: change.State{Type: change.Dir, Mode: 0o755}}},
	}}
}

func TestDigestCoversWhatApplyDoes(t *testing.T) {
	t.Parallel()
	first, err := sample().Digest()
	if err != nil {
		t.Fatal(err)
	}
	for name, alter := range map[string]func(*Plan){
		"host":    func(p *Plan) { p.HostKey = "other" },
		"order":   func(p *Plan) { slices.Reverse(p.Ops) },
		"mode":    func(p *Plan) { p.Ops[0].Change.After.Mode = 0o777 },
		"command": func(p *Plan) { p.Ops[1].Command.Env = []string{"A=1"} },
		"fewer":   func(p *Plan) { p.Ops = p.Ops[:2] },
	} {
		p := sample()
		alter(&p)
		if d, err := p.Digest(); err != nil || d == first {
			t.Errorf("%s: digest %s, %v; want another", name, d, err)
		}
	}
	p := sample()
	p.Created, p.Target, p.Ops[2].Change.Before.MTime = time.Unix(1, 0), "t", 9
	if d, err := p.Digest(); err != nil || d != first {
		t.Errorf("two dry runs with the same effect: %s, %v; want %s", d, err, first)
	}
}

func TestStretches(t *testing.T) {
	t.Parallel()
	st := sample().Stretches()
	if len(st) != 2 || st[0].First != 1 || st[0].Command == nil || st[1].First != 3 || st[1].Command != nil {
		t.Errorf("%+v", st)
	}
}

// The whole table, as it is promised.
func TestMoves(t *testing.T) {
	t.Parallel()
	var got []string
	for _, from := range Statuses() {
		for _, to := range Statuses() {
			if CanMove(from, to) {
				got = append(got, string(from)+">"+string(to))
			}
		}
	}
	want := "applying>approved applying>executed applying>failed applying>partial applying>rolled_back " +
		"approved>applying approved>cancelled approved>expired approved>rejected executed>partial executed>rolled_back " +
		"partial>applying partial>rolled_back pending>approved pending>cancelled pending>expired pending>rejected"
	if s := strings.Join(got, " "); s != want {
		t.Errorf("moves:\n%s\nwant:\n%s", s, want)
	}
}

// TestWithheld: what is left out is withheld from a second run, but for what would
// also keep the script from what is kept.
func TestWithheld(t *testing.T) {
	t.Parallel()
	file := change.State{Type: change.File, Mode: 0o644, SHA256: strings.Repeat("a", 64)}
	dir := change.State{Type: change.Dir, Mode: 0o755}
	op := func(p string, before, after change.State) Operation {
		return Operation{Change: &change.Change{Path: change.Path(p), Before: before, After: after}}
	}
	p := Plan{Ops: []Operation{
		op("/a", change.State{}, dir), op("/a/f", change.State{}, file), op("/a/g", change.State{}, file),
		op("/b", file, change.State{}), {Command: &Command{Argv: []string{"x"}, Path: "/x"}}, op("/b", change.State{}, file),
	}}
	for _, tt := range []struct {
		out     []int
		want    string
		untried string
	}{
		{[]int{2}, "/a/f", ""},
		{[]int{1, 2, 3}, "/a", ""},
		{[]int{1, 2}, "/a/f", "1"},
		{[]int{6}, "", "6"},
		{[]int{4, 5, 6}, "/b", ""},
		{[]int{5}, "", ""},
	} {
		withheld, untried := p.Withheld(func(n int) bool { return !slices.Contains(tt.out, n) })
		var got []string
		for _, c := range withheld {
			got = append(got, string(c.Path))
		}
		if s := strings.Join(got, " "); s != tt.want || Numbers(untried) != tt.untried {
			t.Errorf("without %v: withheld %q, not tried %q; want %q, %q", tt.out, s, Numbers(untried), tt.want, tt.untried)
		}
	}
}

// TestMissing compares effects, each as often as it is there, and not times.
func TestMissing(t *testing.T) {
	t.Parallel()
	p := sample()
	all := func(int) bool { return true }
	if m := p.Missing(p, all); len(m) > 0 {
		t.Errorf("of itself it misses %v", m)
	}
	again := sample()
	again.Ops[0].Change.After.MTime = 99
	again.Ops[0].Change.Before = change.State{Type: change.Fifo}
	if m := p.Missing(again, all); len(m) > 0 {
		t.Errorf("times and what was before count: %v", m)
	}
	again.Ops[0].Change.After.Mode ^= 1
	if m := p.Missing(again, all); !slices.Equal(m, []int{1}) {
		t.Errorf("another mode: %v", m)
	}
	again.Ops = again.Ops[:1]
	if m := p.Missing(again, func(n int) bool { return n != 1 }); len(m) != len(p.Ops)-1 {
		t.Errorf("nothing done: %v", m)
	}
	if got := Numbers([]int{1, 3, 4, 5, 9}); got != "1, 3-5, 9" {
		t.Error(got)
	}
}
