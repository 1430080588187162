package sshentry

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func files(t *testing.T) Files {
	t.Helper()
	home := t.TempDir()
	return Files{Dir: filepath.Join(home, ".config/bowline"), Home: home, Sockets: filepath.Join(home, "run")}
}

func bare(alias string) Entry {
	return Entry{Alias: alias, Host: "h", User: "dev", Proxy: []string{"/usr/bin/bowline"}}
}

// TestUsersConfigStays: any number of entries leave a person's file byte-identical, but
// for one line at its top; the link to it and its mode stay.
func TestUsersConfigStays(t *testing.T) {
	for name, text := range map[string]string{
		"Match and comments": "# work\n\nHost  *.corp !x.corp\n\tUser=me\n\n# box web.dev1 begins\nMatch host \"a b\" exec \"true\"\n   Port   22 \n# end",
		"CRLF":               "Host a\r\n\tPort = 2222\r\n\r\n",
		"only comments":      "#\n#\n",
		"empty":              "",
	} {
		t.Run(name, func(t *testing.T) {
			f := files(t)
			real := filepath.Join(f.Home, "dotfiles")
			if err := os.WriteFile(real, []byte(text), 0o640); err != nil {
				t.Fatal(err)
			}
			if err := os.Mkdir(filepath.Join(f.Home, ".ssh"), 0o700); err != nil {
				t.Fatal(err)
			}
			link := filepath.Join(f.Home, ".ssh/config")
			if err := os.Symlink("../dotfiles", link); err != nil {
				t.Fatal(err)
			}
			for i := range 4 {
				alias := fmt.Sprintf("web%d.dev1", i%3)
				if err := f.Put(t.Context(), bare(alias), "ssh-ed25519 A"); err != nil {
					t.Fatal(err)
				}
				if i > 1 {
					if err := f.Remove(t.Context(), alias); err != nil || f.Has(alias) {
						t.Fatal(err)
					}
				}
				first, rest, _ := strings.Cut(read(t, real), "\n")
				if rest != text || strings.TrimSuffix(first, "\r") != "Include "+f.Config() {
					t.Fatalf("%q", read(t, real))
				}
			}
			info, err := os.Lstat(link)
			if err != nil || info.Mode()&os.ModeSymlink == 0 {
				t.Errorf("the link went: %v, %v", info, err)
			}
			if info, err := os.Stat(link); err != nil || info.Mode().Perm() != 0o640 {
				t.Errorf("%v, %v", info, err)
			}
		})
	}
}

func TestFilesAreMade(t *testing.T) {
	f := files(t)
	if err := f.Remove(t.Context(), "none"); err != nil {
		t.Errorf("nothing to remove: %v", err)
	}
	if err := f.Put(t.Context(), bare("web.dev1"), "ssh-ed25519 A"); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{f.Config(), f.KnownHosts(), filepath.Join(f.Home, ".ssh/config")} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v", info, err)
		}
	}
	if info, err := os.Stat(filepath.Join(f.Home, ".ssh")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info, err)
	}
}

// TestPutFails: without an Include line there is no entry either.
func TestPutFails(t *testing.T) {
	f := files(t)
	if err := os.MkdirAll(filepath.Join(f.Home, ".ssh/config"), 0o700); err != nil { // a directory in its place
		t.Fatal(err)
	}
	if err := f.Put(t.Context(), bare("web.dev1"), "ssh-ed25519 A"); err == nil {
		t.Fatal("no error")
	}
	if f.Has("web.dev1") || strings.Contains(read(t, f.KnownHosts()), "web.dev1") {
		t.Errorf("left: %s%s", read(t, f.Config()), read(t, f.KnownHosts()))
	}
}

func TestAtTheSameTime(t *testing.T) {
	f := files(t)
	var done sync.WaitGroup
	for i := range 8 {
		done.Go(func() {
			if err := f.Put(t.Context(), bare(fmt.Sprintf("b%d.t", i)), "ssh-ed25519 A"); err != nil {
				t.Error(err)
			}
		})
	}
	done.Wait()
	if n := strings.Count(read(t, f.Config()), "\nHost "); n != 8 {
		t.Errorf("%d entries", n)
	}
	if n := strings.Count(read(t, filepath.Join(f.Home, ".ssh/config")), "Include"); n != 1 {
		t.Errorf("%d Include lines", n)
	}
}

func TestControlPathFits(t *testing.T) {
	f := files(t)
	f.Home, f.Sockets = "/home/ann", "/run/user/1000/bowline"
	if got := f.controlPath("a.b"); !strings.HasPrefix(got, f.Sockets) {
		t.Error(got)
	}
	f.Sockets = "/" + strings.Repeat("x", 80)
	if got := f.controlPath("a.b"); !strings.HasPrefix(got, "/home/ann/.ssh/") {
		t.Error(got)
	}
	f.Home = "/home/" + strings.Repeat("x", 80)
	if got := f.controlPath("a.b"); got != "" {
		t.Error(got)
	}
}
