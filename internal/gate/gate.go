// Package gate is the one place where the configured policy is asked, below every
// surface: by the executor, the engine and the copier, when target and profile are
// known and before anything is done. It says who calls, counts acts, and turns verdicts
// into errors that say what would pass.
//
// It is a separate package because the rules themselves (package policy) are pure,
// while counting needs a clock and memory. What it counts is counted in this process:
// two processes of one caller have a limit each.
package gate

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/caller"
	"github.com/bowline-sh/bowline/internal/policy"
)

// Config is what a Gate is made of. Policy and Now are required.
type Config struct {
	Policy func() (policy.Policy, error) // as it is now; with an error nothing is allowed
	Caller caller.Caller                 // who calls where the context says nothing
	Now    func() time.Time
	// Ask puts a question to the person at the terminal; nil where there is none.
	Ask func(ctx context.Context, question string) (bool, error)
}

// Gate asks the policy. Methods may be called concurrently.
type Gate struct {
	cfg Config

	mu    sync.Mutex // guards what follows
	rates map[string][]time.Time
	busy  map[string]int
}

// New returns a Gate.
func New(cfg Config) *Gate {
	if cfg.Policy == nil || cfg.Now == nil {
		panic("gate: Config is incomplete")
	}
	return &Gate{cfg: cfg, rates: map[string][]time.Time{}, busy: map[string]int{}}
}

// Who is the caller of ctx in the words of rules.
func (g *Gate) Who(ctx context.Context) policy.Actor {
	c := caller.From(ctx, g.cfg.Caller)
	return policy.Actor{User: c.User, Surface: c.Surface, Client: c.Client}
}

// Enter asks whether the caller of ctx may do r, and counts it. Whoever was let in
// calls leave when the act is over. Errors are of kind Refused, Denied for an approval.
func (g *Gate) Enter(ctx context.Context, r policy.Request) (leave func(), err error) {
	if grant := caller.From(ctx, g.cfg.Caller).Grant; grant != nil {
		if err := grant.Permit(r.Do, r.Target, r.Profile); err != nil {
			return nil, diag.New(diag.Denied, op(r.Do, r.Target), "use another token, or have one made with 'bowline token create'", "%w", err)
		}
	}
	p, err := g.cfg.Policy()
	if err != nil {
		return nil, err
	}
	if len(p.Rules) == 0 && len(p.Limits) == 0 {
		return func() {}, nil
	}
	r.Who = g.Who(ctx)
	v := p.Decide(r)
	switch v.Decision {
	case policy.Allow:
	case policy.Ask:
		if !r.Continues {
			err = g.ask(ctx, r, v)
		}
	default:
		err = refusal(r, v)
	}
	if err != nil {
		return nil, err
	}
	if r.Continues {
		return func() {}, nil
	}
	return g.count(p.Limits, r.Who, v.Do, r.Target)
}

func kind(do string) diag.Kind {
	if do == policy.Approve {
		return diag.Denied
	}
	return diag.Refused
}

func op(do, target string) string {
	if target == "" {
		return do
	}
	return do + " on " + target
}

// refusal says what was refused, by which rule, and what would pass.
func refusal(r policy.Request, v policy.Verdict) error {
	return diag.New(kind(v.Do), op(v.Do, r.Target), v.Hint, "the policy refuses it to %s: rule %q (%s): %s", r.Who, v.Rule, v.Source, v.Reason)
}

// ask lets a person at the terminal say yes. A model is no such person, and nobody at
// the terminal answers for another caller.
func (g *Gate) ask(ctx context.Context, r policy.Request, v policy.Verdict) error {
	if g.cfg.Ask == nil || r.Who.Surface == caller.MCP || r.Who != g.Who(context.Background()) {
		return diag.New(kind(v.Do), op(v.Do, r.Target), v.Hint+"\nor a person does it at a terminal", "rule %q (%s) asks a person first: %s", v.Rule, v.Source, v.Reason)
	}
	what := r.Target
	if len(r.Argv) > 0 {
		what += ": " + strings.Join(r.Argv, " ")
	}
	yes, err := g.cfg.Ask(ctx, fmt.Sprintf("rule %q asks before %s on %s: go on?", v.Rule, v.Do, what))
	if err != nil {
		return err
	}
	if !yes {
		return diag.New(kind(v.Do), op(v.Do, r.Target), "", "you said no to what rule %q (%s) asks", v.Rule, v.Source)
	}
	return nil
}

// maxPeriod is the longest period of a limit; see [policy.ParseRate].
const maxPeriod = 24 * time.Hour

// maxCallers bounds what is remembered of callers: a client chooses its own name.
const maxCallers = 10000

// count takes a place in every limit that applies, or in none.
func (g *Gate) count(limits []policy.Limit, who policy.Actor, do, target string) (leave func(), err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.cfg.Now()
	var keys, places []string
	for _, l := range limits {
		if !l.Applies(who, do) {
			continue
		}
		key := l.Name + "\x00" + who.User + "\x00" + who.Surface + "\x00" + who.Client
		if err := g.full(l, key, now); err != nil {
			return nil, diag.New(kind(do), op(do, target), hintOf(l, err), "limit %q (%s) for %s: %w", l.Name, l.Source, who, err)
		}
		if l.Rate > 0 {
			keys = append(keys, key)
		}
		if l.Concurrent > 0 {
			places = append(places, key)
		}
	}
	for _, k := range keys {
		g.rates[k] = append(g.rates[k], now)
	}
	for _, k := range places {
		g.busy[k]++
	}
	return sync.OnceFunc(func() { g.free(places) }), nil
}

func (g *Gate) free(places []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, k := range places {
		if g.busy[k]--; g.busy[k] == 0 {
			delete(g.busy, k)
		}
	}
}

// errBusy is the reason of a limit on acts at a time.
var errBusy = errors.New("as many as may be at a time are under way")

// full says why a limit lets no more in, after forgetting what is too old to count.
func (g *Gate) full(l policy.Limit, key string, now time.Time) error {
	if l.Concurrent > 0 && g.busy[key] >= l.Concurrent {
		return fmt.Errorf("%d: %w", l.Concurrent, errBusy)
	}
	if l.Rate == 0 {
		return nil
	}
	past := slices.DeleteFunc(g.rates[key], func(t time.Time) bool { return now.Sub(t) >= l.Per })
	if len(past) == 0 {
		delete(g.rates, key)
	} else {
		g.rates[key] = past
	}
	if len(past) >= l.Rate {
		return fmt.Errorf("%d in %s; the next in %s", l.Rate, l.Per, past[0].Add(l.Per).Sub(now).Round(time.Second))
	}
	if len(g.rates) >= maxCallers && g.rates[key] == nil {
		g.sweep(now)
	}
	if len(g.rates) >= maxCallers && g.rates[key] == nil {
		return errors.New("more callers than can be counted")
	}
	return nil
}

// sweep forgets callers who did not come back: no limit looks back further than a day.
func (g *Gate) sweep(now time.Time) {
	maps.DeleteFunc(g.rates, func(_ string, past []time.Time) bool { return now.Sub(past[len(past)-1]) >= maxPeriod })
}

func hintOf(l policy.Limit, err error) string {
	if errors.Is(err, errBusy) {
		return fmt.Sprintf("wait until one is over; on a fleet use '--fanout %d'; or change the limit at %s", l.Concurrent, l.Source)
	}
	return "wait, or change the limit at " + l.Source
}
