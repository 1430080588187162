package freeze

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/durable"
)

// Gate is what is frozen from this client, kept in one file. Every surface passes it:
// the executor, the engine and the copier ask Check before they begin. Methods may be
// called concurrently, by several processes too.
type Gate struct{ File string }

// All is the name under which everything is frozen, targets that are added later too.
const All = "all"

// document is the file.
type document struct {
	SchemaVersion int               `json:"schema_version"`
	All           *Freeze           `json:"all,omitempty"`
	Targets       map[string]Freeze `json:"targets,omitempty"`
}

// maxFile bounds the file: some 20,000 targets with their reasons.
const maxFile = 8 << 20

func (g Gate) read() (document, error) {
	info, err := os.Stat(g.File)
	if errors.Is(err, fs.ErrNotExist) {
		return document{}, nil
	}
	if err == nil && (!info.Mode().IsRegular() || info.Size() > maxFile) {
		err = fmt.Errorf("%s is no file of ours", g.File)
	}
	var b []byte
	if err == nil {
		b, err = os.ReadFile(g.File)
	}
	var d document
	if err == nil {
		err = json.Unmarshal(b, &d)
	}
	if err == nil && d.SchemaVersion != 1 {
		err = fmt.Errorf("%s has schema version %d, not 1", g.File, d.SchemaVersion)
	}
	return d, err
}

// Check reports that nothing may begin on a target, or nil. Kind Refused.
func (g Gate) Check(target string) error {
	f, by, ok := g.find(target)
	if !ok {
		return nil
	}
	hint := "lift it with 'bowline unfreeze " + target + "'"
	if by == All {
		hint = "lift it with 'bowline unfreeze'"
	}
	return diag.New(diag.Refused, op, hint, "%s, on this client, is %w", subject(target, by), f.wrapped())
}

func subject(target, by string) string {
	if by == All {
		return "every target"
	}
	return "target " + target
}

// Find returns the freeze that holds for a target.
func (g Gate) Find(target string) (Freeze, bool) {
	f, _, ok := g.find(target)
	return f, ok
}

func (g Gate) find(target string) (f Freeze, by string, ok bool) {
	d, err := g.read()
	if err != nil {
		return unreadable(err), All, true
	}
	if f, ok := d.Targets[target]; ok {
		return f.printable(), target, true
	}
	if d.All != nil {
		return d.All.printable(), All, true
	}
	return Freeze{}, "", false
}

// Set freezes names, of which one may be [All]. One that is frozen already keeps who
// did it first, and when.
func (g Gate) Set(ctx context.Context, names []string, f Freeze) error {
	return g.edit(ctx, func(d *document) error {
		for _, name := range names {
			if _, ok := d.Targets[name]; ok || name == All && d.All != nil {
				continue
			}
			if name == All {
				d.All = &f
				continue
			}
			if d.Targets == nil {
				d.Targets = map[string]Freeze{}
			}
			d.Targets[name] = f
		}
		return nil
	})
}

// Lift lifts names; with [All] among them everything, whatever the file holds.
// It returns what was frozen. A target is not lifted while everything is frozen.
func (g Gate) Lift(ctx context.Context, names []string) (lifted []string, err error) {
	if slices.Contains(names, All) {
		return g.liftAll(ctx)
	}
	err = g.edit(ctx, func(d *document) error {
		if d.All != nil {
			return diag.New(diag.Refused, "unfreeze", "lift all with 'bowline unfreeze', then freeze what shall stay so", "every target is %w", d.All.printable().wrapped())
		}
		for _, name := range names {
			if _, ok := d.Targets[name]; ok {
				lifted = append(lifted, name)
				delete(d.Targets, name)
			}
		}
		return nil
	})
	return lifted, err
}

func (g Gate) liftAll(ctx context.Context) (lifted []string, err error) {
	lock, err := g.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer lock.Unlock()
	if d, err := g.read(); err == nil {
		lifted = slices.Sorted(maps.Keys(d.Targets))
		if d.All != nil {
			lifted = append([]string{All}, lifted...)
		}
	}
	if err := os.Remove(g.File); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, fail(err)
	}
	return lifted, durable.SyncDir(filepath.Dir(g.File))
}

func (g Gate) lock(ctx context.Context) (*durable.FileLock, error) {
	err := os.MkdirAll(filepath.Dir(g.File), 0o700)
	if err != nil {
		return nil, fail(err)
	}
	lock, err := durable.Lock(ctx, g.File+".lock")
	if err != nil {
		return nil, fail(err)
	}
	return lock, nil
}

func fail(err error) error { return diag.New(diag.Failure, "freeze", "", "%w", err) }

func (g Gate) edit(ctx context.Context, change func(*document) error) error {
	lock, err := g.lock(ctx)
	if err != nil {
		return err
	}
	defer lock.Unlock()
	d, err := g.read()
	if err != nil {
		return diag.New(diag.Refused, "freeze", "nothing begins while it is so; lift everything with 'bowline unfreeze'", "the file that says what is frozen cannot be read: %w", err)
	}
	if err := change(&d); err != nil {
		return err
	}
	d.SchemaVersion = 1
	b, err := json.Marshal(d)
	if err == nil {
		err = durable.WriteFile(g.File, append(b, '\n'), 0o600)
	}
	if err != nil {
		return fail(err)
	}
	return nil
}
