package worker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/bowline-sh/bowline/internal/work"
)

const (
	// busyAgain is when a task is looked at again whose target, or process, has no place.
	busyAgain = 250 * time.Millisecond
	// failAgain is the same after the store did not answer.
	failAgain = time.Second
)

// take claims a task and carries it out. It returns when to offer it again, 0 for never.
func (l *life) take(ctx context.Context, id string) (again time.Duration) {
	if !l.sit() {
		return busyAgain
	}
	defer l.stand()
	t, err := l.Store.Claim(ctx, id, l.id, l.Limits, l.Now())
	switch {
	case errors.Is(err, work.ErrBusy):
		return busyAgain
	case errors.Is(err, work.ErrTaken), errors.Is(err, work.ErrFenced), errors.Is(err, work.ErrNotFound):
		return 0
	case err != nil:
		l.Note(err.Error())
		return failAgain
	}
	l.carry(t, l.Runner.Do)
	return 0
}

// sit takes a seat, if there is one and the process still begins things.
func (l *life) sit() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	select {
	case l.seats <- struct{}{}:
		l.busy.Add(1)
		return true
	default:
		return false
	}
}

func (l *life) stand() {
	<-l.seats
	l.busy.Done()
}

// carry does what do does for a task that is claimed, and records how it ended.
func (l *life) carry(t work.Task, do func(context.Context, work.Operation, work.Task, Say) work.Outcome) {
	ctx, stop := context.WithCancelCause(l.tasks)
	defer stop(nil)
	l.mu.Lock()
	l.running[t.ID] = &held{t.Verb, stop}
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		delete(l.running, t.ID)
		l.mu.Unlock()
	}()
	op, err := l.Store.Operation(ctx, t.Operation)
	out := work.Outcome{State: work.Failed, Kind: "failure"}
	if err != nil {
		out.Error = err.Error()
	} else {
		v := newVoice(l.Store, t, l.Now)
		out = do(ctx, op, t, v.say)
		v.close()
	}
	if t.Verb.Exclusive() && ctx.Err() != nil && out.State != work.Succeeded {
		return // it goes on on the target: whoever adopts the task says how it ended
	}
	if errors.Is(context.Cause(ctx), ErrCancelled) && out.State != work.Succeeded {
		out.State = work.Cancelled
	}
	l.finish(t, out)
	if out.State == work.Succeeded {
		l.warmed(t.Target)
	}
}

// finish records the outcome, for as long as it takes the store to answer; a process that
// ends gives up after its grace, and another then settles the task.
func (l *life) finish(t work.Task, out work.Outcome) {
	now, began := l.Now(), time.Now()
	for first := true; ; first = false {
		err := l.Store.Finish(context.WithoutCancel(l.tasks), t, out, now)
		if err == nil {
			return
		}
		if errors.Is(err, work.ErrLost) || errors.Is(err, work.ErrNotFound) {
			l.Note(fmt.Sprintf("task %s on %s ended as %s here, but another process settled it", t.ID, t.Target, out.State))
			return
		}
		if first {
			l.Note(fmt.Sprintf("cannot record that task %s on %s ended as %s, and goes on trying: %v", t.ID, t.Target, out.State, err))
		}
		if l.tasks.Err() != nil && time.Since(began) > l.Grace {
			return
		}
		time.Sleep(l.Beat)
	}
}

// warmFor is how long a note that a link is warm is good for.
const warmFor = time.Minute

func (l *life) warmed(target string) {
	l.mu.Lock()
	now := time.Now()
	known := now.Sub(l.warm[target]) < warmFor
	l.warm[target] = now
	l.mu.Unlock()
	if known {
		return
	}
	if err := l.Store.Warm(context.WithoutCancel(l.tasks), target, l.id, l.Now()); err != nil {
		l.Note(err.Error())
	}
}

// looking is a Queue that looks into the store by itself.
type looking struct {
	store  work.Store
	limits work.Limits
	now    func() time.Time
}

// lookEvery is how often it looks without being woken: other processes do not wake it.
const lookEvery = 500 * time.Millisecond

// Take implements [Queue].
func (q looking) Take(ctx context.Context, _ string, workers int, take func(context.Context, string) time.Duration) error {
	var busy sync.WaitGroup
	defer busy.Wait()
	var mu sync.Mutex // guards at
	at := map[string]bool{}
	for ctx.Err() == nil {
		woken := q.store.Wake("")
		ids, err := q.store.Waiting(ctx, q.limits, 2*workers)
		if err != nil {
			return err
		}
		for _, id := range ids {
			mu.Lock()
			begin := !at[id] && len(at) < workers
			if begin {
				at[id] = true
			}
			mu.Unlock()
			if begin {
				busy.Go(func() {
					take(context.WithoutCancel(ctx), id)
					mu.Lock()
					delete(at, id)
					mu.Unlock()
				})
			}
		}
		select {
		case <-ctx.Done():
		case <-woken:
			pause(ctx, 10*time.Millisecond) // what wakes comes in crowds
		case <-time.After(lookEvery):
		}
	}
	return nil
}
