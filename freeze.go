package bowline

import (
	"context"
	"sync"
	"time"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/fleet"
	"github.com/bowline-sh/bowline/internal/freeze"
)

// Frozen is who froze a target, when and why. Its texts may come from a target; they are
// printable, on one line.
type Frozen = freeze.Freeze

// FreezeRequest says what to freeze, or to lift.
type FreezeRequest struct {
	Selector string // "" or "all" is everything, targets that are added later too
	Reason   string
	Here     bool // on this client only, not on the targets
}

// FreezeResult is what became of one target's own switch.
type FreezeResult struct {
	Target string
	Did    string // set, already, lifted, none; "" with an error
	Found  Frozen // what was there already
	Err    error  // kind Denied: the login may not
}

// Freeze lets no run, plan, apply or copy begin on the targets until Unfreeze: on this
// client at once, and by a file on each target that holds for every client. What runs
// goes on; rollbacks stay possible. An error means that nothing was frozen, or that the
// record of it failed; what failed on targets, which are then frozen from this client
// only, is in the results.
func (c *Client) Freeze(ctx context.Context, req FreezeRequest) (Frozen, []FreezeResult, error) {
	names, targets, err := c.toFreeze(req)
	if err != nil {
		return Frozen{}, nil, err
	}
	f, err := c.parts.Freezer.Here(ctx, names, req.Reason)
	if err != nil || req.Here {
		return f, nil, err
	}
	return f, c.onEach(ctx, targets, func(ctx context.Context, name string) (string, Frozen, error) {
		t, err := c.parts.Resolve(name)
		if err != nil {
			return "", Frozen{}, err
		}
		did, found, err := c.parts.Freezer.There(ctx, t, f)
		return string(did), found, err
	}), nil
}

// Unfreeze lifts what Freeze did, whoever did it: on this client, and on the targets.
// It returns what was frozen on this client.
func (c *Client) Unfreeze(ctx context.Context, req FreezeRequest) (lifted []string, there []FreezeResult, err error) {
	names, targets, err := c.toFreeze(req)
	if err != nil {
		return nil, nil, err
	}
	lifted, err = c.parts.Freezer.LiftHere(ctx, names)
	if err != nil || req.Here {
		return lifted, nil, err
	}
	return lifted, c.onEach(ctx, targets, func(ctx context.Context, name string) (string, Frozen, error) {
		t, err := c.parts.Resolve(name)
		if err != nil {
			return "", Frozen{}, err
		}
		did, found, err := c.parts.Freezer.LiftThere(ctx, t)
		return string(did), found, err
	}), nil
}

// toFreeze returns the names under which this client keeps it, and the targets that have
// a switch of their own: not this machine, which only its own clients reach.
func (c *Client) toFreeze(req FreezeRequest) (names, targets []string, err error) {
	everything := req.Selector == "" || req.Selector == freeze.All
	selector := req.Selector
	if everything {
		selector, names = freeze.All, []string{freeze.All}
	}
	list, err := c.parts.Select(selector)
	if err != nil && !everything { // a client without targets can be frozen
		return nil, nil, err
	}
	for _, t := range list {
		if !everything {
			names = append(names, t.Name)
		}
		if t.Name != LocalTarget {
			targets = append(targets, t.Name)
		}
	}
	if len(names) == 0 {
		return nil, nil, diag.New(diag.Usage, "freeze", "see 'bowline target list'", "%q names no target", req.Selector)
	}
	return names, targets, nil
}

// freezeTimeout bounds what is done on one target, connecting included.
const freezeTimeout = time.Minute

func (c *Client) onEach(ctx context.Context, targets []string, do func(ctx context.Context, name string) (string, Frozen, error)) []FreezeResult {
	var mu sync.Mutex
	byName := map[string]FreezeResult{}
	keep := func(r FreezeResult) {
		mu.Lock()
		defer mu.Unlock()
		byName[r.Target] = r
	}
	fleet.Do(ctx, fleet.Options{}, targets, func(ctx context.Context, name string) bool {
		ctx, cancel := context.WithTimeout(ctx, freezeTimeout)
		defer cancel()
		did, found, err := do(ctx, name)
		keep(FreezeResult{name, did, found, err})
		return err == nil
	}, func(name string) {
		keep(FreezeResult{Target: name, Err: diag.New(diag.Canceled, "freeze "+name, "", "stopped before it was its turn")})
	})
	out := make([]FreezeResult, len(targets))
	for i, name := range targets {
		out[i] = byName[name]
	}
	return out
}

// FrozenHere returns what this client's own switch says of a target. The target's is not
// looked at: [Client.TestTarget] does.
func (c *Client) FrozenHere(target string) (Frozen, bool) {
	return c.parts.Freezer.Gate.Find(target)
}
