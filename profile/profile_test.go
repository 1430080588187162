package profile

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func valid() Profile { return Profile{Name: "x"} }

func TestValidate(t *testing.T) {
	bind := func(source, target string) func(*Profile) {
		return func(p *Profile) { p.Binds = []Bind{{Source: "/a", Target: "/a"}, {Source: source, Target: target}} }
	}
	for _, tt := range []struct {
		name   string
		change func(*Profile)
		field  string // "" means that it is valid
	}{
		{"valid", func(*Profile) {}, ""},
		{"name empty", func(p *Profile) { p.Name = "" }, "name"},
		{"name upper case", func(p *Profile) { p.Name = "Web" }, "name"},
		{"name with slash", func(p *Profile) { p.Name = "../x" }, "name"},
		{"name long", func(p *Profile) { p.Name = strings.Repeat("x", 42) }, "name"},
		{"name with newline", func(p *Profile) { p.Name = "x\n" }, "name"},
		{"description lines", func(p *Profile) { p.Description = "a\nb" }, "description"},
		{"command empty", func(p *Profile) { p.AllowedCommands = []string{"ls", ""} }, "allowed_commands[1]"},
		{"command relative", func(p *Profile) { p.AllowedCommands = []string{"bin/ls"} }, "allowed_commands[0]"},
		{"command not clean", func(p *Profile) { p.AllowedCommands = []string{"/usr//bin/*"} }, "allowed_commands[0]"},
		{"command no pattern", func(p *Profile) { p.AllowedCommands = []string{"[a"} }, "allowed_commands[0]"},
		{"source relative", bind("b", "/b"), "binds[1].source"},
		{"source empty", bind("", "/b"), "binds[1].source"},
		{"target not clean", bind("/b", "/b/../c"), "binds[1].target"},
		{"target with slash", bind("/b", "/b/"), "binds[1].target"},
		{"target with newline", bind("/b", "/b\nc"), "binds[1].target"},
		{"target with NUL", bind("/b", "/b\x00c"), "binds[1].target"},
		{"whole root", bind("/", "/"), ""},
		{"tmpfs relative", func(p *Profile) { p.TmpfsPaths = []string{"/tmp", "x"} }, "tmpfs_paths[1]"},
		{"tmpfs root", func(p *Profile) { p.TmpfsPaths = []string{"/"} }, "tmpfs_paths[0]"},
		{"hide root", func(p *Profile) { p.Hide = []string{"/"} }, "hide[0]"},
		{"hide relative", func(p *Profile) { p.Hide = []string{"x"} }, "hide[0]"},
		{"cwd relative", func(p *Profile) { p.Cwd = "x" }, "cwd"},
		{"variable", func(p *Profile) { p.Environment = map[string]string{"A": "", "1A": ""} }, "environment"},
		{"variable with =", func(p *Profile) { p.Environment = map[string]string{"A=B": ""} }, "environment"},
		{"variable with NUL", func(p *Profile) { p.Environment = map[string]string{"A": "\x00"} }, "environment"},
		{"argument empty", func(p *Profile) { p.AdditionalArgs = []string{""} }, "additional_args[0]"},
		{"argument NUL", func(p *Profile) { p.AdditionalArgs = []string{"a\x00"} }, "additional_args[0]"},
		{"hostname", func(p *Profile) { p.Hostname = "a b" }, "hostname"},
		{"memory", func(p *Profile) { p.Limits.Memory = 1000 }, "limits.memory"},
		{"memory negative", func(p *Profile) { p.Limits.Memory = -1 }, "limits.memory"},
		{"one process", func(p *Profile) { p.Limits.Processes = 1 }, "limits.processes"},
		{"processes negative", func(p *Profile) { p.Limits.Processes = -1 }, "limits.processes"},
		{"cpu", func(p *Profile) { p.Limits.CPUSeconds = -1 }, "limits.cpu_seconds"},
		{"files", func(p *Profile) { p.Limits.OpenFiles = 15 }, "limits.open_files"},
		{"output", func(p *Profile) { p.Limits.Output = -1 }, "limits.output"},
		{"wall", func(p *Profile) { p.Limits.Wall = MaxWall + 1 }, "limits.wall"},
		{"wall negative", func(p *Profile) { p.Limits.Wall = -time.Second }, "limits.wall"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := valid()
			tt.change(&p)
			err := p.Validate()
			if tt.field == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if e, ok := errors.AsType[*Error](err); !ok || e.Field != tt.field || e.Unwrap() == nil {
				t.Errorf("%v, want an error of %s", err, tt.field)
			}
		})
	}
	for _, arg := range fdArgs {
		p := valid()
		p.AdditionalArgs = []string{"--dir", "/x", arg}
		if e, ok := errors.AsType[*Error](p.Validate()); !ok || e.Field != "additional_args[2]" {
			t.Errorf("%s is accepted", arg)
		}
	}
}

func TestWarnings(t *testing.T) {
	tight := Profile{Name: "x", ClearEnv: true, NetworkIsolation: true, UserNamespaceIsolation: true, Binds: []Bind{{Source: "/etc", Target: "/etc", ReadOnly: true}}}
	if w := tight.Warnings(); w != nil {
		t.Errorf("a tight profile warns %q", w)
	}
	for want, loosen := range map[string]func(*Profile){
		"/data is writable":                func(p *Profile) { p.Binds = append(p.Binds, Bind{Source: "/x", Target: "/data"}) },
		"/proc covers":                     func(p *Profile) { p.Binds = append(p.Binds, Bind{Source: "/proc", Target: "/proc", ReadOnly: true}) },
		"/run exposes":                     func(p *Profile) { p.Binds = append(p.Binds, Bind{Source: "/run", Target: "/run", ReadOnly: true}) },
		"clear_env = false":                func(p *Profile) { p.ClearEnv = false },
		"network_isolation = false":        func(p *Profile) { p.NetworkIsolation = false },
		"unix_sockets = true":              func(p *Profile) { p.UnixSockets = true },
		"user_namespace_isolation = false": func(p *Profile) { p.UserNamespaceIsolation = false },
		"host_proc = true":                 func(p *Profile) { p.HostProc = true },
	} {
		p := tight.Clone()
		loosen(&p)
		if w := p.Warnings(); len(w) != 1 || !strings.Contains(w[0], want) {
			t.Errorf("%q, want one that holds %q", w, want)
		}
	}
	for arg := range loosening {
		p := tight.Clone()
		p.AdditionalArgs = []string{"--dir", "/x", arg}
		if w := p.Warnings(); len(w) != 1 || !strings.HasPrefix(w[0], "additional_args: "+arg+" ") {
			t.Errorf("%s warns %q", arg, w)
		}
	}
}

// TestDefaultHidden: masks need plain paths, and "*" alone as a pattern.
func TestDefaultHidden(t *testing.T) {
	for _, h := range DefaultHidden() {
		if err := cleanPath(h); err != nil || strings.ContainsAny(h, "?[]\\") {
			t.Errorf("%q: %v", h, err)
		}
	}
}
