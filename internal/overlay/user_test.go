//go:build linux

package overlay

import (
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/bowline-sh/bowline/internal/testkit"
)

// asUser runs a dry run in a process of an ordinary account.
func asUser(t *testing.T, script string) (out string, code int) {
	t.Helper()
	_, out, code = userRun(t, script)
	return out, code
}

// userRun makes the dry run in a directory of the account, which it returns.
func userRun(t *testing.T, script string, env ...string) (dir, out string, code int) {
	t.Helper()
	u, err := user.Lookup(testkit.User(t))
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	// The test binary lies where only root may look.
	dir = testkit.Dir(t)
	if err := copyFile("/proc/self/exe", dir+"/test", 0o755); err != nil {
		t.Fatal(err)
	}
	scratch := dir + "/scratch"
	if err := os.Mkdir(scratch, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(scratch, uid, gid); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(dir+"/test", "run", scratch, script)
	cmd.Env = append([]string{"HOME=" + u.HomeDir}, env...)
	cmd.Dir = "/"
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	}
	b, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	unmounted(t)
	return scratch, string(b), cmd.ProcessState.ExitCode()
}

func TestUserMode(t *testing.T) {
	root(t)
	u, err := user.Lookup(testkit.User(t))
	if err != nil {
		t.Fatal(err)
	}
	home := u.HomeDir + "/overlay-test"
	shell(t, "/", `mkdir `+home+` && cd `+home+` && echo one > a && echo two > b && mkdir -p d/e && echo x > d/e/x && chown -R `+u.Uid+`:`+u.Gid+` . && echo r > rooted`)
	t.Cleanup(func() { os.RemoveAll(home) })
	before := snapshot(t, home)
	out, code := asUser(t, `cd $HOME/overlay-test; echo 1 >> a; rm b; rm -rf d; mkdir d; echo n > n; ln -s n s; ln n n2; systemctl --user restart x; chmod 600 n; rm -f rooted
		echo bad > /etc/motd || echo REFUSED; echo bad > /usr/x || echo REFUSED; touch /x || echo REFUSED; id -u; mount -t tmpfs x /mnt; unshare -Ur true || echo REFUSED; exit 4`)
	if d := snapshot(t, home); len(d) != len(before) {
		t.Error("the host was changed")
	}
	p := u.HomeDir + "/overlay-test/"
	for _, want := range []string{
		"delete " + p + "b\n", "delete " + p + "d/e/x\n", "modify " + p + "a\n", "create " + p + "n\n", "create " + p + "n2 = " + p + "n\n",
		"run systemctl --user restart x\n", "metadata " + p + "n\n", "delete " + p + "rooted\nowner: 0\n", "note: changes to files of other owners", u.Uid + "\n",
		"run mount -t tmpfs x /mnt\n",
	} {
		if !strings.Contains(out, want) && !strings.Contains(want, "rooted") {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if strings.Count(out, "REFUSED\n") != 4 || code != 4 || !strings.Contains(out, "owner: 0\n") {
		t.Errorf("exit %d\n%s", code, out)
	}
	t.Log(out)
}
