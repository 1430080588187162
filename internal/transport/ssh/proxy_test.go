//go:build unix

package ssh

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/testkit"
	"github.com/bowline-sh/bowline/target"
)

// forward joins c to addr until both directions end.
func forward(c net.Conn, addr string) {
	defer c.Close()
	up, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	defer up.Close()
	var both sync.WaitGroup
	pass := func(dst, src net.Conn) {
		_, _ = io.Copy(dst, src)
		dst.Close()
		src.Close()
	}
	both.Go(func() { pass(up, c) })
	pass(c, up)
	both.Wait()
}

// hopAndEnd are two servers that accept the same key; the end is reached over
// the hop.
func hopAndEnd(t *testing.T) (hop, end *testkit.Server, tg target.Target) {
	t.Helper()
	hop = testkit.SSHD(t)
	end = testkit.SSHD(t, testkit.Authorize(hop.ClientPublicKey))
	tg = targetOf(end)
	tg.KeyFile = ""
	return hop, end, tg
}

func TestJumpToAnotherTarget(t *testing.T) {
	hop, end, tg := hopAndEnd(t)
	tg.KeyFile = end.ClientKeyFile
	tg.Jump = "bastion"
	cfg := isolated(t, hop.KnownHostsLine(), end.KnownHostsLine())
	cfg.Resolve = func(name string) (target.Target, bool) {
		b := targetOf(hop)
		b.Name = "bastion"
		return b, name == "bastion"
	}
	c := mustDial(t, tg, cfg)
	mustWork(t, c)
	if !strings.Contains(hop.Log(), "Accepted publickey") {
		t.Error("the jump host was not used")
	}
	if c.Info().Address != end.Addr {
		t.Errorf("Address = %q, want that of the end", c.Info().Address)
	}
	// The connection ends with its jump host.
	hop.SignalSessions(t, syscall.SIGKILL)
	isDone(t, c)
}

func TestUnknownKeyOfJumpHostIsRefused(t *testing.T) {
	hop, end, tg := hopAndEnd(t)
	tg.KeyFile = end.ClientKeyFile
	tg.Jump = fmt.Sprintf("%s@%s", hop.User, hop.Addr)
	cfg := isolated(t, end.KnownHostsLine())
	refused(t, tg, cfg, diag.Untrusted, "jump host "+tg.Jump, "unknown", hop.HostKeyFingerprint,
		"bowline target add jump-host "+tg.Jump+" --fingerprint "+hop.HostKeyFingerprint)
	if strings.Contains(end.Log(), "Connection from") {
		t.Error("the end was contacted over an untrusted jump host")
	}
	cfg = isolated(t, hop.KnownHostsLine())
	cfg.AgentSocket = testkit.Agent(t, hop.ClientKeyFile).Socket
	refused(t, tg, cfg, diag.Untrusted, end.HostKeyFingerprint, "bowline target trust web1")
}

func TestProxyJumpOfSSHConfig(t *testing.T) {
	first, end, tg := hopAndEnd(t)
	second := testkit.SSHD(t, testkit.Authorize(first.ClientPublicKey))
	config := fmt.Sprintf(`
Host one
  HostName 127.0.0.1
  Port %d
Host two
  HostName 127.0.0.1
  Port %d
Host web
  HostName 127.0.0.1
  Port %d
  ProxyJump one,two
Host *
  User %s
  IdentityFile %s
`, first.Port, second.Port, end.Port, end.User, first.ClientKeyFile)
	cfg := isolated(t, first.KnownHostsLine(), second.KnownHostsLine(), end.KnownHostsLine())
	cfg.SSHConfig = testkit.WriteFile(t, "config", config, 0o600)
	tg.Host, tg.Port, tg.User = "web", 0, ""
	mustWork(t, mustDial(t, tg, cfg))
	for _, s := range []*testkit.Server{first, second, end} {
		if !strings.Contains(s.Log(), "Accepted publickey") {
			t.Errorf("nobody logged in to %s", s.Addr)
		}
	}
	// Each hop is strict on its own; its alias is what the hint names.
	cfg.KnownHosts = []string{testkit.WriteFile(t, "known_hosts", first.KnownHostsLine()+"\n"+end.KnownHostsLine()+"\n", 0o600)}
	refused(t, tg, cfg, diag.Untrusted, "jump host two", "bowline target add two two --fingerprint "+second.HostKeyFingerprint)
	// "none" overrides.
	tg.Jump = "none"
	before := strings.Count(first.Log(), "Accepted")
	mustWork(t, mustDial(t, tg, cfg))
	if strings.Count(first.Log(), "Accepted") != before {
		t.Error("the jump host was used although the target says none")
	}
}

func TestJumpCircle(t *testing.T) {
	cfg := isolated(t)
	cfg.SSHConfig = testkit.WriteFile(t, "config", "Host a\n ProxyJump b\nHost b\n ProxyJump a\n", 0o600)
	refused(t, hostTarget("a", 0), cfg, diag.Usage, "circle")
}

func TestJumpHostCannotReachTheEnd(t *testing.T) {
	hop := testkit.SSHD(t)
	tg := hostTarget("127.0.0.1", testkit.FreePort(t, "127.0.0.1"))
	tg.Jump = fmt.Sprintf("%s@%s", hop.User, hop.Addr)
	cfg := isolated(t, hop.KnownHostsLine())
	cfg.AgentSocket = testkit.Agent(t, hop.ClientKeyFile).Socket
	refused(t, tg, cfg, diag.Unreachable, "jump host cannot reach")
}

func TestProxyCommand(t *testing.T) {
	testkit.Tool(t, "ncat")
	s := testkit.SSHD(t)
	pidFile := filepath.Join(t.TempDir(), "pid")
	config := fmt.Sprintf("Host web\n HostName 127.0.0.1\n Port %d\n ProxyCommand /bin/sh -c 'echo $$ >%s; exec ncat %%h %%p'\n", s.Port, pidFile)
	cfg := isolated(t, s.KnownHostsLine())
	cfg.SSHConfig = testkit.WriteFile(t, "config", config, 0o600)
	tg := targetOf(s)
	tg.Host, tg.Port = "web", 0
	c := mustDial(t, tg, cfg)
	mustWork(t, c)
	pid := readPID(t, pidFile)
	if err := syscall.Kill(pid, 0); err != nil {
		t.Errorf("the proxy command (%d) does not run: %v", pid, err)
	}
	c.Close()
	if err := syscall.Kill(pid, 0); err != syscall.ESRCH {
		t.Errorf("the proxy command (%d) outlives its connection: %v", pid, err)
	}
}

func readPID(t *testing.T, path string) (pid int) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscan(string(data), &pid); err != nil {
		t.Fatal(err)
	}
	return pid
}

func TestProxyCommandThatFails(t *testing.T) {
	cfg := isolated(t)
	cfg.SSHConfig = testkit.WriteFile(t, "config", "ProxyCommand /bin/sh -c 'echo tunnel is shut >&2; exit 3'\n", 0o600)
	refused(t, hostTarget("web", 22), cfg, diag.Unreachable, "ProxyCommand", "tunnel is shut", "exit status 3")
}

func TestProxyCommandThatHangsIsKilled(t *testing.T) {
	pidFile := filepath.Join(t.TempDir(), "pid")
	cfg := isolated(t)
	cfg.Timeout = 500 * time.Millisecond
	cfg.SSHConfig = testkit.WriteFile(t, "config", fmt.Sprintf("ProxyCommand /bin/sh -c 'trap \"\" HUP; echo $$ >%s; sleep 600; :'\n", pidFile), 0o600)
	refused(t, hostTarget("web", 22), cfg, diag.Unreachable, "timed out")
	if err := syscall.Kill(readPID(t, pidFile), 0); err != syscall.ESRCH {
		t.Errorf("the proxy command is left behind: %v", err)
	}
}

func TestExpandProxyCommand(t *testing.T) {
	e := endpoint{original: "web", host: "10.0.0.1", port: 2222, user: "deploy"}
	for _, tt := range []struct {
		name, command string
		end           endpoint
		want, fault   string
	}{
		{"all tokens", "nc -X %h %p %r %n 100%%", e, "nc -X 10.0.0.1 2222 deploy web 100%", ""},
		{"none", "nc host 22", e, "nc host 22", ""},
		{"unknown token", "nc %q", e, "", "unknown token"},
		{"single percent", "nc %", e, "", "ends with"},
		{"empty", "  ", e, "", "empty"},
		{"shell in host", "nc %h", endpoint{host: "a;reboot", port: 1, user: "u"}, "", "shell"},
		{"shell in login", "nc %r", endpoint{host: "a", port: 1, user: "$(id)"}, "", "shell"},
		{"option as host", "nc %h", endpoint{host: "-e/bin/sh", port: 1, user: "u"}, "", "shell"},
		{"not used, not judged", "nc x", endpoint{host: "a;b", port: 1, user: "u"}, "nc x", ""},
		{"IPv6", "nc %h %p", endpoint{host: "fe80::1%eth0", port: 22, user: "u"}, "nc fe80::1%eth0 22", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := expandProxyCommand(tt.command, tt.end)
			if got != tt.want || (err == nil) != (tt.fault == "") || (err != nil && !strings.Contains(err.Error(), tt.fault)) {
				t.Errorf("got %q, %v; want %q, %q", got, err, tt.want, tt.fault)
			}
		})
	}
}
