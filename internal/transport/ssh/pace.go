package ssh

import "time"

const (
	// loginsAtOnce is how many logins we have under way at one server at most:
	// sshd drops connections at random from 10 that are not logged in (MaxStartups
	// 10:30:100, sshd_config(5)), and others log in, too. On a busy host it also counts a few for a
	// moment after we know that it is over. A server that would bear more gains
	// nothing by it: a login is work for its processors.
	loginsAtOnce = 6

	// penaltyQuiet is how long a server that refuses our address is left alone;
	// it refuses for 15 s at least, and in steps of seconds (PerSourcePenalties,
	// sshd_config(5), OpenSSH 9.8).
	penaltyQuiet = 4 * time.Second
)

// verdict is what an attempt to log in tells of the server.
type verdict int

const (
	unclear   verdict = iota // nothing: it was not reached, or took too long
	answered                 // it spoke with us, whatever came of it
	dropped                  // it closed the connection without a word of SSH
	penalised                // it refuses our address for a while
)

// pace decides how many logins may be under way at one server: fewer by half when
// it drops one, one more after as many answers as there may be logins. The zero
// value is not ready, see newPace. It does no I/O.
type pace struct {
	limit   int
	running int
	gained  int       // answers since limit last changed
	cuts    int       // how often limit was cut
	quiet   time.Time // no login before
}

func newPace() pace { return pace{limit: loginsAtOnce} }

// admit begins a login if there may be one more now. Its stamp is for end. Otherwise
// wait tells when to ask again; 0: when a login has ended.
func (p *pace) admit(now time.Time) (stamp int, wait time.Duration, ok bool) {
	if wait := p.quiet.Sub(now); wait > 0 {
		return 0, wait, false
	}
	if p.running >= p.limit {
		return 0, 0, false
	}
	p.running++
	return p.cuts, 0, true
}

// end takes note of a login that has ended. Drops of logins that began before the
// last cut say nothing new.
func (p *pace) end(stamp int, v verdict, now time.Time) {
	p.running--
	switch {
	case v == answered:
		if p.gained++; p.gained >= p.limit && p.limit < loginsAtOnce {
			p.limit, p.gained = p.limit+1, 0
		}
	case v == penalised:
		p.quiet = now.Add(penaltyQuiet)
		p.cut(1)
	case v == dropped && stamp == p.cuts:
		p.cut(max(p.limit/2, 1))
	}
}

func (p *pace) cut(limit int) {
	p.limit, p.gained = limit, 0
	p.cuts++
}

// fresh reports whether p is as newPace gives it, but for counters.
func (p *pace) fresh(now time.Time) bool {
	return p.running == 0 && p.limit == loginsAtOnce && !p.quiet.After(now)
}
