// Package postgres opens the store that several processes of a team share: a PostgreSQL
// database, version 15 or newer. Durable work is offered to its processes with River,
// whose tables lie beside ours.
package postgres

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	"github.com/bowline-sh/bowline/internal/store"
	"github.com/bowline-sh/bowline/internal/store/sqlstore"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Oldest is the oldest version of PostgreSQL that is used.
const Oldest = 15

// Store is a store in PostgreSQL.
type Store struct {
	*sqlstore.Store
	pool *pgxpool.Pool

	mu   sync.Mutex         // guards stop
	stop context.CancelFunc // of listen; nil before
	done sync.WaitGroup     // listen, and renewing places

	places places
}

// Open connects to the database that dsn names, as postgres://USER@HOST/NAME, and brings
// its tables to the present version; of several processes that do so at once one works
// and the others wait. A database that a newer program made is an error and left alone.
// What is not in dsn comes from PGHOST, PGPASSWORD, PGPASSFILE and so on. No error holds
// the password.
func Open(ctx context.Context, dsn string) (*Store, error) {
	cfg, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, errors.New("open store: the address of the database cannot be read; write it as postgres://USER@HOST:5432/NAME")
	}
	cfg.ConnConfig.RuntimeParams["application_name"] = "bowline"
	// A database that does not answer must not stop a process for good.
	cfg.ConnConfig.ConnectTimeout = 5 * time.Second
	cfg.MaxConnLifetimeJitter = 5 * time.Minute
	if cfg.MaxConns < 8 {
		cfg.MaxConns = 8
	}
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, masked(cfg, fmt.Errorf("open store: %w", err))
	}
	db := stdlib.OpenDBFromPool(pool)
	version, err := prepare(ctx, pool, db)
	if err != nil {
		err = errors.Join(masked(cfg, fmt.Errorf("open store: %w", err)), db.Close())
		pool.Close()
		return nil, err
	}
	inserter, err := river.NewClient(riverpgxv5.New(pool), &river.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open store: %w", err), db.Close())
	}
	s := &Store{Store: sqlstore.New(db, sqlstore.Dialect{Taken: taken, Lost: lost, Text: sqlstore.PlainText,
		Snapshot: &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}, Version: version,
		Notify: `SELECT pg_notify('bowline', $1)`, Offering: offering(pool, inserter), Unoffered: unoffered}), pool: pool}
	return s, nil
}

// masked says an error on one line, and hides the password, should a driver ever quote it.
func masked(cfg *pgxpool.Config, err error) error {
	text := strings.Join(strings.Fields(err.Error()), " ")
	if pw := cfg.ConnConfig.Password; pw != "" {
		text = strings.ReplaceAll(text, pw, "xxxxx")
	}
	return said{text, err}
}

// said is an error in other words.
type said struct {
	text string
	err  error
}

func (s said) Error() string { return s.text }
func (s said) Unwrap() error { return s.err }

// Close implements [store.Store].
func (s *Store) Close() error {
	s.mu.Lock()
	stop := s.stop
	s.mu.Unlock()
	if stop != nil {
		stop()
	}
	s.places.mu.Lock()
	if s.places.stop != nil {
		s.places.stop()
	}
	s.places.mu.Unlock()
	s.done.Wait()
	err := s.Store.Close()
	s.pool.Close()
	return err
}

// Listen begins to wake those who wait for what other processes did; Close ends it. It
// takes a connection of its own. Again, it changes nothing.
func (s *Store) Listen(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stop != nil {
		return
	}
	ctx, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	s.done.Go(func() { s.listen(ctx) })
}

// migrationLock is the advisory lock of those who migrate: "bowline" in ASCII.
const migrationLock = 0x626f776c696e65

// prepare migrates under a lock and returns the version of the tables.
func prepare(ctx context.Context, pool *pgxpool.Pool, db *sql.DB) (int64, error) {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Release()
	var version int
	if err := conn.QueryRow(ctx, `SELECT current_setting('server_version_num')::int`).Scan(&version); err != nil {
		return 0, err
	}
	if version/10000 < Oldest {
		return 0, fmt.Errorf("the database is PostgreSQL %d; %d is the oldest that can be used", version/10000, Oldest)
	}
	if _, err := conn.Exec(ctx, `SELECT pg_advisory_lock($1)`, migrationLock); err != nil {
		return 0, err
	}
	newest, err := migrate(ctx, pool, db)
	// The lock also ends with the connection.
	_, uerr := conn.Exec(context.WithoutCancel(ctx), `SELECT pg_advisory_unlock($1)`, migrationLock)
	return newest, errors.Join(err, uerr)
}

func migrate(ctx context.Context, pool *pgxpool.Pool, db *sql.DB) (int64, error) {
	dir, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return 0, err
	}
	p, err := goose.NewProvider(goose.DialectPostgres, db, dir, goose.WithTableName("bowline_version"))
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
	if _, err := p.Up(ctx); err != nil {
		return 0, err
	}
	jobs, err := rivermigrate.New(riverpgxv5.New(pool), nil)
	if err != nil {
		return 0, err
	}
	_, err = jobs.Migrate(ctx, rivermigrate.DirectionUp, nil)
	return newest, err
}

func taken(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && e.Code == "23505" // unique_violation
}

// lost reports that the server was away, went away, or went with what it had begun:
// classes 08 and 57P of https://www.postgresql.org/docs/15/errcodes-appendix.html. A
// deadlock or a failed serialization was taken back by the server.
func lost(err error) bool {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return strings.HasPrefix(e.Code, "08") || strings.HasPrefix(e.Code, "57P") || e.Code == "40001" || e.Code == "40P01" || e.Code == "53300"
	}
	var network net.Error
	return pgconn.SafeToRetry(err) || errors.As(err, new(*pgconn.ConnectError)) || errors.As(err, &network) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, errConnClosed) ||
		strings.Contains(err.Error(), errConnClosed.Error()) || errors.Is(err, pgx.ErrTxClosed)
}

// errConnClosed is what pgconn says of a connection that broke before; it exports no
// value for it.
var errConnClosed = errors.New("conn closed")
