package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bowline-sh/bowline/internal/work"
)

// keepSweeping looks after what others left until ctx ends; nothing is adopted once
// taking is over.
func (l *life) keepSweeping(ctx, taking context.Context) {
	var pruned time.Time
	for pause(ctx, l.Beat) {
		if taking.Err() != nil {
			continue
		}
		if err := l.sweep(ctx); err != nil && ctx.Err() == nil {
			l.Note(fmt.Sprintf("cannot look after the work of others: %v", err))
		}
		if time.Since(pruned) > time.Hour {
			pruned = time.Now()
			if err := l.Store.Prune(ctx, l.Now().Add(-l.Keep)); err != nil {
				l.Note(err.Error())
			}
		}
	}
}

func (l *life) sweep(ctx context.Context) error {
	list, err := l.Store.Processes(ctx)
	if err != nil {
		return err
	}
	for _, p := range l.silent(list, time.Now()) {
		if err := l.Store.Bury(ctx, p.ID, p.Beat); err != nil {
			return err
		}
	}
	left, err := l.Store.Left(ctx)
	if err != nil {
		return err
	}
	for _, t := range left {
		l.settle(ctx, t)
	}
	_, err = l.Store.Reoffer(ctx, l.Now())
	return err
}

// silent returns the processes whose beat has stood still for too long while the store
// answered us: if it did not, they could not beat either.
func (l *life) silent(list []work.Process, now time.Time) []work.Process {
	l.mu.Lock()
	defer l.mu.Unlock()
	gap := now.Sub(l.looked) > 3*l.Beat
	l.looked = now
	var out []work.Process
	seen := make(map[string]sighting, len(list))
	for _, p := range list {
		s, known := l.seen[p.ID]
		if !known || gap || s.beat != p.Beat {
			s = sighting{p.Beat, now}
		}
		seen[p.ID] = s
		if p.ID != l.id && now.Sub(s.since) >= l.DeadAfter {
			out = append(out, p)
		}
	}
	l.seen = seen
	return out
}

// settle ends a task that a dead process left, or goes on with it.
func (l *life) settle(ctx context.Context, t work.Task) {
	if t.Verb.Exclusive() {
		l.adopt(ctx, t)
		return
	}
	out := work.Outcome{State: work.Unknown, Kind: "lost",
		Error: "the process that ran it died; nobody knows how far it came, and it is not run again"}
	if t.Verb == work.Plan {
		out = work.Outcome{State: work.Failed, Kind: "failure", Error: "planning was interrupted; the target is unchanged; plan again"}
	}
	if err := l.Store.Finish(ctx, t, out, l.Now()); err != nil && !errors.Is(err, work.ErrLost) {
		l.Note(err.Error())
	}
}

func (l *life) adopt(ctx context.Context, t work.Task) {
	if !l.sit() {
		return // at the next look, or by another process
	}
	t, err := l.Store.Adopt(ctx, t, l.id, l.Now())
	if err != nil {
		l.stand()
		if !errors.Is(err, work.ErrLost) {
			l.Note(err.Error())
		}
		return
	}
	go func() {
		defer l.stand()
		l.carry(t, l.Runner.Resume)
	}()
}
