package sshentry

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/durable"
)

// Files are where entries stand. Methods may be called concurrently, also by several
// processes: a lock is held while files are edited.
type Files struct {
	Dir     string // of ours: ssh_config, box_known_hosts
	Home    string // the user's, with .ssh/config
	Sockets string // directory for shared connections; "" for none
}

// Config is our ssh_config.
func (f Files) Config() string { return filepath.Join(f.Dir, "ssh_config") }

// KnownHosts pins the keys of boxes. It is not the file of targets: a box has a name of
// its own making, which must not speak for a host.
func (f Files) KnownHosts() string { return filepath.Join(f.Dir, "box_known_hosts") }

// Bounds of the path of a shared connection: ssh adds a point and 16 letters while it
// makes the socket, and sun_path has 104 bytes with the final zero on macOS, 108 on Linux
// (unix(7)).
const (
	socketSuffix = 17
	sunPath      = 104
)

// controlPath is where connections to an alias are shared, "" if no path is short enough.
func (f Files) controlPath(alias string) string {
	sum := sha256.Sum256([]byte(alias))
	name := "box-" + hex.EncodeToString(sum[:6])
	for _, dir := range []string{f.Sockets, filepath.Join(f.Home, ".ssh")} {
		path := filepath.Join(dir, name)
		if _, err := value(percent(path)); err == nil && filepath.IsAbs(dir) && len(path)+socketSuffix < sunPath {
			return path
		}
	}
	return ""
}

// Prepare makes the directory of shared connections, which may have gone with the last
// login.
func (f Files) Prepare() error {
	if f.Sockets == "" {
		return nil
	}
	return os.MkdirAll(f.Sockets, 0o700)
}

// Put writes an entry and pins its key, in the place of what was there for its alias, and
// sees to the Include line. Entry.KnownHosts and Entry.ControlPath are filled in. key is
// as in known_hosts, type and base64. With an error the entry is not there.
func (f Files) Put(ctx context.Context, e Entry, key string) error {
	e.KnownHosts, e.ControlPath = f.KnownHosts(), f.controlPath(e.Alias)
	err := f.locked(ctx, func() error {
		// The pin first: at no moment is there an entry without one.
		if err := edit(f.KnownHosts(), func(b []byte) ([]byte, error) { return pin(b, e.Alias, key), nil }); err != nil {
			return err
		}
		if err := edit(f.Config(), func(b []byte) ([]byte, error) { return put(b, e) }); err != nil {
			return errors.Join(err, f.remove(e.Alias))
		}
		if err := f.include(); err != nil {
			return errors.Join(err, f.remove(e.Alias))
		}
		return f.Prepare()
	})
	if err != nil {
		return diag.New(diag.Failure, "write the ssh entry "+e.Alias, "see the files: 'ls -l "+f.Dir+" ~/.ssh/config'", "%w", err)
	}
	return nil
}

// Remove takes out an entry and its pin. It is no error if there is none. The Include
// line stays.
func (f Files) Remove(ctx context.Context, alias string) error {
	err := f.locked(ctx, func() error { return f.remove(alias) })
	if err != nil {
		return diag.New(diag.Failure, "remove the ssh entry "+alias, "take its block out of "+f.Config(), "%w", err)
	}
	return nil
}

func (f Files) remove(alias string) error {
	return errors.Join(
		edit(f.Config(), func(b []byte) ([]byte, error) { return cut(b, alias), nil }),
		edit(f.KnownHosts(), func(b []byte) ([]byte, error) { return unpin(b, alias), nil }))
}

// Readdress gives the entries that connect by themselves, of aliases that end in suffix,
// another host. What has it already is not written.
func (f Files) Readdress(ctx context.Context, suffix, host string) error {
	b, err := os.ReadFile(f.Config())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if after, aerr := readdress(b, suffix, host); err == nil && aerr == nil && bytes.Equal(b, after) {
		return nil
	}
	err = f.locked(ctx, func() error {
		return edit(f.Config(), func(b []byte) ([]byte, error) { return readdress(b, suffix, host) })
	})
	if err != nil {
		return diag.New(diag.Failure, "write the address "+host+" for ssh", "correct it in "+f.Config(), "%w", err)
	}
	return nil
}

// Has reports whether there is an entry.
func (f Files) Has(alias string) bool {
	b, err := os.ReadFile(f.Config())
	return err == nil && len(cut(b, alias)) != len(b)
}

func (f Files) locked(ctx context.Context, do func() error) error {
	if err := os.MkdirAll(f.Dir, 0o700); err != nil {
		return err
	}
	lock, err := durable.Lock(ctx, filepath.Join(f.Dir, "ssh_config.lock"))
	if err != nil {
		return err
	}
	return errors.Join(do(), lock.Unlock())
}

// include sees to the one line in the user's file, whose mode stays.
func (f Files) include() error {
	dir := filepath.Join(f.Home, ".ssh")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return edit(filepath.Join(dir, "config"), func(b []byte) ([]byte, error) { return include(b, f.Config(), f.Home) })
}

// edit replaces a file if its text changes. A missing file is empty, and is made with 0600.
func edit(path string, change func([]byte) ([]byte, error)) error {
	perm := fs.FileMode(0o600)
	before, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if info, serr := os.Stat(path); err == nil && serr == nil {
		perm = info.Mode().Perm()
	}
	after, err := change(before)
	if err != nil || bytes.Equal(before, after) {
		return err
	}
	return durable.WriteFile(path, after, perm)
}
