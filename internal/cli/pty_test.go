package cli_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"

	"github.com/bowline-sh/bowline/internal/testkit"
)

// dialogue runs bowline on a terminal and answers each question when it appears.
func dialogue(t *testing.T, env []string, args []string, answers ...[2]string) (screen string, code int) {
	t.Helper()
	cmd := exec.Command(filepath.Join(os.Getenv("BOWLINE_BIN_DIR"), "bowline"), args...)
	cmd.Env = append(os.Environ(), env...)
	f, err := pty.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.SetDeadline(time.Now().Add(60 * time.Second)); err != nil && !errors.Is(err, os.ErrNoDeadline) {
		t.Fatal(err)
	}
	var seen bytes.Buffer
	buf := make([]byte, 1024)
	from := 0
	for {
		n, err := f.Read(buf)
		seen.Write(buf[:n])
		for len(answers) > 0 {
			i := strings.Index(seen.String()[from:], answers[0][0])
			if i < 0 {
				break
			}
			from += i + len(answers[0][0])
			if _, err := io.WriteString(f, answers[0][1]); err != nil {
				t.Fatal(err)
			}
			answers = answers[1:]
		}
		if err != nil { // EIO or EOF: the program has ended
			break
		}
	}
	if err := cmd.Wait(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	if len(answers) > 0 {
		t.Errorf("never asked %q; the screen:\n%s", answers[0][0], seen.String())
	}
	ws, _ := cmd.ProcessState.Sys().(syscall.WaitStatus)
	return seen.String(), ws.ExitStatus()
}

// TestInitAsksOnATerminal walks through the guided set-up as a person would.
func TestInitAsksOnATerminal(t *testing.T) {
	s := testkit.SSHD(t)
	dir := t.TempDir()
	env := []string{"XDG_CONFIG_HOME=" + dir + "/config", "XDG_STATE_HOME=" + dir + "/state", "SSH_AUTH_SOCK=", "TERM=xterm"}
	address := s.User + "@" + s.Addr

	screen, code := dialogue(t, env, []string{"init", "--key", s.ClientKeyFile},
		[2]string{"Host to act on", address + "\n"}, [2]string{"Name for this target", "web1\n"}, [2]string{"Is this the right fingerprint? [y/N]", "n\n"})
	if code != 11 || !strings.Contains(screen, "not confirmed; nothing was written") || !strings.Contains(screen, s.HostKeyFingerprint) {
		t.Errorf("a refusal ended with %d:\n%s", code, screen)
	}
	if _, err := os.Stat(dir + "/config/bowline/known_hosts"); err == nil {
		t.Error("a refused key was written")
	}
	screen, code = dialogue(t, env, []string{"init", "--key", s.ClientKeyFile},
		[2]string{"Host to act on", address + "\n"}, [2]string{"Name for this target", "web1\n"}, [2]string{"Is this the right fingerprint? [y/N]", "maybe\n"},
		[2]string{"answer y or n", ""}, [2]string{"[y/N]", "y\n"})
	if code != 0 || !strings.Contains(screen, "ready. Try: bowline run") {
		t.Errorf("ended with %d:\n%s", code, screen)
	}
	// On a terminal, what could repaint it is shown, not done.
	screen, code = dialogue(t, env, []string{"run", "-p", "script", "--", "printf", `\033[2J\033[31mred\033[0m\n`})
	if code != 0 || !strings.Contains(screen, "^[[2J\x1b[31mred\x1b[0m") {
		t.Errorf("ended with %d: %q", code, screen)
	}
	screen, code = dialogue(t, env, []string{"target", "remove", "web1"}, [2]string{"Remove target web1? [y/N]", "\n"})
	if code != 1 || !strings.Contains(screen, "nothing was removed") {
		t.Errorf("ended with %d:\n%s", code, screen)
	}
}

// TestEncryptedKeyAsks: the passphrase is asked for without echo.
func TestEncryptedKeyAsks(t *testing.T) {
	dir := testkit.Dir(t)
	key := testkit.EncryptedKey(t, dir+"/id", "open sesame")
	s := testkit.SSHD(t, testkit.Authorize(key))
	env := []string{"XDG_CONFIG_HOME=" + dir + "/config", "XDG_STATE_HOME=" + dir + "/state", "SSH_AUTH_SOCK=", "TERM=xterm"}
	if screen, code := dialogue(t, env, []string{"target", "add", "web1", s.User + "@" + s.Addr, "--key", dir + "/id", "--fingerprint", s.HostKeyFingerprint}); code != 0 {
		t.Fatalf("%d:\n%s", code, screen)
	}
	screen, code := dialogue(t, env, []string{"run", "-t", "web1", "--", "echo", "done"}, [2]string{"assphrase", "open sesame\n"})
	if code != 0 || !strings.Contains(screen, "done") || strings.Contains(screen, "sesame") {
		t.Errorf("%d:\n%s", code, screen)
	}
}
