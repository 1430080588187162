// Package contrib holds the files of contrib/ to what the program is: they name flags and
// paths that exist, and the tools that read them find nothing wrong.
package contrib

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/bowline-sh/bowline/internal/cli"
	"github.com/bowline-sh/bowline/internal/testkit"
)

const dir = "../../contrib/"

func read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(dir + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// accepted fails the test unless the program takes these arguments.
func accepted(t *testing.T, argv []string) {
	t.Helper()
	cmd, rest, err := cli.NewRoot(&cli.Env{}).Find(argv)
	if err != nil || cmd.Name() != "serve" {
		t.Fatalf("%q: %v", argv, err)
	}
	if err := cmd.ParseFlags(rest); err != nil || cmd.Flags().NArg() > 0 {
		t.Errorf("%q: %v", argv, err)
	}
	if err := cmd.ValidateFlagGroups(); err != nil {
		t.Errorf("%q: %v", argv, err)
	}
}

// unit is the last value of each key of a unit, and all of ExecStart's words.
func unit(t *testing.T, name string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for l := range strings.Lines(read(t, name)) {
		l = strings.TrimSpace(l)
		if l == "" || strings.HasPrefix(l, "#") || strings.HasPrefix(l, "[") {
			continue
		}
		key, value, ok := strings.Cut(l, "=")
		if !ok {
			t.Errorf("%s: %q is no setting", name, l)
		}
		out[key] = value
	}
	return out
}

func TestUnits(t *testing.T) {
	for _, name := range []string{"bowline.service", "bowline-host.service"} {
		t.Run(name, func(t *testing.T) {
			u := unit(t, "systemd/"+name)
			argv := strings.Fields(u["ExecStart"])
			if argv[0] != "/usr/local/bin/bowline" {
				t.Errorf("starts %s", argv[0])
			}
			accepted(t, argv[1:])
			for variable, root := range map[string]string{"XDG_CONFIG_HOME": "/etc", "XDG_STATE_HOME": "/var/lib", "XDG_RUNTIME_DIR": "/run"} {
				if !strings.Contains(" "+u["Environment"]+" ", " "+variable+"="+root+" ") {
					t.Errorf("%s is not %s: the directories of the unit are not those of the program", variable, root)
				}
			}
			for _, key := range []string{"ConfigurationDirectory", "StateDirectory", "RuntimeDirectory"} {
				if u[key] != "bowline" {
					t.Errorf("%s is %q", key, u[key])
				}
			}
			verify(t, name)
		})
	}
	if u := unit(t, "systemd/bowline.service"); !strings.HasPrefix(read(t, "systemd/bowline.sysusers.conf"), "u "+u["User"]+" ") {
		t.Errorf("nobody makes the account %s", u["User"])
	}
}

// verify asks systemd, with a program in place that is there.
func verify(t *testing.T, name string) {
	t.Helper()
	testkit.Tool(t, "systemd-analyze")
	file := filepath.Join(t.TempDir(), name)
	text := strings.ReplaceAll(read(t, "systemd/"+name), "/usr/local/bin/bowline", "/bin/true")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("systemd-analyze", "verify", "--man=no", file).CombinedOutput(); err != nil || strings.Contains(string(out), name) {
		t.Errorf("%v: %s", err, out)
	}
	if name != "bowline.service" {
		return
	}
	out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--no-pager", file).CombinedOutput()
	m := regexp.MustCompile(`Overall exposure level for .*: ([0-9.]+)`).FindSubmatch(out)
	if err != nil || m == nil {
		t.Fatalf("%v: %s", err, out)
	}
	if level, err := strconv.ParseFloat(string(m[1]), 64); err != nil || level > 1.5 {
		t.Errorf("exposure %s: %s", m[1], out)
	}
}

func TestContainer(t *testing.T) {
	file := read(t, "container/Containerfile")
	script := read(t, "container/build.sh")
	for _, m := range regexp.MustCompile(`(?m)^COPY (?:--\S+ )?(\S+) (\S+)$`).FindAllStringSubmatch(file, -1) {
		if !strings.Contains(script, `"$context/`+strings.TrimSuffix(m[1], "/")) {
			t.Errorf("build.sh does not make %s", m[1])
		}
	}
	m := regexp.MustCompile(`(?m)^CMD (\[.*\])$`).FindStringSubmatch(file)
	var argv []string
	if err := yaml.Unmarshal([]byte(m[1]), &argv); err != nil {
		t.Fatal(err)
	}
	accepted(t, argv)
	for _, want := range []string{"FROM scratch", "USER 65532:65532", `ENTRYPOINT ["/usr/bin/bowline"]`, "COPY bowline /usr/bin/bowline", "XDG_STATE_HOME=/var/lib ", `VOLUME ["/var/lib/bowline"]`} {
		if !strings.Contains(file, want) {
			t.Errorf("there is no %q", want)
		}
	}
	// The real script, with an engine that looks at what it is given.
	tmp := testkit.Dir(t)
	engine := filepath.Join(tmp, "engine")
	if err := os.WriteFile(engine, []byte("#!/bin/sh\nfor c; do :; done\ncd \"$c\" && find . | sort && cat passwd\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(tmp, "contrib"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, cmd := range [][]string{{"cp", "-r", dir + "container", filepath.Join(tmp, "contrib")}, {"mkdir", filepath.Join(tmp, "bin")}, {"cp", "/bin/true", filepath.Join(tmp, "bin", "bowline")}} {
		if out, err := exec.Command(cmd[0], cmd[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%q: %v: %s", cmd, err, out)
		}
	}
	cmd := exec.Command("sh", filepath.Join(tmp, "contrib/container/build.sh"))
	cmd.Env = append(os.Environ(), "ENGINE="+engine)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, want := range []string{"./bowline\n", "./ca-certificates.crt\n", "./tree/var/lib/bowline\n", "./tree/run/bowline\n", "./tree/tmp\n", "bowline:x:65532:65532:"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in the context:\n%s", want, out)
		}
	}
}

func TestCompose(t *testing.T) {
	var doc struct {
		Services map[string]struct {
			Image    string
			Command  []string
			Volumes  []string
			Profiles []string
			ReadOnly bool `yaml:"read_only"`
		}
		Volumes map[string]any
		Secrets map[string]struct{ File string }
	}
	if err := yaml.Unmarshal([]byte(read(t, "container/compose.yaml")), &doc); err != nil {
		t.Fatal(err)
	}
	states := map[string]bool{}
	for name, s := range doc.Services {
		for _, v := range s.Volumes {
			from, to, _ := strings.Cut(v, ":")
			if _, ok := doc.Volumes[from]; !ok && !strings.HasPrefix(from, "./") {
				t.Errorf("%s: there is no volume %s", name, from)
			}
			if to == "/var/lib/bowline" {
				if states[from] {
					t.Errorf("%s shares the state directory %s", name, from)
				}
				states[from] = true
			}
		}
		if name == "db" {
			continue
		}
		accepted(t, s.Command)
		if !s.ReadOnly || s.Image != "localhost/bowline:latest" || !strings.Contains(read(t, "container/build.sh"), s.Image) {
			t.Errorf("%s: %+v", name, s)
		}
		if want := name != "bowline"; slices.Contains(s.Profiles, "three") != want {
			t.Errorf("%s starts with %q", name, s.Profiles)
		}
	}
	if len(doc.Services) != 4 || len(states) != 3 {
		t.Errorf("%d services, %d state directories", len(doc.Services), len(states))
	}
	for name, s := range doc.Secrets {
		if s.File != "./secret/"+name {
			t.Errorf("%s is in %s", name, s.File)
		}
	}
}
