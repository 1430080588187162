package sqlstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"

	"github.com/bowline-sh/bowline/internal/store"
	"github.com/bowline-sh/bowline/plan"
)

// Create implements [store.Store].
func (s *Store) Create(ctx context.Context, x store.Session) error {
	if x.Status != plan.Pending {
		return fmt.Errorf("create session %s as %s: %w", x.ID, x.Status, store.ErrMove)
	}
	if err := plan.ValidID(x.ID); err != nil {
		return err
	}
	m := mark()
	err := s.insert(ctx, `INSERT INTO sessions (id, name, note, target, host_key, status, digest, usr, host, surface, script, plan, created, updated, expires, message, output, fleet, effect, client, mark)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)`,
		[]any{x.ID, x.Name, x.Note, x.Target, x.HostKey, string(x.Status), x.Digest, x.User, x.Host, x.Surface, x.Script, x.Plan,
			millis(x.Created), millis(x.Created), millis(x.Expires), x.Message, x.Output, x.Fleet, x.Effect, x.Client, m},
		`SELECT count(*) FROM sessions WHERE id = $1 AND mark = $2`, x.ID, m)
	return s.wrap("create session "+x.ID, err)
}

const summary = `id, name, note, target, host_key, status, digest, usr, host, surface, created, updated, expires, message, fleet, effect, client`

func scan(r row, more ...any) (store.Session, error) {
	var x store.Session
	var created, updated, expires int64
	err := r.Scan(append([]any{&x.ID, &x.Name, &x.Note, &x.Target, &x.HostKey, &x.Status, &x.Digest, &x.User, &x.Host, &x.Surface,
		&created, &updated, &expires, &x.Message, &x.Fleet, &x.Effect, &x.Client}, more...)...)
	x.Created, x.Updated, x.Expires = timeOf(created), timeOf(updated), timeOf(expires)
	return x, err
}

// Get implements [store.Store].
func (s *Store) Get(ctx context.Context, id string) (x store.Session, err error) {
	err = s.row(ctx, func(r row) (err error) {
		var script, doc, output []byte
		x, err = scan(r, &script, &doc, &output)
		x.Script, x.Plan, x.Output = script, doc, output
		return err
	}, `SELECT `+summary+`, script, plan, output FROM sessions WHERE id = $1`, id)
	return x, s.wrap("get session "+id, err)
}

// List implements [store.Store].
func (s *Store) List(ctx context.Context, f store.Filter) ([]store.Session, error) {
	limit := int64(f.Limit)
	if limit <= 0 {
		limit = math.MaxInt64
	}
	list, err := rows(ctx, s, func(r row) (store.Session, error) { return scan(r) }, `SELECT `+summary+` FROM sessions
		WHERE ($1 = '' OR status = $1) AND ($2 = '' OR target = $2) AND (CAST($3 AS BIGINT) = 0 OR updated < CAST($3 AS BIGINT)) AND ($5 = '' OR fleet = $5)
			AND ($6 = '' OR (created, id) < (SELECT created, id FROM sessions WHERE id = $6))
		ORDER BY created DESC, id DESC LIMIT $4`, string(f.Status), f.Target, millis(f.Before), limit, f.Fleet, f.After)
	return list, s.wrap("list sessions", err)
}

// Move implements [store.Store].
func (s *Store) Move(ctx context.Context, id string, from, to plan.Status, u store.Update) error {
	op := fmt.Sprintf("move session %s from %s to %s", id, from, to)
	if !plan.CanMove(from, to) {
		return fmt.Errorf("%s: %w", op, store.ErrMove)
	}
	m := mark()
	n, err := s.exec(ctx, `UPDATE sessions SET status = $1, updated = $2, mark = $8,
		message = CASE WHEN $3 = '' THEN message ELSE $3 END, output = COALESCE($4, output), expires = CASE WHEN CAST($5 AS BIGINT) = 0 THEN expires ELSE CAST($5 AS BIGINT) END
		WHERE id = $6 AND (status = $7 OR mark = $8)`, string(to), millis(u.Now), u.Message, u.Output, millis(u.Expires), id, string(from), m)
	if err != nil || n == 1 {
		return s.wrap(op, err)
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
	err = s.insert(ctx, `INSERT INTO decisions (id, session, approval, created) SELECT $1, id, $2, $3 FROM sessions WHERE id = $4`,
		[]any{a.ID, doc, millis(a.Created), a.Session}, `SELECT count(*) FROM decisions WHERE id = $1 AND approval = $2`, a.ID, doc)
	if err != nil {
		return s.wrap("store decision "+a.ID, err)
	}
	_, err = s.Get(ctx, a.Session)
	return err
}

// Decisions implements [store.Store].
func (s *Store) Decisions(ctx context.Context, session string) ([]plan.Approval, error) {
	list, err := rows(ctx, s, func(r row) (a plan.Approval, err error) {
		var doc []byte
		if err := r.Scan(&doc); err != nil {
			return a, err
		}
		err = json.Unmarshal(doc, &a)
		return a, err
	}, `SELECT approval FROM decisions WHERE session = $1 ORDER BY created, id`, session)
	return list, s.wrap("list decisions", err)
}

// Note implements [store.Store].
func (s *Store) Note(ctx context.Context, id string, u store.Update) error {
	n, err := s.exec(ctx, `UPDATE sessions SET message = CASE WHEN $1 = '' THEN message ELSE $1 END, output = COALESCE($2, output) WHERE id = $3`, u.Message, u.Output, id)
	return s.found("note on session "+id, n, err, store.ErrNotFound)
}

// Delete implements [store.Store].
func (s *Store) Delete(ctx context.Context, id string, status plan.Status) error {
	op := "delete session " + id
	if status == plan.Applying || status == plan.Partial {
		return fmt.Errorf("%s, which is %s: %w", op, status, store.ErrStale)
	}
	again := false
	var n int64
	err := s.try(ctx, func(second bool) error {
		again = second
		res, err := s.db.ExecContext(ctx, `DELETE FROM sessions WHERE id = $1 AND status = $2`, id, string(status))
		if err == nil {
			n, err = res.RowsAffected()
		}
		return err
	})
	if err == nil && n == 0 && again {
		if _, gerr := s.Get(ctx, id); errors.Is(gerr, store.ErrNotFound) {
			return nil // by the try that nobody heard of
		}
	}
	return s.found(op, n, err, store.ErrStale)
}
