// Package worker is a process that carries out durable work: it takes tasks from the
// store, runs them, records how they ended, and settles what processes that died have
// left. What a task does is its [Runner]'s business; package work says what the states
// mean.
package worker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/bowline-sh/bowline/internal/work"
)

// Say tells of something that happens in a task: output, progress.
type Say func(kind string, data []byte)

// Runner carries out tasks. Its methods return when nothing is at work any more. When
// ctx ends because the operation was cancelled, its cause is [ErrCancelled].
type Runner interface {
	// Do carries out a task that nobody began.
	Do(ctx context.Context, op work.Operation, t work.Task, say Say) work.Outcome
	// Resume goes on with an apply or rollback whose process died.
	Resume(ctx context.Context, op work.Operation, t work.Task, say Say) work.Outcome
}

// Queue brings tasks to this process, see postgres.Store.Take.
type Queue interface {
	Take(ctx context.Context, process string, workers int, take func(ctx context.Context, task string) (again time.Duration)) error
}

// Causes of an end of a task's context.
var (
	ErrCancelled = errors.New("the operation was cancelled")
	ErrStopped   = errors.New("the server is stopping")
)

// Config is what a worker is made of. Store, Runner and Now are required.
type Config struct {
	Store   work.Store
	Queue   Queue // nil: it looks into the store by itself
	Runner  Runner
	Now     func() time.Time
	Workers int           // tasks at a time, default 16
	Limits  work.Limits   // default 4 on a target
	Grace   time.Duration // how long tasks may take to end when the worker stops, default 30 s
	Keep    time.Duration // how long operations that ended are kept, default 30 days
	Host    string
	Key     []byte       // ed25519 public key of this machine's audit chain; optional
	Note    func(string) // what a person should know; optional
	// Joined is told of each name that the process has; optional.
	Joined func(id string)

	Beat, DeadAfter time.Duration // for tests; default those of package work
}

func (c Config) defaults() Config {
	if c.Store == nil || c.Runner == nil || c.Now == nil {
		panic("worker: Config is incomplete")
	}
	if c.Workers <= 0 {
		c.Workers = 16
	}
	c.Limits.PerTarget = max(c.Limits.PerTarget, 0)
	if c.Limits.PerTarget == 0 {
		c.Limits.PerTarget = 4
	}
	for _, d := range []struct {
		at  *time.Duration
		def time.Duration
	}{{&c.Grace, 30 * time.Second}, {&c.Keep, 30 * 24 * time.Hour}, {&c.Beat, work.Beat}, {&c.DeadAfter, work.DeadAfter}} {
		if *d.at <= 0 {
			*d.at = d.def
		}
	}
	if c.Note == nil {
		c.Note = func(string) {}
	}
	if c.Joined == nil {
		c.Joined = func(string) {}
	}
	if c.Queue == nil {
		c.Queue = looking{c.Store, c.Limits, c.Now}
	}
	return c
}

// Serve carries out work until ctx ends: then it takes no more, waits up to the grace
// for what runs, and stops the rest. An apply or rollback that is stopped goes on on its
// target, and another process follows it. It returns an error only if it could not begin.
func Serve(ctx context.Context, cfg Config) error {
	cfg = cfg.defaults()
	for first := true; ; first = false {
		l := newLife(cfg)
		if err := l.join(ctx); err != nil {
			if first || ctx.Err() != nil {
				return fmt.Errorf("begin to work: %w", err)
			}
			cfg.Note(fmt.Sprintf("cannot take up work again: %v", err))
			pause(ctx, cfg.Beat)
			continue
		}
		l.run(ctx)
		if ctx.Err() != nil {
			return nil
		}
		cfg.Note("this process was taken for dead, and its tasks given to others; it begins anew")
	}
}

// pause waits, and reports whether ctx is still good.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// life is one name of the process: from joining to leaving, or to being declared dead.
type life struct {
	Config
	id    string
	beat  int64
	seats chan struct{} // one for each task that runs

	// tasks is the context of all tasks; stop ends it.
	tasks context.Context
	stop  context.CancelCauseFunc

	mu      sync.Mutex // guards the fields below
	running map[string]*held
	seen    map[string]sighting // of other processes
	looked  time.Time           // when the store answered last
	warm    map[string]time.Time
	closed  bool // nothing is begun any more

	busy sync.WaitGroup // tasks
}

// held is a task that this process has claimed.
type held struct {
	verb work.Verb
	stop context.CancelCauseFunc
}

// sighting is when a beat was seen first.
type sighting struct {
	beat  int64
	since time.Time
}

func newLife(cfg Config) *life {
	l := &life{Config: cfg, id: strings.ToLower(rand.Text()), seats: make(chan struct{}, cfg.Workers),
		running: map[string]*held{}, seen: map[string]sighting{}, warm: map[string]time.Time{}}
	l.tasks, l.stop = context.WithCancelCause(context.Background())
	return l
}

func (l *life) join(ctx context.Context) error {
	err := l.Store.Join(ctx, work.Process{ID: l.id, Host: l.Host, PID: os.Getpid(), Started: l.Now(), Beat: l.beat, Key: l.Key})
	if err == nil {
		l.Joined(l.id)
	}
	return err
}

// run works until ctx ends or the process is declared dead.
func (l *life) run(ctx context.Context) {
	taking, stopTaking := context.WithCancel(ctx)
	defer stopTaking()
	var chores sync.WaitGroup
	keeping, stopKeeping := context.WithCancel(context.WithoutCancel(ctx))
	defer stopKeeping()
	chores.Go(func() {
		l.keepBeating(keeping)
		stopTaking()
	})
	chores.Go(func() { l.keepSweeping(keeping, taking) })
	chores.Go(func() { l.keepStopping(keeping) })
	var taker sync.WaitGroup
	taker.Go(func() { l.keepTaking(taking) })
	<-taking.Done()
	l.drain()
	taker.Wait()
	stopKeeping()
	chores.Wait()
	l.leave(ctx)
}

func (l *life) keepTaking(ctx context.Context) {
	for ctx.Err() == nil {
		if err := l.Queue.Take(ctx, l.id, l.Workers, l.take); err != nil && ctx.Err() == nil {
			l.Note(fmt.Sprintf("cannot take work: %v", err))
			pause(ctx, l.Beat)
		}
	}
}

// drain waits for tasks, and stops those that take too long.
func (l *life) drain() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	done := make(chan struct{})
	go func() { l.busy.Wait(); close(done) }()
	select {
	case <-done:
	case <-l.tasks.Done():
	case <-time.After(l.Grace):
		l.stop(ErrStopped)
	}
	<-done
	l.stop(ErrStopped)
}

// leaveTime bounds how long a process that ends waits for the store.
const leaveTime = 5 * time.Second

func (l *life) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTime)
	defer cancel()
	if err := l.Store.Leave(ctx, l.id); err != nil {
		l.Note(fmt.Sprintf("cannot leave in order; others find out: %v", err))
	}
}

// keepBeating says that the process lives until ctx ends. If it was declared dead, its
// tasks are stopped: others settle them.
func (l *life) keepBeating(ctx context.Context) {
	for pause(ctx, l.Beat) {
		l.beat++
		err := l.Store.Beat(ctx, l.id, l.beat)
		if errors.Is(err, work.ErrFenced) {
			l.stop(work.ErrFenced)
			return
		}
		if err != nil && ctx.Err() == nil {
			l.Note(fmt.Sprintf("cannot reach the store: %v", err))
		}
	}
}

// keepStopping stops tasks whose operations were cancelled. An apply or rollback is not
// stopped: it goes to its end.
func (l *life) keepStopping(ctx context.Context) {
	for pause(ctx, l.Beat/2) {
		if !l.works() {
			continue
		}
		ids, err := l.Store.Stopping(ctx, l.id)
		if err != nil {
			continue // the beat says so
		}
		l.mu.Lock()
		for _, id := range ids {
			if h := l.running[id]; h != nil && !h.verb.Exclusive() {
				h.stop(ErrCancelled)
			}
		}
		l.mu.Unlock()
	}
}

func (l *life) works() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.running) > 0
}
