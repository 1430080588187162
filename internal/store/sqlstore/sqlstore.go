// Package sqlstore keeps what a client stores in an SQL database: one implementation
// for SQLite and PostgreSQL, which differ in a [Dialect] and in their migrations
// (packages store/sqlite and store/postgres).
//
// # When the database goes away
//
// PostgreSQL may restart while a statement is under way. What surely was not sent is
// sent again, and so are questions. Of a change nobody knows then whether it was made,
// so each leaves a mark of its own in the row it changes: it is tried again with the
// same mark, and if it finds that mark, it was made. A change without one is either such
// that making it again changes nothing, or it is not tried again.
package sqlstore

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/bowline-sh/bowline/internal/store"
	"github.com/bowline-sh/bowline/internal/work"
)

// Dialect is how the databases differ. The functions are required.
type Dialect struct {
	// Taken reports that a key or a unique place is taken.
	Taken func(error) bool
	// Lost reports that the database was away: the statement was not executed, or
	// nobody knows.
	Lost func(error) bool
	// Text is what the database can keep of a text.
	Text func(string) string
	// Snapshot are the options of a transaction that reads one moment.
	Snapshot *sql.TxOptions
	// Version is that of the tables.
	Version int64

	// Notify, if not "", tells other processes of $1 when its transaction commits.
	Notify string
	// Offering calls f in a transaction in which tasks are offered to processes; nil:
	// nobody offers, and processes look for themselves.
	Offering func(ctx context.Context, f func(Offering) error) error
	// Unoffered, with Offering, selects id and job of queued tasks that nobody is
	// offered any more; $1 is the time in milliseconds.
	Unoffered string
}

// Offering is a transaction in which tasks are offered.
type Offering interface {
	Exec(ctx context.Context, query string, args ...any) (rows int64, err error)
	// Offer offers tasks to one process each, or to all where its name is "", and
	// returns the numbers of the offers.
	Offer(ctx context.Context, offers []Offer) (jobs []int64, err error)
}

// Offer is a task for a process.
type Offer struct{ Task, Process string }

// Store implements [store.Store] and [work.Store].
type Store struct {
	db  *sql.DB
	d   Dialect
	bus bus
}

var (
	_ store.Store = (*Store)(nil)
	_ work.Store  = (*Store)(nil)
)

// New returns a Store on a database whose tables are of the present version.
func New(db *sql.DB, d Dialect) *Store { return &Store{db: db, d: d} }

// Close implements [store.Store].
func (s *Store) Close() error { return s.db.Close() }

// Version is that of the tables.
func (s *Store) Version() int64 { return s.d.Version }

// patience is how long a call waits for a database that is away: a restart takes some
// seconds, and recovery after a crash somewhat longer.
const patience = 60 * time.Second

// try calls f until the database answers, or ctx or the patience ends. again says that
// f was called before and nobody knows what came of it.
func (s *Store) try(ctx context.Context, f func(again bool) error) error {
	again := false
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = 50*time.Millisecond, 2*time.Second
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := f(again)
		if err == nil || ctx.Err() != nil || !s.d.Lost(err) {
			if err != nil {
				err = backoff.Permanent(err)
			}
			return struct{}{}, err
		}
		again = true
		return struct{}{}, err
	}, backoff.WithBackOff(pause), backoff.WithMaxElapsedTime(patience))
	if p, ok := errors.AsType[*backoff.PermanentError](err); ok {
		return p.Unwrap()
	}
	return err
}

// args makes arguments such that the database can keep them.
func (s *Store) args(list []any) []any {
	for i, a := range list {
		if text, ok := a.(string); ok {
			list[i] = s.d.Text(text)
		}
	}
	return list
}

// exec makes a change that changes nothing when it is made again, and returns how many
// rows it found.
func (s *Store) exec(ctx context.Context, query string, args ...any) (rows int64, err error) {
	err = s.try(ctx, func(bool) error {
		res, err := s.db.ExecContext(ctx, query, s.args(args)...)
		if err != nil {
			return err
		}
		rows, err = res.RowsAffected()
		return err
	})
	return rows, err
}

// insert makes a new row. proof finds it by its key and something that only this call
// wrote there: it counts the rows.
func (s *Store) insert(ctx context.Context, query string, args []any, proof string, found ...any) error {
	return s.try(ctx, func(again bool) error {
		_, err := s.db.ExecContext(ctx, query, s.args(args)...)
		if err == nil || !again || !s.d.Taken(err) {
			return err
		}
		var n int
		if perr := s.db.QueryRowContext(ctx, proof, found...).Scan(&n); perr != nil {
			return perr
		}
		if n > 0 {
			return nil
		}
		return err
	})
}

// row reads one row.
func (s *Store) row(ctx context.Context, scan func(row) error, query string, args ...any) error {
	return s.try(ctx, func(bool) error { return scan(s.db.QueryRowContext(ctx, query, args...)) })
}

// rows reads any number of rows, starting over if the database goes away meanwhile.
func rows[T any](ctx context.Context, s *Store, scan func(row) (T, error), query string, args ...any) ([]T, error) {
	var out []T
	err := s.try(ctx, func(bool) error {
		out = nil
		list, err := s.db.QueryContext(ctx, query, args...)
		if err != nil {
			return err
		}
		defer list.Close()
		for list.Next() {
			x, err := scan(list)
			if err != nil {
				return err
			}
			out = append(out, x)
		}
		return list.Err()
	})
	return out, err
}

// inTx makes several changes or none. f must prove by itself what an earlier try made.
func (s *Store) inTx(ctx context.Context, f func(tx *sql.Tx, again bool) error) error {
	return s.try(ctx, func(again bool) error {
		tx, err := s.db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		if err := f(tx, again); err != nil {
			return errors.Join(err, ignoreDone(tx.Rollback()))
		}
		return tx.Commit()
	})
}

// ignoreDone: a transaction whose connection broke is over already.
func ignoreDone(err error) error {
	if errors.Is(err, sql.ErrTxDone) {
		return nil
	}
	return err
}

// mark is what one change writes, to find it again.
func mark() string { return rand.Text() }

// row is a result that can be read.
type row interface{ Scan(...any) error }

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func timeOf(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// wrap names what was attempted and turns a taken key into ErrExists.
func (s *Store) wrap(op string, err error) error {
	switch {
	case err == nil:
		return nil
	case s.d.Taken(err):
		return fmt.Errorf("%s: %w", op, store.ErrExists)
	case errors.Is(err, sql.ErrNoRows):
		return fmt.Errorf("%s: %w", op, store.ErrNotFound)
	}
	return fmt.Errorf("%s: %w", op, err)
}

// found returns none if a change that succeeded found no row.
func (s *Store) found(op string, n int64, err, none error) error {
	if err == nil && n == 0 {
		err = none
	}
	return s.wrap(op, err)
}

// PlainText is text without zero bytes and what is no UTF-8: a [Dialect.Text].
func PlainText(text string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD")
}
