// Package sqlite opens the store of a single machine: one SQLite file, which several
// processes may have open.
package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/bowline-sh/bowline/internal/store"
	"github.com/bowline-sh/bowline/internal/store/sqlstore"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Open opens the file, making it (0600) and bringing its tables to the present
// version. A file made by a newer program is an error and left alone.
func Open(ctx context.Context, file string) (*sqlstore.Store, error) {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	// SQLite would make the file with the umask's mode.
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	db, err := sql.Open("sqlite", dsn(file))
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	version, err := migrate(ctx, db)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open store %s: %w", file, err), db.Close())
	}
	return sqlstore.New(db, sqlstore.Dialect{Taken: taken, Lost: never, Text: keep, Snapshot: &sql.TxOptions{ReadOnly: true}, Version: version}), nil
}

// dsn: writers take their lock at once and wait up to 5 s for another, so that
// read-modify-write never fails half way; a commit is on disk (synchronous=full).
func dsn(file string) string {
	q := url.Values{}
	q.Set("_txlock", "immediate")
	for _, p := range []string{"journal_mode(wal)", "busy_timeout(5000)", "foreign_keys(1)", "synchronous(full)"} {
		q.Add("_pragma", p)
	}
	return (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: file}).EscapedPath(), RawQuery: q.Encode()}).String()
}

// migrate brings the tables to the present version and returns it.
func migrate(ctx context.Context, db *sql.DB) (int64, error) {
	dir, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return 0, err
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, db, dir)
	if err != nil {
		return 0, err
	}
	have, err := p.GetDBVersion(ctx)
	if err != nil {
		return 0, err
	}
	sources := p.ListSources()
	newest := sources[len(sources)-1].Version
	if have > newest {
		return 0, store.ErrNewer
	}
	_, err = p.Up(ctx)
	return newest, err
}

func taken(err error) bool {
	e, ok := errors.AsType[*sqlite.Error](err)
	return ok && (e.Code() == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY || e.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE)
}

// never: a file does not go away.
func never(error) bool { return false }

// keep: SQLite keeps any bytes.
func keep(text string) string { return text }
