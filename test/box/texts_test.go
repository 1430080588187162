package box

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bowline-sh/bowline/internal/testkit"
)

// remoteOnly is said by every error about reaching boxes.
const remoteOnly = "boxes are remote-only"

// stranger is a laptop without a server.
func stranger(t *testing.T) *laptop {
	t.Helper()
	home := testkit.Dir(t)
	return &laptop{t: t, home: home, dir: home, env: []string{"HOME=" + home, "PATH=" + os.Getenv("PATH"), "XDG_RUNTIME_DIR=" + home, "BOWLINE_PERSIST=off"}}
}

func (l *laptop) config(text string) { l.t.Helper(); l.write(".config/bowline/config.toml", text) }

// TestCriterionNoConfiguration: without a server every command refuses, with what to type.
func TestCriterionNoConfiguration(t *testing.T) {
	t.Parallel()
	l := stranger(t)
	l.write("key.pub", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl\n")
	texts := []string{remoteOnly, "bowline target add NAME USER@HOST", "bowline config path", "bowline target test NAME"}
	for _, args := range [][]string{{"create", "x", "--image", "i", "--authorized-keys", "key.pub"}, {"list"}, {"info", "x"}, {"start", "x"}, {"rebuild", "x", "--yes"}, {"rm", "x", "--yes"}, {"logs", "x"}, {"prune"}, {"push", "x"}, {"build"}, {"create", "x", "--build", "--authorized-keys", "key.pub"}, {"cp", "key.pub", "x:"}} {
		l.fails(12, texts, append([]string{"box"}, args...)...)
	}
	l.fails(126, texts, "box", "exec", "x", "--", "id")
}

// TestCriterionNothingLocal: no address of this machine does.
func TestCriterionNothingLocal(t *testing.T) {
	t.Parallel()
	l := stranger(t)
	for _, host := range []string{"localhost", "127.0.0.1", "127.1.2.3", "::1", "0.0.0.0"} {
		l.config("[targets.here]\ntype = \"ssh\"\nhost = \"" + host + "\"\nuser = \"ann\"\n")
		l.fails(12, []string{remoteOnly, host, "ann", "is this machine"}, "box", "list", "-t", "here")
	}
	l.config("[targets.here]\ntype = \"local\"\n")
	l.fails(12, []string{remoteOnly}, "box", "list", "-t", "here")
}

// TestCriterionUnreachable: nobody listens.
func TestCriterionUnreachable(t *testing.T) {
	t.Parallel()
	l := stranger(t)
	l.config("[targets.far]\ntype = \"ssh\"\nhost = \"192.0.2.1\"\nport = 9\nuser = \"ann\"\njump = \"near\"\n[targets.near]\ntype = \"ssh\"\nhost = \"127.0.0.1\"\nport = 9\n")
	l.fails(10, []string{remoteOnly, "host 192.0.2.1, user ann", "podman.sock", "ssh -p 9 ann@192.0.2.1 true", "bowline target test far", "getent hosts"}, "box", "list", "-t", "far")
}

// TestCriterionServerAnswersWrong: a login that is refused, and a host without Podman.
func TestCriterionServerAnswersWrong(t *testing.T) {
	t.Parallel()
	l := newLaptop(t)
	good := l.read(".config/bowline/config.toml")
	other, _ := testkit.ClientKey(t, l.home, "other")
	t.Run("TestNoKey", func(t *testing.T) {
		l.config(strings.Replace(good, l.server.ClientKeyFile, other, 1))
		l.fails(12, []string{remoteOnly, "does not let us in", "host 127.0.0.1, user root", "podman.sock", "ssh-add -l", "ssh-agent", "ssh-copy-id"}, "box", "list", "-t", "dev1")
	})
	t.Run("TestUntrusted", func(t *testing.T) {
		l.config(good)
		known := filepath.Join(l.home, ".config/bowline/known_hosts")
		pins := l.read(".config/bowline/known_hosts")
		if err := os.Remove(known); err != nil {
			t.Fatal(err)
		}
		l.fails(11, []string{remoteOnly, "bowline target trust dev1", "host 127.0.0.1"}, "box", "list", "-t", "dev1")
		l.write(".config/bowline/known_hosts", pins)
	})
	t.Run("TestImageMissing", func(t *testing.T) {
		l.config(good)
		l.fails(1, []string{remoteOnly, "host 127.0.0.1, user root", "/s)", "podman info", "systemctl --user enable --now podman.socket", "sudo systemctl enable --now podman.socket", "ls -la /run/podman/podman.sock", "groups"},
			"box", "create", "x", "-t", "dev1", "--image", "localhost/none:1", "--authorized-keys", other+".pub")
	})
	t.Run("TestPushFails", func(t *testing.T) {
		// The key that may log in is one that this laptop has not: the first push fails.
		l.write(".ssh/config", usersConfig)
		l.write("lone.pub", l.read("other.pub"))
		l.repository("src/p")
		l.fails(1, []string{"push to the box", "Permission denied"}, "box", "create", "x", "-t", "dev1", "--image", testkit.BoxImage, "--authorized-keys", filepath.Join(l.home, "lone.pub"))
		l.nothingLeft("x.dev1")
		l.must("git", "remote", "add", "x", "elsewhere")
		l.fails(13, []string{"a remote x already"}, "box", "create", "x", "-t", "dev1", "--image", testkit.BoxImage, "--authorized-keys", other+".pub")
		if out := l.must("git", "remote", "-v"); !strings.Contains(out, "elsewhere") {
			t.Errorf("%q", out)
		}
	})
}

// TestCriterionNoPodman: a server that has none.
func TestCriterionNoPodman(t *testing.T) {
	t.Parallel()
	home := testkit.Dir(t)
	l := &laptop{t: t, home: home, dir: home, server: testkit.SSHD(t, testkit.ConfigLines("SetEnv PATH=/nonexistent"))}
	l.env = stranger(t).env
	l.env = append(l.env, "HOME="+home)
	l.addTarget()
	l.fails(10, []string{remoteOnly, "host 127.0.0.1, user " + l.server.User, "/run/podman/podman.sock", "podman info", "podman.socket", "groups"}, "box", "list", "-t", "dev1")
}
