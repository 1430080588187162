// Package worktest holds every implementation of work.Store to its contract.
package worktest

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bowline-sh/bowline/internal/work"
)

var now = time.Date(2026, 11, 21, 10, 0, 0, 123e6, time.UTC)

var limits = work.Limits{PerTarget: 2}

func operation(n int) work.Operation {
	return work.Operation{ID: fmt.Sprintf("01OP%04d", n), Verb: work.Run, Request: []byte(`{"a":1}`), Created: now,
		Caller: work.Caller{User: "ann", Surface: "api", Client: "ci", Token: "t1", Scopes: "run"}}
}

func tasks(op work.Operation, targets ...string) []work.Task {
	out := make([]work.Task, len(targets))
	for i, t := range targets {
		out[i] = work.Task{ID: fmt.Sprintf("%s-%d", op.ID, i+1), Number: i + 1, Target: t}
	}
	return out
}

// suite is a store with an operation.
type suite struct {
	*testing.T
	work.Store
}

func (s suite) submit(op work.Operation, targets ...string) work.Operation {
	s.Helper()
	got, err := s.Submit(s.Context(), op, tasks(op, targets...))
	if err != nil {
		s.Fatal(err)
	}
	return got
}

func (s suite) join(id string) {
	s.Helper()
	if err := s.Join(s.Context(), work.Process{ID: id, Host: "h", PID: 1, Started: now, Beat: 1}); err != nil {
		s.Fatal(err)
	}
}

func (s suite) claim(id, process string) work.Task {
	s.Helper()
	t, err := s.Claim(s.Context(), id, process, limits, now)
	if err != nil {
		s.Fatal(err)
	}
	return t
}

func (s suite) wants(err, want error, what string) {
	s.Helper()
	if !errors.Is(err, want) {
		s.Errorf("%s = %v, want %v", what, err, want)
	}
}

// Run checks that the stores made by open keep the contract of [work.Store].
func Run(t *testing.T, open func(t *testing.T) work.Store) {
	for name, f := range map[string]func(suite){
		"Life": life, "Keys": keys, "OneClaims": oneClaims, "Places": places, "DeadProcess": deadProcess, "Cancel": cancel, "Events": events, "Whole": whole, "Pages": pages,
	} {
		t.Run(name, func(t *testing.T) { f(suite{t, open(t)}) })
	}
}

func life(s suite) {
	ctx := s.Context()
	op := s.submit(operation(1), "web1", "web2")
	if op.State != work.Queued || op.Counts[work.Queued] != 2 || op.Caller.Scopes != "run" || string(op.Request) != `{"a":1}` {
		s.Errorf("%+v", op)
	}
	s.join("p1")
	if list, err := s.Waiting(ctx, limits, 10); err != nil || len(list) != 2 || list[0] != "01OP0001-1" {
		s.Errorf("%v, %v", list, err)
	}
	a := s.claim("01OP0001-1", "p1")
	if a.State != work.Running || a.Process != "p1" || a.Attempt != 1 || a.Verb != work.Run || !a.Started.Equal(now) {
		s.Errorf("%+v", a)
	}
	big := bytes.Repeat([]byte("x"), work.MaxOutput+1)
	if err := s.Finish(ctx, a, work.Outcome{State: work.Succeeded, Result: []byte("{}"), Output: big}, now); err != nil {
		s.Fatal(err)
	}
	s.wants(s.Finish(ctx, a, work.Outcome{State: work.Failed}, now.Add(time.Second)), work.ErrLost, "second Finish")
	if err := s.Finish(ctx, a, work.Outcome{State: work.Queued}, now); err == nil {
		s.Error("a task ended as queued")
	}
	a, err := s.Task(ctx, a.ID)
	if err != nil || a.State != work.Succeeded || len(a.Output) != work.MaxOutput || !a.Truncated || string(a.Result) != "{}" {
		s.Errorf("%s, %d bytes, %v, %v", a.State, len(a.Output), a.Truncated, err)
	}
	_, err = s.Claim(ctx, a.ID, "p1", limits, now)
	s.wants(err, work.ErrTaken, "claim of what is over")
	b := s.claim("01OP0001-2", "p1")
	if err := s.Finish(ctx, b, work.Outcome{State: work.Failed, Kind: "lost", Error: "gone"}, now); err != nil {
		s.Fatal(err)
	}
	op, err = s.Operation(ctx, op.ID)
	if err != nil || op.State != work.Failed || op.Counts[work.Succeeded] != 1 || op.Counts[work.Failed] != 1 || op.Ended.IsZero() {
		s.Errorf("%+v, %v", op, err)
	}
	_, err = s.Operation(ctx, "none")
	s.wants(err, work.ErrNotFound, "Operation of nothing")
	_, err = s.Task(ctx, "none")
	s.wants(err, work.ErrNotFound, "Task of nothing")
	if err := s.Prune(ctx, now.Add(time.Hour)); err != nil {
		s.Fatal(err)
	}
	_, err = s.Operation(ctx, op.ID)
	s.wants(err, work.ErrNotFound, "Operation after Prune")
}

func keys(s suite) {
	ctx := s.Context()
	first := operation(1)
	first.Key, first.KeyHash = "k", []byte{1}
	s.submit(first, "web1")
	again := operation(2)
	again.Key, again.KeyHash = "k", []byte{1}
	if got := s.submit(again, "web1"); got.ID != first.ID {
		s.Errorf("the same request made %s", got.ID)
	}
	again.KeyHash = []byte{2}
	_, err := s.Submit(ctx, again, tasks(again, "web1"))
	s.wants(err, work.ErrConflict, "another request")
	again.Caller.Token = "t2"
	if got := s.submit(again, "web1"); got.ID != again.ID {
		s.Errorf("another token got %s", got.ID)
	}
	ids := map[string]bool{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			op := operation(10 + n)
			op.Key, op.KeyHash = "race", []byte{3}
			got, err := s.Submit(ctx, op, tasks(op, "web1"))
			if err != nil {
				s.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			ids[got.ID] = true
		})
	}
	wg.Wait()
	if len(ids) != 1 {
		s.Errorf("one key made %d operations", len(ids))
	}
}

func oneClaims(s suite) {
	op := s.submit(operation(1), "web1")
	var won atomic.Int32
	var wg sync.WaitGroup
	for n := range 8 {
		id := fmt.Sprintf("p%d", n)
		s.join(id)
		wg.Go(func() {
			_, err := s.Claim(s.Context(), op.ID+"-1", id, limits, now)
			switch {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, work.ErrTaken) && !errors.Is(err, work.ErrBusy):
				s.Error(err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		s.Errorf("%d claims won", won.Load())
	}
}

func places(s suite) {
	ctx := s.Context()
	s.join("p1")
	s.submit(operation(1), "web1", "web1", "web1", "web2")
	apply := operation(2)
	apply.Verb = work.Apply
	s.submit(apply, "web1", "web1")
	one := s.claim("01OP0001-1", "p1")
	s.claim("01OP0001-2", "p1")
	_, err := s.Claim(ctx, "01OP0001-3", "p1", limits, now)
	s.wants(err, work.ErrBusy, "third run on a target")
	s.claim("01OP0002-1", "p1")
	_, err = s.Claim(ctx, "01OP0002-2", "p1", limits, now)
	s.wants(err, work.ErrBusy, "second apply on a target")
	if list, err := s.Waiting(ctx, limits, 10); err != nil || len(list) != 1 || list[0] != "01OP0001-4" {
		s.Errorf("waiting: %v, %v", list, err)
	}
	if err := s.Finish(ctx, one, work.Outcome{State: work.Succeeded}, now); err != nil {
		s.Fatal(err)
	}
	s.claim("01OP0001-3", "p1")
}

func deadProcess(s suite) {
	ctx := s.Context()
	s.join("p1")
	s.join("p2")
	op := s.submit(operation(1), "web1", "web2")
	a := s.claim("01OP0001-1", "p1")
	_, err := s.Adopt(ctx, a, "p2", now)
	s.wants(err, work.ErrLost, "adoption from the living")
	if err := s.Beat(ctx, "p1", 2); err != nil {
		s.Fatal(err)
	}
	if err := s.Bury(ctx, "p1", 1); err != nil { // it has beaten meanwhile
		s.Fatal(err)
	}
	if list, err := s.Processes(ctx); err != nil || len(list) != 2 || list[0].Beat != 2 {
		s.Fatalf("%+v, %v", list, err)
	}
	if err := s.Bury(ctx, "p1", 2); err != nil {
		s.Fatal(err)
	}
	s.wants(s.Beat(ctx, "p1", 3), work.ErrFenced, "beat of the dead")
	_, err = s.Claim(ctx, "01OP0001-2", "p1", limits, now)
	s.wants(err, work.ErrFenced, "claim of the dead")
	left, err := s.Left(ctx)
	if err != nil || len(left) != 1 || left[0].ID != a.ID {
		s.Fatalf("%+v, %v", left, err)
	}
	b, err := s.Adopt(ctx, left[0], "p2", now)
	if err != nil || b.Process != "p2" || b.Attempt != 2 {
		s.Fatalf("%+v, %v", b, err)
	}
	_, err = s.Adopt(ctx, left[0], "p2", now)
	s.wants(err, work.ErrLost, "second adoption")
	s.wants(s.Finish(ctx, a, work.Outcome{State: work.Succeeded}, now), work.ErrLost, "record of the dead")
	if err := s.Finish(ctx, b, work.Outcome{State: work.Succeeded}, now); err != nil {
		s.Error(err)
	}
	if err := s.Leave(ctx, "p2"); err != nil {
		s.Fatal(err)
	}
	_, err = s.Claim(ctx, op.ID+"-2", "p2", limits, now)
	s.wants(err, work.ErrFenced, "claim of who left")
}

func cancel(s suite) {
	ctx := s.Context()
	s.join("p1")
	op := s.submit(operation(1), "web1", "web2", "web3")
	a := s.claim("01OP0001-1", "p1")
	for range 2 {
		if err := s.Cancel(ctx, op.ID, now); err != nil {
			s.Fatal(err)
		}
	}
	s.wants(s.Cancel(ctx, "none", now), work.ErrNotFound, "Cancel of nothing")
	if list, err := s.Stopping(ctx, "p1"); err != nil || len(list) != 1 || list[0] != a.ID {
		s.Errorf("stopping: %v, %v", list, err)
	}
	got, err := s.Operation(ctx, op.ID)
	if err != nil || got.State != work.Running || got.Counts[work.Cancelled] != 2 {
		s.Errorf("%+v, %v", got, err)
	}
	if err := s.Finish(ctx, a, work.Outcome{State: work.Cancelled}, now); err != nil {
		s.Fatal(err)
	}
	if got, err := s.Operation(ctx, op.ID); err != nil || got.State != work.Cancelled {
		s.Errorf("%+v, %v", got, err)
	}
}

func events(s suite) {
	ctx := s.Context()
	s.join("p1")
	op := s.submit(operation(1), "web1", "web2")
	wake := s.Wake(op.ID)
	var wg sync.WaitGroup
	for n := range 4 {
		wg.Go(func() {
			for i := range 5 {
				if err := s.Emit(ctx, op.ID, []work.Event{{Time: now, Task: "x", Kind: "output", Data: fmt.Append(nil, n, i)}, {Time: now, Kind: "progress"}}); err != nil {
					s.Error(err)
				}
			}
		})
	}
	a := s.claim("01OP0001-1", "p1")
	if err := s.Finish(ctx, a, work.Outcome{State: work.Unknown}, now); err != nil {
		s.Fatal(err)
	}
	wg.Wait()
	<-wake
	list, err := s.Events(ctx, op.ID, 0, 100)
	// 40 of the loop, two of the task, one of the operation that began.
	if err != nil || len(list) != 43 {
		s.Fatalf("%d events, %v", len(list), err)
	}
	for i, e := range list {
		if e.Seq != int64(i+1) {
			s.Fatalf("event %d has number %d", i+1, e.Seq)
		}
	}
	if rest, err := s.Events(ctx, op.ID, 40, 2); err != nil || len(rest) != 2 || rest[0].Seq != 41 {
		s.Errorf("%+v, %v", rest, err)
	}
	s.wants(s.Emit(ctx, "none", []work.Event{{Kind: "output"}}), work.ErrNotFound, "Emit to nothing")
}

func whole(s suite) {
	ctx := s.Context()
	s.join("p1")
	targets := make([]string, 20)
	for i := range targets {
		targets[i] = fmt.Sprintf("web%d", i)
	}
	op := s.submit(operation(1), targets...)
	var wg sync.WaitGroup
	for i := range targets {
		wg.Go(func() {
			t, err := s.Claim(ctx, fmt.Sprintf("%s-%d", op.ID, i+1), "p1", limits, now)
			if err == nil {
				err = s.Finish(ctx, t, work.Outcome{State: work.Succeeded}, now)
			}
			if err != nil {
				s.Error(err)
			}
		})
	}
	wg.Wait()
	got, err := s.Operation(ctx, op.ID)
	if err != nil || got.State != work.Succeeded || got.Ended.IsZero() {
		s.Errorf("%+v, %v", got, err)
	}
}

func pages(s suite) {
	ctx := s.Context()
	for n := range 5 {
		s.submit(operation(n), "web1")
	}
	got := ""
	for before := ""; ; {
		list, err := s.Operations(ctx, work.Query{User: "ann", Before: before, Limit: 2})
		if err != nil {
			s.Fatal(err)
		}
		for _, o := range list {
			got += o.ID[len(o.ID)-1:]
			before = o.ID
		}
		if len(list) < 2 {
			break
		}
	}
	if got != "43210" {
		s.Errorf("pages gave %s", got)
	}
	if list, err := s.Operations(ctx, work.Query{User: "bob"}); err != nil || len(list) != 0 {
		s.Errorf("%v, %v", list, err)
	}
}
