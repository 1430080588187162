package sqlite_test

import (
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/bowline-sh/bowline/internal/store"
	"github.com/bowline-sh/bowline/internal/store/sqlite"
	"github.com/bowline-sh/bowline/internal/store/storetest"
	"github.com/bowline-sh/bowline/internal/work"
	"github.com/bowline-sh/bowline/internal/work/worktest"
)

func TestContract(t *testing.T) {
	var file string
	storetest.Run(t, func(t *testing.T, same bool) store.Store {
		if !same {
			file = filepath.Join(t.TempDir(), "dir with spaces?#%", "bowline.db")
		}
		s, err := sqlite.Open(t.Context(), file)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	})
}

func TestWork(t *testing.T) {
	worktest.Run(t, func(t *testing.T) work.Store {
		s, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "bowline.db"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	})
}

func TestFileIsPrivate(t *testing.T) {
	file := filepath.Join(t.TempDir(), "bowline.db")
	s, err := sqlite.Open(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

// TestNewerStoreIsLeftAlone: an older program does not touch what it does not know.
func TestNewerStoreIsLeftAlone(t *testing.T) {
	file := filepath.Join(t.TempDir(), "bowline.db")
	s, err := sqlite.Open(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(`INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, 1)`); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := sqlite.Open(t.Context(), file); !errors.Is(err, store.ErrNewer) {
		t.Errorf("Open = %v", err)
	}
}

// TestStoreFromBeforeFleets: sessions that an older program stored are still there.
func TestStoreFromBeforeFleets(t *testing.T) {
	file := filepath.Join(t.TempDir(), "bowline.db")
	s, err := sqlite.Open(t.Context(), file)
	if err == nil {
		err = s.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", file)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		`DROP TABLE audit_chains`, `DROP TABLE audit_lines`, `DROP TABLE audit_statements`, `DROP TABLE warmth`, `DROP TABLE processes`, `DROP TABLE events`, `DROP TABLE tasks`, `DROP TABLE operations`, `DROP TABLE tokens`, `ALTER TABLE sessions DROP COLUMN mark`, `ALTER TABLE sessions DROP COLUMN client`, `DROP INDEX sessions_fleet`, `ALTER TABLE sessions DROP COLUMN effect`, `ALTER TABLE sessions DROP COLUMN fleet`, `DELETE FROM goose_db_version WHERE version_id > 1`,
		`INSERT INTO sessions VALUES ('20261121-old-a3f2', 'old', '', 'web1', 'k', 'executed', 'd', 'u', 'h', 'cli', NULL, '{}', 1, 1, 1, '', NULL)`,
	} {
		if _, err := db.Exec(line); err != nil {
			t.Fatal(line, err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	s, err = sqlite.Open(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	x, err := s.Get(t.Context(), "20261121-old-a3f2")
	if err != nil || x.Target != "web1" || x.Fleet != "" || x.Effect != "" {
		t.Errorf("%+v, %v", x, err)
	}
}
