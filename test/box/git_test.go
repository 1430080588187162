package box

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/bowline-sh/bowline/internal/testkit"
)

// repository makes a worktree with one commit and goes there.
func (l *laptop) repository(name string) {
	l.t.Helper()
	l.write(name+"/file", "one\n")
	l.dir = filepath.Join(l.home, name)
	l.must("git", "init", "-q", "-b", "feature/x;y")
	l.must("git", "config", "user.name", "Ann O'Doe")
	l.must("git", "config", "user.email", "ann@example.com")
	l.commit("one")
}

func (l *laptop) commit(message string) {
	l.t.Helper()
	l.must("git", "add", ".")
	l.must("git", "commit", "-q", "-m", message)
}

const usersConfig = "# mine\n\nMatch  host=other exec \"false\"\n\tPort 1\r\nHost *.example.com\n    User = me"

// TestWorktree is a day with a box: create from a worktree, the plain ssh, scp and git by
// alias, push and pull, dirty and diverged, stop, start, rebuild with data kept, rm.
func TestWorktree(t *testing.T) {
	t.Parallel()
	l := newLaptop(t)
	l.write(".ssh/config", usersConfig)
	key, _ := testkit.ClientKey(t, l.home, "me")
	l.day(t, "src/My_Project", "--image", testkit.BoxImage, "--authorized-keys", key+".pub")
}

// day is one with a box for a worktree; more are flags of create.
func (l *laptop) day(t *testing.T, src string, more ...string) {
	l.repository(src)
	l.bowline(append([]string{"box", "create", "web", "-t", "dev1"}, more...)...)

	t.Run("ssh", func(t *testing.T) {
		if out := l.must("ssh", "web.dev1", "id -un; cat /workspace/project/file; grep NoNewPrivs /proc/self/status"); out != "dev\none\nNoNewPrivs:\t1\n" {
			t.Errorf("%q", out)
		}
		if out, code := l.try(program, "box", "ssh", "-t", "dev1", "web", "--", "sh", "-c", "pwd; echo \"$1\"; exit 3", "sh", "a'b $(id)"); code != 3 || out != "/workspace/project\na'b $(id)\n" {
			t.Errorf("%d, %q", code, out)
		}
		l.must("scp", "-q", "-S", l.find("ssh"), filepath.Join(l.home, src, "file"), "web.dev1:copied")
		if out := l.bowline("box", "exec", "-t", "dev1", "web", "--", "cat", "/home/dev/copied"); out != "one\n" {
			t.Errorf("%q", out)
		}
	})
	t.Run("identity", func(t *testing.T) {
		if out := l.bowline("box", "exec", "-t", "dev1", "web", "--", "git", "config", "--get-regexp", "user"); out != "user.name Ann O'Doe\nuser.email ann@example.com\n" {
			t.Errorf("%q", out)
		}
	})
	t.Run("push and pull", func(t *testing.T) {
		l.write(src+"/file", "two\n")
		l.commit("two")
		l.bowline("box", "push", "-t", "dev1", "web")
		if out := l.bowline("box", "exec", "-t", "dev1", "web", "--", "sh", "-c", "cat file; echo three >file; git commit -qam three; echo left >file"); out != "two\n" {
			t.Errorf("%q", out)
		}
		if out := l.bowline("box", "pull", "-t", "dev1", "web"); !strings.Contains(out, "1 new commits") || !strings.Contains(out, "1 changed files that are not committed") {
			t.Errorf("%q", out)
		}
		if got := l.read(src + "/file"); got != "three\n" {
			t.Errorf("%q", got)
		}
	})
	t.Run("dirty", func(t *testing.T) {
		l.write(src+"/file", "four\n")
		l.commit("four")
		l.fails(13, []string{"is dirty", "--discard"}, "box", "push", "-t", "dev1", "web")
		if out := l.bowline("box", "exec", "-t", "dev1", "web", "--", "cat", "file"); out != "left\n" {
			t.Errorf("discarded: %q", out)
		}
	})
	t.Run("diverged", func(t *testing.T) {
		l.bowline("box", "exec", "-t", "dev1", "web", "--", "git", "commit", "-qam", "theirs")
		l.fails(13, []string{"has diverged"}, "box", "push", "-t", "dev1", "web")
		l.fails(13, []string{"has diverged"}, "box", "pull", "-t", "dev1", "web")
		if out := l.bowline("box", "exec", "-t", "dev1", "web", "--", "git", "log", "-1", "--format=%s"); out != "theirs\n" {
			t.Errorf("discarded: %q", out)
		}
		l.bowline("box", "push", "-t", "dev1", "web", "--discard")
		if out := l.bowline("box", "status", "-t", "dev1", "web"); !strings.Contains(out, "feature/x;y") || !strings.Contains(out, "0 not committed") {
			t.Errorf("%q", out)
		}
	})
	t.Run("stop, start, rebuild", func(t *testing.T) {
		l.bowline("box", "stop", "-t", "dev1", "web")
		l.fails(255, []string{"the box is exited", "bowline box start"}, "box", "ssh", "-t", "dev1", "web", "--", "true")
		l.fails(12, []string{"the box is exited"}, "box", "push", "-t", "dev1", "web")
		l.bowline("box", "start", "-t", "dev1", "web")
		l.bowline("box", "exec", "-t", "dev1", "web", "--user", "root", "--", "touch", "/in-the-container")
		l.bowline("box", "rebuild", "-t", "dev1", "web", "--yes")
		// The same key, or ssh would refuse.
		if out, code := l.try("ssh", "web.dev1", "cat /workspace/project/file /home/dev/copied; ls /in-the-container 2>/dev/null"); out != "four\none\n" || code == 255 {
			t.Errorf("%d, %q", code, out)
		}
	})
	t.Run("exec", func(t *testing.T) {
		l.fails(124, nil, "box", "exec", "-t", "dev1", "web", "--timeout", "2s", "--", "sh", "-c", "sleep 4321 & sleep 4321")
		l.fails(127, nil, "box", "exec", "-t", "dev1", "web", "--", "no-such-program")
		if _, code := l.try(program, "box", "exec", "-t", "dev1", "web", "--", "sh", "-c", "! grep -q 432[1] /proc/[0-9]*/cmdline"); code != 0 {
			t.Error("what ran out of time runs on")
		}
		l.fails(125, []string{"--tty"}, "box", "exec", "-t", "dev1", "web", "--tty", "--", "tty")
	})
	t.Run("tty", func(t *testing.T) { l.terminal(t, "web") })
	t.Run("rm", func(t *testing.T) {
		worktree := l.dir
		l.dir = l.home // from elsewhere
		l.bowline("box", "rm", "-t", "dev1", "web", "--yes")
		l.dir = worktree
		l.nothingLeft("web")
		l.fails(2, []string{"there is no box web"}, "box", "rm", "-t", "dev1", "web", "--yes")
	})
}

// nothingLeft looks on both sides; only the Include line stays.
func (l *laptop) nothingLeft(name string) {
	l.t.Helper()
	if out := l.must("git", "remote"); out != "" {
		l.t.Errorf("remotes left: %s", out)
	}
	for _, file := range []string{".config/bowline/ssh_config", ".config/bowline/box_known_hosts"} {
		if text := l.read(file); strings.Contains(text, name) {
			l.t.Errorf("%s: %s", file, text)
		}
	}
	if got, want := l.read(".ssh/config"), "Include "+l.home+"/.config/bowline/ssh_config\n"+usersConfig; got != want {
		l.t.Errorf("%q, want %q", got, want)
	}
	if out := l.bowline("box", "list", "-t", "dev1"); strings.Contains(out, name) {
		l.t.Errorf("left: %s", out)
	}
	if out := l.bowline("box", "prune", "-t", "dev1", "--older-than", "0s", "--volumes"); out != "" {
		l.t.Errorf("left: %s", out)
	}
}
