package cli_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bowline-sh/bowline/internal/testkit"
)

// person runs the program with a configuration of their own, and the runtime directory
// that they are told.
type person struct {
	t       *testing.T
	program string
	env     []string
	cred    *syscall.Credential // nil: as we are
}

// newPerson makes web1 of s known to an account, whose background process lies in runtime.
func newPerson(t *testing.T, s *testkit.Server, runtime string, cred *syscall.Credential) *person {
	t.Helper()
	home := testkit.Dir(t)
	p := &person{t: t, program: filepath.Join(home, "bowline"), cred: cred}
	p.env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "XDG_RUNTIME_DIR=" + runtime}
	key := filepath.Join(home, "key")
	copyFile(t, filepath.Join(os.Getenv("BOWLINE_BIN_DIR"), "bowline"), p.program, 0o755)
	copyFile(t, s.ClientKeyFile, key, 0o600)
	if cred != nil {
		for _, path := range []string{home, key} {
			if err := os.Chown(path, int(cred.Uid), int(cred.Gid)); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Cleanup(func() { p.run("link", "close", "--all") })
	if out, code := p.run("target", "add", "web1", s.User+"@"+s.Addr, "--key", key, "--fingerprint", s.HostKeyFingerprint); code != 0 {
		t.Fatalf("target add: %s", out)
	}
	return p
}

func copyFile(t *testing.T, from, to string, mode os.FileMode) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b, mode); err != nil {
		t.Fatal(err)
	}
}

func (p *person) command(args ...string) (*exec.Cmd, *bytes.Buffer) {
	var out bytes.Buffer
	cmd := exec.Command(p.program, args...)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = p.env, "/", &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.cred}
	return cmd, &out
}

func (p *person) run(args ...string) (out string, code int) {
	p.t.Helper()
	cmd, buf := p.command(args...)
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		p.t.Fatal(err)
	}
	return buf.String(), cmd.ProcessState.ExitCode()
}

// links lists the links of the background process, and who it is; 0: there is none.
func (p *person) links() (pid int, targets []string) {
	p.t.Helper()
	out, code := p.run("link", "list", "--json")
	var list struct {
		PID   int `json:"pid"`
		Links []struct {
			Target string `json:"target"`
		} `json:"links"`
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil || code != 0 {
		p.t.Fatalf("link list: %s, %v", out, err)
	}
	for _, l := range list.Links {
		targets = append(targets, l.Target)
	}
	return list.PID, targets
}

func (p *person) wantEcho(word string) {
	p.t.Helper()
	if out, code := p.run("run", "-t", "web1", "--", "echo", word); code != 0 || !strings.Contains(out, word+"\n") {
		p.t.Errorf("echo %s: %q, code %d", word, out, code)
	}
}

func runtimeDir(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(testkit.Dir(t), "r")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

// runs reports whether a process has arg as its argument.
func runs(arg string) bool {
	return exec.Command("pgrep", "-f", arg).Run() == nil
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("in vain: " + what)
		}
	}
}

// TestBackgroundProcessIsKilled: in mid-command, with kill -9. The command ends with an
// error that says what is known, and the next one works.
func TestBackgroundProcessIsKilled(t *testing.T) {
	p := newPerson(t, testkit.SSHD(t, testkit.ConfigLines("SetEnv HOME="+testkit.Dir(t))), runtimeDir(t), nil)
	p.wantEcho("first")
	before, _ := p.links()
	mark := fmt.Sprintf("%d.%d", 9000+os.Getpid()%1000, time.Now().UnixNano()%1e6)
	cmd, out := p.command("run", "-t", "web1", "--timeout", "5m", "--", "sleep", mark)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	await(t, "the command runs", func() bool { return runs("^sleep " + mark) })
	if err := syscall.Kill(before, syscall.SIGKILL); err != nil {
		t.Fatalf("kill %d: %v", before, err)
	}
	_ = cmd.Wait() // its code says how it ended
	for _, want := range []string{"background process", "nothing is known of the outcome", "hint:"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("want %q in:\n%s", want, out)
		}
	}
	if code := cmd.ProcessState.ExitCode(); code != 125 {
		t.Errorf("code %d", code)
	}
	await(t, "the command ends on the target", func() bool { return !runs("^sleep " + mark) })
	p.wantEcho("second")
	if after, targets := p.links(); after == before || after == 0 || !slices.Equal(targets, []string{"web1"}) {
		t.Errorf("process %d after %d, links %q", after, before, targets)
	}
}

// TestTwoUsersBackgroundProcesses: another user, told to use our runtime directory, works
// without our process, does not see our links and starts nothing there.
func TestTwoUsersBackgroundProcesses(t *testing.T) {
	testkit.Root(t)
	u, err := user.Lookup(testkit.User(t))
	if err != nil {
		t.Fatal(err)
	}
	uid, uidErr := strconv.Atoi(u.Uid)
	gid, gidErr := strconv.Atoi(u.Gid)
	if uidErr != nil || gidErr != nil {
		t.Fatal(u)
	}
	s := testkit.SSHD(t, testkit.ConfigLines("SetEnv HOME="+testkit.Dir(t)))
	shared := runtimeDir(t)
	owner := newPerson(t, s, shared, nil)
	owner.wantEcho("owner")
	pid, _ := owner.links()
	other := newPerson(t, s, shared, &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)})
	for _, mode := range []os.FileMode{0o700, 0o777} { // also where the files would let them in
		for _, dir := range []string{shared, filepath.Join(shared, "bowline")} {
			if err := os.Chmod(dir, mode); err != nil {
				t.Fatal(err)
			}
		}
		logins := strings.Count(s.Log(), "Accepted publickey")
		other.wantEcho("other")
		if got := strings.Count(s.Log(), "Accepted publickey"); got != logins+1 {
			t.Errorf("mode %o: %d logins, want one of their own", mode, got-logins)
		}
		if seen, targets := other.links(); seen != 0 || len(targets) > 0 {
			t.Errorf("mode %o: the other sees process %d and links %q", mode, seen, targets)
		}
	}
	for _, dir := range []string{shared, filepath.Join(shared, "bowline")} {
		if err := os.Chmod(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if still, targets := owner.links(); still != pid || !slices.Equal(targets, []string{"web1"}) {
		t.Errorf("the owner has process %d after %d, links %q", still, pid, targets)
	}
}
