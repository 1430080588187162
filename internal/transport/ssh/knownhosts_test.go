package ssh

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestIdentify(t *testing.T) {
	for _, tt := range []struct {
		host  string
		port  int
		alias string
		want  hostIdentity
	}{
		{"Web1.Example.com", 22, "", hostIdentity{"web1.example.com", "", "web1.example.com"}},
		{"web1", 2222, "", hostIdentity{"[web1]:2222", "web1", "web1"}},
		{"::1", 22, "", hostIdentity{"::1", "", "::1"}},
		{"::1", 2222, "", hostIdentity{"[::1]:2222", "::1", "::1"}},
		{"10.0.0.1", 2222, "Box-1", hostIdentity{"box-1", "", "box-1"}},
	} {
		if got := identify(tt.host, tt.port, tt.alias); got != tt.want {
			t.Errorf("identify(%q, %d, %q) = %+v, want %+v", tt.host, tt.port, tt.alias, got, tt.want)
		}
	}
}

func TestHostLineMatches(t *testing.T) {
	for _, tt := range []struct {
		patterns, name string
		want           bool
	}{
		{"web1", "web1", true},
		{"web1", "web10", false},
		{"WEB1", "web1", true},
		{"web1,web2", "web2", true},
		{"*.example.com", "a.b.example.com", true},
		{"*.example.com", "example.com", false},
		{"web?", "web1", true},
		{"web?", "web", false},
		{"*", "[web1]:2222", true},
		{"*,!web1", "web1", false},
		{"!web1,*", "web1", false},
		{"!web2", "web1", false},
		{"[web1]:2222", "[web1]:2222", true},
		{"[web1]:2222", "web1", false},
		{"[web1]:*", "[web1]:22022", true},
		{"", "web1", false},
		{"a*b*c*d", "aXbXcXd", true},
		{"a*b*c*d", "aXbXcX", false},
		{"|1|AAAA|BBBB", "web1", false},
		{"|1||", "web1", false},
		{"|", "web1", false},
	} {
		if got := (hostLine{patterns: tt.patterns}).matches(tt.name); got != tt.want {
			t.Errorf("%q matches %q: %v, want %v", tt.patterns, tt.name, got, tt.want)
		}
	}
}

func TestExitBySignal(t *testing.T) {
	for name, want := range map[string]int{"KILL": 137, "TERM": 143, "SYS@openssh.com": 159, "": 128, "RTMIN": 128, "\x1b[2J": 128} {
		if got := exitBySignal(name); got.Code != want || got.Signal == "" {
			t.Errorf("exitBySignal(%q) = %+v, want code %d", name, got, want)
		}
		if got := exitBySignal(name).Signal; clean(got) != got {
			t.Errorf("exitBySignal(%q) lets %q through", name, got)
		}
	}
}

// TestHostFileIsParsedOnce: until another file is there, even one of the same size and
// time.
func TestHostFileIsParsedOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "known_hosts")
	when := time.Now().Add(-time.Hour)
	write := func(path, text string) {
		t.Helper()
		if err := errors.Join(os.WriteFile(path, []byte(text), 0o600), os.Chtimes(path, when, when)); err != nil {
			t.Fatal(err)
		}
	}
	var files hostFiles
	load := func() *hostFile {
		t.Helper()
		all, err := files.load([]string{path, path + ".missing"})
		if err != nil || len(all) != 1 {
			t.Fatalf("%d files, %v", len(all), err)
		}
		return all[0]
	}
	write(path, "web1 ssh-ed25519 AAAA\n")
	first := load()
	if load() != first {
		t.Error("it was parsed again")
	}
	if a, b := first.about("web1"), first.about("web1"); len(a) != 1 || len(first.named) != 1 || &a[0] != &b[0] {
		t.Error("the name was looked for again")
	}
	write(path+".new", "web2 ssh-ed25519 AAAA\n")
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	if f := load(); len(f.about("web2")) != 1 || len(f.about("web1")) != 0 {
		t.Error("the new file was not read")
	}
}
