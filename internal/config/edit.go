package config

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/durable"
	"github.com/bowline-sh/bowline/target"
)

// Editor changes config.toml. Each call reads the file anew under a lock that
// other editors of ours respect, changes only the lines it is about, checks that
// the result reads back as intended, that no other program changed the file
// meanwhile, and replaces it durably; a symbolic link at File stays. With an
// error, other than durable.ErrNotSynced, the file is as it was. Methods may be
// called concurrently.
//
// A file in which the target is not a table of its own, but a dotted key or
// part of an inline table, is not edited: the error names the line.
type Editor struct {
	File string
	Home string // expands "~/"
}

// edit is what a method of Editor does to a file.
type edit struct {
	op    string
	apply func(cfg Config, s *syntax) ([]byte, error)
	// want returns the targets the file must then define, and the default.
	want func(cfg Config) ([]target.Target, string)
}

// AddTarget appends a table for t. A target of that name must not exist.
func (e Editor) AddTarget(ctx context.Context, t target.Target) error {
	return e.AddTargets(ctx, []target.Target{t})
}

// AddTargets appends a table for each of list, all or none. No target of these names
// may exist.
func (e Editor) AddTargets(ctx context.Context, list []target.Target) error {
	if len(list) == 0 {
		return nil
	}
	op := "add target " + list[0].Name
	if len(list) > 1 {
		op = fmt.Sprintf("add %d targets", len(list))
	}
	for _, t := range list {
		if err := storable(t); err != nil {
			return diag.New(diag.Usage, op, "", "%w", err)
		}
	}
	return e.edit(ctx, edit{op: op,
		apply: func(cfg Config, s *syntax) ([]byte, error) {
			for _, t := range list {
				if line := cfg.Line(t.Name); line != 0 {
					return nil, fmt.Errorf("%s:%d: a target of the name %s already exists", e.File, line, t.Name)
				}
			}
			for _, x := range s.exprs {
				if x.isValue() && len(x.key) == 1 && x.key[0] == "targets" {
					return nil, s.errAt(e.File, x.first, "targets is written as an inline table; add to it by hand")
				}
			}
			var lines []string
			for i, t := range list {
				if i > 0 {
					lines = append(lines, "")
				}
				lines = append(lines, render(t)...)
			}
			return s.appendTable(lines), nil
		},
		want: func(cfg Config) ([]target.Target, string) {
			want := cfg.defined()
			for _, t := range list {
				want = append(want, e.expanded(t))
			}
			return want, cfg.DefaultTarget
		},
	})
}

// UpdateTarget changes the keys in which t differs from the target of that
// name, which must exist.
func (e Editor) UpdateTarget(ctx context.Context, t target.Target) error {
	op := "update target " + t.Name
	if err := storable(t); err != nil {
		return diag.New(diag.Usage, op, "", "%w", err)
	}
	return e.edit(ctx, edit{op: op,
		apply: func(cfg Config, s *syntax) ([]byte, error) {
			have, err := cfg.mustDefine(t.Name)
			if err != nil {
				return nil, err
			}
			want := t.Clone()
			if e.expanded(t).KeyFile == have.KeyFile {
				want.KeyFile = have.KeyFile // the same file: leave how it is written
			}
			if e.expanded(t).KnownHosts == have.KnownHosts {
				want.KnownHosts = have.KnownHosts
			}
			if e.expanded(t).TokenFile == have.TokenFile {
				want.TokenFile = have.TokenFile
			}
			changes, err := s.setTarget(e.File, have, want)
			return s.apply(changes), err
		},
		want: func(cfg Config) ([]target.Target, string) {
			return append(without(cfg.defined(), t.Name), e.expanded(t)), cfg.DefaultTarget
		},
	})
}

// RemoveTarget takes out the tables of a target, with the comments inside them,
// and default_target if it named it. Comments around the tables stay.
func (e Editor) RemoveTarget(ctx context.Context, name string) error {
	return e.edit(ctx, edit{op: "remove target " + name,
		apply: func(cfg Config, s *syntax) ([]byte, error) {
			if _, err := cfg.mustDefine(name); err != nil {
				return nil, err
			}
			changes, err := s.cutTarget(e.File, name)
			if err == nil && cfg.DefaultTarget == name && name != target.LocalName {
				changes = append(changes, s.cutTop("default_target", "default_executor")...)
			}
			return s.apply(changes), err
		},
		want: func(cfg Config) ([]target.Target, string) {
			def := cfg.DefaultTarget
			if def == name && name != target.LocalName {
				def = ""
			}
			return without(cfg.defined(), name), def
		},
	})
}

// SetDefault sets default_target to a known target.
func (e Editor) SetDefault(ctx context.Context, name string) error {
	return e.edit(ctx, edit{op: "set default target",
		apply: func(cfg Config, s *syntax) ([]byte, error) {
			if _, ok := cfg.Find(name); !ok {
				return nil, fmt.Errorf("there is no target %q%s", name, suggest(name, cfg.names()))
			}
			return s.apply([]change{s.setTop(tomlString(name), "default_target", "default_executor")}), nil
		},
		want: func(cfg Config) ([]target.Target, string) { return cfg.defined(), name },
	})
}

// storable reports what keeps t from being written to a file.
func storable(t target.Target) error {
	if err := t.Validate(); err != nil {
		return err
	}
	for _, v := range []string{t.Host, t.User, t.KeyFile, t.KnownHosts, t.Profile, t.Become, t.Jump, t.TokenFile} {
		if !utf8.ValidString(v) {
			return fmt.Errorf("%q is not UTF-8, which the file must be", v)
		}
	}
	return nil
}

func (e Editor) expanded(t target.Target) target.Target {
	t = t.Clone()
	t.KeyFile, _ = expand(t.KeyFile, e.Home)
	t.KnownHosts, _ = expand(t.KnownHosts, e.Home)
	t.TokenFile, _ = expand(t.TokenFile, e.Home)
	return t
}

// maxEdits bounds how often an edit is made anew because another program, one
// that does not ask for the lock, changed the file meanwhile.
const maxEdits = 3

// edit makes a change under the lock. An unreadable file is never replaced.
func (e Editor) edit(ctx context.Context, ed edit) error {
	fail := func(err error) error { return diag.New(diag.Failure, ed.op, "", "%w", err) }
	if err := os.MkdirAll(filepath.Dir(e.File), 0o700); err != nil {
		return fail(err)
	}
	lock, err := durable.Lock(ctx, e.File+".lock")
	if err != nil {
		return fail(err)
	}
	defer lock.Unlock()
	for range maxEdits {
		data, err := read(e.File)
		if err != nil {
			return fail(err)
		}
		out, err := e.edited(ed, data)
		if err != nil {
			return err
		}
		now, err := read(e.File)
		if err != nil {
			return fail(err)
		}
		if !bytes.Equal(now, data) {
			continue
		}
		if err := durable.WriteFile(e.File, out, 0o600); err != nil {
			return fail(err)
		}
		return nil
	}
	return diag.New(diag.Conflict, ed.op, "save it in your editor, then run the command again", "%s is being changed by another program; nothing was changed", e.File)
}

// edited returns the file as it shall be. It does no I/O.
func (e Editor) edited(ed edit, data []byte) ([]byte, error) {
	before, err := Parse(e.File, data, e.Home)
	if err != nil {
		return nil, err
	}
	s, err := parseSyntax(data)
	if err != nil {
		return nil, problem(err)
	}
	out, err := ed.apply(before, &s)
	if err != nil {
		return nil, diag.New(diag.Usage, ed.op, "see 'bowline target list'", "%w", err)
	}
	byHand := "make the change by hand, in " + e.File
	after, err := Parse(e.File, out, e.Home)
	if err != nil {
		return nil, diag.New(diag.Usage, ed.op, byHand, "nothing was changed, as the file could not be used any more: %w", errors.Unwrap(err))
	}
	targets, def := ed.want(before)
	if !sameTargets(targets, after.defined()) || after.DefaultTarget != def || !sameRest(before, after) {
		return nil, diag.New(diag.Usage, ed.op, byHand, "nothing was changed, as the file would not read back as intended")
	}
	return out, nil
}

// defined are the targets of the file, without the built-in local.
func (c Config) defined() []target.Target {
	return slices.DeleteFunc(c.Targets(), func(t target.Target) bool { return c.Line(t.Name) == 0 })
}

func (c Config) mustDefine(name string) (target.Target, error) {
	t, ok := c.Find(name)
	if !ok || c.Line(name) == 0 {
		return target.Target{}, fmt.Errorf("%s defines no target %q%s", c.File, name, suggest(name, c.names()))
	}
	return t, nil
}

func without(list []target.Target, name string) []target.Target {
	return slices.DeleteFunc(list, func(t target.Target) bool { return t.Name == name })
}

func sameTargets(want, got []target.Target) bool {
	normal := func(list []target.Target) []target.Target {
		slices.SortFunc(list, func(a, b target.Target) int { return strings.Compare(a.Name, b.Name) })
		for i := range list {
			if len(list[i].Labels) == 0 {
				list[i].Labels = nil
			}
		}
		return list
	}
	return len(want) == len(got) && (len(want) == 0 || reflect.DeepEqual(normal(want), normal(got)))
}

// sameRest reports whether nothing but targets and the default differs.
func sameRest(a, b Config) bool {
	return a.Profile == b.Profile && a.Store == b.Store && a.limited == b.limited && slices.Equal(a.allowed, b.allowed) &&
		reflect.DeepEqual(a.Groups, b.Groups) && reflect.DeepEqual(a.Audit, b.Audit) && a.Approval == b.Approval && a.Persist == b.Persist
}
