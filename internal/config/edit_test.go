package config

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/target"
)

func editor(t testing.TB, text string) Editor {
	t.Helper()
	e := Editor{File: filepath.Join(t.TempDir(), "config.toml"), Home: "/home/me"}
	if text != "" {
		put(t, e.File, text)
	}
	return e
}

func put(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func get(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func web(name string) target.Target { return target.Target{Name: name, Kind: target.SSH, Host: "h"} }

// boxTable is a target with what its boxes are made with, as a person may write it.
const boxTable = "[targets.a]\nhost = 'h'\n# boxes\n  [ targets.a.box ]\nimage='x' # c\nmemory  = \"8GiB\"\ncpus = 2.50\n[targets.a.box.env]\nA = 'b'\n"

func TestEdits(t *testing.T) {
	t.Parallel()
	add := func(x target.Target) func(Editor) error {
		return func(e Editor) error { return e.AddTarget(t.Context(), x) }
	}
	update := func(x target.Target) func(Editor) error {
		return func(e Editor) error { return e.UpdateTarget(t.Context(), x) }
	}
	rm := func(name string) func(Editor) error {
		return func(e Editor) error { return e.RemoveTarget(t.Context(), name) }
	}
	def := func(name string) func(Editor) error {
		return func(e Editor) error { return e.SetDefault(t.Context(), name) }
	}
	rich := target.Target{Name: "a.b", Kind: target.SSH, Host: "h", User: "u", Port: 22, KeyFile: "~/k \"q\"\\\n\tü", Profile: "p", Become: "sudo",
		Jump: "j", Labels: map[string]string{"env": "prod", "a.b": "c"}, Disabled: true, Password: true, NoHelper: true}
	for _, tt := range []struct {
		name, before string
		edit         func(Editor) error
		after        string
	}{
		{"add to nothing", "", add(web("a")), "[targets.a]\ntype = \"ssh\"\nhost = \"h\"\n"},
		{"add after no newline", "profile = 'x'", add(web("a")), "profile = 'x'\n\n[targets.a]\ntype = \"ssh\"\nhost = \"h\"\n"},
		{"add after a blank line", "profile = 'x'\n\n", add(web("a")), "profile = 'x'\n\n[targets.a]\ntype = \"ssh\"\nhost = \"h\"\n"},
		{"add with CRLF", "profile = 'x'\r\n", add(web("a")), "profile = 'x'\r\n\r\n[targets.a]\r\ntype = \"ssh\"\r\nhost = \"h\"\r\n"},
		{"add beside dotted keys", "targets.b.host = 'h'\n", add(web("a")), "targets.b.host = 'h'\n\n[targets.a]\ntype = \"ssh\"\nhost = \"h\"\n"},
		{"add everything", "", add(rich), "[targets.\"a.b\"]\ntype = \"ssh\"\nhost = \"h\"\nuser = \"u\"\nport = 22\nkey_file = \"~/k \\\"q\\\"\\\\\\u000A\\u0009ü\"\n" +
			"profile = \"p\"\nbecome = \"sudo\"\njump = \"j\"\nlabels = { \"a.b\" = \"c\", env = \"prod\" }\nenabled = false\npassword = true\nhelper = \"never\"\n"},

		{"remove the only one", "[targets.a]\nhost = 'h' # c\n", rm("a"), ""},
		{"remove between", "# top\n\n# about a\n[targets.a]\nhost = 'h'\n# inside\nuser = 'u'\n# about b\n[targets.b]\nhost = 'h'\n", rm("a"),
			"# top\n\n# about a\n# about b\n[targets.b]\nhost = 'h'\n"},
		{"remove with blank lines", "profile = 'x'\n\n[targets.a]\nhost = 'h'\n\n[targets.b]\nhost = 'h'\n", rm("a"), "profile = 'x'\n\n[targets.b]\nhost = 'h'\n"},
		{"remove the last keeps the comment after it", "[targets.a]\nhost = 'h'\n\n# vim: ft=toml\n", rm("a"), "\n# vim: ft=toml\n"},
		{"remove with its tables", "[targets.a]\nhost = 'h'\n[targets.b]\nhost = 'h'\n[targets.a.labels]\nenv = 'x'", rm("a"), "[targets.b]\nhost = 'h'\n"},
		{"remove without newline at the end", "[targets.b]\nhost = 'h'\n\n[targets.a]\nhost = 'h'", rm("a"), "[targets.b]\nhost = 'h'\n"},
		{"remove the default", "# c\ndefault_target = 'a' # d\nprofile = 'x'\n[targets.a]\nhost = 'h'\n", rm("a"), "# c\nprofile = 'x'\n"},
		{"remove an older one", "default_executor='a'\n[executor.a]\ntype = 'ssh'\nhost = 'h'\n", rm("a"), ""},
		{"remove under [targets]", "[targets]\n[targets.a]\nhost = 'h'\n", rm("a"), "[targets]\n"},
		{"remove a defined local that is the default", "default_target = 'local'\n[targets.local]\ntype = 'local'\n", rm("local"), "default_target = 'local'\n"},

		{"default in an empty file", "", def("local"), "default_target = \"local\"\n"},
		{"default replaced", "profile = 'x'\ndefault_target='local'# c\n[targets.a]\nhost = 'h'\n", def("a"), "profile = 'x'\ndefault_target=\"a\"# c\n[targets.a]\nhost = 'h'\n"},
		{"default of many lines replaced", "default_target = '''\nlocal'''\n[targets.a]\nhost = 'h'\n", def("a"), "default_target = \"a\"\n[targets.a]\nhost = 'h'\n"},
		{"older default replaced", "default_executor = 'local'\n[targets.a]\nhost = 'h'\n", def("a"), "default_executor = \"a\"\n[targets.a]\nhost = 'h'\n"},
		{"default added", "# about a\n[targets.a]\nhost = 'h'\n", def("a"), "default_target = \"a\"\n# about a\n[targets.a]\nhost = 'h'\n"},
		{"default added below the top comment", "# Bowline\r\n\r\n[targets.a]\r\nhost = 'h'\r\n", def("a"), "# Bowline\r\ndefault_target = \"a\"\r\n\r\n[targets.a]\r\nhost = 'h'\r\n"},

		{"update one key", "[targets.a]\nhost  =  'h'   # c\n# d\nuser = 'u'\n", update(target.Target{Name: "a", Kind: target.SSH, Host: "h2", User: "u"}),
			"[targets.a]\nhost  =  \"h2\"   # c\n# d\nuser = 'u'\n"},
		{"update adds and removes", "[targets.a]\nhost = 'h'\nuser = 'u' # gone\n# e\n\n[targets.b]\nhost = 'h'", update(target.Target{Name: "a", Kind: target.SSH, Host: "h", Port: 2222, Disabled: true}),
			"[targets.a]\nhost = 'h'\nport = 2222\nenabled = false\n# e\n\n[targets.b]\nhost = 'h'"},
		{"update at the end without newline", "[targets.a]\nhost = 'h'", update(target.Target{Name: "a", Kind: target.SSH, Host: "h", Port: 2222, User: "u"}),
			"[targets.a]\nhost = 'h'\nuser = \"u\"\nport = 2222\n"},
		{"update labels of many lines", "[targets.a]\nhost = 'h'\nlabels = {\n  env = 'prod', # c\n}\n", update(target.Target{Name: "a", Kind: target.SSH, Host: "h", Labels: map[string]string{"x": "y"}}),
			"[targets.a]\nhost = 'h'\nlabels = { x = \"y\" }\n"},
		{"update leaves ~ alone", "[targets.a]\nhost = 'h'\nkey_file = '~/k'\n", update(target.Target{Name: "a", Kind: target.SSH, Host: "h2", KeyFile: "/home/me/k"}),
			"[targets.a]\nhost = \"h2\"\nkey_file = '~/k'\n"},
		{"update enables", "[targets.a]\nhost = 'h'\nenabled = false\n", update(web("a")), "[targets.a]\nhost = 'h'\n"},
		{"update nothing", "[targets.a]\nhost = 'h'\nenabled = true\nport = 22", update(target.Target{Name: "a", Kind: target.SSH, Host: "h", Port: 22}), "[targets.a]\nhost = 'h'\nenabled = true\nport = 22"},
		{"update a port away from dotted labels", "[targets.a]\nlabels.env = 'x'\nhost = 'h'\n", update(target.Target{Name: "a", Kind: target.SSH, Host: "h2", Labels: map[string]string{"env": "x"}}),
			"[targets.a]\nlabels.env = 'x'\nhost = \"h2\"\n"},
		{"add beside boxes", boxTable, add(web("b")), boxTable + "\n[targets.b]\ntype = \"ssh\"\nhost = \"h\"\n"},
		{"update leaves boxes alone", boxTable, update(target.Target{Name: "a", Kind: target.SSH, Host: "h2", Port: 22}),
			strings.Replace(boxTable, "host = 'h'\n", "host = \"h2\"\nport = 22\n", 1)},
		{"update beside inline boxes", "[targets.a]\nhost = 'h'\nbox  = {image='x',  env = {A='b'}}# c\n", update(target.Target{Name: "a", Kind: target.SSH, Host: "h", Port: 22}),
			"[targets.a]\nhost = 'h'\nbox  = {image='x',  env = {A='b'}}# c\nport = 22\n"},
		{"default leaves boxes alone", boxTable, def("a"), "default_target = \"a\"\n" + boxTable},
		{"remove with its boxes", "profile = 'x'\n" + boxTable, rm("a"), "profile = 'x'\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := editor(t, tt.before)
			if err := tt.edit(e); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.after, get(t, e.File)); diff != "" {
				t.Error(diff)
			}
			if info, err := os.Stat(e.File); err != nil || info.Mode() != 0o600 {
				t.Errorf("mode %v, %v", info.Mode(), err)
			}
		})
	}
}

func TestEditsRefused(t *testing.T) {
	t.Parallel()
	const table = "[targets.a]\nhost = 'h'\n"
	moved := target.Target{Name: "a", Kind: target.SSH, Host: "h2"}
	labelled := web("a")
	labelled.Labels = map[string]string{"x": "y"}
	for _, tt := range []struct {
		name, before string
		edit         func(Editor) error
		want         string
	}{
		{"add twice", table, func(e Editor) error { return e.AddTarget(t.Context(), web("a")) }, "FILE:1: a target of the name a already exists"},
		{"add invalid", "", func(e Editor) error { return e.AddTarget(t.Context(), target.Target{Name: "a", Kind: target.SSH}) }, "host is missing"},
		{"add bytes", "", func(e Editor) error {
			return e.AddTarget(t.Context(), target.Target{Name: "a", Kind: target.SSH, Host: "h", KeyFile: "\xff"})
		}, `"\xff" is not UTF-8, which the file must be`},
		{"add to an inline table", "\ntargets = { b = { host = 'h' } }", func(e Editor) error { return e.AddTarget(t.Context(), web("a")) }, "FILE:2: targets is written as an inline table; add to it by hand"},
		{"remove unknown", table, func(e Editor) error { return e.RemoveTarget(t.Context(), "A") }, `FILE defines no target "A"; did you mean "a"?`},
		{"remove the built-in", table, func(e Editor) error { return e.RemoveTarget(t.Context(), "local") }, `FILE defines no target "local"; did you mean "local"?`},
		{"remove dotted", "\ntargets.a.host = 'h'", func(e Editor) error { return e.RemoveTarget(t.Context(), "a") }, "FILE:2: the target is not written as a table of its own, [targets.a]; change it by hand"},
		{"remove inline", "[targets]\n\na = { host = 'h' }", func(e Editor) error { return e.RemoveTarget(t.Context(), "a") }, "FILE:3: the target is not written as a table of its own, [targets.a]; change it by hand"},
		{"remove inline twice", "\n\ntargets = { a = { host = 'h' } }", func(e Editor) error { return e.RemoveTarget(t.Context(), "a") }, "FILE:3: the target is written inside an inline table; change it by hand"},
		{"remove what a group needs", "[groups]\ng = ['a']\n" + table, func(e Editor) error { return e.RemoveTarget(t.Context(), "a") },
			`nothing was changed, as the file could not be used any more: FILE:2:1: groups.g: selector "a": there is no target "a"`},
		{"default unknown", table, func(e Editor) error { return e.SetDefault(t.Context(), "b") }, `there is no target "b"`},
		{"update unknown", table, func(e Editor) error { return e.UpdateTarget(t.Context(), web("b")) }, `FILE defines no target "b"`},
		{"update dotted", "targets.a.host = 'h'", func(e Editor) error { return e.UpdateTarget(t.Context(), moved) }, "FILE:1: the target is not written as a table of its own, [targets.a]; change it by hand"},
		{"update older", "[executor.a]\ntype='ssh'\nhost='h'", func(e Editor) error { return e.UpdateTarget(t.Context(), moved) }, "FILE:1: [executor.a] is the older form; write it as [targets.a] to change it"},
		{"update label table", table + "[targets.a.labels]\nx = 'z'", func(e Editor) error { return e.UpdateTarget(t.Context(), labelled) }, "FILE:3: labels is not written as one value; change it by hand"},
		{"broken file", "[targets.a\n", func(e Editor) error { return e.AddTarget(t.Context(), web("b")) }, "FILE:1:"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := editor(t, tt.before)
			err := tt.edit(e)
			if err == nil || diag.KindOf(err) != diag.Usage || !strings.Contains(strings.ReplaceAll(err.Error(), e.File, "FILE"), tt.want) {
				t.Errorf("error = %v\nwant %s", err, tt.want)
			}
			if tt.before != "" && get(t, e.File) != tt.before {
				t.Errorf("the file was changed: %q", get(t, e.File))
			}
		})
	}
}

func TestEditMakesDirectoriesAndKeepsLink(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	e := Editor{File: filepath.Join(dir, "x", "bowline", "config.toml")}
	if err := e.AddTarget(t.Context(), web("a")); err != nil {
		t.Fatal(err)
	}
	dotfile := filepath.Join(dir, "dotfile")
	if err := errors.Join(os.Rename(e.File, dotfile), os.Symlink(dotfile, e.File)); err != nil {
		t.Fatal(err)
	}
	if err := e.AddTarget(t.Context(), web("b")); err != nil {
		t.Fatal(err)
	}
	if got, err := os.Readlink(e.File); err != nil || got != dotfile || !strings.Contains(get(t, dotfile), "[targets.b]") {
		t.Errorf("link leads to %q, %v; the file behind it holds %q", got, err, get(t, dotfile))
	}
}

func TestEditsAtTheSameTime(t *testing.T) {
	t.Parallel()
	e := editor(t, "# keep\n")
	var wg sync.WaitGroup
	for _, name := range strings.Split("abcdefgh", "") {
		wg.Go(func() {
			if err := e.AddTarget(t.Context(), web(name)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	cfg, err := Load(e.File, "")
	if err != nil || len(cfg.defined()) != 8 {
		t.Errorf("%d targets, %v; want 8", len(cfg.defined()), err)
	}
}

// Another program, which asks for no lock, changes the file during an edit.
func TestEditMeetsAnotherEditor(t *testing.T) {
	t.Parallel()
	for _, times := range []int{1, maxEdits - 1, maxEdits} {
		e := editor(t, "")
		n := 0
		err := e.edit(t.Context(), edit{op: "test",
			apply: func(_ Config, s *syntax) ([]byte, error) {
				if n++; n <= times {
					put(t, e.File, strings.Repeat("# theirs\n", n))
				}
				return s.appendTable(render(web("a"))), nil
			},
			want: func(cfg Config) ([]target.Target, string) { return append(cfg.defined(), web("a")), "" },
		})
		theirs := strings.Repeat("# theirs\n", times)
		if times == maxEdits {
			if diag.KindOf(err) != diag.Conflict || get(t, e.File) != theirs {
				t.Errorf("changed %d times: %v, file %q; want a conflict and their text", times, err, get(t, e.File))
			}
			continue
		}
		if err != nil || !strings.HasPrefix(get(t, e.File), theirs+"\n[targets.a]") {
			t.Errorf("changed %d times: %v, file %q; want both changes", times, err, get(t, e.File))
		}
	}
}

// An edit that would not read back as intended is not written.
func TestEditChecksItself(t *testing.T) {
	t.Parallel()
	e := editor(t, "profile = 'x'\n")
	for _, out := range []string{"", "profile = 'y'\n[targets.a]\nhost='h'", "profile = 'x'\n[targets.a]\nhost='other'", "profile = 'x'\ndefault_target = 'local'\n[targets.a]\nhost='h'"} {
		err := e.edit(t.Context(), edit{op: "test",
			apply: func(Config, *syntax) ([]byte, error) { return []byte(out), nil },
			want:  func(Config) ([]target.Target, string) { return []target.Target{web("a")}, "" },
		})
		if err == nil || !bytes.Equal([]byte(get(t, e.File)), []byte("profile = 'x'\n")) {
			t.Errorf("edit to %q = %v, file %q", out, err, get(t, e.File))
		}
	}
}
