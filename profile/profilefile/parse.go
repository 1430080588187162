// Package profilefile reads profiles: files in TOML or JSON, and those that are
// built in. It is apart from package profile so that the helper, which gets
// profiles from its client, links no TOML.
//
// # Invariants
//
//   - The same file gives the same Profile, in TOML and in JSON.
//   - An unknown field is an error that names its position.
package profilefile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"github.com/bowline-sh/bowline/profile"
)

// Format is how a profile is written.
type Format string

const (
	TOML Format = "toml"
	JSON Format = "json"
)

// MaxFileSize bounds a profile file, in bytes: ours are below 4 KiB.
const MaxFileSize = 1 << 20

// FormatOf picks the format by a file's name.
func FormatOf(name string) (Format, error) {
	switch ext := path.Ext(strings.ReplaceAll(name, `\`, "/")); strings.ToLower(ext) {
	case ".toml":
		return TOML, nil
	case ".json":
		return JSON, nil
	default:
		return "", fmt.Errorf("profile file %q: use the ending .toml or .json", name)
	}
}

// file is the stored form. Fields may be added; names never change, and those
// of Shannot's profiles keep their meaning. Pointers tell "absent" from zero.
type file struct {
	Name                   string            `toml:"name" json:"name"`
	Description            string            `toml:"description" json:"description"`
	AllowedCommands        []string          `toml:"allowed_commands" json:"allowed_commands"`
	Binds                  []fileBind        `toml:"binds" json:"binds"`
	TmpfsPaths             []string          `toml:"tmpfs_paths" json:"tmpfs_paths"`
	Hide                   []string          `toml:"hide" json:"hide"`
	Environment            map[string]string `toml:"environment" json:"environment"`
	ClearEnv               *bool             `toml:"clear_env" json:"clear_env"`
	Cwd                    string            `toml:"cwd" json:"cwd"`
	Hostname               string            `toml:"hostname" json:"hostname"`
	NetworkIsolation       *bool             `toml:"network_isolation" json:"network_isolation"`
	UserNamespaceIsolation *bool             `toml:"user_namespace_isolation" json:"user_namespace_isolation"`
	HostProc               bool              `toml:"host_proc" json:"host_proc"`
	UnixSockets            bool              `toml:"unix_sockets" json:"unix_sockets"`
	SeccompProfile         string            `toml:"seccomp_profile" json:"seccomp_profile"`
	AdditionalArgs         []string          `toml:"additional_args" json:"additional_args"`
	Limits                 fileLimits        `toml:"limits" json:"limits"`
	Defer                  []fileDeferral    `toml:"defer" json:"defer"`
	DeferDefaults          *bool             `toml:"defer_defaults" json:"defer_defaults"`
	Volatile               []string          `toml:"volatile" json:"volatile"`
}

// fileDeferral is one [[defer]] table.
type fileDeferral struct {
	Programs   []string          `toml:"programs" json:"programs"`
	Reads      []string          `toml:"reads" json:"reads"`
	ReadFlags  []string          `toml:"read_flags" json:"read_flags"`
	DeferFlags []string          `toml:"defer_flags" json:"defer_flags"`
	DeferWith  []string          `toml:"defer_with" json:"defer_with"`
	ValueFlags []string          `toml:"value_flags" json:"value_flags"`
	WordFlags  bool              `toml:"word_flags" json:"word_flags"`
	Undo       map[string]string `toml:"undo" json:"undo"`
	UndoWord   int               `toml:"undo_word" json:"undo_word"`
	Answer     int               `toml:"answer" json:"answer"`
	Stdin      bool              `toml:"stdin" json:"stdin"`
	Local      bool              `toml:"local" json:"local"`
}

type fileBind struct {
	Source       string `toml:"source" json:"source"`
	Target       string `toml:"target" json:"target"`
	ReadOnly     *bool  `toml:"read_only" json:"read_only"`
	CreateTarget *bool  `toml:"create_target" json:"create_target"`
}

// fileLimits: sizes are numbers of bytes or texts like "512MiB"; wall is a Go
// duration or a number of seconds.
type fileLimits struct {
	Memory     any `toml:"memory" json:"memory"`
	Processes  int `toml:"processes" json:"processes"`
	CPUSeconds int `toml:"cpu_seconds" json:"cpu_seconds"`
	OpenFiles  int `toml:"open_files" json:"open_files"`
	Output     any `toml:"output" json:"output"`
	Wall       any `toml:"wall" json:"wall"`
}

// Source is a profile file as it was read.
type Source struct {
	Name   string // for messages
	Format Format
	Data   []byte
	// Dir resolves relative bind sources and seccomp_profile; "" refuses them.
	Dir string
	// ReadFile reads the file seccomp_profile names; nil refuses the field.
	ReadFile func(name string) ([]byte, error)
}

// Parse reads and validates one profile. Every error names src.Name, and line
// and column or the field where that is known.
func Parse(src Source) (profile.Profile, error) {
	if len(src.Data) > MaxFileSize {
		return profile.Profile{}, fmt.Errorf("%s: larger than %d bytes", src.Name, MaxFileSize)
	}
	f, err := decode(src)
	if err != nil {
		return profile.Profile{}, err
	}
	p, err := f.toProfile(src)
	if err == nil {
		err = p.Validate()
	}
	if err != nil {
		return profile.Profile{}, fmt.Errorf("%s: %w", src.Name, err)
	}
	return p, nil
}

func bad(field, format string, args ...any) error {
	return &profile.Error{Field: field, Err: fmt.Errorf(format, args...)}
}

func decode(src Source) (file, error) {
	var f file
	if src.Format == JSON {
		return f, decodeJSON(src, &f)
	}
	d := toml.NewDecoder(bytes.NewReader(src.Data)).DisallowUnknownFields()
	return f, tomlError(src.Name, d.Decode(&f))
}

func tomlError(name string, err error) error {
	if strict, ok := errors.AsType[*toml.StrictMissingError](err); ok && len(strict.Errors) > 0 {
		e := strict.Errors[0]
		row, col := e.Position()
		return fmt.Errorf("%s:%d:%d: unknown field %q", name, row, col, strings.Join(e.Key(), "."))
	}
	if e, ok := errors.AsType[*toml.DecodeError](err); ok {
		row, col := e.Position()
		return fmt.Errorf("%s:%d:%d: %s", name, row, col, strings.TrimPrefix(e.Error(), "toml: "))
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func decodeJSON(src Source, f *file) error {
	if off, key, err := unknownKey(src.Data); err != nil {
		return fmt.Errorf("%s:%s: not valid JSON: %w", src.Name, position(src.Data, off), err)
	} else if key != "" {
		return fmt.Errorf("%s:%s: unknown field %q", src.Name, position(src.Data, off), key)
	}
	err := json.Unmarshal(src.Data, f)
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Errorf("%s:%s: %s must not be a %s", src.Name, position(src.Data, e.Offset), e.Field, e.Value)
	}
	if err != nil {
		return fmt.Errorf("%s: not valid JSON: %w", src.Name, err)
	}
	return nil
}

// position turns a byte offset into "line:column", both from 1.
func position(data []byte, off int64) string {
	before := data[:min(int(off), len(data))]
	line := 1 + bytes.Count(before, []byte("\n"))
	col := len(before) - (bytes.LastIndexByte(before, '\n') + 1)
	return strconv.Itoa(line) + ":" + strconv.Itoa(max(col, 1))
}

func (f file) toProfile(src Source) (profile.Profile, error) {
	p := profile.Profile{
		Name: f.Name, Description: f.Description, AllowedCommands: f.AllowedCommands,
		TmpfsPaths: f.TmpfsPaths, Hide: f.Hide, Environment: f.Environment, Cwd: f.Cwd, Hostname: f.Hostname,
		ClearEnv: deref(f.ClearEnv, true), NetworkIsolation: deref(f.NetworkIsolation, true),
		UserNamespaceIsolation: deref(f.UserNamespaceIsolation, true),
		HostProc:               f.HostProc, UnixSockets: f.UnixSockets, AdditionalArgs: f.AdditionalArgs,
		DryRun: profile.DryRun{Volatile: f.Volatile, NoDefaults: !deref(f.DeferDefaults, true)},
	}
	for _, d := range f.Defer {
		p.DryRun.Defer = append(p.DryRun.Defer, profile.Deferral(d))
	}
	for i, b := range f.Binds {
		bind, err := b.bind(src.Dir)
		if err != nil {
			return p, bad(fmt.Sprintf("binds[%d]", i), "%w", err)
		}
		p.Binds = append(p.Binds, bind)
	}
	var err error
	if p.SeccompProfile, err = f.seccomp(src); err != nil {
		return p, bad("seccomp_profile", "%w", err)
	}
	p.Limits, err = f.Limits.limits()
	return p, err
}

func (b fileBind) bind(dir string) (profile.Bind, error) {
	if b.Source == "" || b.Target == "" {
		return profile.Bind{}, fmt.Errorf("must define both source and target")
	}
	source := b.Source
	if !path.IsAbs(source) && dir != "" {
		source = path.Join(dir, source)
	}
	return profile.Bind{Source: source, Target: b.Target, ReadOnly: deref(b.ReadOnly, true), CreateTarget: deref(b.CreateTarget, true)}, nil
}

func (f file) seccomp(src Source) ([]byte, error) {
	if f.SeccompProfile == "" {
		return nil, nil
	}
	name := f.SeccompProfile
	if !path.IsAbs(name) {
		name = path.Join(src.Dir, name)
	}
	if src.ReadFile == nil || !path.IsAbs(name) {
		return nil, fmt.Errorf("%q cannot be read from here", f.SeccompProfile)
	}
	data, err := src.ReadFile(name)
	if err != nil {
		return nil, err
	}
	// struct sock_filter is 8 bytes, and the kernel takes at most 4096 of them
	// (BPF_MAXINSNS, linux/bpf_common.h).
	if len(data) == 0 || len(data)%8 != 0 || len(data) > 8*4096 {
		return nil, fmt.Errorf("%q is not a compiled BPF filter: %d bytes", name, len(data))
	}
	return data, nil
}

func (l fileLimits) limits() (profile.Limits, error) {
	out := profile.Limits{Processes: l.Processes, CPUSeconds: l.CPUSeconds, OpenFiles: l.OpenFiles}
	var err error
	if out.Memory, err = size(l.Memory); err != nil {
		return out, bad("limits.memory", "%w", err)
	}
	if out.Output, err = size(l.Output); err != nil {
		return out, bad("limits.output", "%w", err)
	}
	if out.Wall, err = wall(l.Wall); err != nil {
		return out, bad("limits.wall", "%w", err)
	}
	return out, nil
}

func size(v any) (int64, error) {
	switch v := v.(type) {
	case nil:
		return 0, nil
	case int64:
		return profile.ParseSize(strconv.FormatInt(v, 10))
	case float64: // JSON
		if v == float64(int64(v)) {
			return profile.ParseSize(strconv.FormatInt(int64(v), 10))
		}
	case string:
		return profile.ParseSize(v)
	}
	return 0, fmt.Errorf("%v is not a size; write it as 1048576 or \"64MiB\"", v)
}

func wall(v any) (time.Duration, error) {
	const limit = float64(profile.MaxWall / time.Second)
	switch v := v.(type) {
	case nil:
		return 0, nil
	case int64:
		return seconds(float64(v), limit)
	case float64:
		return seconds(v, limit)
	case string:
		d, err := time.ParseDuration(v)
		if err != nil || d < 0 {
			return 0, fmt.Errorf("%q is not a duration; write it as \"30s\" or \"5m\"", v)
		}
		return d, nil
	}
	return 0, fmt.Errorf("%v is not a duration; write it as \"30s\" or \"5m\"", v)
}

func seconds(v, limit float64) (time.Duration, error) {
	if !(v >= 0 && v <= limit) {
		return 0, fmt.Errorf("%v seconds: use 0 to %v", v, limit)
	}
	return time.Duration(v * float64(time.Second)), nil
}

func deref(b *bool, absent bool) bool {
	if b == nil {
		return absent
	}
	return *b
}
