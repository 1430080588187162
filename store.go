package bowline

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/store/sqlstore"
	"github.com/bowline-sh/bowline/internal/wire"
)

// StoreSummary says what a backup of the store holds.
type StoreSummary struct {
	Rows   int64  // sessions, decisions, tokens and so on
	Digest string // SHA-256, which the end of the backup states
}

// StoreVersion opens the store, which brings its tables to the present version, and
// returns that.
func (c *Client) StoreVersion(ctx context.Context) (int64, error) {
	s, err := c.parts.Keeper(ctx)
	if err != nil {
		return 0, err
	}
	return s.Version(), nil
}

// BackupStore writes everything that the store keeps, as it is at one moment. Others may
// go on using the store meanwhile.
func (c *Client) BackupStore(ctx context.Context, w io.Writer) (done StoreSummary, err error) {
	s, err := c.parts.Keeper(ctx)
	if err != nil {
		return done, err
	}
	err = c.parts.Recorded(ctx, "store.backup", func() (string, error) {
		sum, err := s.Dump(ctx, w)
		done = StoreSummary(sum)
		return done.Digest, err
	})
	return done, err
}

// RestoreStore puts a backup into the store, which must be empty, of whatever kind either
// is. The digest is checked first. Unless done has rows, nothing was written.
func (c *Client) RestoreStore(ctx context.Context, r io.ReadSeeker) (done StoreSummary, err error) {
	s, err := c.parts.Keeper(ctx)
	if err != nil {
		return done, err
	}
	err = c.parts.Recorded(ctx, "store.restore", func() (string, error) {
		sum, err := s.Load(ctx, r)
		done = StoreSummary(sum)
		return done.Digest, loadError("restore store", err)
	})
	return done, err
}

// CopyStore copies all of one store into another, which must be empty; see
// [Config.Store] for how they are named. It passes through a temporary file.
func (c *Client) CopyStore(ctx context.Context, from, to string) (done StoreSummary, err error) {
	if from == "" || to == "" || from == to {
		return done, diag.New(diag.Usage, "copy store", "name two stores, as 'sqlite:PATH' and 'postgres://USER@HOST/NAME'", "there is nothing to copy")
	}
	if path, ok := strings.CutPrefix(from, "sqlite:"); ok {
		if _, err := os.Stat(path); err != nil { // opening would make one
			return done, diag.New(diag.Usage, "copy store", "name the store that there is", "%w", err)
		}
	}
	err = c.parts.Recorded(ctx, "store.copy", func() (string, error) {
		var err error
		done, err = copyStore(ctx, from, to)
		return done.Digest, err
	})
	return done, err
}

func copyStore(ctx context.Context, from, to string) (_ StoreSummary, err error) {
	src, err := wire.OpenStore(ctx, from, "")
	if err != nil {
		return StoreSummary{}, err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	dst, err := wire.OpenStore(ctx, to, "")
	if err != nil {
		return StoreSummary{}, err
	}
	defer func() { err = errors.Join(err, dst.Close()) }()
	f, err := os.CreateTemp("", "bowline-store-") // 0600
	if err != nil {
		return StoreSummary{}, err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	if _, err := src.Dump(ctx, f); err != nil {
		return StoreSummary{}, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return StoreSummary{}, err
	}
	done, err := dst.Load(ctx, f)
	return StoreSummary(done), loadError("copy store", err)
}

// loadError says what to do about why a store could not be filled.
func loadError(op string, err error) error {
	switch {
	case errors.Is(err, sqlstore.ErrNotEmpty):
		return diag.New(diag.Conflict, op, "name an empty one with '--store', or move the old one away", "%w", err)
	case errors.Is(err, sqlstore.ErrDump):
		return diag.New(diag.Untrusted, op, "use another backup, and keep this one", "%w", err)
	}
	return err
}
