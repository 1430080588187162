package ssh

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/bowline-sh/bowline/diag"
)

// spread is the longest random wait of a login that has company: clients that begin
// in the same moment do not come to the server in one.
const spread = 20 * time.Millisecond

// gates let logins pass one server at the pace that it bears. The zero value is ready
// to use; methods may be called concurrently.
type gates struct {
	// mu guards byServer and all below it.
	mu       sync.Mutex
	byServer map[string]*gate
}

// gate is the way to one server.
type gate struct {
	pace  pace
	queue []chan int // of those who wait, in order; gets the stamp of admit
	moved time.Time  // when the server last answered
	said  error      // why it last dropped somebody, or nil
}

// turn is a login that passed.
type turn struct {
	g     *gates
	key   string
	stamp int
}

// errQueue is why a dial waited in vain.
var errQueue = errors.New("no other login to this server came to an end")

// enter waits for the turn of a login to the server with the key. While others get
// their answers it waits as long as it takes; when nobody has for patience it gives up.
func (g *gates) enter(ctx context.Context, key string, patience time.Duration) (*turn, error) {
	mine, company := g.line(key)
	t := &turn{g, key, 0}
	arrived := time.Now()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		select {
		case t.stamp = <-mine:
			return t, t.spread(ctx, company)
		case <-ctx.Done():
			g.leave(t, mine)
			return nil, context.Cause(ctx)
		case <-timer.C:
			moved, said := g.news(key)
			if idle := time.Since(later(moved, arrived)); idle < patience {
				timer.Reset(patience - idle)
				continue
			}
			g.leave(t, mine)
			if said == nil {
				said = errQueue
			}
			return nil, diag.New(diag.Unreachable, "", diag.HintOf(said), "waited %v for its turn: %v", patience, said) // not a drop itself
		}
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// line stands in line. company says that the caller is not alone.
func (g *gates) line(key string) (mine chan int, company bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.byServer == nil {
		g.byServer = map[string]*gate{}
	}
	at := g.byServer[key]
	if at == nil {
		at = &gate{pace: newPace()}
		g.byServer[key] = at
	}
	mine = make(chan int, 1)
	at.queue = append(at.queue, mine)
	g.call(key, at)
	return mine, at.pace.running+len(at.queue) > 1
}

// call lets those pass whose turn it is. The caller holds mu.
func (g *gates) call(key string, at *gate) {
	for len(at.queue) > 0 {
		stamp, wait, ok := at.pace.admit(time.Now())
		if !ok {
			if wait > 0 {
				time.AfterFunc(wait, func() { g.again(key) })
			}
			return
		}
		at.queue[0] <- stamp // its buffer is empty
		at.queue = at.queue[1:]
	}
	if at.pace.fresh(time.Now()) {
		delete(g.byServer, key)
	}
}

func (g *gates) again(key string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if at := g.byServer[key]; at != nil {
		g.call(key, at)
	}
}

// leave takes a caller out of the line, who may have been called meanwhile.
func (g *gates) leave(t *turn, mine chan int) {
	g.mu.Lock()
	at := g.byServer[t.key]
	i := slices.Index(at.queue, mine)
	if i >= 0 {
		at.queue = slices.Delete(at.queue, i, i+1)
	}
	g.mu.Unlock()
	if i < 0 {
		t.stamp = <-mine
		t.end(unclear, nil)
	}
}

func (g *gates) news(key string) (moved time.Time, said error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	at := g.byServer[key]
	return at.moved, at.said
}

// spread waits a moment if the login has company. If ctx ends the turn is over.
func (t *turn) spread(ctx context.Context, company bool) error {
	if !company {
		return nil
	}
	timer := time.NewTimer(rand.N(spread))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		t.end(unclear, nil)
		return context.Cause(ctx)
	}
}

// end tells what came of the login, and calls the next.
func (t *turn) end(v verdict, why error) {
	t.g.mu.Lock()
	defer t.g.mu.Unlock()
	at := t.g.byServer[t.key] // there is one while a login runs
	at.pace.end(t.stamp, v, time.Now())
	switch v {
	case answered:
		at.moved, at.said = time.Now(), nil
	case dropped, penalised:
		at.said = why
	}
	t.g.call(t.key, at)
}

// pass calls f, which logs in to the end of r, when it is its turn. The clock of the
// dial stands still in the line.
func (d *Dialer) pass(ctx context.Context, r *route, f func() error) error {
	resume := r.clock.pause()
	t, err := d.gates.enter(ctx, r.server, d.cfg.Timeout)
	resume()
	if err != nil {
		if over := ended(ctx, d.cfg.Timeout, phaseConnect); over != nil {
			return over
		}
		return err
	}
	err = f()
	t.end(verdictOf(err), err)
	return err
}

// verdictOf reads an error of logIn or carrier.
func verdictOf(err error) verdict {
	if drop, ok := errors.AsType[drop](err); ok {
		return drop.verdict
	}
	switch diag.KindOf(err) {
	case diag.Unreachable, diag.Canceled:
		return unclear
	}
	return answered
}

// serverKey names what counts our logins together: an address as it is seen from the
// jump hosts before it, or a proxy command of any host, behind which there may be one
// server. All loopback addresses are this machine (RFC 1122, section 3.2.1.3).
func serverKey(r *route, before string, proxyCommand string) string {
	host := r.end.host
	if a, err := netip.ParseAddr(host); err == nil && a.Unmap().IsLoopback() {
		host = "localhost"
	}
	key := net.JoinHostPort(strings.ToLower(host), strconv.Itoa(r.end.port))
	switch {
	case r.command != "":
		return "command " + proxyCommand
	case before != "":
		return before + " " + key
	}
	return key
}

// drop marks the failure of a login that the server did not let begin.
type drop struct {
	error
	verdict verdict
}

func (d drop) Unwrap() error { return d.error }

// What sshd says when it refuses to begin, see drop_connection in sshd.c: the first
// under MaxStartups, the second under PerSourcePenalties since OpenSSH 9.8.
const (
	saysMaxStartups = "Exceeded MaxStartups"
	saysPenalty     = "Not allowed at this time"
)

// maxGreeting bounds what is remembered of a server's first words, in bytes; a line of
// its version has at most 255 (RFC 4253, section 4.2).
const maxGreeting = 512

// greeting remembers what a server says before its version. x/crypto reads that before
// NewClientConn starts any goroutine, so that what is written here can be read when the
// handshake has failed.
type greeting struct {
	net.Conn
	said    []byte
	version bool // it was said
}

func (g *greeting) Read(p []byte) (int, error) {
	n, err := g.Conn.Read(p)
	if !g.version && len(g.said) < maxGreeting {
		g.said = append(g.said, p[:min(n, maxGreeting-len(g.said))]...)
		text := string(g.said)
		g.version = strings.HasPrefix(text, "SSH-") || strings.Contains(text, "\nSSH-")
	}
	return n, err
}

// refusal is the error for a server that closed the connection before it said its
// version, or nil if it did not do that.
func (g *greeting) refusal(err error) error {
	text := strings.TrimSpace(string(g.said))
	switch {
	case g.version || !transient(err):
		return nil
	case strings.Contains(text, saysPenalty):
		return drop{diag.New(diag.Unreachable, "", "wait a minute; on the target see why it does not want us:\njournalctl -u ssh",
			"the server refuses this machine for a while, as it does after logins that failed (PerSourcePenalties): %q", clean(text)), penalised}
	case strings.Contains(text, saysMaxStartups):
		return drop{diag.New(diag.Unreachable, "", "try again later, or raise MaxStartups in /etc/ssh/sshd_config of the target",
			"too many logins are under way at the server (MaxStartups)"), dropped}
	}
	if p, ok := g.Conn.(interface{ complaint() error }); ok {
		return commandRefusal(p.complaint())
	}
	return drop{diag.New(diag.Unreachable, "", "", "connection ended while %s, before the server said anything: %w", phaseKeys, cleanError{err}), dropped}
}

// commandRefusal is the same for a proxy command that said why it ended: ssh -W tells
// of a bastion that dropped it.
func commandRefusal(said error) error {
	if said == nil || !strings.Contains(said.Error(), "kex_exchange_identification") {
		return nil
	}
	return drop{diag.New(diag.Unreachable, "", "", "connection ended while %s: ProxyCommand: %w", phaseKeys, said), dropped}
}
