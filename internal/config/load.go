// Package config reads and edits config.toml, and finds profiles.
//
// # Invariants
//
//   - An unknown key, a wrong type or a value that cannot be right is an error
//     that names file, line, column and key; nothing is guessed or ignored
//     silently. What is wrong with values is told all at once.
//   - The order of targets is that of the file.
//   - An edit changes the lines it is about and no other byte, and is written
//     only if the result reads back as intended.
package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/policy"
	"github.com/bowline-sh/bowline/target"
)

// Config is a configuration that has been checked. It is not changed after
// Load returned it.
type Config struct {
	File          string // path, whether or not it exists
	DefaultTarget string // "" if none is set
	Profile       string // default profile
	Store         string // where sessions are kept, as "sqlite:PATH" or "postgres://..."; "" is a file of the state directory
	Groups        map[string][]string
	Audit         Audit
	Approval      Approval
	Persist       time.Duration // how long links stay open between invocations; 0: not at all
	Transfer      Transfer
	Policy        policy.Policy
	Notify        []string // argument vector to run when a model's session waits; nil: none
	Serve         Serve
	Notes         []string // what a person should know, one line each

	targets []target.Target // in the order of the file, then local
	boxes   map[string]Box  // [targets.NAME.box]
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

// Approval is the [approval] table.
type Approval struct {
	TwoPerson        bool   // whoever asked for a change cannot approve it
	RequireSignature bool   // approvals must be signed
	Sign             bool   // sign approvals although nobody requires it
	KeyFile          string // key to sign with; "" means the agent's first
}

// Transfer is the [transfer] table: absolute, clean paths of targets.
type Transfer struct {
	Allow  []string // roots that may be copied from and to; empty means all
	Refuse []string // what may not, with everything below
}

// maxFile bounds config.toml, in bytes: 10,000 targets take about 2 MiB.
const maxFile = 16 << 20

// Load reads the file at path. A missing file gives the defaults: the target
// local and the profile readonly. home expands a leading "~/". Errors are of
// kind Usage.
func Load(path, home string) (Config, error) {
	data, err := read(path)
	if err != nil {
		return Config{}, problem(err)
	}
	return Parse(path, data, home)
}

// read returns the content of the file, nil if there is none.
func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("%s: larger than %d bytes", path, maxFile)
	}
	return data, err
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
	s, err := parseSyntax(data)
	if err != nil {
		return Config{}, problem(fmt.Errorf("%s: %w", path, err))
	}
	b := builder{path: path, home: home, syntax: s, cfg: Config{File: path, Groups: f.Groups, lines: map[string]int{}, boxes: map[string]Box{}}}
	if b.keys(); len(b.faults) == 0 { // a misspelt key makes more faults that are none
		b.build(f)
	}
	if err := b.err(); err != nil {
		return Config{}, problem(err)
	}
	return b.cfg, nil
}

func decode(path string, data []byte, f *file) error {
	err := toml.NewDecoder(bytes.NewReader(data)).Decode(f)
	if e, ok := errors.AsType[*toml.DecodeError](err); ok {
		row, col := e.Position()
		at := ""
		if k := e.Key(); len(k) > 0 {
			at = fmt.Sprintf(" (key %q)", dotted(k))
		}
		return fmt.Errorf("%s:%d:%d: %s%s", path, row, col, readable(e), at)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// goTypes finds the decoder's words for a value of the wrong type.
var goTypes = regexp.MustCompile(`cannot decode TOML ([\w ]+) into (?:.* of type )?\*?(\S+)`)

// readable says what is wrong without the names of Go types.
func readable(e *toml.DecodeError) string {
	text := strings.TrimPrefix(e.Error(), "toml: ")
	m := goTypes.FindStringSubmatch(text)
	if m == nil {
		return text
	}
	want := "string"
	switch t := m[2]; {
	case strings.HasPrefix(t, "map"), strings.HasPrefix(t, "config."):
		want = "table"
	case strings.HasPrefix(t, "[]"):
		want = "list"
	case t == "int", t == "int64", t == "float64":
		want = "number"
	case t == "bool":
		want = "boolean"
	}
	return fmt.Sprintf("must be a %s, not a %s", want, m[1])
}

// fault is one thing wrong with the file.
type fault struct {
	line, column int
	text         string
}

// builder turns the stored form into a Config, collecting what is wrong.
type builder struct {
	path, home string
	syntax     syntax
	cfg        Config
	faults     []fault
}

func (b *builder) fault(key []string, format string, args ...any) {
	b.faultAt(key, dotted(key)+": "+fmt.Sprintf(format, args...))
}

func (b *builder) faultAt(key []string, text string) {
	line, column := b.syntax.position(key)
	b.faults = append(b.faults, fault{line, column, text})
}

func (b *builder) note(key []string, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	b.cfg.Notes = append(b.cfg.Notes, fmt.Sprintf("%s:%d: %s %s", b.path, b.syntax.line(key), dotted(key), text))
}

// maxFaults keeps the error readable for a file that is none of ours.
const maxFaults = 20

// err returns what is wrong, in the order of the file, a line each.
func (b *builder) err() error {
	slices.SortStableFunc(b.faults, func(x, y fault) int {
		return cmp.Or(x.line-y.line, x.column-y.column, strings.Compare(x.text, y.text))
	})
	var lines []string
	for i, f := range b.faults {
		if i == maxFaults {
			lines = append(lines, fmt.Sprintf("%s: and %d more", b.path, len(b.faults)-i))
			break
		}
		lines = append(lines, fmt.Sprintf("%s:%d:%d: %s", b.path, f.line, f.column, f.text))
	}
	if len(lines) == 0 {
		return nil
	}
	return errors.New(strings.Join(lines, "\n"))
}

// keys finds unknown keys.
func (b *builder) keys() {
	for _, p := range b.syntax.places {
		if n, known := unknown(p.key); n == len(p.key) {
			b.faultAt(p.key, fmt.Sprintf("unknown key %q%s", dotted(p.key), suggest(p.key[n-1], known)))
		}
	}
}
