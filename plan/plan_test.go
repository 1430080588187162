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
