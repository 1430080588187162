//go:build unix

package postgres_test

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/bowline-sh/bowline/internal/store"
	"github.com/bowline-sh/bowline/internal/store/postgres"
	"github.com/bowline-sh/bowline/internal/store/sqlite"
	"github.com/bowline-sh/bowline/internal/store/sqlstore"
	"github.com/bowline-sh/bowline/internal/store/storetest"
	"github.com/bowline-sh/bowline/internal/testkit"
	"github.com/bowline-sh/bowline/internal/work"
	"github.com/bowline-sh/bowline/internal/work/worktest"
	"github.com/bowline-sh/bowline/plan"
)

func open(t *testing.T, dsn string) *postgres.Store {
	t.Helper()
	s, err := postgres.Open(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// TestPostgres shares one server: to make one takes a second.
func TestPostgres(t *testing.T) {
	pg := testkit.StartPostgres(t)
	t.Run("Contract", func(t *testing.T) {
		n, dsn := 0, ""
		storetest.Run(t, func(t *testing.T, same bool) store.Store {
			if !same {
				n++
				dsn = pg.NewDatabase(fmt.Sprintf("contract%d", n))
			}
			return open(t, dsn)
		})
	})
	t.Run("Work", func(t *testing.T) {
		n := 0
		worktest.Run(t, func(t *testing.T) work.Store {
			n++
			return open(t, pg.NewDatabase(fmt.Sprintf("work%d", n)))
		})
	})
	t.Run("LostAnswers", func(t *testing.T) { lostAnswers(t, pg) })
	t.Run("OffersThatAreGone", func(t *testing.T) { offersThatAreGone(t, pg) })
	t.Run("LimitsHoldAcrossProcesses", func(t *testing.T) { limits(t, pg) })
	t.Run("CopyKeepsEverything", func(t *testing.T) { copies(t, pg) })
	t.Run("ThreeMigrateAtOnce", func(t *testing.T) {
		dsn := pg.NewDatabase("three")
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				s, err := postgres.Open(t.Context(), dsn)
				if err != nil {
					t.Error(err)
					return
				}
				defer s.Close()
				if _, err := s.List(t.Context(), store.Filter{}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	})
	t.Run("NewerIsLeftAlone", func(t *testing.T) {
		dsn := pg.NewDatabase("newer")
		open(t, dsn)
		conn, err := pgx.Connect(t.Context(), dsn)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(t.Context())
		if _, err := conn.Exec(t.Context(), `INSERT INTO bowline_version (version_id, is_applied) VALUES (9999, true)`); err != nil {
			t.Fatal(err)
		}
		if _, err := postgres.Open(t.Context(), dsn); err == nil || !strings.Contains(err.Error(), store.ErrNewer.Error()) {
			t.Errorf("Open = %v", err)
		}
	})
	t.Run("NoPasswordInErrors", func(t *testing.T) {
		good := pg.NewDatabase("secret")
		for _, dsn := range []string{
			strings.Replace(good, "sesame", "hunter2", 1), strings.Replace(good, "/secret", "/none?password=hunter2&x=%zz", 1),
			"postgres://u:hunter2@[::1/x", "postgres://u:hunter2@127.0.0.1:1/x", "postgres://u:hunter2@127.0.0.1:99999/x", "postgres://u:hunter2@127.0.0.1/x?sslmode=perhaps",
		} {
			s, err := postgres.Open(t.Context(), dsn)
			if err == nil {
				s.Close()
				t.Errorf("Open %s succeeded", dsn)
			} else if strings.Contains(fmt.Sprintf("%v %+v", err, err), "hunter2") {
				t.Errorf("the error holds the password: %v", err)
			}
		}
	})
	t.Run("HostileText", func(t *testing.T) {
		s := open(t, pg.NewDatabase("hostile"))
		if err := s.CreateToken(t.Context(), store.Token{ID: "x", Name: "a\x00b\xff", Hash: []byte{0}}); err != nil {
			t.Fatal(err)
		}
		if x, err := s.Token(t.Context(), "x"); err != nil || x.Name != "a\uFFFDb\uFFFD" {
			t.Errorf("%q, %v", x.Name, err)
		}
	})
}

// copies carries a store from SQLite to PostgreSQL and back: nothing is lost, and the
// dumps are the same byte for byte.
func copies(t *testing.T, pg *testkit.Postgres) {
	ctx := t.Context()
	src, err := sqlite.Open(ctx, filepath.Join(t.TempDir(), "a.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	now := time.UnixMilli(1795255200123).UTC()
	x := store.Session{ID: "20261121-fix-a3f2", Name: "fix", Note: "a\nb", Target: "web1", Status: plan.Pending, Script: []byte("\x00\xff"), Plan: []byte("{}"), Output: []byte{}, Created: now, Updated: now}
	op := work.Operation{ID: "01A", Verb: work.Run, Request: []byte("{}"), Created: now, Caller: work.Caller{User: "ann"}}
	for _, err := range []error{
		src.Create(ctx, x), src.Decide(ctx, plan.Approval{ID: "d", Session: x.ID, User: "bob", Created: now}),
		src.CreateToken(ctx, store.Token{ID: "t", Hash: []byte{0, 255}, Created: now}),
		src.Join(ctx, work.Process{ID: "p1"}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := src.Submit(ctx, op, []work.Task{{ID: "01A-1", Number: 1, Target: "web1"}, {ID: "01A-2", Number: 2, Target: "web2"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := src.Claim(ctx, "01A-1", "p1", work.Limits{PerTarget: 1}, now); err != nil {
		t.Fatal(err)
	}
	first := dump(t, src)
	db := open(t, pg.NewDatabase("copied"))
	for i, bad := range [][]byte{first[:len(first)-20], bytes.Replace(first, []byte("web1"), []byte("web2"), 1), append(bytes.Clone(first), "{}\n"...), []byte("{}\n"), nil} {
		if _, err := db.Load(ctx, bytes.NewReader(bad)); !errors.Is(err, sqlstore.ErrDump) {
			t.Errorf("damaged backup %d: %v", i, err)
		}
	}
	if _, err := db.Load(ctx, bytes.NewReader(first)); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Load(ctx, bytes.NewReader(first)); !errors.Is(err, sqlstore.ErrNotEmpty) {
		t.Errorf("second Load = %v", err)
	}
	second := dump(t, db.Store)
	back, err := sqlite.Open(ctx, filepath.Join(t.TempDir(), "b.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer back.Close()
	if _, err := back.Load(ctx, bytes.NewReader(second)); err != nil {
		t.Fatal(err)
	}
	if third := dump(t, back); !bytes.Equal(first, second) || !bytes.Equal(first, third) {
		t.Errorf("the copies differ:\n%s\n%s\n%s", first, second, third)
	}
	// What was under way is left by a process that nobody knows; what waited is offered.
	if left, err := db.Left(ctx); err != nil || len(left) != 1 {
		t.Errorf("%v, %v", left, err)
	}
	if n, err := db.Reoffer(ctx, now); err != nil || n != 1 {
		t.Errorf("%d offered, %v", n, err)
	}
	if n, err := db.Reoffer(ctx, now); err != nil || n != 0 {
		t.Errorf("%d offered again, %v", n, err)
	}
}

func dump(t *testing.T, s *sqlstore.Store) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := s.Dump(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestRestartsLoseNothing: changes go on while the server restarts in every way. Each is
// made once, and says so, though answers are lost.
func TestRestartsLoseNothing(t *testing.T) {
	pg := testkit.StartPostgres(t)
	s := open(t, pg.NewDatabase("restarts"))
	ctx := t.Context()
	over := make(chan struct{})
	var made atomic.Int32
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-over:
					return
				default:
				}
				id := fmt.Sprintf("20261121-fix-%d-%04x", g, i)
				now := time.Now()
				for n, err := range []error{
					s.Create(ctx, store.Session{ID: id, Status: plan.Pending, Plan: []byte("{}"), Created: now}),
					s.Decide(ctx, plan.Approval{ID: id, Session: id, Created: now}),
					s.Move(ctx, id, plan.Pending, plan.Approved, store.Update{Now: now}),
					s.Move(ctx, id, plan.Approved, plan.Applying, store.Update{Now: now}),
					s.Move(ctx, id, plan.Applying, plan.Failed, store.Update{Now: now}),
					s.Delete(ctx, id, plan.Failed),
				} {
					if err != nil {
						t.Errorf("change %d of %s: %v", n+1, id, err)
						return
					}
				}
				made.Add(1)
			}
		})
	}
	for _, way := range []func(){func() { pg.Restart("fast") }, func() { pg.Restart("immediate") }, func() { pg.Kill(); pg.Start() }, func() { pg.Restart("immediate") }} {
		from := made.Load()
		for began := time.Now(); made.Load() < from+20 && !t.Failed(); time.Sleep(5 * time.Millisecond) {
			if time.Since(began) > 30*time.Second {
				t.Fatal("nothing goes on any more")
			}
		}
		way()
	}
	close(over)
	wg.Wait()
	t.Logf("%d sessions went through their life", made.Load())
}

// limits counts through two connections, as two processes do.
func limits(t *testing.T, pg *testkit.Postgres) {
	dsn := pg.NewDatabase("limits")
	a, b := open(t, dsn), open(t, dsn)
	three := []postgres.Limit{{Key: "x\x00ann", Concurrent: 3}, {Key: "y", Rate: 5, Per: time.Hour}}
	var mu sync.Mutex
	var leave []func()
	busy := 0
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			l, full, err := []*postgres.Store{a, b}[i%2].Enter(t.Context(), three)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil:
				t.Error(err)
			case full != nil && full.Limit == 0 && full.Busy:
				busy++
			case full == nil:
				leave = append(leave, l)
			default:
				t.Errorf("%+v", full)
			}
		})
	}
	wg.Wait()
	if len(leave) != 3 || busy != 5 {
		t.Fatalf("%d got in, %d did not", len(leave), busy)
	}
	for _, l := range leave {
		l()
		l()
	}
	for i := range 3 {
		l, full, err := b.Enter(t.Context(), three)
		if err != nil || i < 2 && full != nil || i == 2 && (full == nil || full.Limit != 1 || full.Busy || full.Next < 59*time.Minute) {
			t.Errorf("act %d: %+v, %v", i+4, full, err)
		}
		if l != nil {
			l()
		}
	}
}
