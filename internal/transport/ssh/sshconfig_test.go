//go:build unix

package ssh

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/testkit"
	"github.com/bowline-sh/bowline/target"
)

func TestAliasWithIncludeAndMatch(t *testing.T) {
	s := testkit.SSHD(t)
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("included", fmt.Sprintf("Host web\n HostName 127.0.0.1\n Port %d\n", s.Port))
	config := write("config", fmt.Sprintf("Include %s/included\nMatch originalhost web exec \"true\"\n User %s\n IdentityFile %s\n", dir, s.User, s.ClientKeyFile))
	cfg := isolated(t, s.KnownHostsLine())
	cfg.SSHConfig = config
	c := mustDial(t, hostTargetOf("web"), cfg)
	mustWork(t, c)
	if c.Info().Address != s.Addr || c.Info().Login != s.User {
		t.Errorf("Info = %+v", c.Info())
	}
}

func TestTargetWinsOverSSHConfig(t *testing.T) {
	s := testkit.SSHD(t)
	cfg := isolated(t, s.KnownHostsLine())
	cfg.SSHConfig = testkit.WriteFile(t, "config", "Host *\n Port 1\n User nobody\n IdentityFile /nonexistent\n ProxyCommand false\n", 0o600)
	tg := targetOf(s)
	tg.Jump = "none"
	mustWork(t, mustDial(t, tg, cfg))
}

func TestHostKeyAlias(t *testing.T) {
	s := testkit.SSHD(t)
	line := strings.Replace(s.KnownHostsLine(), fmt.Sprintf("[127.0.0.1]:%d", s.Port), "box-1", 1)
	cfg := isolated(t, line)
	refused(t, targetOf(s), cfg, diag.Untrusted, "unknown")
	cfg.SSHConfig = testkit.WriteFile(t, "config", "HostKeyAlias Box-1\n", 0o600)
	mustWork(t, mustDial(t, targetOf(s), cfg))
	h, err := Scan(t.Context(), targetOf(s), cfg)
	if err != nil || h.Line != line {
		t.Errorf("Scan with an alias gives the line %q, %v; want %q", h.Line, err, line)
	}
}

func TestHostKeyAliasIsThePrincipal(t *testing.T) {
	ca := testkit.NewCA(t)
	s := testkit.SSHD(t, testkit.HostCertificate(ca, []string{"box-1"}))
	cfg := isolated(t, ca.KnownHostsLine("*"))
	cfg.SSHConfig = testkit.WriteFile(t, "config", "HostKeyAlias box-1\n", 0o600)
	mustWork(t, mustDial(t, targetOf(s), cfg))
}

func TestKnownHostsOfSSHConfigAndTarget(t *testing.T) {
	s := testkit.SSHD(t)
	cfg := isolated(t)
	cfg.SSHConfig = testkit.WriteFile(t, "config", "UserKnownHostsFile "+s.KnownHostsFile(t)+"\n", 0o600)
	mustWork(t, mustDial(t, targetOf(s), cfg))

	tg := targetOf(s)
	tg.KnownHosts = s.KnownHostsFile(t)
	mustWork(t, mustDial(t, tg, isolated(t)))
}

func TestWeakeningSettingsAreIgnored(t *testing.T) {
	s := testkit.SSHD(t)
	cfg := isolated(t)
	cfg.SSHConfig = testkit.WriteFile(t, "config", "StrictHostKeyChecking no\nUserKnownHostsFile /dev/null\nCheckHostIP no\n", 0o600)
	refused(t, targetOf(s), cfg, diag.Untrusted, "unknown", s.HostKeyFingerprint)
}

func TestIdentityAgentOfSSHConfig(t *testing.T) {
	s := testkit.SSHD(t)
	cfg := isolated(t, s.KnownHostsLine())
	cfg.AgentSocket = ""
	cfg.SSHConfig = testkit.WriteFile(t, "config", "IdentityAgent "+testkit.Agent(t, s.ClientKeyFile).Socket+"\n", 0o600)
	tg := targetOf(s)
	tg.KeyFile = ""
	mustWork(t, mustDial(t, tg, cfg))
}

func TestBrokenSSHConfigIsUsage(t *testing.T) {
	cfg := isolated(t)
	cfg.SSHConfig = testkit.WriteFile(t, "config", "NoSuchOption yes\n", 0o600)
	refused(t, hostTarget("web", 22), cfg, diag.Usage, "nosuchoption", "ssh -G web")
}

func TestFailureToReadSettingsIsNotKept(t *testing.T) {
	d := New(Config{SSHConfig: testkit.WriteFile(t, "config", "Port 7\n", 0o600)})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.settingsFor(ctx, settingsKey{host: "web"}); !errors.Is(err, context.Canceled) {
		t.Fatalf("with a canceled context: %v", err)
	}
	if s, err := d.settingsFor(t.Context(), settingsKey{host: "web"}); err != nil || s.port != 7 {
		t.Errorf("the next call = %+v, %v", s, err)
	}
}

func TestHostIsNeverAnOptionOfSSH(t *testing.T) {
	got := sshArgs(settingsKey{host: "-oProxyCommand=x", user: "u", port: 7}, "none")
	want := []string{"-G", "-T", "-F", "none", "-l", "u", "-p", "7", "--", "-oProxyCommand=x"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("arguments (-want +got):\n%s", diff)
	}
}

// hostTargetOf is a target that leaves everything to ssh_config.
func hostTargetOf(host string) (tg target.Target) {
	tg = hostTarget(host, 0)
	tg.User = ""
	return tg
}

const sampleConfig = `
Host web
  HostName web.example.com
  Port 2222
  User deploy
  HostKeyAlias pinned
  IdentityFile ~/keys/%h
  CertificateFile ~/keys/cert.pub
  IdentityAgent none
  IdentitiesOnly yes
  ProxyJump bastion
  ConnectTimeout 7
  UserKnownHostsFile /tmp/a /tmp/b
  GlobalKnownHostsFile none
Host web2
  HostName %h.example.com
  ProxyCommand nc %h %p
`

// Both ways to read the configuration give the same answer.
func TestSettings(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	want := settings{
		host: "web.example.com", port: 2222, user: "deploy", alias: "pinned",
		identityFiles: []string{home + "/keys/web.example.com"}, certificateFiles: []string{home + "/keys/cert.pub"},
		identityAgent: "none", identitiesOnly: true, jump: "bastion",
		knownHosts: []string{"/tmp/a", "/tmp/b"}, connectTimeout: 7 * time.Second,
	}
	config := testkit.WriteFile(t, "config", sampleConfig, 0o600)
	for _, name := range []string{"ssh -G", "built in"} {
		t.Run(name, func(t *testing.T) {
			if name == "built in" {
				t.Setenv("PATH", t.TempDir())
			}
			d := New(Config{SSHConfig: config})
			got, err := d.settingsFor(t.Context(), settingsKey{host: "web"})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got, cmp.AllowUnexported(settings{})); diff != "" {
				t.Errorf("settings of web (-want +got):\n%s", diff)
			}
			got, err = d.settingsFor(t.Context(), settingsKey{host: "web2", user: "me", port: 99})
			if err != nil || got.host != "web2.example.com" || got.user != "me" || got.port != 99 || got.proxyCommand != "nc %h %p" {
				t.Errorf("settings of web2 = %+v, %v", got, err)
			}
		})
	}
}

func TestBuiltInConfigRefusesWhatItCannotJudge(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	cfg := isolated(t)
	cfg.SSHConfig = testkit.WriteFile(t, "config", "Match exec \"true\"\n HostName elsewhere\n", 0o600)
	refused(t, hostTarget("web", 22), cfg, diag.Usage, "OpenSSH client")
}

func TestDialWithoutSSHProgram(t *testing.T) {
	s := testkit.SSHD(t)
	cfg := isolated(t, s.KnownHostsLine())
	cfg.SSHConfig = testkit.WriteFile(t, "config", fmt.Sprintf("Host web\n HostName 127.0.0.1\n Port %d\n User %s\n IdentityFile %s\n", s.Port, s.User, s.ClientKeyFile), 0o600)
	t.Setenv("PATH", t.TempDir())
	mustWork(t, mustDial(t, hostTargetOf("web"), cfg))
}

func TestSettingsAreAskedForOnce(t *testing.T) {
	count := filepath.Join(t.TempDir(), "count")
	d := New(Config{SSHConfig: testkit.WriteFile(t, "config", fmt.Sprintf("Match exec \"echo x >>%s\"\n Port 7\n", count), 0o600)})
	for range 3 {
		if s, err := d.settingsFor(t.Context(), settingsKey{host: "web"}); err != nil || s.port != 7 {
			t.Fatalf("settings = %+v, %v", s, err)
		}
	}
	data, err := os.ReadFile(count)
	if err != nil || strings.Count(string(data), "x") != 1 {
		t.Errorf("ssh -G ran %d times, want once", strings.Count(string(data), "x"))
	}
}
