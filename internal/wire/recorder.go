package wire

import (
	"context"
	"os"
	"path/filepath"
	"sync"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/audit"
	"github.com/bowline-sh/bowline/internal/caller"
)

// recorder opens the audit log when the first entry is to be written: calls
// that only read must work where the log cannot be written.
type recorder struct {
	cfg audit.Config // immutable

	acts acts

	mu  sync.Mutex // guards log; held while it is opened
	log *audit.Log
}

func (r *recorder) open(ctx context.Context) (*audit.Log, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.log != nil {
		return r.log, nil
	}
	if err := os.MkdirAll(filepath.Dir(r.cfg.HeadFile), 0o700); err != nil {
		return nil, diag.New(diag.Denied, "open audit log", "make the directory writable: 'chmod u+rwx "+filepath.Dir(r.cfg.HeadFile)+"'", "%w", err)
	}
	log, err := audit.Open(ctx, r.cfg)
	if err != nil {
		return nil, err
	}
	r.log = log
	return log, nil
}

func (r *recorder) Begin(ctx context.Context, in audit.Intent) (string, error) {
	log, err := r.open(ctx)
	if err != nil {
		return "", err
	}
	in.Actor = actor(ctx)
	id, err := log.Begin(ctx, in)
	if err == nil {
		r.acts.begin(ctx, id, in)
	}
	return id, err
}

func (r *recorder) End(ctx context.Context, id string, out audit.Outcome) error {
	r.acts.end(id, out)
	log, err := r.open(ctx)
	if err != nil {
		return err
	}
	out.Actor = actor(ctx)
	return log.End(ctx, id, out)
}

// actor is who the context says that the call is for, nil if it says nothing.
func actor(ctx context.Context) *audit.Actor {
	who := caller.From(ctx, caller.Caller{})
	if who == (caller.Caller{}) {
		return nil
	}
	return &audit.Actor{User: who.User, Surface: who.Surface, Client: who.Client}
}

func (r *recorder) close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.log == nil {
		return nil
	}
	return r.log.Close()
}
