package postgres_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/bowline-sh/bowline/internal/store"
	"github.com/bowline-sh/bowline/internal/store/postgres"
	"github.com/bowline-sh/bowline/internal/store/storetest"
	"github.com/bowline-sh/bowline/internal/testkit"
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
