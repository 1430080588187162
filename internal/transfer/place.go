package transfer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// Place is one side's way from the paths that people write to trees.
type Place interface {
	// Canonical resolves all links of an existing path. It starts from an absolute
	// path, or from the side's own directory.
	Canonical(p string) (string, error)
	// Abs makes a path as people write it absolute and clean, without looking.
	Abs(p string) (string, error)
	// Open opens the canonical directory dir, if the policy allows it.
	Open(dir string) (FS, error)
	// Policy is what the side allows.
	Policy() Policy
}

// Machine is this machine. Relative paths start from Home, or from the working
// directory if that is "".
type Machine struct {
	Home  string
	Rules Policy
}

// Policy is what Open allows.
func (m Machine) Policy() Policy { return m.Rules }

// Abs is described at Place.
func (m Machine) Abs(p string) (string, error) {
	if p == "" || strings.ContainsRune(p, 0) {
		return "", fmt.Errorf("%q is no path", p)
	}
	if m.Home != "" {
		return AbsAt(m.Home, p)
	}
	abs, err := filepath.Abs(p)
	return filepath.ToSlash(abs), err
}

// AbsAt is Abs for a side whose paths start at home.
func AbsAt(home, p string) (string, error) {
	switch {
	case p == "" || strings.ContainsRune(p, 0):
		return "", fmt.Errorf("%q is no path", p)
	case p == "~" || strings.HasPrefix(p, "~/"):
		p = home + p[1:]
	case strings.HasPrefix(p, "~"):
		return "", fmt.Errorf("%q: the home directories of others are not known here; write the whole path, or ./%s", p, p)
	case !path.IsAbs(p):
		p = home + "/" + p
	}
	if !path.IsAbs(p) {
		return "", fmt.Errorf("%q: the home directory is not known", p)
	}
	return path.Clean(p), nil
}

// Canonical is described at Place.
func (m Machine) Canonical(p string) (string, error) {
	abs, err := m.Abs(p)
	if err != nil {
		return "", err
	}
	real, err := filepath.EvalSymlinks(filepath.FromSlash(abs))
	return filepath.ToSlash(real), err
}

// Open is described at Place. Where only some roots are allowed, the way from the
// root down is made of handles that no link leads out of; where some paths are
// refused, it is looked at again when it is open.
func (m Machine) Open(dir string) (FS, error) {
	if err := m.Rules.Check(dir); err != nil {
		return nil, err
	}
	top, err := m.openBelow(dir)
	if err != nil {
		return nil, err
	}
	real, err := canonicalOf(top, dir)
	if err == nil {
		err = m.Rules.Check(real)
	}
	if err != nil {
		return nil, errors.Join(err, top.Close())
	}
	return &osFS{base: real, policy: m.Rules, dirs: map[string]*os.Root{".": top}, held: map[string]int{}}, nil
}

func (m Machine) openBelow(dir string) (*os.Root, error) {
	allowed := m.Rules.root(dir)
	if allowed == "" || allowed == dir {
		return os.OpenRoot(filepath.FromSlash(dir))
	}
	root, err := os.OpenRoot(allowed)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return root.OpenRoot(strings.TrimPrefix(dir[len(allowed):], "/"))
}

// Destination is where a transfer goes.
type Destination struct {
	Dir  []byte `json:"dir"`            // canonical
	Name []byte `json:"name,omitempty"` // of what is to be made; empty: below Dir, under its own name
}

// FindDestination decides what p means: a directory to put things into, or the name
// of one thing. Links at p are followed, for whoever writes p means what it leads
// to. one says that exactly one thing is copied.
func FindDestination(pl Place, p string, one bool) (Destination, error) {
	abs, err := pl.Abs(p)
	if err != nil {
		return Destination{}, err
	}
	if err := pl.Policy().Check(abs); err != nil {
		return Destination{}, err
	}
	into := !one || strings.HasSuffix(p, "/") || strings.HasSuffix(p, "/.") || abs == "/"
	real, err := pl.Canonical(abs)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Destination{}, err
	}
	if err == nil {
		return destinationAt(pl, real, into, p)
	}
	if into {
		return Destination{}, fmt.Errorf("%q is no directory: %w", p, err)
	}
	if dangling(pl, abs) {
		return Destination{}, fmt.Errorf("%q is a symbolic link that leads nowhere", p)
	}
	dir, err := pl.Canonical(path.Dir(abs))
	if err != nil {
		return Destination{}, err
	}
	return Destination{Dir: []byte(dir), Name: []byte(path.Base(abs))}, pl.Policy().Check(path.Join(dir, path.Base(abs)))
}

func destinationAt(pl Place, real string, into bool, p string) (Destination, error) {
	if err := pl.Policy().Check(real); err != nil {
		return Destination{}, err
	}
	if real == "/" {
		return Destination{Dir: []byte(real)}, nil
	}
	tree, err := pl.Open(path.Dir(real))
	if errors.Is(err, fs.ErrPermission) || isRefused(err) { // its parent is closed to us, it may not be
		return Destination{Dir: []byte(real)}, nil
	}
	if err != nil {
		return Destination{}, err
	}
	defer tree.Close()
	info, err := tree.Lstat(path.Base(real))
	if err != nil {
		return Destination{}, err
	}
	if info.Type == Dir {
		return Destination{Dir: []byte(real)}, nil
	}
	if into {
		return Destination{}, fmt.Errorf("%q is no directory", p)
	}
	return Destination{Dir: []byte(path.Dir(real)), Name: []byte(path.Base(real))}, nil
}

// dangling reports whether abs is a link although nothing is where it leads.
func dangling(pl Place, abs string) bool {
	dir, err := pl.Canonical(path.Dir(abs))
	if err != nil {
		return false
	}
	tree, err := pl.Open(dir)
	if err != nil {
		return false
	}
	defer tree.Close()
	_, err = tree.Lstat(path.Base(abs))
	return err == nil
}
