package sqlite

import (
	"context"
	"time"

	"github.com/bowline-sh/bowline/internal/store"
)

const tokenColumns = `id, name, hash, usr, scopes, selector, profiles, maker, created, expires, revoked, used`

// CreateToken implements [store.Tokens].
func (s *Store) CreateToken(ctx context.Context, t store.Token) error {
	_, err := s.db.ExecContext(ctx, `INSERT INTO tokens (`+tokenColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 0, 0)`,
		t.ID, t.Name, t.Hash, t.User, t.Scopes, t.Selector, t.Profiles, t.Maker, millis(t.Created), millis(t.Expires))
	return wrap("create token "+t.ID, err)
}

func scanToken(r row) (store.Token, error) {
	var t store.Token
	var created, expires, revoked, used int64
	err := r.Scan(&t.ID, &t.Name, &t.Hash, &t.User, &t.Scopes, &t.Selector, &t.Profiles, &t.Maker, &created, &expires, &revoked, &used)
	t.Created, t.Expires, t.Revoked, t.Used = timeOf(created), timeOf(expires), timeOf(revoked), timeOf(used)
	return t, err
}

// Token implements [store.Tokens].
func (s *Store) Token(ctx context.Context, id string) (store.Token, error) {
	t, err := scanToken(s.db.QueryRowContext(ctx, `SELECT `+tokenColumns+` FROM tokens WHERE id = $1`, id))
	return t, wrap("get token "+id, err)
}

// Tokens implements [store.Tokens].
func (s *Store) Tokens(ctx context.Context) ([]store.Token, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT `+tokenColumns+` FROM tokens ORDER BY created DESC, id DESC`)
	if err != nil {
		return nil, wrap("list tokens", err)
	}
	defer rows.Close()
	var out []store.Token
	for rows.Next() {
		t, err := scanToken(rows)
		if err != nil {
			return nil, wrap("list tokens", err)
		}
		out = append(out, t)
	}
	return out, wrap("list tokens", rows.Err())
}

// RevokeToken implements [store.Tokens].
func (s *Store) RevokeToken(ctx context.Context, id string, now time.Time) error {
	res, err := s.db.ExecContext(ctx, `UPDATE tokens SET revoked = CASE WHEN revoked = 0 THEN $1 ELSE revoked END WHERE id = $2`, millis(now), id)
	return affected("revoke token "+id, res, err, store.ErrNotFound)
}

// UseToken implements [store.Tokens].
func (s *Store) UseToken(ctx context.Context, id string, now time.Time) error {
	_, err := s.db.ExecContext(ctx, `UPDATE tokens SET used = $1 WHERE id = $2`, millis(now), id)
	return wrap("note use of token "+id, err)
}
