package sqlstore

import (
	"context"
	"time"

	"github.com/bowline-sh/bowline/internal/store"
)

const tokenColumns = `id, name, hash, usr, scopes, selector, profiles, maker, created, expires, revoked, used`

// CreateToken implements [store.Tokens].
func (s *Store) CreateToken(ctx context.Context, t store.Token) error {
	err := s.insert(ctx, `INSERT INTO tokens (`+tokenColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 0, 0)`,
		[]any{t.ID, t.Name, t.Hash, t.User, t.Scopes, t.Selector, t.Profiles, t.Maker, millis(t.Created), millis(t.Expires)},
		`SELECT count(*) FROM tokens WHERE id = $1 AND hash = $2`, t.ID, t.Hash)
	return s.wrap("create token "+t.ID, err)
}

func scanToken(r row) (store.Token, error) {
	var t store.Token
	var created, expires, revoked, used int64
	err := r.Scan(&t.ID, &t.Name, &t.Hash, &t.User, &t.Scopes, &t.Selector, &t.Profiles, &t.Maker, &created, &expires, &revoked, &used)
	t.Created, t.Expires, t.Revoked, t.Used = timeOf(created), timeOf(expires), timeOf(revoked), timeOf(used)
	return t, err
}

// Token implements [store.Tokens].
func (s *Store) Token(ctx context.Context, id string) (t store.Token, err error) {
	err = s.row(ctx, func(r row) (err error) {
		t, err = scanToken(r)
		return err
	}, `SELECT `+tokenColumns+` FROM tokens WHERE id = $1`, id)
	return t, s.wrap("get token "+id, err)
}

// Tokens implements [store.Tokens].
func (s *Store) Tokens(ctx context.Context) ([]store.Token, error) {
	list, err := rows(ctx, s, scanToken, `SELECT `+tokenColumns+` FROM tokens ORDER BY created DESC, id DESC`)
	return list, s.wrap("list tokens", err)
}

// RevokeToken implements [store.Tokens].
func (s *Store) RevokeToken(ctx context.Context, id string, now time.Time) error {
	n, err := s.exec(ctx, `UPDATE tokens SET revoked = CASE WHEN revoked = 0 THEN CAST($1 AS BIGINT) ELSE revoked END WHERE id = $2`, millis(now), id)
	return s.found("revoke token "+id, n, err, store.ErrNotFound)
}

// UseToken implements [store.Tokens].
func (s *Store) UseToken(ctx context.Context, id string, now time.Time) error {
	_, err := s.exec(ctx, `UPDATE tokens SET used = $1 WHERE id = $2`, millis(now), id)
	return s.wrap("note use of token "+id, err)
}
