package wire

import (
	"context"
	"errors"
	"io"
	"os"
	"os/user"
	"strings"
	"sync"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/audit"
	"github.com/bowline-sh/bowline/internal/store"
	"github.com/bowline-sh/bowline/internal/store/postgres"
	"github.com/bowline-sh/bowline/internal/store/sqlite"
	"github.com/bowline-sh/bowline/internal/store/sqlstore"
	"github.com/bowline-sh/bowline/internal/work"
)

// Keeper is a store with what its keepers do besides.
type Keeper interface {
	store.Store
	work.Store
	store.Audit
	Version() int64
	Dump(ctx context.Context, w io.Writer) (sqlstore.Dumped, error)
	Load(ctx context.Context, r io.ReadSeeker) (sqlstore.Dumped, error)
}

// sessions opens the store when it is first needed: most calls do not.
type sessions struct {
	spec string // immutable; see OpenStore
	file string // immutable; of SQLite, for the spec ""

	mu    sync.Mutex // guards store; held while it is opened
	store Keeper
}

func (s *sessions) open(ctx context.Context) (store.Store, error) { return s.keeper(ctx) }

func (s *sessions) keeper(ctx context.Context) (Keeper, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.store != nil {
		return s.store, nil
	}
	opened, err := OpenStore(ctx, s.spec, s.file)
	if err != nil {
		return nil, err
	}
	s.store = opened
	return opened, nil
}

// isShared reports whether the store is a database that several machines share.
func (s *sessions) isShared() bool { return isPostgres(s.spec) }

func isPostgres(spec string) bool {
	return strings.HasPrefix(spec, "postgres://") || strings.HasPrefix(spec, "postgresql://")
}

// OpenStore opens the store that spec names: "sqlite:PATH", "postgres://...",
// "postgresql://...", or "" for the SQLite file given. Errors never hold a spec, which
// may hold a password.
func OpenStore(ctx context.Context, spec, file string) (Keeper, error) {
	path, isFile := strings.CutPrefix(spec, "sqlite:")
	switch {
	case spec == "":
		return sqliteStore(ctx, file)
	case isFile && path != "":
		return sqliteStore(ctx, path)
	case isPostgres(spec):
		s, err := postgres.Open(ctx, spec)
		if err != nil {
			return nil, diag.New(diag.Failure, "", "see whether it answers, with 'psql' and the same address", "%w", err)
		}
		return s, nil
	}
	return nil, diag.New(diag.Usage, "open store", "write it as 'sqlite:PATH' or 'postgres://USER@HOST/NAME'", "it is neither the path of a file nor the address of a database")
}

// Recorded does what f does to a store, with an intent and an outcome in the audit log.
// f returns a digest of what it read or wrote.
func (p *Parts) Recorded(ctx context.Context, verb string, f func() (digest string, err error)) error {
	id, err := p.log.Begin(ctx, audit.Intent{Subject: audit.Subject{Verb: verb}})
	if err != nil {
		return err
	}
	digest, err := f()
	out := audit.Outcome{Err: err}
	if digest != "" {
		out.Digests = map[string]string{"backup": digest}
	}
	return errors.Join(err, p.log.End(ctx, id, out))
}

// sqliteStore keeps a nil pointer out of the interface.
func sqliteStore(ctx context.Context, file string) (Keeper, error) {
	s, err := sqlite.Open(ctx, file)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Keeper opens the store.
func (p *Parts) Keeper(ctx context.Context) (Keeper, error) { return p.store.keeper(ctx) }

func (s *sessions) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.store == nil {
		return nil
	}
	return s.store.Close()
}

// login and hostname say who acts; empty where the system does not know.
func login() string {
	u, err := user.Current()
	if err != nil {
		return ""
	}
	return u.Username
}

func hostname() string {
	h, err := os.Hostname()
	if err != nil {
		return ""
	}
	return h
}
