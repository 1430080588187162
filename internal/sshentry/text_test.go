package sshentry

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const ours = "/home/ann/.config/bowline/ssh_config"

func TestInclude(t *testing.T) {
	line := "Include " + ours
	for _, tt := range []struct{ name, before, after string }{
		{"no file", "", line + "\n"},
		{"a host", "Host a\n  User b\n", line + "\nHost a\n  User b\n"},
		{"there already", "# mine\n" + line + "\nHost a\n", "# mine\n" + line + "\nHost a\n"},
		{"other spelling", "\tINCLUDE = \"" + ours + "\"\r\nHost a\r\n", "\tINCLUDE = \"" + ours + "\"\r\nHost a\r\n"},
		{"from the home", "include a b ~/.config/bowline/ssh_config # c\n", "include a b ~/.config/bowline/ssh_config # c\n"},
		{"by pattern", "Include ~/.config/bowline/*\n", "Include ~/.config/bowline/*\n"},
		{"in a comment", "# " + line + "\n", line + "\n# " + line + "\n"},
		{"in a comment behind", "Include x # " + ours + "\n", line + "\nInclude x # " + ours + "\n"},
		{"below a host, where it is conditional", "Host a\n" + line + "\n", line + "\nHost a\n" + line + "\n"},
		{"below a match", "Match all\n" + line + "\n", line + "\nMatch all\n" + line + "\n"},
		{"CRLF", "Host a\r\n  User b\r\n", line + "\r\nHost a\r\n  User b\r\n"},
		{"no end of line", "Host a", line + "\nHost a"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := include([]byte(tt.before), ours, "/home/ann")
			if err != nil || string(got) != tt.after {
				t.Errorf("%q, %v; want %q", got, err, tt.after)
			}
			again, err := include(got, ours, "/home/ann")
			if err != nil || !bytes.Equal(again, got) {
				t.Errorf("again: %q, %v", again, err)
			}
		})
	}
	if got, err := include(nil, "/home/a b/ssh_config", "/home/a b"); err != nil || string(got) != "Include \"/home/a b/ssh_config\"\n" {
		t.Errorf("with a space: %q, %v", got, err)
	}
	for _, bad := range []string{"/home/*/c", "/a\nb", `/a"b`, `/a\b`, "/${HOME}/c"} {
		if _, err := include(nil, bad, "/"); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func entry(alias string) Entry {
	return Entry{Alias: alias, Host: "build.example.com", User: "dev", KnownHosts: "/k/known", Proxy: []string{"/opt/my tools/50%/bowline", "box", "connect", "-t", "dev1", "web"}, ControlPath: "/run/user/1000/bowline/box-00"}
}

// TestBlockAsSSHReadsIt asks ssh itself what a block means.
func TestBlockAsSSHReadsIt(t *testing.T) {
	text, err := put(nil, entry("web.dev1"))
	if err == nil {
		text, err = put(text, entry("web2.dev1"))
	}
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "c")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("ssh", "-G", "-F", file, "web.dev1").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, want := range []string{
		"hostname build.example.com", "hostkeyalias web.dev1", "user dev", "userknownhostsfile /k/known", "globalknownhostsfile /dev/null", "stricthostkeychecking true", "controlmaster auto",
		"controlpath /run/user/1000/bowline/box-00", "controlpersist 600", "serveraliveinterval 30", "serveralivecountmax 6", "proxycommand '/opt/my tools/50%%/bowline' box connect -t dev1 web",
	} {
		if !strings.Contains("\n"+string(out), "\n"+want+"\n") {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
	other, err := exec.Command("ssh", "-G", "-F", file, "web.dev12").CombinedOutput()
	if err != nil || strings.Contains(string(other), "build.example.com") {
		t.Errorf("another name gets the block: %v, %s", err, other)
	}
}

func TestBlocksComeAndGo(t *testing.T) {
	one, err := put(nil, entry("web.dev1"))
	if err != nil {
		t.Fatal(err)
	}
	foreign := append(one, "\n# mine\nMatch host x\n  User y\n"...)
	two, err := put(foreign, entry("we.dev1"))
	if err != nil {
		t.Fatal(err)
	}
	if got := cut(two, "we.dev1"); !bytes.Equal(got, foreign) {
		t.Errorf("%q, want %q", got, foreign)
	}
	again, err := put(two, entry("we.dev1"))
	if err != nil || !bytes.Equal(again, two) {
		t.Errorf("again: %q, %v", again, err)
	}
	broken := bytes.Replace(two, []byte(end("web.dev1")), nil, 1)
	if got := string(cut(broken, "web.dev1")); !strings.Contains(got, "Host we.dev1\n") {
		t.Errorf("a block without its end takes the next with it: %q", got)
	}
}

func TestRefusedEntries(t *testing.T) {
	for name, change := range map[string]func(*Entry){
		"wildcard":        func(e *Entry) { e.Alias = "web*" },
		"two aliases":     func(e *Entry) { e.Alias = "web *" },
		"new line":        func(e *Entry) { e.Host = "h\nProxyCommand x" },
		"quote":           func(e *Entry) { e.Identity = `/a"b` },
		"shell quote":     func(e *Entry) { e.Proxy = []string{"/a'; rm -rf /"} },
		"backslash":       func(e *Entry) { e.Proxy = []string{`/a\b`} },
		"line in program": func(e *Entry) { e.Proxy = []string{"/a\nHost *"} },
		"variable":        func(e *Entry) { e.KnownHosts = "/${X}/known" },
	} {
		e := entry("web.dev1")
		change(&e)
		if out, err := put([]byte("x\n"), e); err == nil {
			t.Errorf("%s: %q", name, out)
		}
	}
}

func TestPins(t *testing.T) {
	known := pin(pin(nil, "web.dev1", "ssh-ed25519 A"), "web.Dev1", "ssh-ed25519 B")
	if n := bytes.Count(known, []byte("\n")); n != 2 || strings.EqualFold(HostKeyAlias("web.dev1"), HostKeyAlias("web.Dev1")) {
		t.Errorf("%s", known)
	}
	if got := string(unpin(pin(known, "web.dev1", "ssh-ed25519 C"), "web.Dev1")); got != "web.dev1 ssh-ed25519 C\n" {
		t.Errorf("%q", got)
	}
}

// FuzzInclude: one line more at most, all other bytes as they were, and no second one.
func FuzzInclude(f *testing.F) {
	for _, s := range []string{"", "Host a\r\n", "Include \"x", "Include = " + ours, "Match all\n\tInclude " + ours, "# \xff\n\n  host=b"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		out, err := include(bytes.Clone(in), ours, "/home/ann")
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(out, in) {
			first, rest, _ := bytes.Cut(out, []byte("\n"))
			if !bytes.Equal(rest, in) || strings.TrimSuffix(string(first), "\r") != "Include "+ours {
				t.Errorf("%q became %q", in, out)
			}
		}
		again, err := include(bytes.Clone(out), ours, "/home/ann")
		if err != nil || !bytes.Equal(again, out) {
			t.Errorf("again: %q, %v", again, err)
		}
	})
}

// FuzzBlock: what stands in the file stays when an entry comes and goes, but for a line
// end that was missing.
func FuzzBlock(f *testing.F) {
	f.Add([]byte("Host x\n"))
	f.Add([]byte("# box a.b begins\nHost a.b\n# box a.b ends"))
	f.Fuzz(func(t *testing.T, in []byte) {
		base := cut(in, "web.dev1")
		with, err := put(bytes.Clone(in), entry("web.dev1"))
		if err != nil {
			t.Fatal(err)
		}
		want := string(base)
		if want == "" {
			want = header
		}
		if want[len(want)-1] != '\n' {
			want += "\n"
		}
		if got := string(cut(with, "web.dev1")); got != want {
			t.Errorf("%q became %q", in, got)
		}
	})
}
