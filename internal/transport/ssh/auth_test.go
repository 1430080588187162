//go:build unix

package ssh

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/testkit"
)

func TestKeyFileReadableByOthersIsRefused(t *testing.T) {
	s := testkit.SSHD(t)
	if err := os.Chmod(s.ClientKeyFile, 0o644); err != nil {
		t.Fatal(err)
	}
	refused(t, targetOf(s), isolated(t, s.KnownHostsLine()), diag.Denied, "0644", "chmod 600 "+s.ClientKeyFile)
	if strings.Contains(s.Log(), "Connection from") {
		t.Error("the server was contacted before the key file was checked")
	}
}

func TestMissingKeyFile(t *testing.T) {
	s := testkit.SSHD(t)
	tg := targetOf(s)
	tg.KeyFile = filepath.Join(t.TempDir(), "none")
	refused(t, tg, isolated(t, s.KnownHostsLine()), diag.Denied, tg.KeyFile, "no such file", "ssh-keygen")
}

// encrypted returns a server that accepts an encrypted key, and a target that
// uses it.
func encrypted(t *testing.T) (s *testkit.Server, keyFile string) {
	t.Helper()
	keyFile = filepath.Join(t.TempDir(), "enc")
	pub := testkit.EncryptedKey(t, keyFile, "open sesame")
	return testkit.SSHD(t, testkit.Authorize(pub)), keyFile
}

func TestEncryptedKeyWithPrompt(t *testing.T) {
	s, keyFile := encrypted(t)
	tg := targetOf(s)
	tg.KeyFile = keyFile
	cfg := isolated(t, s.KnownHostsLine())
	var asked []string
	cfg.Prompt = func(_ context.Context, question string, echo bool) (string, error) {
		asked = append(asked, question)
		if echo {
			t.Error("a passphrase would be shown")
		}
		if len(asked) == 1 {
			return "wrong", nil
		}
		return "open sesame", nil
	}
	mustWork(t, mustDial(t, tg, cfg))
	if len(asked) != 2 || !strings.Contains(asked[0], keyFile) {
		t.Errorf("asked %q, want two questions that name the key", asked)
	}
}

func TestEncryptedKeyIsNotAskedForInVain(t *testing.T) {
	_, keyFile := encrypted(t)
	s := testkit.SSHD(t) // does not accept the key
	tg := targetOf(s)
	tg.KeyFile = keyFile
	cfg := isolated(t, s.KnownHostsLine())
	cfg.Prompt = func(context.Context, string, bool) (string, error) {
		t.Error("asked for the passphrase of a key that the server does not accept")
		return "", errors.New("nobody")
	}
	refused(t, tg, cfg, diag.Denied, keyFile)
}

func TestEncryptedKeyWithoutPrompt(t *testing.T) {
	s, keyFile := encrypted(t)
	tg := targetOf(s)
	tg.KeyFile = keyFile
	refused(t, tg, isolated(t, s.KnownHostsLine()), diag.Denied, "encrypted", "ssh-add "+keyFile)
}

func TestPromptStopsTheClock(t *testing.T) {
	s, keyFile := encrypted(t)
	tg := targetOf(s)
	tg.KeyFile = keyFile
	cfg := isolated(t, s.KnownHostsLine())
	now := &fakeNow{}
	cfg.Now = now.get
	c := startClock(t.Context(), cfg.Timeout, cfg.Now)
	defer c.stop()
	resume := c.pause()
	now.add(10 * cfg.Timeout)
	if c.timer.Stop() {
		t.Error("the timer of the dial runs while a person is asked")
	}
	resume()
	if c.left != cfg.Timeout || c.ctx.Err() != nil {
		t.Errorf("%v left after the pause, want %v", c.left, cfg.Timeout)
	}
}

func TestAgentWithKey(t *testing.T) {
	s := testkit.SSHD(t)
	tg := targetOf(s)
	tg.KeyFile = ""
	cfg := isolated(t, s.KnownHostsLine())
	cfg.AgentSocket = testkit.Agent(t, s.ClientKeyFile).Socket
	c := mustDial(t, tg, cfg)
	mustWork(t, c)
	if c.Info().KeyID != fingerprintOf(s.ClientPublicKey) {
		t.Errorf("KeyID = %s", c.Info().KeyID)
	}
}

func TestAgentFromEnvironment(t *testing.T) {
	s := testkit.SSHD(t)
	t.Setenv("SSH_AUTH_SOCK", testkit.Agent(t, s.ClientKeyFile).Socket)
	tg := targetOf(s)
	tg.KeyFile = ""
	cfg := isolated(t, s.KnownHostsLine())
	cfg.AgentSocket = ""
	mustWork(t, mustDial(t, tg, cfg))
}

func TestAgentWithRSAKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rsa")
	pub := testkit.NewKey(t, path, "rsa2048")
	s := testkit.SSHD(t, testkit.Authorize(pub))
	cfg := isolated(t, s.KnownHostsLine())
	tg := targetOf(s)
	tg.KeyFile = path
	mustWork(t, mustDial(t, tg, cfg))
	cfg.AgentSocket = testkit.Agent(t, path).Socket
	tg.KeyFile = ""
	mustWork(t, mustDial(t, tg, cfg))
}

func TestAgentWithoutKeys(t *testing.T) {
	s := testkit.SSHD(t)
	cfg := isolated(t, s.KnownHostsLine())
	cfg.AgentSocket = testkit.Agent(t).Socket
	tg := targetOf(s)
	mustWork(t, mustDial(t, tg, cfg)) // the key file does it
	tg.KeyFile = ""
	refused(t, tg, cfg, diag.Denied, "want of a usable key", "ssh-add")
}

func TestDeadAgentIsNotFatal(t *testing.T) {
	s := testkit.SSHD(t)
	socket := filepath.Join(testkit.Dir(t), "dead")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	cfg := isolated(t, s.KnownHostsLine())
	cfg.AgentSocket = socket
	mustWork(t, mustDial(t, targetOf(s), cfg))

	tg := targetOf(s)
	tg.KeyFile = ""
	refused(t, tg, cfg, diag.Denied, "does not answer", socket)
}

func TestSilentAgentIsNotFatal(t *testing.T) {
	s := testkit.SSHD(t)
	socket := filepath.Join(testkit.Dir(t), "silent")
	l, err := net.Listen("unix", socket) // accepted by the kernel, never answered
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cfg := isolated(t, s.KnownHostsLine())
	cfg.AgentSocket = socket
	mustWork(t, mustDial(t, targetOf(s), cfg))
}

// manyKeys returns an agent with more keys than sshd takes (MaxAuthTries 6),
// the right one last.
func manyKeys(t *testing.T, right string) *testkit.SSHAgent {
	t.Helper()
	dir := t.TempDir()
	a := testkit.Agent(t)
	for _, name := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
		path, _ := testkit.ClientKey(t, dir, name)
		a.Add(t, path)
	}
	a.Add(t, right)
	return a
}

func TestTooManyKeysInAgent(t *testing.T) {
	s := testkit.SSHD(t)
	tg := targetOf(s)
	tg.KeyFile = ""
	cfg := isolated(t, s.KnownHostsLine())
	cfg.AgentSocket = manyKeys(t, s.ClientKeyFile).Socket
	refused(t, tg, cfg, diag.Denied, "ssh-agent (", "Too many authentication failures", "key_file")
	// A named key goes first, from the agent...
	tg.KeyFile = s.ClientKeyFile + ".pub"
	mustWork(t, mustDial(t, tg, cfg))
	// ...and from its file.
	other := testkit.SSHD(t)
	tg = targetOf(other)
	cfg.KnownHosts = append(cfg.KnownHosts, other.KnownHostsFile(t))
	mustWork(t, mustDial(t, tg, cfg))
}

func TestEachKeyIsOfferedOnce(t *testing.T) {
	s := testkit.SSHD(t)
	tg := targetOf(s)
	tg.KeyFile = firstKey(t)
	cfg := isolated(t, s.KnownHostsLine())
	cfg.AgentSocket = testkit.Agent(t, tg.KeyFile).Socket
	err := refused(t, tg, cfg, diag.Denied, "ssh-agent (1 keys)")
	if strings.Contains(err.Error(), tg.KeyFile) {
		t.Errorf("the agent's key was offered again from its file: %v", err)
	}
}

func TestIdentitiesOnly(t *testing.T) {
	s := testkit.SSHD(t)
	config := testkit.WriteFile(t, "config", "Host *\n IdentitiesOnly yes\n IdentityFile "+s.ClientKeyFile+".pub\n", 0o600)
	cfg := isolated(t, s.KnownHostsLine())
	cfg.SSHConfig = config
	cfg.AgentSocket = manyKeys(t, s.ClientKeyFile).Socket
	tg := targetOf(s)
	tg.KeyFile = ""
	mustWork(t, mustDial(t, tg, cfg))
	if strings.Contains(s.Log(), "Failed publickey") {
		t.Errorf("keys were offered that IdentitiesOnly forbids:\n%s", s.Log())
	}
	// Without the named key in the agent nothing is offered.
	cfg.AgentSocket = testkit.Agent(t, firstKey(t)).Socket
	refused(t, tg, cfg, diag.Denied, "want of a usable key")
}

func firstKey(t *testing.T) string {
	path, _ := testkit.ClientKey(t, t.TempDir(), "other")
	return path
}

func TestUserCertificate(t *testing.T) {
	ca := testkit.NewCA(t)
	s := testkit.SSHD(t, testkit.TrustUserCA(ca))
	certified := func(t *testing.T, cert string) (keyFile string) {
		dir := t.TempDir()
		keyFile, pub := testkit.ClientKey(t, dir, "id") // not in authorized_keys
		ca.SignUser(t, filepath.Join(dir, cert), pub, []string{s.User})
		return keyFile
	}
	cfg := isolated(t, s.KnownHostsLine())
	t.Run("BesideTheKey", func(t *testing.T) {
		tg := targetOf(s)
		tg.KeyFile = certified(t, "id-cert.pub")
		mustWork(t, mustDial(t, tg, cfg))
	})
	t.Run("CertificateFile", func(t *testing.T) {
		tg := targetOf(s)
		tg.KeyFile = certified(t, "elsewhere.pub")
		cfg := cfg
		cfg.SSHConfig = testkit.WriteFile(t, "config", "CertificateFile "+filepath.Join(filepath.Dir(tg.KeyFile), "elsewhere.pub")+"\n", 0o600)
		mustWork(t, mustDial(t, tg, cfg))
	})
	t.Run("InTheAgent", func(t *testing.T) {
		cfg := cfg
		cfg.AgentSocket = testkit.Agent(t, certified(t, "id-cert.pub")).Socket
		tg := targetOf(s)
		tg.KeyFile = ""
		mustWork(t, mustDial(t, tg, cfg))
	})
	t.Run("WrongPrincipal", func(t *testing.T) {
		dir := t.TempDir()
		tg := targetOf(s)
		var pub ssh.PublicKey
		tg.KeyFile, pub = testkit.ClientKey(t, dir, "id")
		ca.SignUser(t, tg.KeyFile+"-cert.pub", pub, []string{"somebody-else"})
		refused(t, tg, cfg, diag.Denied, "(certificate)")
	})
}

func TestWeakClientKeyIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rsa1024")
	pub := testkit.NewKey(t, path, "rsa1024")
	s := testkit.SSHD(t, testkit.Authorize(pub), testkit.ConfigLines("RequiredRSASize 1024"))
	tg := targetOf(s)
	tg.KeyFile = path
	refused(t, tg, isolated(t, s.KnownHostsLine()), diag.Denied, "1024 bits", "ssh-keygen -t ed25519")

	tg.KeyFile = ""
	cfg := isolated(t, s.KnownHostsLine())
	cfg.AgentSocket = testkit.Agent(t, path).Socket
	refused(t, tg, cfg, diag.Denied, "1024 bits")
}

func TestDeniedNamesLoginAndKeys(t *testing.T) {
	s := testkit.SSHD(t)
	tg := targetOf(s)
	tg.KeyFile = firstKey(t)
	cfg := isolated(t, s.KnownHostsLine())
	cfg.AgentSocket = testkit.Agent(t, firstKey(t)).Socket
	err := refused(t, tg, cfg, diag.Denied, s.User+"@"+s.Addr, "ssh-agent (1 keys)", tg.KeyFile, "publickey", "ssh-copy-id")
	private, readErr := os.ReadFile(tg.KeyFile)
	if readErr != nil || strings.Contains(err.Error()+diag.HintOf(err), strings.Split(string(private), "\n")[1]) {
		t.Error("the error holds private key material")
	}
}

func TestPasswordOnlyIfAskedFor(t *testing.T) {
	s := testkit.SSHD(t, testkit.ConfigLines("PasswordAuthentication yes"), testkit.LoginUser(testkit.User(t)))
	tg := targetOf(s)
	tg.KeyFile = firstKey(t)
	cfg := isolated(t, s.KnownHostsLine())
	var asked atomic.Int32
	cfg.Prompt = func(_ context.Context, question string, echo bool) (string, error) {
		asked.Add(1)
		if echo || !strings.Contains(question, "password for "+s.User) {
			t.Errorf("question %q, echo %v", question, echo)
		}
		return "guess", nil
	}
	refused(t, tg, cfg, diag.Denied)
	if asked.Load() != 0 {
		t.Error("a password was asked for although the target does not allow it")
	}
	tg.Password = true
	refused(t, tg, cfg, diag.Denied, "password")
	if asked.Load() == 0 {
		t.Error("no password was asked for although the target allows it")
	}
	cfg.Prompt = nil
	refused(t, tg, cfg, diag.Denied)
}
