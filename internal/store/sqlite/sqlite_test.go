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
	if _, err := sqlite.Open(t.Context(), file); !errors.Is(err, sqlite.ErrNewer) {
		t.Errorf("Open = %v", err)
	}
}
