package sqlstore

import (
	"context"
	"database/sql"
	"errors"

	"github.com/bowline-sh/bowline/internal/store"
)

var _ store.Audit = (*Store)(nil)

// AddChain implements [store.Audit].
func (s *Store) AddChain(ctx context.Context, c store.Chain) error {
	_, err := s.exec(ctx, `INSERT INTO audit_chains (id, host, pubkey) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING`, c.ID, c.Host, c.Key)
	return s.wrap("add audit chain", err)
}

// Chains implements [store.Audit].
func (s *Store) Chains(ctx context.Context) ([]store.Chain, error) {
	list, err := rows(ctx, s, func(r row) (c store.Chain, err error) {
		err = r.Scan(&c.ID, &c.Host, &c.Key)
		return c, err
	}, `SELECT id, host, pubkey FROM audit_chains ORDER BY id`)
	return list, s.wrap("list audit chains", err)
}

// AddLines implements [store.Audit].
func (s *Store) AddLines(ctx context.Context, chain string, lines []store.AuditLine) error {
	err := s.inTx(ctx, func(tx *sql.Tx, _ bool) error {
		for _, l := range lines {
			if _, err := tx.ExecContext(ctx, `INSERT INTO audit_lines (chain, seq, line, hash) VALUES ($1, $2, $3, $4) ON CONFLICT (chain, seq) DO NOTHING`,
				chain, int64(l.Seq), l.Line, l.Hash); err != nil {
				return err
			}
		}
		return nil
	})
	return s.wrap("copy audit log", err)
}

func scanLine(r row) (l store.AuditLine, err error) {
	err = r.Scan(&l.Seq, &l.Line, &l.Hash)
	return l, err
}

// Lines implements [store.Audit].
func (s *Store) Lines(ctx context.Context, chain string, after uint64, limit int) ([]store.AuditLine, error) {
	list, err := rows(ctx, s, scanLine, `SELECT seq, line, hash FROM audit_lines WHERE chain = $1 AND seq > $2 ORDER BY seq LIMIT $3`, chain, int64(after), int64(limit))
	return list, s.wrap("read copy of audit log", err)
}

// LastLine implements [store.Audit].
func (s *Store) LastLine(ctx context.Context, chain string) (l store.AuditLine, err error) {
	err = s.row(ctx, func(r row) (err error) {
		l, err = scanLine(r)
		return err
	}, `SELECT seq, line, hash FROM audit_lines WHERE chain = $1 ORDER BY seq DESC LIMIT 1`, chain)
	return l, s.wrap("read copy of audit log", err)
}

const statementColumns = `signer, n, chain, seq, hash, at, prev, signature`

func scanStatement(r row) (x store.Statement, err error) {
	var at int64
	err = r.Scan(&x.Signer, &x.N, &x.Chain, &x.Seq, &x.Hash, &at, &x.Prev, &x.Signature)
	x.Time = timeOf(at)
	return x, err
}

// AddStatement implements [store.Audit].
func (s *Store) AddStatement(ctx context.Context, x store.Statement) error {
	err := s.insert(ctx, `INSERT INTO audit_statements (`+statementColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
		[]any{x.Signer, x.N, x.Chain, int64(x.Seq), x.Hash, millis(x.Time), x.Prev, x.Signature},
		`SELECT count(*) FROM audit_statements WHERE signer = $1 AND n = $2 AND signature = $3`, x.Signer, x.N, x.Signature)
	return s.wrap("add statement on audit log", err)
}

// Statements implements [store.Audit].
func (s *Store) Statements(ctx context.Context, signer string, after int64, limit int) ([]store.Statement, error) {
	list, err := rows(ctx, s, scanStatement, `SELECT `+statementColumns+` FROM audit_statements WHERE signer = $1 AND n > $2 ORDER BY n LIMIT $3`, signer, after, int64(limit))
	return list, s.wrap("read statements on audit logs", err)
}

// LastStatement implements [store.Audit].
func (s *Store) LastStatement(ctx context.Context, signer, chain string) (x store.Statement, err error) {
	err = s.row(ctx, func(r row) (err error) {
		x, err = scanStatement(r)
		return err
	}, `SELECT `+statementColumns+` FROM audit_statements WHERE signer = $1 AND ($2 = '' OR chain = $2) ORDER BY n DESC LIMIT 1`, signer, chain)
	if errors.Is(err, sql.ErrNoRows) {
		return x, store.ErrNotFound
	}
	return x, s.wrap("read statements on audit logs", err)
}
