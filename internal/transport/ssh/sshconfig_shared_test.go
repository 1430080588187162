//go:build unix

package ssh

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bowline-sh/bowline/internal/testkit"
)

// TestSharedAnswerIsThatOfSSH: whatever a configuration holds, settings are those that
// ssh gives when it is asked about that host alone.
func TestSharedAnswerIsThatOfSSH(t *testing.T) {
	testkit.Tool(t, "ssh")
	dir := t.TempDir()
	for _, file := range []struct{ name, text string }{{"plain", "User included\n"}, {"some", "Host web*\n User other\n"}} {
		if err := os.WriteFile(filepath.Join(dir, file.name), []byte(file.text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	hosts := []string{"10.0.0.1", "web1", "web2.example.org", "Web3", "127.1", "::1", "0::1", "10.0.0.2", "db-1", "fe80::1%lo", "2130706433"}
	for name, c := range map[string]struct {
		text   string
		shared bool
	}{
		"nothing":        {"", true},
		"comments":       {"# Host x\n\n   # Match\n", true},
		"everywhere":     {"Host *\n User deploy\n Port 2200\n IdentityFile ~/.ssh/k\n ControlPath ~/cm-%r@%h\n HashKnownHosts yes\n", true},
		"equals sign":    {"User=deploy\nhost = *\nConnectTimeout=3\nProxyJump=gate\n", true},
		"include":        {"Include " + dir + "/plain\n", true},
		"include of one": {"Include " + dir + "/some\n", false},
		"host":           {"Host web*\n User deploy\n", false},
		"negated":        {"Host * !web1\n User deploy\n", false},
		"quoted":         {"\"Host\" web1\n User deploy\n", false},
		"match":          {"Match host web1\n User deploy\n", false},
		"host name":      {"HostName %h.example.net\n", false},
		"tokens":         {"IdentityFile ~/.ssh/%h\n", false},
		"environment":    {"IdentityFile ${HOME}/k\n", false},
		"command":        {"ProxyCommand nc %h %p\n", false},
		"canonical":      {"CanonicalizeHostname always\nCanonicalDomains invalid\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := isolated(t)
			cfg.SSHConfig = testkit.WriteFile(t, "config", c.text, 0o600)
			many := New(cfg)
			for _, host := range hosts {
				for _, key := range []settingsKey{{host: host}, {host: host, user: "me", port: 77}} {
					want, wantErr := New(cfg).settingsFor(t.Context(), key)
					got, err := many.settingsFor(t.Context(), key)
					if fmt.Sprint(err) != fmt.Sprint(wantErr) {
						t.Fatalf("%+v: %v, want %v", key, err, wantErr)
					}
					if diff := cmp.Diff(want, got, cmp.AllowUnexported(settings{})); diff != "" {
						t.Errorf("%+v (-ssh +shared):\n%s", key, diff)
					}
				}
			}
			for key, a := range many.shared {
				if shared := a.out != ""; shared != c.shared {
					t.Errorf("%+v: shared %v, want %v", key, shared, c.shared)
				}
			}
			if len(many.shared) != 2 {
				t.Errorf("%d answers", len(many.shared))
			}
		})
	}
}

// TestScriptForSSHIsAskedEachTime: it may look at the host.
func TestScriptForSSHIsAskedEachTime(t *testing.T) {
	real := testkit.Tool(t, "ssh")
	dir := t.TempDir()
	script := "#!/bin/sh\ncase \"$*\" in *web2) exec " + real + " -p 2222 \"$@\" ;; esac\nexec " + real + " \"$@\"\n"
	if err := os.WriteFile(filepath.Join(dir, "ssh"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	cfg := isolated(t)
	cfg.SSHConfig = testkit.WriteFile(t, "config", "", 0o600)
	d := New(cfg)
	for host, want := range map[string]int{"web1": 22, "web2": 2222, "web3": 22} {
		if s, err := d.settingsFor(t.Context(), settingsKey{host: host}); err != nil || s.port != want {
			t.Errorf("%s: port %d, %v", host, s.port, err)
		}
	}
}
