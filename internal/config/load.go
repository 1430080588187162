// Package config reads and edits config.toml, and finds profiles.
//
// # Invariants
//
//   - An unknown key, a wrong type or a value that cannot be right is an error
//     that names file, line and key; nothing is guessed or ignored silently.
//   - The order of targets is that of the file.
//   - An edit changes the lines it is about and no other byte, and is written
//     only if the result reads back as intended.
package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/profile"
	"github.com/bowline-sh/bowline/target"
)

// Config is a configuration that has been checked. It is not changed after
// Load returned it.
type Config struct {
	File          string // path, whether or not it exists
	DefaultTarget string // "" if none is set
	Profile       string // default profile
	Groups        map[string][]string
	Audit         Audit
	Notes         []string // what a person should know, one line each

	targets []target.Target // in the order of the file, then local
	lines   map[string]int  // of each target's definition
	allowed []string        // allowed_targets
	limited bool            // allowed_targets is present
}

// Audit is the [audit] table.
type Audit struct {
	Dir     string   // "" means below the state directory
	MaxSize int64    // bytes of one segment; 0 means the default
	Secrets []string // names, and /patterns/, whose values are masked
}

// file is the stored form. Keys may be added; existing ones never change.
type file struct {
	DefaultTarget   string                  `toml:"default_target"`
	DefaultExecutor string                  `toml:"default_executor"`
	AllowedTargets  *[]string               `toml:"allowed_targets"`
	Profile         string                  `toml:"profile"`
	Groups          map[string][]string     `toml:"groups"`
	Targets         map[string]fileTarget   `toml:"targets"`
	Executor        map[string]fileExecutor `toml:"executor"`
	Audit           fileAudit               `toml:"audit"`
}

type fileTarget struct {
	Type       string            `toml:"type"`
	Host       string            `toml:"host"`
	User       string            `toml:"user"`
	Port       *int              `toml:"port"`
	KeyFile    string            `toml:"key_file"`
	KnownHosts string            `toml:"known_hosts"`
	Profile    string            `toml:"profile"`
	Become     string            `toml:"become"`
	Jump       string            `toml:"jump"`
	Labels     map[string]string `toml:"labels"`
	Enabled    *bool             `toml:"enabled"`
	Password   bool              `toml:"password"`
}

// fileExecutor is the older table of Shannot.
type fileExecutor struct {
	Type               string `toml:"type"`
	Host               string `toml:"host"`
	Username           string `toml:"username"`
	KeyFile            string `toml:"key_file"`
	Port               *int   `toml:"port"`
	ConnectionPoolSize *int   `toml:"connection_pool_size"`
	KnownHosts         string `toml:"known_hosts"`
	StrictHostKey      *bool  `toml:"strict_host_key"`
	Profile            string `toml:"profile"`
	BwrapPath          string `toml:"bwrap_path"`
}

type fileAudit struct {
	Dir     string   `toml:"dir"`
	MaxSize string   `toml:"max_size"`
	Secrets []string `toml:"secrets"`
}

// maxFile bounds config.toml, in bytes: 10,000 targets take about 2 MiB.
const maxFile = 16 << 20

// Load reads the file at path. A missing file gives the defaults: the target
// local and the profile readonly. home expands a leading "~/". Errors are of
// kind Usage.
func Load(path, home string) (Config, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		data, err = nil, nil
	}
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("%s: larger than %d bytes", path, maxFile)
	}
	if err != nil {
		return Config{}, problem(err)
	}
	return Parse(path, data, home)
}

func problem(err error) error {
	return diag.New(diag.Usage, "read configuration", "correct the file, then run 'bowline config check'", "%w", err)
}

// Parse is Load for a text that was read already; path is for messages.
func Parse(path string, data []byte, home string) (Config, error) {
	var f file
	if err := decode(path, data, &f); err != nil {
		return Config{}, problem(err)
	}
	syntax, err := parseSyntax(data)
	if err != nil {
		return Config{}, problem(fmt.Errorf("%s: %w", path, err))
	}
	b := builder{path: path, home: home, syntax: syntax, cfg: Config{File: path, Groups: f.Groups, lines: map[string]int{}}}
	cfg, err := b.build(f)
	if err != nil {
		return Config{}, problem(err)
	}
	return cfg, nil
}

func decode(path string, data []byte, f *file) error {
	err := toml.NewDecoder(bytes.NewReader(data)).DisallowUnknownFields().Decode(f)
	if strict, ok := errors.AsType[*toml.StrictMissingError](err); ok && len(strict.Errors) > 0 {
		e := strict.Errors[0]
		row, col := e.Position()
		key := e.Key()
		return fmt.Errorf("%s:%d:%d: unknown key %q%s", path, row, col, strings.Join(key, "."), suggestKey(key))
	}
	if e, ok := errors.AsType[*toml.DecodeError](err); ok {
		row, col := e.Position()
		at := ""
		if key := e.Key(); len(key) > 0 {
			at = fmt.Sprintf(" (key %q)", strings.Join(key, "."))
		}
		return fmt.Errorf("%s:%d:%d: %s%s", path, row, col, readable(e), at)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// goTypes finds the decoder's words for a value of the wrong type.
var goTypes = regexp.MustCompile(`cannot decode TOML (\w+) into .*of type \*?(\w+|\[\]\w+|map\[.*)`)

// readable says what is wrong without the names of Go types.
func readable(e *toml.DecodeError) string {
	text := strings.TrimPrefix(e.Error(), "toml: ")
	m := goTypes.FindStringSubmatch(text)
	if m == nil {
		return text
	}
	want := m[2]
	switch {
	case strings.HasPrefix(want, "map") || strings.HasPrefix(want, "file"):
		want = "table"
	case strings.HasPrefix(want, "[]"):
		want = "list"
	}
	return fmt.Sprintf("must be a %s, not a %s", want, m[1])
}

// builder turns the stored form into a Config, adding positions to errors.
type builder struct {
	path, home string
	syntax     syntax
	cfg        Config
}

func (b *builder) errorAt(key []string, format string, args ...any) error {
	return fmt.Errorf("%s:%d: %s: %w", b.path, b.syntax.line(key), strings.Join(key, "."), fmt.Errorf(format, args...))
}

func (b *builder) note(format string, args ...any) {
	b.cfg.Notes = append(b.cfg.Notes, fmt.Sprintf(format, args...))
}

func (b *builder) build(f file) (Config, error) {
	if err := b.targets(f); err != nil {
		return Config{}, err
	}
	b.cfg.DefaultTarget = cmp.Or(f.DefaultTarget, f.DefaultExecutor)
	if d := b.cfg.DefaultTarget; d != "" && !b.has(d) {
		key := "default_target"
		if f.DefaultTarget == "" {
			key = "default_executor"
		}
		return Config{}, b.errorAt([]string{key}, "there is no target %q%s", d, suggest(d, b.names()))
	}
	b.cfg.Profile = cmp.Or(f.Profile, profile.DefaultName)
	if f.AllowedTargets != nil {
		b.cfg.allowed, b.cfg.limited = *f.AllowedTargets, true
		for _, name := range b.cfg.allowed {
			if !b.has(name) {
				return Config{}, b.errorAt([]string{"allowed_targets"}, "there is no target %q%s", name, suggest(name, b.names()))
			}
		}
	}
	for _, g := range sorted(f.Groups) {
		if err := target.ValidName(g); err != nil {
			return Config{}, b.errorAt([]string{"groups", g}, "%w", err)
		}
	}
	return b.cfg, b.audit(f.Audit)
}

func (b *builder) audit(a fileAudit) error {
	b.cfg.Audit = Audit{Dir: b.expand(a.Dir), Secrets: a.Secrets}
	if a.Dir != "" && !filepath.IsAbs(b.cfg.Audit.Dir) {
		return b.errorAt([]string{"audit", "dir"}, "%q must be absolute", a.Dir)
	}
	if a.MaxSize != "" {
		n, err := profile.ParseSize(a.MaxSize)
		if err != nil || n < 1<<16 {
			return b.errorAt([]string{"audit", "max_size"}, "%q: use a size of at least 64KiB", a.MaxSize)
		}
		b.cfg.Audit.MaxSize = n
	}
	return nil
}

func (b *builder) has(name string) bool {
	return slices.ContainsFunc(b.cfg.targets, func(t target.Target) bool { return t.Name == name })
}

func (b *builder) names() []string {
	names := make([]string, len(b.cfg.targets))
	for i, t := range b.cfg.targets {
		names[i] = t.Name
	}
	return names
}

func (b *builder) targets(f file) error {
	for name, ft := range f.Targets {
		t, err := b.target(name, ft)
		if err == nil {
			err = t.Validate()
		}
		if err != nil {
			return b.errorAt([]string{"targets", name}, "%w", err)
		}
		b.add(t, []string{"targets", name})
	}
	for _, name := range sorted(f.Executor) {
		if b.has(name) {
			return b.errorAt([]string{"executor", name}, "a target of this name is defined in [targets] too")
		}
		t, err := b.older(name, f.Executor[name])
		if err == nil {
			err = t.Validate()
		}
		if err != nil {
			return b.errorAt([]string{"executor", name}, "%w", err)
		}
		b.add(t, []string{"executor", name})
	}
	slices.SortFunc(b.cfg.targets, func(x, y target.Target) int {
		return cmp.Or(cmp.Compare(b.cfg.lines[x.Name], b.cfg.lines[y.Name]), cmp.Compare(x.Name, y.Name))
	})
	if !b.has(target.LocalName) {
		b.cfg.targets = append(b.cfg.targets, target.Target{Name: target.LocalName, Kind: target.Local})
	}
	return nil
}

func (b *builder) add(t target.Target, key []string) {
	b.cfg.targets = append(b.cfg.targets, t)
	b.cfg.lines[t.Name] = b.syntax.line(key)
}

func (b *builder) target(name string, f fileTarget) (target.Target, error) {
	port, err := portOf(f.Port)
	if err != nil {
		return target.Target{}, err
	}
	kind := target.Kind(cmp.Or(f.Type, string(target.SSH)))
	if name == target.LocalName && kind != target.Local {
		return target.Target{}, fmt.Errorf("the target %q is this machine; give another host another name", name)
	}
	return target.Target{
		Name: name, Kind: kind, Host: f.Host, User: f.User, Port: port, KeyFile: b.expand(f.KeyFile), KnownHosts: b.expand(f.KnownHosts),
		Profile: f.Profile, Become: f.Become, Jump: f.Jump, Labels: f.Labels, Disabled: f.Enabled != nil && !*f.Enabled, Password: f.Password,
	}, nil
}

func portOf(p *int) (int, error) {
	if p == nil {
		return 0, nil
	}
	if *p < 1 || *p > 65535 {
		return 0, fmt.Errorf("port %d: use 1 to 65535", *p)
	}
	return *p, nil
}

// older reads a table of the form Shannot had.
func (b *builder) older(name string, f fileExecutor) (target.Target, error) {
	b.note("%s:%d: [executor.%s] is the older form of [targets.%s]; it still works", b.path, b.syntax.line([]string{"executor", name}), name, name)
	port, err := portOf(f.Port)
	if err != nil {
		return target.Target{}, err
	}
	kind := target.Kind(f.Type)
	if kind != target.SSH && kind != target.Local {
		return target.Target{}, fmt.Errorf("type %q: use ssh or local", f.Type)
	}
	if f.StrictHostKey != nil && !*f.StrictHostKey {
		b.note("%s: executor.%s.strict_host_key = false is NOT honoured: host keys are always checked", b.path, name)
	}
	if f.ConnectionPoolSize != nil {
		b.note("%s: executor.%s.connection_pool_size is not needed and has no effect", b.path, name)
	}
	if f.BwrapPath != "" {
		b.note("%s: executor.%s.bwrap_path has no effect: bwrap is found in PATH", b.path, name)
	}
	return target.Target{Name: name, Kind: kind, Host: f.Host, User: f.Username, Port: port, KeyFile: b.expand(f.KeyFile),
		KnownHosts: b.expand(f.KnownHosts), Profile: f.Profile}, nil
}

// expand replaces a leading "~/" by the home directory of this account.
func (b *builder) expand(p string) string {
	if rest, ok := strings.CutPrefix(p, "~/"); ok && b.home != "" {
		return filepath.Join(b.home, rest)
	}
	return p
}
