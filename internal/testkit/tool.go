//go:build unix

package testkit

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// Tool returns the path of a program and fails the test if there is none. It
// looks in PATH and in the directories of system programs, which the PATH of
// an ordinary account lacks.
func Tool(t testing.TB, name string) string {
	t.Helper()
	if path, err := exec.LookPath(name); err == nil {
		if abs, err := filepath.Abs(path); err == nil {
			return abs
		}
	}
	for _, dir := range []string{"/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/lib/openssh", "/usr/libexec"} {
		path := filepath.Join(dir, name)
		if _, err := exec.LookPath(path); err == nil {
			return path
		}
	}
	t.Fatalf("this test needs the program %q; install it", name)
	return ""
}

// Root ends a test that needs root where there is none: with a failure in CI,
// where nothing may be left out, else with a skip that says so.
func Root(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		LeftOut(t, "it needs root")
	}
}

// LeftOut skips a test that cannot run here, and fails it in CI.
func LeftOut(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("this test cannot run: %s; in CI nothing may be left out", why)
	}
	t.Skipf("this test was not run: %s", why)
}

// TestUser is the account that User makes.
const TestUser = "bowline-test"

// User returns an account for login tests: as root an ordinary one, TestUser,
// made on first use; otherwise the account that runs the test. Test binaries
// may call it at the same time.
func User(t testing.TB) string {
	t.Helper()
	if os.Geteuid() != 0 {
		return currentUser(t)
	}
	unlock := lock(t, filepath.Join(os.TempDir(), ".bowline-testkit-user.lock"))
	defer unlock()
	var unknown user.UnknownUserError
	if _, err := user.Lookup(TestUser); errors.As(err, &unknown) {
		run(t, "useradd", "-m", "-s", "/bin/bash", TestUser)
	} else if err != nil {
		t.Fatalf("look up account %s: %v", TestUser, err)
	}
	// useradd leaves the account locked, and sshd with "UsePAM no" refuses
	// even public keys for a locked account.
	shadow, err := os.ReadFile("/etc/shadow")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(shadow, []byte("\n"+TestUser+":*:")) {
		run(t, "usermod", "-p", "*", TestUser)
	}
	return TestUser
}

// lock takes an advisory lock on path, waiting for other processes.
func lock(t testing.TB, path string) (unlock func()) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatalf("lock %s: %v", path, err)
	}
	return func() { f.Close() }
}

// Dir returns a new directory that every account may enter and that goes with
// the test. Unlike t.TempDir its path is short enough for sockets, and sshd can
// read files there as the account that logs in.
func Dir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "bowline-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove test directory: %v", err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// WriteFile writes text to a file called name in a new directory and returns
// its path.
func WriteFile(t testing.TB, name, text string, mode fs.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	writeFile(t, path, []byte(text), mode)
	return path
}

func writeFile(t testing.TB, path string, data []byte, mode fs.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, data, mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // whatever the umask
		t.Fatal(err)
	}
}

func publicKeyOf(t testing.TB, privateKeyFile string) ssh.PublicKey {
	t.Helper()
	data, err := os.ReadFile(privateKeyFile)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.ParsePrivateKey(data)
	if err != nil {
		t.Fatalf("parse %s: %v", privateKeyFile, err)
	}
	return signer.PublicKey()
}

// trimmedKey returns key as authorized_keys spells it, without a newline.
func trimmedKey(key ssh.PublicKey) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
}

func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(Tool(t, name), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// descendants returns the processes below pid, parents before children.
func descendants(pid int) []int {
	children := map[int][]int{}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	for _, e := range entries {
		child, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if parent, ok := parentOf(child); ok {
			children[parent] = append(children[parent], child)
		}
	}
	var all []int
	for queue := children[pid]; len(queue) > 0; queue = queue[1:] {
		all = append(all, queue[0])
		queue = append(queue, children[queue[0]]...)
	}
	return all
}

func parentOf(pid int) (parent int, ok bool) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, false // it has ended
	}
	// The name in the second field may hold spaces and parentheses.
	rest := string(stat[bytes.LastIndexByte(stat, ')')+1:])
	fields := strings.Fields(rest)
	if len(fields) < 2 {
		return 0, false
	}
	parent, err = strconv.Atoi(fields[1])
	return parent, err == nil
}

// stopNamed kills pid and those of its descendants whose program is called name, waits
// until they are dead, and returns the other descendants.
func stopNamed(pid int, name string) (others []int) {
	var killed []int
	for _, p := range append(descendants(pid), pid) {
		comm, err := os.ReadFile("/proc/" + strconv.Itoa(p) + "/comm")
		if err != nil {
			continue
		}
		if strings.HasPrefix(string(comm), name) {
			_ = syscall.Kill(p, syscall.SIGKILL) // it may have ended
			killed = append(killed, p)
			continue
		}
		others = append(others, p)
	}
	for _, p := range killed {
		for alive(p) {
			time.Sleep(time.Millisecond)
		}
	}
	return others
}

// alive reports whether a process runs; one that ended and was not waited for does not.
func alive(pid int) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	_, rest, ok := strings.Cut(string(b), ") ")
	return ok && rest[0] != 'Z' && rest[0] != 'X'
}

// killTree kills pid, its process group and its descendants; sshd's sessions
// are in groups of their own.
func killTree(pid int) {
	below := descendants(pid)
	_ = syscall.Kill(-pid, syscall.SIGKILL) // it may have ended
	for _, p := range below {
		_ = syscall.Kill(p, syscall.SIGKILL)
	}
}
