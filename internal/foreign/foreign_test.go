package foreign

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func options() Options {
	return Options{
		Exists: func(p string) bool {
			return p == "/keys/id_rsa_vm01" || p == "/keys/id_ed25519_vm02" || p == "/keys/id_rsa_vm02"
		},
		KnownProfile: func(name string) bool { return name == "diagnostics" },
	}
}

// show writes targets and notes as a person reads them.
func show(r Result) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s default=%q\n", r.System, r.Default)
	for _, t := range r.Targets {
		fmt.Fprintf(&b, "%d %s %s %s@%s:%d key=%s profile=%s labels=%v disabled=%v\n", t.Line, t.Name, t.Kind, t.User, t.Host, t.Port, t.KeyFile, t.Profile, t.Labels, t.Disabled)
	}
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "%d %s: %s\n", n.Line, n.Key, n.Text)
	}
	return b.String()
}

// TestFiles compares what comes of each file in testdata with FILE.want; UPDATE=1 writes it.
func TestFiles(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"shannot.toml", "remotes.toml", "l8s.yaml", "vms.yml"} {
		t.Run(file, func(t *testing.T) {
			data, err := os.ReadFile(filepath.Join("testdata", file))
			if err != nil {
				t.Fatal(err)
			}
			r, err := Read(data, options())
			if err != nil {
				t.Fatal(err)
			}
			got, golden := show(r), filepath.Join("testdata", file+".want")
			if os.Getenv("UPDATE") != "" {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil || got != string(want) {
				t.Errorf("got\n%s\nwant\n%s%v", got, want, err)
			}
			if strings.Contains(got, "hunter2") {
				t.Error("a secret is in the notes")
			}
		})
	}
}

func TestReadRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, in, want string }{
		{"empty", " \n\t\n", "empty"},
		{"only comments", "# nothing\n", "none of the files"},
		{"huge", strings.Repeat("#", MaxSize+1), "more than 1048576 bytes"},
		{"binary", "vms:\x00", "not text"},
		{"not UTF-8", "vms: \xff", "not text"},
		{"scalar", "hello", "none of the files"},
		{"list", "- a\n- b\n", "none of the files"},
		{"something else", "services:\n  web: 1\n", "none of the files"},
		{"ours", "[targets.web1]\nhost = \"h\"\n", "Bowline itself"},
		{"broken TOML", "[executor.prod\nhost = 1\n", "line 1"},
		{"broken YAML", "vms:\n  a: [1,\n", "line"},
		{"key twice in YAML", "vms:\n  a: {ip: h}\n  a: {ip: i}\n", `"a" comes twice`},
		{"brackets", "vms: " + strings.Repeat("[", 100_000), "brackets"},
		{"nested by indent", "vms:\n  " + strings.Repeat("- ", 5000) + "x", "nested deeper"},
		{"many keys in TOML", manyTables(40_000), "grows to more than"},
		{"many parts of a key in TOML", "[executor." + strings.Repeat("a.", MaxSize/2-20) + "a]", "nested deeper"},
		{"bomb", bomb(), "grows to more than"},
		{"alias of itself", "vms: &a\n  x: *a\n", "nested deeper"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			start := time.Now()
			r, err := Read([]byte(tt.in), Options{})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%+v, %.300v; want an error with %q", r.Targets, err, tt.want)
			}
			if len(fmt.Sprint(err)) > 2000 || time.Since(start) > 5*time.Second {
				t.Errorf("an error of %d bytes after %v", len(fmt.Sprint(err)), time.Since(start))
			}
		})
	}
}

func manyTables(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "[executor.a%d]\n", i)
	}
	return b.String()
}

// bomb grows to 10^9 values.
func bomb() string {
	text := "a: &a0 [x]\n"
	for i := 1; i < 10; i++ {
		text += fmt.Sprintf("a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 10), ", "))
	}
	return text + "vms: {a: *a9}\n"
}

func TestManyNotesAreCut(t *testing.T) {
	t.Parallel()
	text := "vms:\n"
	for i := range 3000 {
		text += fmt.Sprintf("  vm%d: {ip: h%d, odd: 1}\n", i, i)
	}
	r, err := Read([]byte(text), Options{})
	if err != nil || len(r.Targets) != 3000 || len(r.Notes) != maxNotes || r.Omitted == 0 {
		t.Errorf("%d targets, %d notes, %d omitted, %v", len(r.Targets), len(r.Notes), r.Omitted, err)
	}
}

// FuzzRead holds Read to its promises: targets are valid and different, every line is
// one of the file, and a bound is never passed.
func FuzzRead(f *testing.F) {
	files, err := filepath.Glob("testdata/*.[ty]*ml")
	if err != nil || len(files) == 0 {
		f.Fatal("no seeds", err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte("vms: &a\n  b: *a\n  <<: [*a, {c: {ip: x}}]\n"))
	f.Add([]byte("remote_host: h\nremote_user: [x]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := Read(data, options())
		if err != nil {
			return
		}
		lines := strings.Count(string(data), "\n") + 1
		var names []string
		for _, x := range r.Targets {
			if err := x.Validate(); err != nil || x.Line < 1 || x.Line > lines {
				t.Errorf("%+v: %v", x, err)
			}
			names = append(names, x.Name)
		}
		slices.Sort(names)
		if len(slices.Compact(names)) != len(r.Targets) || len(r.Notes) > maxNotes {
			t.Errorf("%d names, %d targets, %d notes", len(names), len(r.Targets), len(r.Notes))
		}
		for _, n := range r.Notes {
			if n.Line < 0 || n.Line > lines || len(n.Text) > maxText+4 || len(n.Key) > maxText+4 {
				t.Errorf("%+v in a file of %d lines", n, lines)
			}
		}
	})
}
