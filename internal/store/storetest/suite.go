// Package storetest holds every implementation of store.Store to its contract.
package storetest

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bowline-sh/bowline/internal/store"
	"github.com/bowline-sh/bowline/plan"
)

var now = time.Date(2026, 11, 21, 10, 0, 0, 123e6, time.UTC)

func session(n int) store.Session {
	return store.Session{
		ID: fmt.Sprintf("20261121-fix-%04x", n), Name: "fix", Note: "why\nnot", Target: "web1", HostKey: "SHA256:x", Status: plan.Pending, Digest: "sha256:d",
		User: "ann", Host: "laptop", Surface: "cli", Script: []byte("#!/bin/sh\x00\xff"), Plan: []byte(`{"version":1}`),
		Created: now.Add(time.Duration(n) * time.Second), Updated: now.Add(time.Duration(n) * time.Second), Expires: now.Add(time.Hour),
		Fleet: fmt.Sprintf("20261121-fix-%06x", n/2), Effect: "sha256:e", Client: "claude",
	}
}

// Run checks that the stores made by open keep the contract of [store.Store].
// open(t, same) opens the same store again if same is true, else a new one.
func Run(t *testing.T, open func(t *testing.T, same bool) store.Store) {
	ctx := t.Context()
	t.Run("Tokens", func(t *testing.T) { tokens(t, open(t, false)) })
	t.Run("RoundTrip", func(t *testing.T) {
		s := open(t, false)
		want := session(1)
		if err := s.Create(ctx, want); err != nil {
			t.Fatal(err)
		}
		got, err := s.Get(ctx, want.ID)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
		if err := s.Create(ctx, want); !errors.Is(err, store.ErrExists) {
			t.Errorf("second Create = %v", err)
		}
		if _, err := s.Get(ctx, "20261121-none-ffff"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("Get of nothing = %v", err)
		}
	})
	t.Run("CreateIsPendingAndNamed", func(t *testing.T) {
		s := open(t, false)
		x := session(1)
		x.Status = plan.Approved
		if err := s.Create(ctx, x); !errors.Is(err, store.ErrMove) {
			t.Errorf("Create as approved = %v", err)
		}
		x = session(1)
		x.ID = "../../etc"
		if err := s.Create(ctx, x); err == nil {
			t.Error("Create took a bad id")
		}
	})
	t.Run("ListIsNewestFirst", func(t *testing.T) {
		s := open(t, false)
		for n := range 5 {
			x := session(n)
			if n == 3 {
				x.Target = "db1"
			}
			if err := s.Create(ctx, x); err != nil {
				t.Fatal(err)
			}
		}
		for _, tt := range []struct {
			f    store.Filter
			want string
		}{{store.Filter{}, "43210"}, {store.Filter{Limit: 2}, "43"}, {store.Filter{Target: "db1"}, "3"}, {store.Filter{Fleet: "20261121-fix-000001"}, "32"}, {store.Filter{Status: plan.Executed}, ""}} {
			list, err := s.List(ctx, tt.f)
			got := ""
			for _, x := range list {
				got += x.ID[len(x.ID)-1:]
				if x.Plan != nil || x.Script != nil {
					t.Error("List returned contents")
				}
			}
			if got != tt.want || err != nil {
				t.Errorf("List(%+v) = %q, %v; want %q", tt.f, got, err, tt.want)
			}
		}
	})
	t.Run("OnlyLegalMoves", func(t *testing.T) {
		s := open(t, false)
		n := 0
		for _, from := range plan.Statuses() {
			for _, to := range plan.Statuses() {
				n++
				x := session(n)
				if err := s.Create(ctx, x); err != nil {
					t.Fatal(err)
				}
				err := s.Move(ctx, x.ID, from, to, store.Update{Now: now})
				want := error(nil)
				switch {
				case !plan.CanMove(from, to):
					want = store.ErrMove
				case from != plan.Pending:
					want = store.ErrStale
				}
				if !errors.Is(err, want) {
					t.Errorf("move from %s to %s = %v, want %v", from, to, err, want)
				}
			}
		}
		if err := s.Move(ctx, "20261121-none-ffff", plan.Pending, plan.Approved, store.Update{Now: now}); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("move of nothing = %v", err)
		}
	})
	t.Run("MoveUpdates", func(t *testing.T) {
		s := open(t, false)
		x := session(1)
		if err := s.Create(ctx, x); err != nil {
			t.Fatal(err)
		}
		later := now.Add(time.Minute)
		if err := s.Move(ctx, x.ID, plan.Pending, plan.Approved, store.Update{Now: later, Expires: later.Add(time.Hour)}); err != nil {
			t.Fatal(err)
		}
		if err := s.Move(ctx, x.ID, plan.Approved, plan.Applying, store.Update{Now: later, Message: "half", Output: []byte("out")}); err != nil {
			t.Fatal(err)
		}
		got, err := s.Get(ctx, x.ID)
		if err != nil || got.Status != plan.Applying || got.Message != "half" || string(got.Output) != "out" || !got.Updated.Equal(later) || !got.Expires.Equal(later.Add(time.Hour)) {
			t.Errorf("%+v, %v", got, err)
		}
	})
	t.Run("OneOfManyWins", func(t *testing.T) {
		s := open(t, false)
		x := session(1)
		if err := s.Create(ctx, x); err != nil {
			t.Fatal(err)
		}
		var won atomic.Int32
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				switch err := s.Move(ctx, x.ID, plan.Pending, plan.Approved, store.Update{Now: now}); {
				case err == nil:
					won.Add(1)
				case !errors.Is(err, store.ErrStale):
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 {
			t.Errorf("%d moves won", won.Load())
		}
	})
	t.Run("Decisions", func(t *testing.T) {
		s := open(t, false)
		x := session(1)
		if err := s.Create(ctx, x); err != nil {
			t.Fatal(err)
		}
		a := plan.Approval{ID: "a1", Session: x.ID, Digest: "sha256:d", User: "bob", Host: "h", Created: now, Expires: now.Add(time.Hour)}
		if err := s.Decide(ctx, a); err != nil {
			t.Fatal(err)
		}
		if err := s.Decide(ctx, a); !errors.Is(err, store.ErrExists) {
			t.Errorf("the same decision again = %v", err)
		}
		b := a
		b.ID, b.Reject, b.Created = "a2", true, now.Add(time.Second)
		if err := s.Decide(ctx, b); err != nil {
			t.Fatal(err)
		}
		got, err := s.Decisions(ctx, x.ID)
		if d := cmp.Diff([]plan.Approval{a, b}, got); d != "" || err != nil {
			t.Errorf("%s, %v", d, err)
		}
		a.ID, a.Session = "a3", "20261121-none-ffff"
		if err := s.Decide(ctx, a); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("decision on nothing = %v", err)
		}
	})
	t.Run("ListsWhatIsOld", func(t *testing.T) {
		s := open(t, false)
		for n := range 3 {
			if err := s.Create(ctx, session(n)); err != nil {
				t.Fatal(err)
			}
			if err := s.Move(ctx, session(n).ID, plan.Pending, plan.Rejected, store.Update{Now: now.Add(time.Duration(n) * time.Hour)}); err != nil {
				t.Fatal(err)
			}
		}
		list, err := s.List(ctx, store.Filter{Before: now.Add(30 * time.Minute)})
		if err != nil || len(list) != 1 || list[0].ID != session(0).ID {
			t.Errorf("List = %v, %v", list, err)
		}
	})
	t.Run("DeleteTakesWhatTheCallerSaw", func(t *testing.T) {
		s := open(t, false)
		if err := s.Create(ctx, session(0)); err != nil {
			t.Fatal(err)
		}
		id := session(0).ID
		if err := s.Delete(ctx, id, plan.Rejected); !errors.Is(err, store.ErrStale) {
			t.Errorf("Delete with another status = %v", err)
		}
		if err := s.Delete(ctx, id, plan.Applying); !errors.Is(err, store.ErrStale) {
			t.Errorf("Delete while applying = %v", err)
		}
		if err := s.Delete(ctx, id, plan.Pending); err != nil {
			t.Error(err)
		}
		if _, err := s.Get(ctx, id); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("Get = %v", err)
		}
	})
	t.Run("NoteKeepsTheStatus", func(t *testing.T) {
		s := open(t, false)
		if err := s.Create(ctx, session(0)); err != nil {
			t.Fatal(err)
		}
		if err := s.Note(ctx, session(0).ID, store.Update{Message: "m", Output: []byte("o")}); err != nil {
			t.Fatal(err)
		}
		if err := s.Note(ctx, session(0).ID, store.Update{}); err != nil {
			t.Fatal(err)
		}
		x, err := s.Get(ctx, session(0).ID)
		if err != nil || x.Status != plan.Pending || x.Message != "m" || string(x.Output) != "o" {
			t.Errorf("%+v, %v", x, err)
		}
		if err := s.Note(ctx, "20261121-none-0000", store.Update{}); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("Note on nothing = %v", err)
		}
	})
	t.Run("SurvivesReopening", func(t *testing.T) {
		s := open(t, false)
		if err := s.Create(ctx, session(1)); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := open(t, true).Get(ctx, session(1).ID); err != nil {
			t.Error(err)
		}
	})
}
