package profilefile

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/bowline-sh/bowline/profile"
)

// everyTOML and everyJSON say the same, and use every field.
const everyTOML = `name = "every"
description = "uses every field"
allowed_commands = ["ls", "/usr/bin/*", "cat"]
binds = [
  { source = "/usr", target = "/usr" },
  { source = "data", target = "/data", read_only = false, create_target = false },
]
tmpfs_paths = ["/tmp", "/var/tmp"]
hide = ["/usr/src", "/data/*/key"]
clear_env = false
cwd = "/tmp"
hostname = "box"
network_isolation = false
user_namespace_isolation = false
host_proc = true
unix_sockets = true
seccomp_profile = "filter.bpf"
additional_args = ["--dir", "/x"]
defer_defaults = false
volatile = ["/var/lib/app/*.tmp", "files:/var/log/app"]
[environment]
LANG = "C"
[limits]
memory = "512MiB"
processes = 10
cpu_seconds = 20
open_files = 30
output = 1048576
wall = "90s"
[[defer]]
programs = ["appctl", "appd"]
reads = ["status ...", "list", ""]
read_flags = ["--version"]
defer_flags = ["--host"]
defer_with = ["="]
value_flags = ["-o"]
word_flags = true
undo = { start = "stop" }
undo_word = 1
answer = 3
stdin = true
local = true
`

const everyJSON = `{"name": "every", "description": "uses every field", "allowed_commands": ["ls", "/usr/bin/*", "cat"],
"binds": [{"source": "/usr", "target": "/usr"}, {"source": "data", "target": "/data", "read_only": false, "create_target": false}],
"tmpfs_paths": ["/tmp", "/var/tmp"], "hide": ["/usr/src", "/data/*/key"], "clear_env": false, "cwd": "/tmp", "hostname": "box",
"network_isolation": false, "user_namespace_isolation": false, "host_proc": true, "unix_sockets": true, "seccomp_profile": "filter.bpf",
"additional_args": ["--dir", "/x"], "environment": {"LANG": "C"},
"limits": {"memory": 536870912, "processes": 10, "cpu_seconds": 20, "open_files": 30, "output": "1MiB", "wall": 90},
"defer_defaults": false, "volatile": ["/var/lib/app/*.tmp", "files:/var/log/app"],
"defer": [{"programs": ["appctl", "appd"], "reads": ["status ...", "list", ""], "read_flags": ["--version"], "defer_flags": ["--host"],
"defer_with": ["="], "value_flags": ["-o"], "word_flags": true, "undo": {"start": "stop"}, "undo_word": 1, "answer": 3, "stdin": true, "local": true}]}`

func source(format Format, text string) Source {
	return Source{Name: "my." + string(format), Format: format, Data: []byte(text), Dir: "/profiles", ReadFile: func(name string) ([]byte, error) {
		if name != "/profiles/filter.bpf" {
			return nil, errors.New("no such file: " + name)
		}
		return make([]byte, 16), nil
	}}
}

func TestParseEveryField(t *testing.T) {
	want := profile.Profile{
		Name: "every", Description: "uses every field", AllowedCommands: []string{"ls", "/usr/bin/*", "cat"},
		Binds:      []profile.Bind{{Source: "/usr", Target: "/usr", ReadOnly: true, CreateTarget: true}, {Source: "/profiles/data", Target: "/data"}},
		TmpfsPaths: []string{"/tmp", "/var/tmp"}, Hide: []string{"/usr/src", "/data/*/key"}, Environment: map[string]string{"LANG": "C"},
		Cwd: "/tmp", Hostname: "box", HostProc: true, UnixSockets: true, SeccompProfile: make([]byte, 16), AdditionalArgs: []string{"--dir", "/x"},
		Limits: profile.Limits{Memory: 512 << 20, Processes: 10, CPUSeconds: 20, OpenFiles: 30, Output: 1 << 20, Wall: 90 * time.Second},
		DryRun: profile.DryRun{
			NoDefaults: true, Volatile: []string{"/var/lib/app/*.tmp", "files:/var/log/app"},
			Defer: []profile.Deferral{{
				Programs: []string{"appctl", "appd"}, Reads: []string{"status ...", "list", ""}, ReadFlags: []string{"--version"}, DeferFlags: []string{"--host"},
				DeferWith: []string{"="}, ValueFlags: []string{"-o"}, WordFlags: true, Undo: map[string]string{"start": "stop"}, UndoWord: 1, Answer: 3,
				Stdin: true, Local: true,
			}},
		},
	}
	for format, text := range map[Format]string{TOML: everyTOML, JSON: everyJSON} {
		got, err := Parse(source(format, text))
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n%+v, want\n%+v", format, got, want)
		}
	}
}

// TestEveryFieldIsTested: a field that is added joins the two texts above.
func TestEveryFieldIsTested(t *testing.T) {
	for _, typ := range []reflect.Type{reflect.TypeFor[file](), reflect.TypeFor[fileBind](), reflect.TypeFor[fileLimits](), reflect.TypeFor[fileDeferral]()} {
		for i := range typ.NumField() {
			f := typ.Field(i)
			if f.Tag.Get("json") != f.Tag.Get("toml") {
				t.Errorf("%s is called %q and %q", f.Name, f.Tag.Get("json"), f.Tag.Get("toml"))
			}
			if !strings.Contains(everyTOML, f.Tag.Get("toml")+" = ") && !strings.Contains(everyTOML, "["+f.Tag.Get("toml")+"]\n") && !strings.Contains(everyTOML, "[["+f.Tag.Get("toml")+"]]\n") || !strings.Contains(everyJSON, `"`+f.Tag.Get("json")+`":`) {
				t.Errorf("%s stands in no test", f.Tag.Get("json"))
			}
		}
	}
}

func TestParseDefaults(t *testing.T) {
	for format, text := range map[Format]string{TOML: `name = "x"`, JSON: `{"name": "x"}`} {
		got, err := Parse(source(format, text))
		want := profile.Profile{Name: "x", ClearEnv: true, NetworkIsolation: true, UserNamespaceIsolation: true}
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", format, got, err)
		}
	}
}

func TestParseErrors(t *testing.T) {
	for _, tt := range []struct {
		name   string
		format Format
		text   string
		want   string // in the error, after the name of the file
	}{
		{"unknown field", TOML, "name = \"x\"\nnetwork_isolatoin = true\n", `:2:1: unknown field "network_isolatoin"`},
		{"unknown field", JSON, "{\"name\": \"x\",\n  \"network_isolatoin\": true}", `:2:`},
		{"unknown field by name", JSON, "{\"name\": \"x\",\n  \"network_isolatoin\": true}", `unknown field "network_isolatoin"`},
		{"unknown field of a bind", TOML, "name = \"x\"\nbinds = [{ source = \"/a\", target = \"/a\", readonly = true }]", `:2:`},
		{"unknown field of a bind", JSON, `{"name": "x", "binds": [{"source": "/a", "target": "/a", "readonly": true}]}`, `unknown field "binds.readonly"`},
		{"unknown field of limits", TOML, "name = \"x\"\n[limits]\nmem = 1", `:3:1: unknown field "limits.mem"`},
		{"case of a field", JSON, `{"Name": "x"}`, `unknown field "Name"`},
		{"duplicate", TOML, "name = \"x\"\nname = \"y\"", `:2:`},
		{"duplicate", JSON, "{\"name\": \"x\",\n\"name\": \"y\"}", `:2:`},
		{"duplicate of a bind", JSON, `{"name": "x", "binds": [{"source": "/a", "source": "/b", "target": "/a"}]}`, `"binds.source" stands twice`},
		{"duplicate variable", JSON, `{"name": "x", "environment": {"A": "1", "A": "2"}}`, `"environment.A" stands twice`},
		{"text for a list", TOML, "name = \"x\"\nallowed_commands = \"ls\"", ":2:"},
		{"text for a list", JSON, "{\"name\": \"x\",\n\"allowed_commands\": \"ls\"}", ":2:"},
		{"text for a flag", TOML, "name = \"x\"\nhost_proc = \"yes\"", ":2:"},
		{"number for a text", JSON, `{"name": 1}`, "name must not be a number"},
		{"number for a variable", JSON, `{"name": "x", "environment": {"A": 1}}`, "environment"},
		{"not TOML", TOML, "name = ", ":1:"},
		{"not JSON", JSON, `{"name": "x"`, "not valid JSON"},
		{"two objects", JSON, `{"name": "x"} {}`, "text after the object"},
		{"not an object", JSON, `["x"]`, "must not be a"},
		{"empty", JSON, "", "not valid JSON"},
		{"no name", TOML, "", `name: ""`},
		{"empty name", TOML, `name = ""`, `name: ""`},
		{"relative tmpfs", TOML, "name = \"x\"\ntmpfs_paths = [\"tmp\"]", "tmpfs_paths[0]: must be absolute"},
		{"relative target", TOML, "name = \"x\"\nbinds = [{ source = \"/a\", target = \"a\" }]", "binds[0].target: must be absolute"},
		{"no target", TOML, "name = \"x\"\nbinds = [{ source = \"/a\" }]", "binds[0]: must define both source and target"},
		{"no source", JSON, `{"name": "x", "binds": [{"source": "/a", "target": "/a"}, {"target": "/a"}]}`, "binds[1]: must define both source and target"},
		{"size", TOML, "name = \"x\"\n[limits]\nmemory = \"lots\"", `limits.memory: "lots" is not a size`},
		{"negative size", TOML, "name = \"x\"\n[limits]\noutput = -1", `limits.output: "-1" is not a size`},
		{"broken size", JSON, `{"name": "x", "limits": {"memory": 1.5}}`, "limits.memory: 1.5 is not a size"},
		{"size of a kind", JSON, `{"name": "x", "limits": {"memory": true}}`, "limits.memory: true is not a size"},
		{"large size", JSON, `{"name": "x", "limits": {"memory": 1e300}}`, "limits.memory"},
		{"duration", TOML, "name = \"x\"\n[limits]\nwall = \"soon\"", `limits.wall: "soon" is not a duration`},
		{"negative duration", TOML, "name = \"x\"\n[limits]\nwall = -1", "limits.wall"},
		{"long duration", JSON, `{"name": "x", "limits": {"wall": 1e18}}`, "limits.wall"},
		{"long duration in words", JSON, `{"name": "x", "limits": {"wall": "25h"}}`, "limits.wall"},
		{"deferral without a program", TOML, "name = \"x\"\n[[defer]]\nreads = [\"a\"]", "defer[0].programs: must name"},
		{"deferral of a path", JSON, `{"name": "x", "defer": [{"programs": ["/bin/x"]}]}`, `defer[0].programs: "/bin/x" is not the base name`},
		{"program twice", TOML, "name = \"x\"\n[[defer]]\nprograms = [\"a\"]\n[[defer]]\nprograms = [\"b\", \"a\"]", `defer[1].programs: "a" stands in defer[0] already`},
		{"unknown field of a deferral", TOML, "name = \"x\"\n[[defer]]\nprograms = [\"a\"]\nread = [\"x\"]", `:4:1: unknown field "defer.read"`},
		{"unknown field of a deferral", JSON, "{\"name\": \"x\",\n\"defer\": [{\"program\": \"a\"}]}", `:2:`},
		{"words after the last", TOML, "name = \"x\"\n[[defer]]\nprograms = [\"a\"]\nreads = [\"x ... y\"]", `defer[0].reads[0]: "..." must be the last word`},
		{"glob of a read", TOML, "name = \"x\"\n[[defer]]\nprograms = [\"a\"]\nreads = [\"[\"]", "defer[0].reads[0]"},
		{"flag that is none", TOML, "name = \"x\"\n[[defer]]\nprograms = [\"a\"]\nread_flags = [\"version\"]", `defer[0].read_flags[0]: "version" is not a flag`},
		{"answer", JSON, `{"name": "x", "defer": [{"programs": ["a"], "answer": 256}]}`, "defer[0].answer: 256"},
		{"relative volatile path", TOML, "name = \"x\"\nvolatile = [\"files:log\"]", "volatile[0]: must be absolute"},
		{"all volatile", TOML, "name = \"x\"\nvolatile = [\"/a\", \"/\"]", "volatile[1]: "},
		{"glob of a volatile path", TOML, "name = \"x\"\nvolatile = [\"/[\"]", "volatile[0]: "},
		{"no filter", TOML, "name = \"x\"\nseccomp_profile = \"gone.bpf\"", "seccomp_profile: no such file: /profiles/gone.bpf"},
	} {
		t.Run(tt.name+" "+string(tt.format), func(t *testing.T) {
			p, err := Parse(source(tt.format, tt.text))
			if err == nil {
				t.Fatalf("accepted: %+v", p)
			}
			if !strings.HasPrefix(err.Error(), "my."+string(tt.format)+":") || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %q, want %q", err, tt.want)
			}
		})
	}
	if _, err := Parse(source(TOML, strings.Repeat("#", MaxFileSize+1))); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("a large file: %v", err)
	}
}

// TestParseWithoutDirectory: what comes from nowhere resolves nothing.
func TestParseWithoutDirectory(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"name = \"x\"\nbinds = [{ source = \"a\", target = \"/a\" }]", "binds[0].source: must be absolute"},
		{"name = \"x\"\nseccomp_profile = \"f\"", "seccomp_profile"},
		{"name = \"x\"\nseccomp_profile = \"/f\"", "seccomp_profile"},
	} {
		if _, err := Parse(Source{Name: "x", Format: TOML, Data: []byte(tt.text)}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: %v", tt.text, err)
		}
	}
}

func TestSeccompFile(t *testing.T) {
	for size, ok := range map[int]bool{0: false, 7: false, 8: true, 8 * 4096: true, 8*4096 + 8: false} {
		src := source(TOML, "name = \"x\"\nseccomp_profile = \"/f\"")
		src.ReadFile = func(string) ([]byte, error) { return make([]byte, size), nil }
		if _, err := Parse(src); (err == nil) != ok {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

func TestParseSize(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "1": 1, "1048576": 1 << 20, "512KiB": 512 << 10, "64M": 64 << 20, "64MiB": 64 << 20, "2G": 2 << 30, "2GiB": 2 << 30, "1TiB": 1 << 40, "7B": 7, "3 MiB": 3 << 20,
		"": -1, "MiB": -1, "-1": -1, "1.5M": -1, "1MB": -1, "9223372036854775807": -1, "9999999TiB": -1, "0x10": -1, "1KiBKiB": -1, "1e3": -1,
	} {
		got, err := profile.ParseSize(text)
		if want < 0 && err == nil || want >= 0 && (err != nil || got != want) {
			t.Errorf("ParseSize(%q) = %d, %v, want %d", text, got, err, want)
		}
	}
}

func TestFormatOf(t *testing.T) {
	for name, want := range map[string]Format{"a.toml": TOML, "a.json": JSON, "a.JSON": JSON, `C:\x\a.toml`: TOML, "a.yaml": "", "toml": "", "a.toml.bak": ""} {
		if got, err := FormatOf(name); got != want || (err == nil) != (want != "") {
			t.Errorf("FormatOf(%q) = %q, %v", name, got, err)
		}
	}
}

// TestCloneSharesNothing changes everything in a copy.
func TestCloneSharesNothing(t *testing.T) {
	p, err := Parse(source(TOML, everyTOML))
	if err != nil {
		t.Fatal(err)
	}
	c := p.Clone()
	if !reflect.DeepEqual(c, p) {
		t.Fatalf("%+v, want %+v", c, p)
	}
	spoil(reflect.ValueOf(&c).Elem())
	again, err := Parse(source(TOML, everyTOML))
	if err != nil || !reflect.DeepEqual(p, again) {
		t.Errorf("the original changed: %+v", p)
	}
}

// spoil changes everything that v shares with copies of it.
func spoil(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			spoil(v.Field(i))
		}
	case reflect.Slice:
		spoil(v.Index(0))
		v.Index(0).SetZero()
	case reflect.Map:
		v.SetMapIndex(reflect.ValueOf("NEW"), reflect.ValueOf("x"))
	}
}
