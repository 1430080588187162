//go:build linux

package apply

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/plan"
)

// gonePrefix names what Remove has taken out of sight and not yet deleted.
const gonePrefix = ".gone-"

// Remove deletes the session directory named id below parent, and with it the
// originals that a rollback would need. A session that is being applied or was left
// half way is refused (kind Refused) and stays. One that is not there is no error.
func Remove(parent, id string) error {
	if err := plan.ValidID(id); err != nil {
		return diag.New(diag.Usage, "remove session", "", "%w", err)
	}
	s, err := Open(filepath.Join(parent, id), "/")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer s.Close()
	unlock, err := s.Lock()
	if err != nil {
		return err
	}
	defer unlock()
	if s.rec.Status == plan.Applying || s.rec.Status == plan.Partial {
		return diag.New(diag.Refused, "remove session "+id, "finish it with 'bowline session resume "+id+"' or take it back with 'bowline rollback "+id+"'", "it is %s", s.rec.Status)
	}
	return discard(parent, id)
}

// discard makes a session vanish at once and then deletes it.
func discard(parent, id string) error {
	r, err := os.OpenRoot(parent)
	if err != nil {
		return err
	}
	defer r.Close()
	gone := gonePrefix + id
	if err := r.RemoveAll(gone); err != nil { // of a removal that was broken off
		return err
	}
	if err := r.Rename(id, gone); err != nil {
		return err
	}
	return r.RemoveAll(gone)
}

// Sweep deletes what nobody can use any more: sessions below parent that were not
// applied and whose status is older than age, and what broken-off calls left. It
// leaves alone whatever it cannot read.
func Sweep(parent string, age time.Duration, now time.Time) error {
	entries, err := os.ReadDir(parent)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		name := e.Name()
		info, err := e.Info()
		switch {
		case err != nil || !e.IsDir():
		case strings.HasPrefix(name, "."):
			if now.Sub(info.ModTime()) > age {
				errs = append(errs, os.RemoveAll(filepath.Join(parent, name)))
			}
		case plan.ValidID(name) == nil && now.Sub(info.ModTime()) > age:
			errs = append(errs, sweepOne(parent, name, age, now))
		}
	}
	return errors.Join(errs...)
}

func sweepOne(parent, id string, age time.Duration, now time.Time) error {
	s, err := Open(filepath.Join(parent, id), "/")
	if err != nil {
		return fmt.Errorf("sweep session %s: %w", id, err)
	}
	rec := s.Record()
	if err := s.Close(); err != nil {
		return err
	}
	switch rec.Status {
	case plan.Pending, plan.Approved, plan.Rejected, plan.Failed:
		if now.Sub(rec.Changed) > age {
			return Remove(parent, id)
		}
	}
	return nil
}
