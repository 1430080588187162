//go:build unix

package keys

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/bowline-sh/bowline/internal/testkit"
	"github.com/bowline-sh/bowline/internal/transport/ssh"
	"github.com/bowline-sh/bowline/target"
)

// TestLockLeftBehind: a lock that stays as it is was left by one that was killed; one
// that changes is waited for.
func TestLockLeftBehind(t *testing.T) {
	home := testkit.Dir(t)
	s := testkit.SSHD(t, testkit.Subsystem("Subsystem sftp internal-sftp -d "+home))
	if err := os.Mkdir(filepath.Join(home, ".ssh"), 0o700); err != nil {
		t.Fatal(err)
	}
	left := filepath.Join(home, lockFile)
	if err := os.WriteFile(left, []byte("of a dead client"), 0o600); err != nil {
		t.Fatal(err)
	}
	conn, err := ssh.Dial(t.Context(), target.Target{Name: "web1", Kind: target.SSH, Host: s.Host, Port: s.Port, User: s.User, KeyFile: s.ClientKeyFile},
		ssh.Config{KnownHosts: []string{s.KnownHostsFile(t)}, SSHConfig: "none", AgentSocket: "none"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	a, err := openAccount(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	defer a.close()
	a.stale = 400 * time.Millisecond
	start := time.Now()
	unlock, err := a.lock(t.Context())
	if err != nil || time.Since(start) < a.stale {
		t.Fatalf("after %v: %v", time.Since(start), err)
	}
	if held, err := os.ReadFile(left); err != nil || string(held) == "of a dead client" {
		t.Errorf("%q, %v", held, err)
	}
	unlock()
	if _, err := os.Lstat(left); err == nil {
		t.Error("the lock is still there")
	}
}
