//go:build unix

package testkit

import (
	"net"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// SSHAgent is a real ssh-agent that runs until the test ends.
type SSHAgent struct {
	Socket string // for SSH_AUTH_SOCK
	add    string
}

// Agent starts an ssh-agent and adds the unencrypted private keys in keyFiles.
func Agent(t testing.TB, keyFiles ...string) *SSHAgent {
	t.Helper()
	a := &SSHAgent{Socket: filepath.Join(Dir(t), "agent"), add: Tool(t, "ssh-add")}
	cmd := exec.Command(Tool(t, "ssh-agent"), "-D", "-a", a.Socket)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start ssh-agent: %v", err)
	}
	t.Cleanup(func() {
		killTree(cmd.Process.Pid)
		_ = cmd.Wait() // killed: its status says nothing
	})
	waitSocket(t, a.Socket)
	for _, path := range keyFiles {
		a.Add(t, path)
	}
	return a
}

// Add adds the key in keyFile with ssh-add, and a certificate beside it.
func (a *SSHAgent) Add(t testing.TB, keyFile string) {
	t.Helper()
	cmd := exec.Command(a.add, "-q", keyFile)
	cmd.Env = append(cmd.Environ(), "SSH_AUTH_SOCK="+a.Socket)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("ssh-add %s: %v\n%s", keyFile, err, out)
	}
}

// waitSocket returns once something listens on path.
func waitSocket(t testing.TB, path string) {
	t.Helper()
	for deadline := time.Now().Add(startTimeout); ; {
		c, err := net.Dial("unix", path)
		if err == nil {
			c.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("nothing listens on %s: %v", path, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
