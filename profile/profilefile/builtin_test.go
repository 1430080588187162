package profilefile

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/bowline-sh/bowline/profile"
)

func TestBuiltin(t *testing.T) {
	names := BuiltinNames()
	if len(names) != 5 {
		t.Fatalf("built-in profiles: %v", names)
	}
	for _, n := range names {
		p, err := Builtin(n)
		if err != nil {
			t.Fatal(err)
		}
		if p.Name != n || p.Description == "" {
			t.Errorf("%s: name %q, description %q", n, p.Name, p.Description)
		}
	}
}

var update = flag.Bool("update", false, "rewrite the golden files")

// TestBuiltinGolden shows what a change of a built-in profile changes.
func TestBuiltinGolden(t *testing.T) {
	for _, name := range BuiltinNames() {
		p, err := Builtin(name)
		if err != nil {
			t.Fatal(err)
		}
		got, err := json.MarshalIndent(p, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, '\n')
		file := filepath.Join("testdata", "golden", name+".json")
		if *update {
			if err := os.WriteFile(file, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatalf("%v; run the test with -update", err)
		}
		if string(got) != string(want) {
			t.Errorf("%s differs from %s; see what -update changes", name, file)
		}
	}
}

// TestBuiltinsAreTight: what a user gets without asking weakens nothing, and
// says so where it shows more than files.
func TestBuiltinsAreTight(t *testing.T) {
	for _, name := range BuiltinNames() {
		p, err := Builtin(name)
		if err != nil {
			t.Fatal(err)
		}
		if !p.ClearEnv || !p.NetworkIsolation || !p.UserNamespaceIsolation || p.UnixSockets || len(p.AdditionalArgs) > 0 {
			t.Errorf("%s: %+v", name, p)
		}
		for _, b := range p.Binds {
			if !b.ReadOnly || b.Source == "/run" || b.Source == "/" || b.Source == "/proc" || b.Source == "/dev" {
				t.Errorf("%s binds %+v", name, b)
			}
		}
		if l := p.Limits; l.Memory == 0 || l.Processes == 0 || l.CPUSeconds == 0 || l.OpenFiles == 0 {
			t.Errorf("%s has no limit: %+v", name, l)
		}
		if w := p.Warnings(); p.HostProc != (len(w) == 1) || len(w) > 1 {
			t.Errorf("%s warns %q", name, w)
		}
		if name == profile.DefaultName && p.HostProc {
			t.Error("the default profile shows the processes of the host")
		}
	}
	for _, name := range []string{"nosuch", "../builtin/minimal", "", "minimal.toml"} {
		if _, err := Builtin(name); err == nil {
			t.Errorf("there is a profile %q", name)
		}
	}
}
