package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/audit"
	"github.com/bowline-sh/bowline/internal/frame"
	"github.com/bowline-sh/bowline/internal/helper"
	"github.com/bowline-sh/bowline/internal/store"
	"github.com/bowline-sh/bowline/internal/transport"
	"github.com/bowline-sh/bowline/plan"
)

// PruneOptions say which sessions Prune deletes.
type PruneOptions struct {
	Before   time.Time // not changed since
	Executed bool      // also those that were applied: they can never be rolled back then
	Forget   bool      // also here, where the target does not answer
}

// Prune deletes sessions that are over, on their targets first and then here, and
// returns their ids. Those of a target that does not answer stay, and the error
// says so.
func (e *Engine) Prune(ctx context.Context, o PruneOptions) ([]string, error) {
	s, err := e.cfg.Store(ctx)
	if err != nil {
		return nil, err
	}
	list, err := e.List(ctx, store.Filter{Before: o.Before})
	if err != nil {
		return nil, err
	}
	groups := map[place][]store.Session{}
	for _, x := range list {
		if x.Status.Final() || o.Executed && x.Status == plan.Executed {
			asRoot, err := e.asRoot(ctx, x.ID)
			if err != nil {
				return nil, err
			}
			p := place{x.Target, asRoot}
			groups[p] = append(groups[p], x)
		}
	}
	var gone []string
	var errs []error
	for _, p := range slices.SortedFunc(keys(groups), place.compare) {
		ids, err := e.prune(ctx, s, p, groups[p], o.Forget)
		gone, errs = append(gone, ids...), append(errs, err)
	}
	return gone, errors.Join(errs...)
}

// place is where the directories of a session are: a target, and whose home there.
type place struct {
	target string
	asRoot bool
}

func (p place) compare(q place) int {
	if c := cmp.Compare(p.target, q.target); c != 0 || p.asRoot == q.asRoot {
		return c
	}
	if q.asRoot {
		return -1
	}
	return 1
}

func keys(m map[place][]store.Session) func(func(place) bool) {
	return func(yield func(place) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func (e *Engine) asRoot(ctx context.Context, id string) (bool, error) {
	d, err := e.Get(ctx, id)
	if diag.KindOf(err) == diag.Denied { // the stored plan was altered; it is only to be deleted
		return false, nil
	}
	return d.asRoot, err
}

// prune deletes the sessions of one place.
func (e *Engine) prune(ctx context.Context, s store.Store, p place, list []store.Session, forget bool) ([]string, error) {
	id, err := e.cfg.Recorder.Begin(ctx, audit.Intent{Subject: audit.Subject{Verb: "prune", Target: p.target}, Text: fmt.Sprintf("%d sessions", len(list))})
	if err != nil {
		return nil, err
	}
	kept, err := e.removeOn(ctx, p, list)
	var gone []string
	if err == nil || forget {
		for _, x := range list {
			if why := kept[x.ID]; why != "" {
				err = errors.Join(err, diag.New(diag.Failure, "prune session "+x.ID, "", "%s", why))
				continue
			}
			if derr := s.Delete(ctx, x.ID, x.Status); derr != nil {
				err = errors.Join(err, derr)
				continue
			}
			gone = append(gone, x.ID)
		}
	} else {
		err = diag.New(diag.KindOf(err), fmt.Sprintf("prune %d sessions of %s", len(list), p.target), "forget them here all the same with 'bowline session prune --forget'", "%w", err)
	}
	return gone, errors.Join(err, e.end(ctx, id, audit.Outcome{Err: err}))
}

// removeOn deletes session directories on a target and returns why some were kept.
func (e *Engine) removeOn(ctx context.Context, p place, list []store.Session) (map[string]string, error) {
	t, err := e.cfg.Target(p.target)
	if err != nil {
		return nil, err
	}
	req := helper.RemoveRequest{}
	for _, x := range list {
		req.Sessions = append(req.Sessions, x.ID)
	}
	var res helper.RemoveResult
	err = e.withHelper(ctx, t, p.asRoot, func(c *frame.Client, _ transport.Info) error {
		return e.call(ctx, c, helper.VerbRemove, req, &res, nil)
	})
	return res.Kept, err
}
