//go:build unix

package worker_test

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bowline-sh/bowline/internal/store/sqlite"
	"github.com/bowline-sh/bowline/internal/store/sqlstore"
	"github.com/bowline-sh/bowline/internal/work"
	"github.com/bowline-sh/bowline/internal/worker"
)

// fake does what its functions say.
type fake struct {
	do func(ctx context.Context, t work.Task) work.Outcome
}

func (f fake) Do(ctx context.Context, _ work.Operation, t work.Task, say worker.Say) work.Outcome {
	say("stdout", []byte("a"))
	say("stdout", []byte("b"))
	return f.do(ctx, t)
}

func (f fake) Resume(ctx context.Context, op work.Operation, t work.Task, say worker.Say) work.Outcome {
	return f.Do(ctx, op, t, say)
}

func openFile(t *testing.T, file string) *sqlstore.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// begin serves a store until the returned function is called, which waits for the end.
func begin(t *testing.T, s work.Store, do func(context.Context, work.Task) work.Outcome, change ...func(*worker.Config)) (end func()) {
	t.Helper()
	cfg := worker.Config{Store: s, Runner: fake{do}, Now: time.Now, Workers: 4, Grace: 5 * time.Second, Beat: 50 * time.Millisecond, DeadAfter: 5 * time.Second}
	for _, f := range change {
		f(&cfg)
	}
	ctx, stop := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		if err := worker.Serve(ctx, cfg); err != nil {
			t.Error(err)
		}
	})
	end = sync.OnceFunc(func() { stop(); done.Wait() })
	t.Cleanup(end)
	return end
}

func until(t *testing.T, what string, f func() bool) {
	t.Helper()
	for began := time.Now(); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Since(began) > 20*time.Second {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

func over(t *testing.T, s work.Store, id string) work.Operation {
	t.Helper()
	until(t, "operation "+id+" ends", func() bool { return operation(t, s, id).State.Over() })
	return operation(t, s, id)
}

// TestTwoServersOnAFile: two connections share one SQLite file, as two processes do; each
// task is done once, and four at a time on a target at most.
func TestTwoServersOnAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "bowline.db")
	var now, most atomic.Int32
	var mu sync.Mutex
	times := map[string]int{}
	do := func(_ context.Context, x work.Task) work.Outcome {
		n := now.Add(1)
		defer now.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		mu.Lock()
		times[x.ID]++
		mu.Unlock()
		time.Sleep(20 * time.Millisecond)
		return work.Outcome{State: work.Succeeded}
	}
	s := openFile(t, file)
	begin(t, s, do)
	begin(t, openFile(t, file), do)
	o := over(t, s, submit(t, s, "01OP0", work.Run, 30, 1))
	if o.State != work.Succeeded || o.Counts[work.Succeeded] != 30 || len(times) != 30 {
		t.Errorf("%+v, %v", o, times)
	}
	for id, n := range times {
		if n != 1 {
			t.Errorf("%s was done %d times", id, n)
		}
	}
	if m := most.Load(); m > 4 || m < 2 {
		t.Errorf("%d at a time on one target", m)
	}
	events, err := s.Events(t.Context(), "01OP0", 0, 1000)
	said := 0
	for _, e := range events {
		if e.Kind == "stdout" && string(e.Data) == "ab" {
			said++
		}
	}
	if err != nil || said != 30 {
		t.Errorf("%d of 30 outputs are events, %v", said, err)
	}
}

// TestOneApplyAtATime holds for a target, whatever the number of seats.
func TestOneApplyAtATime(t *testing.T) {
	var now atomic.Int32
	s := openFile(t, filepath.Join(t.TempDir(), "bowline.db"))
	begin(t, s, func(context.Context, work.Task) work.Outcome {
		if now.Add(1) != 1 {
			t.Error("two at a time")
		}
		defer now.Add(-1)
		time.Sleep(10 * time.Millisecond)
		return work.Outcome{State: work.Succeeded}
	})
	over(t, s, submit(t, s, "01OP0", work.Apply, 8, 1))
}

func TestCancel(t *testing.T) {
	for _, v := range []work.Verb{work.Run, work.Apply} {
		t.Run(string(v), func(t *testing.T) {
			s := openFile(t, filepath.Join(t.TempDir(), "bowline.db"))
			began := make(chan struct{})
			var once sync.Once
			begin(t, s, func(ctx context.Context, x work.Task) work.Outcome {
				once.Do(func() { close(began) })
				select {
				case <-ctx.Done():
					return work.Outcome{State: work.Failed, Kind: "canceled", Error: context.Cause(ctx).Error()}
				case <-time.After(time.Second):
					return work.Outcome{State: work.Succeeded}
				}
			}, func(c *worker.Config) { c.Workers = 1 })
			id := submit(t, s, "01OP0", v, 3, 3)
			<-began
			if err := s.Cancel(t.Context(), id, time.Now()); err != nil {
				t.Fatal(err)
			}
			o := over(t, s, id)
			want := map[work.State]int{work.Cancelled: 3}
			if v == work.Apply { // what was begun goes to its end
				want = map[work.State]int{work.Cancelled: 2, work.Succeeded: 1}
			}
			if fmt.Sprint(o.Counts) != fmt.Sprint(want) || o.State != work.Cancelled {
				t.Errorf("%s, %v", o.State, o.Counts)
			}
		})
	}
}

// TestDrain: a process that stops ends what it has begun, and leaves the rest queued; of
// what takes too long a run is killed, and an apply left to others.
func TestDrain(t *testing.T) {
	s := openFile(t, filepath.Join(t.TempDir(), "bowline.db"))
	began := make(chan string, 10)
	do := func(ctx context.Context, x work.Task) work.Outcome {
		began <- x.ID
		if x.Target == "host0" {
			time.Sleep(300 * time.Millisecond)
			return work.Outcome{State: work.Succeeded}
		}
		<-ctx.Done()
		return work.Outcome{State: work.Failed, Kind: "canceled", Error: context.Cause(ctx).Error()}
	}
	end := begin(t, s, do, func(c *worker.Config) { c.Workers, c.Grace = 3, time.Second })
	submit(t, s, "01OP0", work.Run, 2, 2)
	submit(t, s, "01OP1", work.Apply, 2, 2)
	ids := map[string]bool{}
	for range 3 {
		ids[<-began] = true
	}
	submit(t, s, "01OP2", work.Run, 5, 5)
	end()
	for id, want := range map[string]work.State{"01OP0-1": work.Succeeded, "01OP0-2": work.Failed, "01OP2-1": work.Queued} {
		if x, err := s.Task(t.Context(), id); err != nil || x.State != want && ids[id] || id == "01OP2-1" && x.State != want {
			t.Errorf("%s is %s, %v, %v", id, x.State, ids[id], err)
		}
	}
	if list, err := s.Processes(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("it did not leave: %v, %v", list, err)
	}
	// The next process goes on with what is left.
	begin(t, s, func(context.Context, work.Task) work.Outcome { return work.Outcome{State: work.Succeeded} })
	for _, id := range []string{"01OP1", "01OP2"} {
		if o := over(t, s, id); o.State != work.Succeeded {
			t.Errorf("%s: %+v", id, o)
		}
	}
}

// TestFenced: a process that was declared dead finds out, stops its tasks, and begins
// anew; what others said of them stands.
func TestFenced(t *testing.T) {
	s := openFile(t, filepath.Join(t.TempDir(), "bowline.db"))
	names := make(chan string, 4)
	stopped := make(chan error, 4)
	began := make(chan struct{}, 4)
	begin(t, s, func(ctx context.Context, x work.Task) work.Outcome {
		if x.Operation == "01OP1" {
			return work.Outcome{State: work.Succeeded}
		}
		began <- struct{}{}
		<-ctx.Done()
		stopped <- context.Cause(ctx)
		return work.Outcome{State: work.Succeeded}
	}, func(c *worker.Config) { c.Joined = func(id string) { names <- id } })
	id := submit(t, s, "01OP0", work.Run, 1, 1)
	<-began
	if err := s.Leave(t.Context(), <-names); err != nil {
		t.Fatal(err)
	}
	if err := <-stopped; err != work.ErrFenced { //nolint:errorlint // a cause is not wrapped
		t.Errorf("stopped for %v", err)
	}
	<-names
	// Who says it first is right: nobody had settled it, or somebody had.
	if o := over(t, s, id); o.Counts[work.Unknown]+o.Counts[work.Succeeded] != 1 {
		t.Errorf("%+v", o)
	}
	if o := over(t, s, submit(t, s, "01OP1", work.Run, 1, 1)); o.State != work.Succeeded {
		t.Errorf("%+v", o)
	}
}
