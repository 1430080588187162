package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/profile"
	"github.com/bowline-sh/bowline/profile/profilefile"
)

// Profiles finds profiles by name: files NAME.toml and NAME.json in Dir first,
// then the built-in ones, so that a person's own always wins.
type Profiles struct {
	Dir string // may be absent
}

// NamedProfile is a profile and where it came from.
type NamedProfile struct {
	Profile profile.Profile
	Origin  string // file name, or "built-in"
	Err     error  // why the file cannot be used; Profile then holds only the name
}

// Get returns the profile called name, or in the file name if it has a "/" or
// one of the endings .toml and .json. Errors are of kind Usage.
func (p Profiles) Get(name string) (NamedProfile, error) {
	if strings.ContainsAny(name, `/\`) || strings.HasSuffix(name, ".toml") || strings.HasSuffix(name, ".json") {
		return p.load(name)
	}
	for _, ext := range []string{".toml", ".json"} {
		file := filepath.Join(p.Dir, name+ext)
		named, err := p.load(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil && named.Profile.Name != name {
			err = usage("", "%s: name %q does not match the file; it must be %q", file, named.Profile.Name, name)
		}
		return named, err
	}
	prof, err := profilefile.Builtin(name)
	if err != nil {
		return NamedProfile{}, usage("see 'bowline profile list'", "no profile %q; there are %s", name, strings.Join(p.names(), ", "))
	}
	return NamedProfile{Profile: prof, Origin: "built-in"}, nil
}

func usage(hint, format string, args ...any) error {
	return diag.New(diag.Usage, "load profile", hint, format, args...)
}

func (p Profiles) load(file string) (NamedProfile, error) {
	format, err := profilefile.FormatOf(file)
	if err != nil {
		return NamedProfile{}, usage("", "%w", err)
	}
	data, err := readBounded(file, profilefile.MaxFileSize)
	if errors.Is(err, fs.ErrNotExist) {
		return NamedProfile{}, usage("see 'bowline profile list'", "%w", err)
	}
	if err != nil {
		return NamedProfile{}, usage("", "%w", err)
	}
	abs, err := filepath.Abs(file)
	if err != nil {
		return NamedProfile{}, usage("", "%w", err)
	}
	prof, err := profilefile.Parse(profilefile.Source{Name: file, Format: format, Data: data, Dir: filepath.ToSlash(filepath.Dir(abs)),
		ReadFile: func(name string) ([]byte, error) { return readBounded(name, profilefile.MaxFileSize) }})
	if err != nil {
		return NamedProfile{}, usage("correct the file, then 'bowline profile check "+file+"'", "%w", err)
	}
	return NamedProfile{Profile: prof, Origin: file}, nil
}

func readBounded(file string, max int64) ([]byte, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > max {
		return nil, fmt.Errorf("%s: not a regular file of at most %d bytes", file, max)
	}
	return os.ReadFile(file)
}

func (p Profiles) names() []string {
	names := profilefile.BuiltinNames()
	entries, err := os.ReadDir(p.Dir)
	if err != nil {
		return names // an unreadable directory adds none
	}
	for _, e := range entries {
		stem, ok := strings.CutSuffix(e.Name(), ".toml")
		if !ok {
			stem, ok = strings.CutSuffix(e.Name(), ".json")
		}
		if ok && !slices.Contains(names, stem) {
			names = append(names, stem)
		}
	}
	slices.Sort(names)
	return names
}

// List returns every profile, sorted by name, broken ones with their Err.
func (p Profiles) List() []NamedProfile {
	var list []NamedProfile
	for _, name := range p.names() {
		named, err := p.Get(name)
		if err != nil {
			named = NamedProfile{Profile: profile.Profile{Name: name}, Origin: p.Dir, Err: err}
		}
		list = append(list, named)
	}
	return list
}
