package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/target"
)

const full = `# my hosts
default_target = "web1"
profile = "diagnostics"

[groups]
web = ["web1", "web.2"]
rest = ["all", "!@web"]

[targets.web1]
type = "ssh"
host = "web1.example.com"
user = "deploy"
port = 2222
key_file = "~/.ssh/id_ed25519"
known_hosts = "~/kh"
profile = "readonly"
become = "sudo"
jump = "me@bastion:22"
labels = { env = "prod", tier = "web" }
password = true

[targets."web.2"]
host = "2001:db8::1"
user = "o'brien\\x"
enabled = false
[targets."web.2".labels]
env = "test"

[targets.mac]
type = "local"

[audit]
dir = "/var/log/bowline"
max_size = "1MiB"
secrets = ["pin", "/x+/"]
`

func parse(t testing.TB, text string) Config {
	t.Helper()
	cfg, err := Parse("c.toml", []byte(text), "/home/me")
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestParse(t *testing.T) {
	t.Parallel()
	cfg := parse(t, strings.Replace(full, `o'brien\\x`, `o.brien`, 1))
	want := []target.Target{
		{Name: "web1", Kind: target.SSH, Host: "web1.example.com", User: "deploy", Port: 2222, KeyFile: "/home/me/.ssh/id_ed25519",
			KnownHosts: "/home/me/kh", Profile: "readonly", Become: "sudo", Jump: "me@bastion:22",
			Labels: map[string]string{"env": "prod", "tier": "web"}, Password: true},
		{Name: "web.2", Kind: target.SSH, Host: "2001:db8::1", User: "o.brien", Disabled: true, Labels: map[string]string{"env": "test"}},
		{Name: "mac", Kind: target.Local},
		{Name: "local", Kind: target.Local},
	}
	if diff := cmp.Diff(want, cfg.Targets()); diff != "" {
		t.Error(diff)
	}
	if cfg.DefaultTarget != "web1" || cfg.Profile != "diagnostics" || len(cfg.Notes) != 0 {
		t.Errorf("default %q, profile %q, notes %q", cfg.DefaultTarget, cfg.Profile, cfg.Notes)
	}
	if diff := cmp.Diff(Audit{Dir: "/var/log/bowline", MaxSize: 1 << 20, Secrets: []string{"pin", "/x+/"}}, cfg.Audit); diff != "" {
		t.Error(diff)
	}
	for name, line := range map[string]int{"web1": 9, "web.2": 22, "mac": 29, "local": 0} {
		if got := cfg.Line(name); got != line {
			t.Errorf("Line(%s) = %d, want %d", name, got, line)
		}
	}
}

func TestBoxTable(t *testing.T) {
	t.Parallel()
	cfg := parse(t, "[targets.a]\nhost = 'h'\n[targets.a.box]\nimage = 'i'\nmemory = '8GiB'\ncpus = 2\npids = 100\npublish = 'server'\ndotfiles = '~/d'\nenv = { A = 'x=y' }\n[targets.b]\nhost = 'h'\nbox = { cpus = 1.5, publish = 'none' }\n[targets.c]\nhost = 'h'\n")
	want := map[string]Box{
		"a": {Image: "i", Memory: 8 << 30, CPUs: 2, Pids: 100, Publish: true, Dotfiles: "/home/me/d", Env: map[string]string{"A": "x=y"}},
		"b": {CPUs: 1.5},
	}
	for _, name := range []string{"a", "b", "c"} {
		got, ok := cfg.Box(name)
		if _, there := want[name]; ok != there || cmp.Diff(want[name], got) != "" {
			t.Errorf("%s: %v\n%s", name, ok, cmp.Diff(want[name], got))
		}
	}
}

func TestLoadMissingFile(t *testing.T) {
	t.Parallel()
	cfg, err := Load(filepath.Join(t.TempDir(), "no", "config.toml"), "/home/me")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]target.Target{{Name: "local", Kind: target.Local}}, cfg.Targets()); diff != "" {
		t.Error(diff)
	}
	if got, err := cfg.Resolve("", ""); err != nil || got.Name != "local" {
		t.Errorf("Resolve = %v, %v; want local", got, err)
	}
	if cfg.Profile != "readonly" {
		t.Errorf("profile %q", cfg.Profile)
	}
}

func TestLoadUnreadable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := Load(dir, ""); diag.KindOf(err) != diag.Usage || !strings.Contains(err.Error(), dir) {
		t.Errorf("Load of a directory = %v", err)
	}
	big := filepath.Join(dir, "big")
	if err := os.WriteFile(big, make([]byte, maxFile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(big, ""); diag.KindOf(err) != diag.Usage || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("Load of a huge file = %v", err)
	}
}

func TestParseErrors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, text string
		want       string // lines without "c.toml:"
	}{
		{"syntax", "a = ", "1:3: incomplete"},
		{"twice", "profile = 'a'\nprofile = 'b'", "2:1: "},
		{"top-level typo", "defualt_target = 'x'", `1:1: unknown key "defualt_target"; did you mean "default_target"?`},
		{"target typo", "[targets.web1]\nhost = 'h'\nuserr = 'x'", `3:1: unknown key "targets.web1.userr"; did you mean "user"?`},
		{"key of the older form", "[targets.web1]\nhost = 'h'\nusername = 'x'", `3:1: unknown key "targets.web1.username"`},
		{"key in capitals", "[targets.web1]\nHost = 'h'", `2:1: unknown key "targets.web1.Host"; did you mean "host"?`},
		{"in an inline table", "[targets]\nweb1 = { hots = 'h' }", `2:10: unknown key "targets.web1.hots"; did you mean "host"?`},
		{"dotted", "targets.web1.hots = 'h'", `1:14: unknown key "targets.web1.hots"; did you mean "host"?`},
		{"quoted", "[targets.\"a.b\"]\nx = 1", `2:1: unknown key "targets.\"a.b\".x"`},
		{"two typos", "[audit]\ndri = 'x'\n[tragets.a]\nhost = 'h'", `2:1: unknown key "audit.dri"; did you mean "dir"?` + "\n" + `3:2: unknown key "tragets"; did you mean "targets"?`},
		{"transfer typo", "[transfer]\nalow = ['/srv']", `2:1: unknown key "transfer.alow"; did you mean "allow"?`},
		{"relative root", "[transfer]\nrefuse = ['~/x']", `2:1: transfer.refuse: "~/x" must be absolute`},
		{"nothing allowed", "[transfer]\nallow = []", `2:1: transfer.allow: an empty list would allow nothing; leave it out to allow everything`},
		{"executor typo", "[executor.a]\ntype = 'ssh'\nhots = 'h'", `3:1: unknown key "executor.a.hots"; did you mean "host"?`},
		{"null target", "[targets]\nweb1 = 3", `2:8: must be a table, not a integer (key "targets.web1")`},
		{"targets no table", "targets = 'x'", `1:11: must be a table, not a string (key "targets")`},
		{"wrong type", "[targets.web1]\nhost = 5", `2:8: must be a string, not a integer (key "targets.web1.host")`},
		{"port as text", "[targets.web1]\nhost = 'h'\nport = '22'", `3:8: must be a number, not a string (key "targets.web1.port")`},
		{"enabled as text", "[targets.web1]\nhost = 'h'\nenabled = 'no'", `3:11: must be a boolean, not a string (key "targets.web1.enabled")`},
		{"label as number", "[targets.web1]\nhost = 'h'\nlabels = { a = 1 }", `3:16: must be a string, not a integer (key "targets.web1.labels")`},
		{"allowed no list", "allowed_targets = 'x'", `1:19: must be a list, not a string (key "allowed_targets")`},
		{"port out of range", "[targets.web1]\nhost = 'h'\nport = 70000", "3:1: targets.web1.port: 70000: use 1 to 65535"},
		{"port zero", "[targets.web1]\nhost = 'h'\nport = 0", "3:1: targets.web1.port: 0: use 1 to 65535"},
		{"no host", "[targets.web1]\nuser = 'u'", "1:10: targets.web1.host: host is missing"},
		{"bad host", "[targets.web1]\nhost = '-oProxyCommand=x'", "2:1: targets.web1.host: host \"-oProxyCommand=x\" must not start with '-'"},
		{"user@host as host", "[targets.web1]\nhost = 'me@h'", `2:1: targets.web1.host: host "me@h" is not a host name or address`},
		{"bad user", "[targets.web1]\nhost = 'h'\nuser = 'a b'", `3:1: targets.web1.user: login "a b" has characters a login cannot have`},
		{"bad executor user", "[executor.web1]\ntype = 'ssh'\nhost = 'h'\nusername = '-a'", `4:1: executor.web1.username: login "-a" must not start with '-'`},
		{"bad type", "[targets.web1]\ntype = 'telnet'\nhost = 'h'", `2:1: targets.web1.type: type "telnet": use ssh, local or https`},
		{"bad become", "[targets.web1]\nhost = 'h'\nbecome = 'su'", `3:1: targets.web1.become: become "su": only sudo is known`},
		{"bad label", "[targets.web1]\nhost = 'h'\n[targets.web1.labels]\nenv = 'a b'", `3:15: targets.web1.labels: label "env=a b": use KEY=VALUE of letters, digits, '.', '_', '/' and '-'`},
		{"bad jump", "[targets.web1]\nhost = 'h'\njump = 'a,b c'", `3:1: targets.web1.jump: address "b c": host "b c" is not a host name or address`},
		{"jump to itself", "[targets.web1]\nhost = 'h'\njump = 'web1'", `3:1: targets.web1.jump: "web1" is the target itself`},
		{"bad name", "[targets.\"a b\"]\nhost = 'h'", `1:10: targets."a b": target name "a b": use 1 to 63 letters, digits, '.', '_' and '-', not starting with '-' or '.'`},
		{"reserved name", "[targets.all]\nhost = 'h'", `1:10: targets.all: target name "all" is reserved`},
		{"local elsewhere", "[targets.local]\nhost = 'h'", "1:10: targets.local: this name means this machine; give another host another name"},
		{"box typo", "[targets.a]\nhost = 'h'\n[targets.a.box]\nmemroy = '1GiB'", `4:1: unknown key "targets.a.box.memroy"; did you mean "memory"?`},
		{"box typo in an inline table", "[targets.a]\nhost = 'h'\nbox = { Image = 'x' }", `3:9: unknown key "targets.a.box.Image"; did you mean "image"?`},
		{"box no table", "[targets.a]\nhost = 'h'\nbox = true", `3:7: must be a table, not a boolean (key "targets.a.box")`},
		{"box memory as number", "[targets.a]\nhost = 'h'\n[targets.a.box]\nmemory = 4", `4:10: must be a string, not a integer (key "targets.a.box.memory")`},
		{"box memory", "[targets.a]\nhost = 'h'\n[targets.a.box]\nmemory = '4GB'", `4:1: targets.a.box.memory: "4GB": use a size of at least 16MiB, as 4GiB`},
		{"box limits", "[targets.a]\nhost = 'h'\n[targets.a.box]\ncpus = 0.0\npids = 1", "4:1: targets.a.box.cpus: 0: use a number of processors, as 1.5; leave it out for no limit\n5:1: targets.a.box.pids: 1: use at least 16"},
		{"box cpus as text", "[targets.a]\nhost = 'h'\n[targets.a.box]\ncpus = '2'", `4:8: must be a number, not a string (key "targets.a.box.cpus")`},
		{"box cpus endless", "[targets.a]\nhost = 'h'\n[targets.a.box]\ncpus = inf", "4:1: targets.a.box.cpus: +Inf: use a number of processors, as 1.5; leave it out for no limit"},
		{"box publish", "[targets.a]\nhost = 'h'\n[targets.a.box]\npublish = 'yes'", `4:1: targets.a.box.publish: "yes": use none or server`},
		{"box image", "[targets.a]\nhost = 'h'\n[targets.a.box]\nimage = 'a b'", `4:1: targets.a.box.image: "a b" is no name of an image`},
		{"box dotfiles", "[targets.a]\nhost = 'h'\n[targets.a.box]\ndotfiles = 'dots'", `4:1: targets.a.box.dotfiles: "dots" must be absolute, or begin with "~/"`},
		{"box variable", "[targets.a]\nhost = 'h'\n[targets.a.box.env]\n'A=B' = 'x'", `4:1: targets.a.box.env."A=B": a variable has a name without '=', and no NUL`},
		{"box here", "[targets.a]\ntype = 'local'\n[targets.a.box]\nimage = 'x'", "3:12: targets.a.box: boxes are remote-only, and this target is of type local"},
		{"several", "default_target = 'web'\n[targets.web1]\nport = 0\n[targets.web2]\nhost = 'h'\nuser = ''\nbecome = 'x'",
			"1:1: default_target: there is no target \"web\"; did you mean \"web1\" or \"web2\"?\n" +
				"2:10: targets.web1.host: host is missing\n3:1: targets.web1.port: 0: use 1 to 65535\n7:1: targets.web2.become: become \"x\": only sudo is known"},
		{"default", "default_target = 'x'", `1:1: default_target: there is no target "x"`},
		{"older default", "default_executor = 'x'", `1:1: default_executor: there is no target "x"`},
		{"allowed", "allowed_targets = ['local', 'x']", `1:1: allowed_targets: there is no target "x"`},
		{"group name", "[groups]\n'a b' = []", `2:1: groups."a b": group name "a b": use 1 to 63 letters, digits, '.', '_' and '-', not starting with '-' or '.'`},
		{"group member", "[groups]\na = ['lcoal']", `2:1: groups.a: selector "lcoal": there is no target "lcoal"; did you mean "local"?`},
		{"group of group", "[groups]\na = ['@b']", `2:1: groups.a: selector "@b": there is no group "@b"; groups stand under [groups] in config.toml`},
		{"other home", "[targets.web1]\nhost = 'h'\nkey_file = '~bob/key'", `3:1: targets.web1.key_file: "~bob/key": only "~/", your own home directory, is known here`},
		{"relative audit", "[audit]\ndir = 'log'", `2:1: audit.dir: "log" must be absolute`},
		{"small audit", "[audit]\nmax_size = '1KiB'", `2:1: audit.max_size: "1KiB": use a size of at least 64KiB`},
		{"twice defined", "[targets.a]\nhost='h'\n[executor.a]\ntype='ssh'\nhost='h'", "3:11: executor.a: a target of this name is defined in [targets] too"},
		{"executor type", "[executor.a]\nhost = 'h'", `1:11: executor.a.type: "": use ssh or local`},
		{"list of targets", "[[targets]]\nhost = 'h'", "1:3: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse("c.toml", []byte(tt.text), "/home/me")
			if err == nil || diag.KindOf(err) != diag.Usage {
				t.Fatalf("Parse = %v, want an error of kind usage", err)
			}
			got := strings.ReplaceAll(strings.TrimPrefix(err.Error(), "read configuration: "), "c.toml:", "")
			if got != tt.want && !(strings.HasSuffix(tt.want, ": ") && strings.HasPrefix(got, tt.want)) && !(tt.name == "syntax" && strings.HasPrefix(got, "1:")) {
				t.Errorf("Parse says\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

func TestParseManyFaults(t *testing.T) {
	t.Parallel()
	_, err := Parse("c.toml", []byte(strings.Repeat("[x]\n", 1)+strings.Join(manyKeys(50), "\n")), "")
	if n := strings.Count(err.Error(), "\n"); n != maxFaults || !strings.HasSuffix(err.Error(), "and 31 more") {
		t.Errorf("%d line breaks in %v", n, err)
	}
}

func manyKeys(n int) []string {
	var out []string
	for i := range n {
		out = append(out, "[unknown"+strings.Repeat("x", i)+"]")
	}
	return out
}

func TestOlderTables(t *testing.T) {
	t.Parallel()
	cfg := parse(t, `default_executor = "old"
[executor.old]
type = "ssh"
host = "h"
username = "u"
key_file = "~/k"
port = 2222
connection_pool_size = 5
known_hosts = "/kh"
strict_host_key = false
profile = "p"
[executor.here]
type = "local"
bwrap_path = "/usr/bin/bwrap"
`)
	want := []target.Target{
		{Name: "old", Kind: target.SSH, Host: "h", User: "u", KeyFile: "/home/me/k", Port: 2222, KnownHosts: "/kh", Profile: "p"},
		{Name: "here", Kind: target.Local},
		{Name: "local", Kind: target.Local},
	}
	if diff := cmp.Diff(want, cfg.Targets()); diff != "" {
		t.Error(diff)
	}
	notes := []string{
		"c.toml:12: executor.here is the older form of [targets.here]; it still works",
		"c.toml:14: executor.here.bwrap_path has no effect: bwrap is found in PATH",
		"c.toml:2: executor.old is the older form of [targets.old]; it still works",
		"c.toml:10: executor.old.strict_host_key = false is NOT honoured: host keys are always checked",
		"c.toml:8: executor.old.connection_pool_size is not needed and has no effect",
		"c.toml:1: default_executor is the older name of default_target; it still works",
	}
	if diff := cmp.Diff(notes, cfg.Notes); diff != "" {
		t.Error(diff)
	}
	if got, err := cfg.Resolve("", ""); err != nil || got.Name != "old" {
		t.Errorf("Resolve = %q, %v; want old", got.Name, err)
	}
}

// A BOM, as Windows editors write it, is either understood or refused with a
// position; it must not end up inside a key.
func TestByteOrderMark(t *testing.T) {
	t.Parallel()
	cfg, err := Parse("c.toml", []byte("\xef\xbb\xbfprofile = 'x'"), "")
	if err == nil && cfg.Profile != "x" || err != nil && !strings.Contains(err.Error(), "c.toml:1:1") {
		t.Errorf("Parse with a byte order mark = %q, %v", cfg.Profile, err)
	}
}

// FuzzLoad holds Parse to its promises: it does not panic, its errors are of
// kind Usage, and what it reads can be written and read again.
func FuzzLoad(f *testing.F) {
	f.Add([]byte(full))
	f.Add([]byte("[executor.a]\ntype='ssh'\nhost='h'\nstrict_host_key=false"))
	f.Add([]byte("targets = { a = { host = 'h', labels = { x = 'y' } } }"))
	f.Add([]byte("targets.a.host = '''h'''\r\n[groups]\r\na=['@a']"))
	f.Fuzz(func(t *testing.T, data []byte) {
		cfg, err := Parse("c.toml", data, "/home/me")
		if err != nil {
			if diag.KindOf(err) != diag.Usage || !strings.Contains(err.Error(), "c.toml") {
				t.Errorf("Parse(%q) = %v", data, err)
			}
			return
		}
		var lines []string
		for _, x := range cfg.defined() {
			if cfg.Line(x.Name) < 1 {
				t.Errorf("%s has no line", x.Name)
			}
			if x.Kind == target.Local { // its other keys are not checked
				x = target.Target{Name: x.Name, Kind: target.Local}
			}
			lines = append(lines, render(x)...)
		}
		again, err := Parse("c.toml", []byte(strings.Join(lines, "\n")), "/home/me")
		if err != nil || len(again.Targets()) != len(cfg.Targets()) {
			t.Fatalf("%q, written as %q, reads as %v", data, lines, err)
		}
		for i, x := range cfg.Targets() {
			y := again.Targets()[i]
			if x.Kind != target.Local && !sameTargets([]target.Target{x}, []target.Target{y}) {
				t.Errorf("%+v, written, reads as %+v", x, y)
			}
		}
	})
}
