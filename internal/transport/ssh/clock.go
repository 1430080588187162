package ssh

import (
	"context"
	"sync"
	"time"
)

// clock is the one deadline of a dial. It stands still while a person is
// asked: nobody types a passphrase in what is left of 15 seconds.
type clock struct {
	ctx    context.Context // ends with errDeadline, or with the caller's context
	cancel context.CancelCauseFunc
	now    func() time.Time

	// mu guards the fields below.
	mu      sync.Mutex
	timer   *time.Timer
	left    time.Duration // when started
	started time.Time     // when the timer last started
	asking  int           // pauses under way
}

// startClock returns a running clock. The caller calls stop.
func startClock(ctx context.Context, limit time.Duration, now func() time.Time) *clock {
	c := &clock{now: now, left: limit, started: now()}
	c.ctx, c.cancel = context.WithCancelCause(ctx)
	c.timer = time.AfterFunc(limit, func() { c.cancel(errDeadline) })
	return c
}

// stop releases the clock's timer and context.
func (c *clock) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.timer.Stop()
	c.cancel(context.Canceled)
}

// pause stops the clock until resume is called.
func (c *clock) pause() (resume func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asking++
	if c.asking == 1 && c.timer.Stop() {
		c.left -= c.now().Sub(c.started)
	}
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.asking--
		if c.asking == 0 && c.ctx.Err() == nil {
			c.started = c.now()
			c.timer.Reset(max(c.left, 0))
		}
	}
}

// ask puts a question to a person.
func (c *clock) ask(prompt func(context.Context, string, bool) (string, error), question string, echo bool) (string, error) {
	defer c.pause()()
	return prompt(c.ctx, question, echo)
}
