package config

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/durable"
	"github.com/bowline-sh/bowline/target"
)

// Editor changes config.toml. Each call reads the file anew under a lock that
// other editors of ours respect, changes only the lines it is about, checks that
// the result reads back as intended, and replaces the file durably. With an
// error the file is as it was. Methods may be called concurrently.
type Editor struct {
	File string
	Home string // expands "~/"
}

// AddTarget appends a table for t. A target of that name must not exist.
func (e Editor) AddTarget(ctx context.Context, t target.Target) error {
	if err := t.Validate(); err != nil {
		return diag.New(diag.Usage, "add target", "", "%w", err)
	}
	return e.edit(ctx, "add target "+t.Name, func(cfg Config, s syntax) ([]byte, error) {
		if cfg.Line(t.Name) != 0 {
			return nil, fmt.Errorf("%s:%d: a target of this name exists", e.File, cfg.Line(t.Name))
		}
		return appendTable(s.data, render(t)), nil
	}, func(before, after Config) error {
		want := append(definedTargets(before), t)
		return same(want, definedTargets(after))
	})
}

// RemoveTarget takes out the tables of a target, with the comments inside them,
// and default_target if it named it.
func (e Editor) RemoveTarget(ctx context.Context, name string) error {
	return e.edit(ctx, "remove target "+name, func(cfg Config, s syntax) ([]byte, error) {
		if cfg.Line(name) == 0 {
			return nil, fmt.Errorf("%s defines no target %q%s", e.File, name, suggest(name, cfg.names()))
		}
		return e.cutTarget(cfg, s, name)
	}, func(before, after Config) error {
		want := slices.DeleteFunc(definedTargets(before), func(t target.Target) bool { return t.Name == name })
		return same(want, definedTargets(after))
	})
}

// SetDefault sets default_target to a known target.
func (e Editor) SetDefault(ctx context.Context, name string) error {
	return e.edit(ctx, "set default target", func(cfg Config, s syntax) ([]byte, error) {
		if _, ok := cfg.Find(name); !ok {
			return nil, fmt.Errorf("there is no target %q%s", name, suggest(name, cfg.names()))
		}
		return setTopLevel(s, "default_target", quote(name))
	}, func(before, after Config) error {
		if after.DefaultTarget != name {
			return fmt.Errorf("default_target reads back as %q", after.DefaultTarget)
		}
		return same(definedTargets(before), definedTargets(after))
	})
}

// edit is the frame of every change. An unreadable file is never replaced.
func (e Editor) edit(ctx context.Context, op string, change func(Config, syntax) ([]byte, error), check func(before, after Config) error) error {
	if err := os.MkdirAll(filepath.Dir(e.File), 0o700); err != nil {
		return diag.New(diag.Failure, op, "", "%w", err)
	}
	lock, err := durable.Lock(ctx, e.File+".lock")
	if err != nil {
		return diag.New(diag.Failure, op, "", "%w", err)
	}
	defer lock.Unlock()
	data, err := os.ReadFile(e.File)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return diag.New(diag.Failure, op, "", "%w", err)
	}
	before, err := Parse(e.File, data, e.Home)
	if err != nil {
		return err
	}
	s, err := parseSyntax(data)
	if err != nil {
		return problem(err)
	}
	out, err := change(before, s)
	if err != nil {
		return diag.New(diag.Usage, op, "see 'bowline target list'", "%w", err)
	}
	after, err := Parse(e.File, out, e.Home)
	if err == nil {
		err = check(before, after)
	}
	if err != nil {
		return diag.New(diag.Usage, op, "make the change in "+e.File+" by hand", "the file is written in a way that cannot be edited safely; nothing was changed: %w", err)
	}
	if err := durable.WriteFile(e.File, out, 0o600); err != nil {
		return diag.New(diag.Failure, op, "", "%w", err)
	}
	return nil
}

// definedTargets are those of the file, without the built-in local.
func definedTargets(c Config) []target.Target {
	return slices.DeleteFunc(c.Targets(), func(t target.Target) bool { return c.Line(t.Name) == 0 })
}

func same(want, got []target.Target) error {
	byName := func(a, b target.Target) int { return cmp.Compare(a.Name, b.Name) }
	slices.SortFunc(want, byName)
	slices.SortFunc(got, byName)
	for i := range want {
		if len(want[i].Labels) == 0 {
			want[i].Labels = nil
		}
	}
	for i := range got {
		if len(got[i].Labels) == 0 {
			got[i].Labels = nil
		}
	}
	if len(want) != len(got) || len(want) > 0 && !reflect.DeepEqual(want, got) {
		return errors.New("the targets would not read back as intended")
	}
	return nil
}

// newline is the line end the file uses.
func newline(data []byte) string {
	if i := bytes.IndexByte(data, '\n'); i > 0 && data[i-1] == '\r' {
		return "\r\n"
	}
	return "\n"
}

func appendTable(data []byte, lines []string) []byte {
	nl := newline(data)
	out := slices.Clone(data)
	if len(out) > 0 {
		if out[len(out)-1] != '\n' {
			out = append(out, nl...)
		}
		out = append(out, nl...)
	}
	return append(out, strings.Join(lines, nl)+nl...)
}

// render writes a target as a table; fields with their default are left out.
func render(t target.Target) []string {
	lines := []string{"[targets." + key(t.Name) + "]", "type = " + quote(string(t.Kind))}
	text := func(k, v string) {
		if v != "" {
			lines = append(lines, k+" = "+quote(v))
		}
	}
	text("host", t.Host)
	text("user", t.User)
	if t.Port != 0 {
		lines = append(lines, "port = "+strconv.Itoa(t.Port))
	}
	text("key_file", t.KeyFile)
	text("known_hosts", t.KnownHosts)
	text("profile", t.Profile)
	text("become", t.Become)
	text("jump", t.Jump)
	if len(t.Labels) > 0 {
		var pairs []string
		for _, k := range slices.Sorted(maps.Keys(t.Labels)) {
			pairs = append(pairs, key(k)+" = "+quote(t.Labels[k]))
		}
		lines = append(lines, "labels = { "+strings.Join(pairs, ", ")+" }")
	}
	if t.Disabled {
		lines = append(lines, "enabled = false")
	}
	if t.Password {
		lines = append(lines, "password = true")
	}
	return lines
}

// key writes a key bare where TOML allows it.
func key(k string) string {
	if k != "" && strings.Trim(k, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-") == "" {
		return k
	}
	return quote(k)
}

// quote writes a TOML basic string (TOML 1.0, "String").
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < 0x20 || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// cutTarget removes every table of a target. Comments and blank lines above the
// table that follows stay with that table.
func (e Editor) cutTarget(cfg Config, s syntax, name string) ([]byte, error) {
	var out []byte
	last := 0
	mine := func(x expression) bool {
		return hasPrefix(x.key, []string{"targets", name}) || hasPrefix(x.key, []string{"executor", name})
	}
	for i := 0; i < len(s.exprs); i++ {
		x := s.exprs[i]
		if !mine(x) {
			continue
		}
		if !x.table {
			return nil, fmt.Errorf("%s:%d: the target is not written as a table of its own, [targets.%s]; take it out by hand", e.File, s.lineAt(x.first), name)
		}
		for i+1 < len(s.exprs) && mine(s.exprs[i+1]) {
			i++
		}
		end := len(s.data)
		if i+1 < len(s.exprs) {
			end = above(s.data, s.exprs[i+1].start)
		}
		out = append(out, s.data[last:x.start]...)
		last = end
	}
	out = append(out, s.data[last:]...)
	if cfg.DefaultTarget != name {
		return out, nil
	}
	rest, err := parseSyntax(out)
	if err != nil {
		return nil, err
	}
	return cutTopLevel(rest, "default_target", "default_executor"), nil
}

// above is the offset where the comments and blank lines directly above the
// line at offset begin: after the last line that is neither.
func above(data []byte, offset int) int {
	for offset > 0 {
		start := 1 + bytes.LastIndexByte(data[:offset-1], '\n')
		line := bytes.TrimSpace(data[start:offset])
		if len(line) > 0 && line[0] != '#' {
			break
		}
		offset = start
	}
	return offset
}

// setTopLevel replaces the value of a top-level key, or adds the key before the
// first table, below the comment the file may begin with.
func setTopLevel(s syntax, name, value string) ([]byte, error) {
	for _, x := range s.exprs {
		if len(x.key) != 1 || x.key[0] != name || x.table {
			continue
		}
		if x.value.Length == 0 {
			return nil, fmt.Errorf("line %d: %s is written in a way that cannot be edited", s.lineAt(x.first), name)
		}
		from := int(x.value.Offset)
		return slices.Concat(s.data[:from], []byte(value), s.data[from+int(x.value.Length):]), nil
	}
	nl := newline(s.data)
	at := headEnd(s)
	return slices.Concat(s.data[:at], []byte(name+" = "+value+nl), s.data[at:]), nil
}

// headEnd is where the comment block at the top of the file ends: at its first
// blank line, or at the first expression.
func headEnd(s syntax) int {
	at := 0
	if bytes.HasPrefix(s.data, []byte("\xef\xbb\xbf")) {
		at = 3
	}
	start := at
	for at < len(s.data) {
		line, _, more := bytes.Cut(s.data[at:], []byte("\n"))
		trimmed := bytes.TrimSpace(line)
		if len(trimmed) == 0 {
			return at
		}
		if trimmed[0] != '#' || !more {
			return start
		}
		at += len(line) + 1
	}
	return start
}

func cutTopLevel(s syntax, names ...string) []byte {
	out := slices.Clone(s.data)
	for i := len(s.exprs) - 1; i >= 0; i-- {
		x := s.exprs[i]
		if len(x.key) == 1 && !x.table && slices.Contains(names, x.key[0]) {
			end := x.start + 1 + bytes.IndexByte(out[x.start:], '\n')
			if end <= x.start {
				end = len(out)
			}
			out = slices.Delete(out, x.start, end)
		}
	}
	return out
}
