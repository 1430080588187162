//go:build unix

package testkit

import (
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

func login(t *testing.T, s *Server) string {
	t.Helper()
	out, err := exec.Command(Tool(t, "ssh"), "-F", "none", "-i", s.ClientKeyFile, "-o", "IdentitiesOnly=yes",
		"-o", "IdentityAgent=none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes",
		"-o", "GlobalKnownHostsFile=none", "-o", "UserKnownHostsFile="+s.KnownHostsFile(t),
		"-p", strconv.Itoa(s.Port), s.User+"@"+s.Host, "id -un").CombinedOutput()
	if err != nil {
		t.Fatalf("ssh: %v\n%s", err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestSSHDLogsIn(t *testing.T) {
	s := SSHD(t)
	if got := login(t, s); got != s.User {
		t.Errorf("logged in as %q, want %q", got, s.User)
	}
	if len(s.Sessions(t)) != 0 && !strings.Contains(s.Log(), "Accepted publickey") {
		t.Errorf("log does not tell of the login:\n%s", s.Log())
	}
}

func TestSSHDLogsInToOrdinaryAccount(t *testing.T) {
	s := SSHD(t, LoginUser(User(t)))
	if got := login(t, s); got != User(t) {
		t.Errorf("logged in as %q, want %q", got, User(t))
	}
}

func TestAgentHoldsKey(t *testing.T) {
	path, pub := ClientKey(t, t.TempDir(), "k")
	a := Agent(t, path)
	cmd := exec.Command(Tool(t, "ssh-add"), "-L")
	cmd.Env = append(cmd.Environ(), "SSH_AUTH_SOCK="+a.Socket)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), trimmedKey(pub)) {
		t.Errorf("ssh-add -L = %q, %v; want the added key", out, err)
	}
}
