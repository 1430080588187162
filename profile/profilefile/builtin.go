package profilefile

import (
	"embed"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/bowline-sh/bowline/profile"
)

//go:embed builtin/*.toml
var builtin embed.FS

// BuiltinNames returns the names of the built-in profiles, sorted.
func BuiltinNames() []string {
	entries, err := builtin.ReadDir("builtin")
	if err != nil {
		panic("profile: embedded files are missing: " + err.Error())
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".toml"))
	}
	slices.Sort(names)
	return names
}

// Builtin returns a built-in profile.
func Builtin(name string) (profile.Profile, error) {
	data, err := BuiltinSource(name)
	if err != nil {
		return profile.Profile{}, err
	}
	return Parse(Source{Name: "built-in " + name, Format: TOML, Data: data})
}

// BuiltinSource returns the text of a built-in profile, as a start for one's own.
func BuiltinSource(name string) ([]byte, error) {
	if !slices.Contains(BuiltinNames(), name) {
		return nil, fmt.Errorf("no built-in profile %q; there are %s", name, strings.Join(BuiltinNames(), ", "))
	}
	return builtin.ReadFile(path.Join("builtin", name+".toml"))
}
