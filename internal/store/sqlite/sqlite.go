// Package sqlite keeps sessions in one SQLite file: the store of a single
// machine. Several processes may have it open.
package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/bowline-sh/bowline/internal/store"
	"github.com/bowline-sh/bowline/plan"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Store implements [store.Store].
type Store struct{ db *sql.DB }

var _ store.Store = (*Store)(nil)

// Open opens the file, making it (0600) and bringing its tables to the present
// version. A file made by a newer program is an error and left alone.
func Open(ctx context.Context, file string) (*Store, error) {
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
	s := &Store{db: db}
	if err := s.migrate(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open store %s: %w", file, err), db.Close())
	}
	return s, nil
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

// ErrNewer means that a newer program made the store.
var ErrNewer = errors.New("a newer version of bowline made it; use that one")

func (s *Store) migrate(ctx context.Context) error {
	dir, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, s.db, dir)
	if err != nil {
		return err
	}
	have, err := p.GetDBVersion(ctx)
	if err != nil {
		return err
	}
	sources := p.ListSources()
	if newest := sources[len(sources)-1].Version; have > newest {
		return ErrNewer
	}
	_, err = p.Up(ctx)
	return err
}

// Close implements [store.Store].
func (s *Store) Close() error { return s.db.Close() }

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

// Create implements [store.Store].
func (s *Store) Create(ctx context.Context, x store.Session) error {
	if x.Status != plan.Pending {
		return fmt.Errorf("create session %s as %s: %w", x.ID, x.Status, store.ErrMove)
	}
	if err := plan.ValidID(x.ID); err != nil {
		return err
	}
	_, err := s.db.ExecContext(ctx, `INSERT INTO sessions (id, name, note, target, host_key, status, digest, usr, host, surface, script, plan, created, updated, expires, message, output, fleet, effect, client)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)`,
		x.ID, x.Name, x.Note, x.Target, x.HostKey, x.Status, x.Digest, x.User, x.Host, x.Surface, x.Script, x.Plan,
		millis(x.Created), millis(x.Created), millis(x.Expires), x.Message, x.Output, x.Fleet, x.Effect, x.Client)
	return wrap("create session "+x.ID, err)
}

// wrap names what was attempted and turns a taken key into ErrExists.
func wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*sqlite.Error](err); ok && (e.Code() == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY || e.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE) {
		return fmt.Errorf("%s: %w", op, store.ErrExists)
	}
	if errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("%s: %w", op, store.ErrNotFound)
	}
	return fmt.Errorf("%s: %w", op, err)
}

const summary = `id, name, note, target, host_key, status, digest, usr, host, surface, created, updated, expires, message, fleet, effect, client`

type row interface{ Scan(...any) error }

func scan(r row, more ...any) (store.Session, error) {
	var x store.Session
	var created, updated, expires int64
	err := r.Scan(append([]any{&x.ID, &x.Name, &x.Note, &x.Target, &x.HostKey, &x.Status, &x.Digest, &x.User, &x.Host, &x.Surface,
		&created, &updated, &expires, &x.Message, &x.Fleet, &x.Effect, &x.Client}, more...)...)
	x.Created, x.Updated, x.Expires = timeOf(created), timeOf(updated), timeOf(expires)
	return x, err
}

// Get implements [store.Store].
func (s *Store) Get(ctx context.Context, id string) (store.Session, error) {
	var script, doc, output []byte
	x, err := scan(s.db.QueryRowContext(ctx, `SELECT `+summary+`, script, plan, output FROM sessions WHERE id = $1`, id), &script, &doc, &output)
	x.Script, x.Plan, x.Output = script, doc, output
	return x, wrap("get session "+id, err)
}

// List implements [store.Store].
func (s *Store) List(ctx context.Context, f store.Filter) ([]store.Session, error) {
	limit := int64(f.Limit)
	if limit <= 0 {
		limit = -1 // SQLite: no limit
	}
	rows, err := s.db.QueryContext(ctx, `SELECT `+summary+` FROM sessions
		WHERE ($1 = '' OR status = $1) AND ($2 = '' OR target = $2) AND ($3 = 0 OR updated < $3) AND ($5 = '' OR fleet = $5)
			AND ($6 = '' OR (created, id) < (SELECT created, id FROM sessions WHERE id = $6))
		ORDER BY created DESC, id DESC LIMIT $4`, f.Status, f.Target, millis(f.Before), limit, f.Fleet, f.After)
	if err != nil {
		return nil, wrap("list sessions", err)
	}
	defer rows.Close()
	var out []store.Session
	for rows.Next() {
		x, err := scan(rows)
		if err != nil {
			return nil, wrap("list sessions", err)
		}
		out = append(out, x)
	}
	return out, wrap("list sessions", rows.Err())
}

// Move implements [store.Store].
func (s *Store) Move(ctx context.Context, id string, from, to plan.Status, u store.Update) error {
	op := fmt.Sprintf("move session %s from %s to %s", id, from, to)
	if !plan.CanMove(from, to) {
		return fmt.Errorf("%s: %w", op, store.ErrMove)
	}
	res, err := s.db.ExecContext(ctx, `UPDATE sessions SET status = $1, updated = $2,
		message = CASE WHEN $3 = '' THEN message ELSE $3 END, output = COALESCE($4, output), expires = CASE WHEN $5 = 0 THEN expires ELSE $5 END
		WHERE id = $6 AND status = $7`, to, millis(u.Now), u.Message, u.Output, millis(u.Expires), id, from)
	if err != nil {
		return wrap(op, err)
	}
	n, err := res.RowsAffected()
	if err != nil || n == 1 {
		return wrap(op, err)
	}
	if _, err := s.Get(ctx, id); err != nil {
		return err
	}
	return fmt.Errorf("%s: %w", op, store.ErrStale)
}

// Decide implements [store.Store].
func (s *Store) Decide(ctx context.Context, a plan.Approval) error {
	doc, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("store decision: %w", err)
	}
	_, err = s.db.ExecContext(ctx, `INSERT INTO decisions (id, session, approval, created) SELECT $1, id, $2, $3 FROM sessions WHERE id = $4`, a.ID, doc, millis(a.Created), a.Session)
	if err != nil {
		return wrap("store decision "+a.ID, err)
	}
	_, err = s.Get(ctx, a.Session)
	return err
}

// Decisions implements [store.Store].
func (s *Store) Decisions(ctx context.Context, session string) ([]plan.Approval, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT approval FROM decisions WHERE session = $1 ORDER BY created, id`, session)
	if err != nil {
		return nil, wrap("list decisions", err)
	}
	defer rows.Close()
	var out []plan.Approval
	for rows.Next() {
		var doc []byte
		if err := rows.Scan(&doc); err != nil {
			return nil, wrap("list decisions", err)
		}
		var a plan.Approval
		if err := json.Unmarshal(doc, &a); err != nil {
			return nil, wrap("list decisions", err)
		}
		out = append(out, a)
	}
	return out, wrap("list decisions", rows.Err())
}

// Note implements [store.Store].
func (s *Store) Note(ctx context.Context, id string, u store.Update) error {
	res, err := s.db.ExecContext(ctx, `UPDATE sessions SET message = CASE WHEN $1 = '' THEN message ELSE $1 END, output = COALESCE($2, output) WHERE id = $3`, u.Message, u.Output, id)
	return affected("note on session "+id, res, err, store.ErrNotFound)
}

// Delete implements [store.Store].
func (s *Store) Delete(ctx context.Context, id string, status plan.Status) error {
	op := "delete session " + id
	if status == plan.Applying || status == plan.Partial {
		return fmt.Errorf("%s, which is %s: %w", op, status, store.ErrStale)
	}
	res, err := s.db.ExecContext(ctx, `DELETE FROM sessions WHERE id = $1 AND status = $2`, id, status)
	return affected(op, res, err, store.ErrStale)
}

// affected returns none if a statement that succeeded found no row.
func affected(op string, res sql.Result, err, none error) error {
	if err != nil {
		return wrap(op, err)
	}
	n, err := res.RowsAffected()
	if err == nil && n == 0 {
		err = none
	}
	return wrap(op, err)
}
