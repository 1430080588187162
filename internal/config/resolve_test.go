package config

import (
	"strings"
	"testing"

	"github.com/bowline-sh/bowline/diag"
)

const three = `default_target = "web1"
[targets.web1]
host = "h"
labels = { env = "prod" }
[targets.db1]
host = "h"
[targets.off]
host = "h"
enabled = false
labels = { env = "prod" }
[groups]
g = ["off", "web1"]
`

func TestResolve(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, text, arg, env string
		want                 string
		kind                 diag.Kind
		err                  string
	}{
		{"explicit", three, "db1", "web1", "db1", "", ""},
		{"environment", three, "", "db1", "db1", "", ""},
		{"default", three, "", "", "web1", "", ""},
		{"local without default", "", "", "", "local", "", ""},
		{"local always exists", three, "local", "", "local", "", ""},
		{"local disabled", "[targets.local]\ntype='local'\nenabled=false", "", "", "local", diag.Refused, "use target local: it is disabled in the configuration"},
		{"unknown", three, "wbe1", "", "wbe1", diag.Usage, `find target: there is no target "wbe1"; did you mean "web1"?; there are web1, db1, off, local`},
		{"unknown from environment", three, "", "x", "x", diag.Usage, `find target: there is no target "x" (from $BOWLINE_TARGET); there are web1, db1, off, local`},
		{"an address is no name", three, "me@host", "", "me@host", diag.Usage, `find target: there is no target "me@host"; there are web1, db1, off, local`},
		{"disabled", three, "off", "", "off", diag.Refused, "use target off: it is disabled in the configuration"},
		{"allowed", "allowed_targets=['db1']\n" + three, "db1", "", "db1", "", ""},
		{"not allowed", "allowed_targets=['db1']\n" + three, "web1", "", "web1", diag.Refused, "use target web1: it is not in allowed_targets"},
		{"default not allowed", "allowed_targets=['db1']\n" + three, "", "", "web1", diag.Refused, "use target web1: it is not in allowed_targets"},
		{"nothing allowed", "allowed_targets=[]\n" + three, "local", "", "local", diag.Refused, "use target local: it is not in allowed_targets"},
		{"disabled though listed", "allowed_targets=['off']\n" + three, "off", "", "off", diag.Refused, "use target off: it is disabled in the configuration"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parse(t, tt.text).Resolve(tt.arg, tt.env)
			text := ""
			if err != nil {
				text = err.Error()
			}
			if got.Name != tt.want || diag.KindOf(err) != tt.kind || text != tt.err {
				t.Errorf("Resolve = %q, %v (%s)\nwant %q, %v (%s)", got.Name, text, diag.KindOf(err), tt.want, tt.err, tt.kind)
			}
			if err != nil && diag.HintOf(err) == "" {
				t.Error("no hint")
			}
		})
	}
}

func TestResolveListIsBounded(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for i := range 100 {
		b.WriteString("[targets.t" + strings.Repeat("x", i%60) + string(rune('a'+i/60)) + "]\nhost='h'\n")
	}
	if _, err := parse(t, b.String()).Resolve("unknown", ""); !strings.HasSuffix(err.Error(), " and 81 more") {
		t.Errorf("Resolve = %v", err)
	}
}

func TestSelect(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, text, selector, want string
		kind                       diag.Kind
	}{
		{"all leaves out local", three, "all", "web1 db1", ""},
		{"local by name", three, "all,local", "web1 db1 local", ""},
		{"a local that is defined", "[targets.local]\ntype='local'\n" + strings.TrimPrefix(three, "default_target = \"web1\"\n"), "all", "local web1 db1", ""},
		{"nothing but local", "", "all", "local", ""},
		{"label", three, "env=prod", "web1", ""},
		{"group", three, "@g", "web1", ""},
		{"disabled by name", three, "web1,off", "", diag.Refused},
		{"not allowed by name", "allowed_targets=['db1']\n" + three, "web1", "", diag.Refused},
		{"not allowed is not in all", "allowed_targets=['db1']\n" + three, "all", "db1", ""},
		{"unknown", three, "nope", "", diag.Usage},
		{"malformed", three, ",", "", diag.Usage},
	} {
		got, err := parse(t, tt.text).Select(tt.selector)
		var names []string
		for _, x := range got {
			names = append(names, x.Name)
			if x.Disabled {
				t.Errorf("%s: %s comes back as disabled", tt.name, x.Name)
			}
		}
		if s := strings.Join(names, " "); s != tt.want || diag.KindOf(err) != tt.kind {
			t.Errorf("%s: Select(%q) = %q, %v; want %q, kind %q", tt.name, tt.selector, s, err, tt.want, tt.kind)
		}
	}
}

func TestFindDirs(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, goos, home, env string // env: NAME=VALUE, joined by "|"
		want                  Dirs
	}{
		{"linux", "linux", "/home/me", "", Dirs{"/home/me/.config/bowline", "/home/me/.local/state/bowline", "/home/me/.local/state/bowline/run"}},
		{"XDG", "linux", "/home/me", "XDG_CONFIG_HOME=/c|XDG_STATE_HOME=/s|XDG_RUNTIME_DIR=/run/user/1", Dirs{"/c/bowline", "/s/bowline", "/run/user/1/bowline"}},
		{"relative is ignored", "linux", "/home/me", "XDG_CONFIG_HOME=c|XDG_STATE_HOME=./s|XDG_RUNTIME_DIR=~", Dirs{"/home/me/.config/bowline", "/home/me/.local/state/bowline", "/home/me/.local/state/bowline/run"}},
		{"XDG without home", "linux", "", "XDG_CONFIG_HOME=/c|XDG_STATE_HOME=/s", Dirs{"/c/bowline", "/s/bowline", "/s/bowline/run"}},
		{"no shared /tmp", "linux", "/h", "TMPDIR=/tmp", Dirs{"/h/.config/bowline", "/h/.local/state/bowline", "/h/.local/state/bowline/run"}},
		{"no home", "linux", "", "", Dirs{}},
		{"relative home", "linux", "me", "", Dirs{}},
		{"macOS", "darwin", "/Users/me", "TMPDIR=/var/folders/x/T/", Dirs{"/Users/me/Library/Application Support/bowline", "/Users/me/Library/Application Support/bowline", "/var/folders/x/T/bowline"}},
		{"macOS XDG", "darwin", "/Users/me", "XDG_CONFIG_HOME=/c|XDG_STATE_HOME=/s", Dirs{"/c/bowline", "/s/bowline", "/s/bowline/run"}},
		{"windows", "windows", `C:\Users\me`, "", Dirs{`C:\Users\me\AppData\Roaming\bowline`, `C:\Users\me\AppData\Local\bowline`, `C:\Users\me\AppData\Local\bowline\run`}},
		{"windows variables", "windows", `C:\Users\me`, `APPDATA=D:\R|LOCALAPPDATA=D:\L`, Dirs{`D:\R\bowline`, `D:\L\bowline`, `D:\L\bowline\run`}},
	} {
		env := map[string]string{}
		for kv := range strings.SplitSeq(tt.env, "|") {
			k, v, _ := strings.Cut(kv, "=")
			env[k] = v
		}
		got, err := findDirs(tt.goos, func(k string) string { return env[k] }, tt.home)
		if got != tt.want || (err != nil) != (tt.want == Dirs{}) {
			t.Errorf("%s: %+v, %v; want %+v", tt.name, got, err, tt.want)
		}
	}
}
