package box

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/sshentry"
	"github.com/bowline-sh/bowline/target"
)

// TestCriterionRemoteName: ssh is told the server's name, never this machine's, whether a
// box is published or not; and so are people by every error.
func TestCriterionRemoteName(t *testing.T) {
	home := t.TempDir()
	l := Laptop{Entries: sshentry.Files{Dir: filepath.Join(home, "config"), Home: home}, Program: "/usr/bin/bowline"}
	to := target.Target{Name: "dev1", Kind: target.SSH, Host: "dev.example.com", User: "ann", Port: 22}
	for _, b := range []Box{{Name: "a", User: "dev", HostKey: "ssh-ed25519 AAAA"}, {Name: "b", User: "dev", HostKey: "ssh-ed25519 AAAA", Port: 2200}} {
		if err := l.entry(t.Context(), to, b, ""); err != nil {
			t.Fatal(err)
		}
	}
	read := func() string {
		text, err := os.ReadFile(l.Entries.Config())
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	text := read()
	if strings.Count(text, "HostName dev.example.com\n") != 2 || strings.Count(text, "StrictHostKeyChecking yes") != 2 || strings.Contains(text, "localhost") || strings.Contains(text, "127.") {
		t.Errorf("%s", text)
	}
	// A new address: the one that connects by itself follows, the other needs not to.
	if err := l.Entries.Readdress(t.Context(), ".dev1", "dev2.example.com"); err != nil {
		t.Fatal(err)
	}
	if want := strings.Replace(text, "HostName dev.example.com\n  Port", "HostName dev2.example.com\n  Port", 1); read() != want || want == text {
		t.Errorf("%s, want %s", read(), want)
	}
	if err := l.Entries.Readdress(t.Context(), ".other", "x"); err != nil || strings.Contains(read(), "HostName x\n") {
		t.Errorf("%v: %s", err, read())
	}
	for _, err := range []error{noLink(to, diag.New(diag.Unreachable, "x", "", "x")), noLink(to, diag.New(diag.Denied, "x", "", "x")), noPodman(to, "", diag.New(diag.Failure, "x", "", "x"))} {
		said := err.Error() + diag.HintOf(err)
		if !strings.Contains(said, "dev.example.com") || !strings.Contains(said, only) || strings.Contains(said, "localhost") || strings.Contains(said, "127.") {
			t.Errorf("%s", said)
		}
	}
}
