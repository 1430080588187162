package ssh

import (
	"testing"
	"time"
)

// paced is a pace whose logins a test ends in the order it likes.
type paced struct {
	t *testing.T
	pace
	now    time.Time
	stamps []int
}

func newPaced(t *testing.T) *paced {
	return &paced{t: t, pace: newPace(), now: time.Unix(1e9, 0)}
}

// fill begins logins until no more may, and reports how many are under way.
func (p *paced) fill() int {
	for {
		stamp, _, ok := p.admit(p.now)
		if !ok {
			return p.running
		}
		p.stamps = append(p.stamps, stamp)
	}
}

// over ends the n oldest logins.
func (p *paced) over(n int, v verdict) {
	for range n {
		p.end(p.stamps[0], v, p.now)
		p.stamps = p.stamps[1:]
	}
}

func (p *paced) wantLimit(want int) {
	p.t.Helper()
	if p.limit != want {
		p.t.Errorf("limit %d, want %d", p.limit, want)
	}
}

func TestPaceBelowMaxStartups(t *testing.T) {
	p := newPaced(t)
	if n := p.fill(); n != loginsAtOnce || n >= 10 {
		t.Errorf("%d at once", n)
	}
	for range 1000 {
		p.over(1, answered)
		p.fill()
	}
	p.wantLimit(loginsAtOnce) // it does not try how much the server bears
}

func TestPaceHalvesOncePerDrops(t *testing.T) {
	p := newPaced(t)
	p.fill()
	p.over(3, dropped) // all from before the first cut
	p.wantLimit(3)
	p.over(1, unclear)
	p.fill()
	p.over(2, dropped) // still from before
	p.wantLimit(3)
	p.over(1, dropped)
	p.wantLimit(1)
	for range 5 {
		p.over(len(p.stamps), unclear)
		p.fill()
		p.over(1, dropped)
	}
	p.wantLimit(1) // never none
}

func TestPaceRecovers(t *testing.T) {
	p := newPaced(t)
	p.fill()
	p.over(1, dropped)
	p.over(5, unclear)
	p.wantLimit(3)
	for want := 4; want <= loginsAtOnce; want++ {
		for range want - 1 {
			p.wantLimit(want - 1)
			p.fill()
			p.over(1, answered)
		}
		p.wantLimit(want)
	}
	p.over(len(p.stamps), answered)
	if !p.fresh(p.now) {
		t.Error("nothing is left to know, and it is not fresh")
	}
}

func TestPaceUnderPenalty(t *testing.T) {
	p := newPaced(t)
	p.fill()
	p.over(1, penalised)
	p.over(loginsAtOnce-1, unclear)
	p.wantLimit(1)
	if _, wait, ok := p.admit(p.now); ok || wait != penaltyQuiet {
		t.Errorf("admitted %v, wait %v", ok, wait)
	}
	p.now = p.now.Add(penaltyQuiet)
	if n := p.fill(); n != 1 {
		t.Errorf("%d at once after a penalty", n)
	}
}
