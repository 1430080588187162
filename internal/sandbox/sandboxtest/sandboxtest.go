// Package sandboxtest gives tests the targets that a sandbox must hold on: this
// machine, and a real sshd for root and for an ordinary account.
package sandboxtest

import (
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bowline-sh/bowline/internal/executor"
	"github.com/bowline-sh/bowline/internal/helperbin"
	"github.com/bowline-sh/bowline/internal/link"
	"github.com/bowline-sh/bowline/internal/testkit"
	"github.com/bowline-sh/bowline/internal/transport"
	"github.com/bowline-sh/bowline/internal/transport/local"
	"github.com/bowline-sh/bowline/internal/transport/ssh"
	"github.com/bowline-sh/bowline/profile"
	"github.com/bowline-sh/bowline/profile/profilefile"
	"github.com/bowline-sh/bowline/target"
)

// Host is a target to test on.
type Host struct {
	Name   string
	Root   bool            // commands run as root
	Helper bool            // a helper runs commands, without a shell
	Home   string          // of the account, where there is a helper
	Server *testkit.Server // nil for this machine
	target target.Target
	config ssh.Config
}

// Hosts returns this machine and an sshd for root and for testkit.User, each
// without and with a helper. They are there until the test ends.
func Hosts(t testing.TB) []Host {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test starts sandboxes as root and as an ordinary account; run it as root")
	}
	return []Host{{Name: "local", Root: true}, SSH(t, "ssh-root", "root"), SSH(t, "ssh-user", testkit.User(t)),
		Helped(t, "helper-root", "root"), Helped(t, "helper-user", testkit.User(t))}
}

// Helped is SSH, with a helper at the far end of every connection. Its home is a
// directory of its own, which the helper is placed in. More of env is NAME=VALUE.
func Helped(t testing.TB, name, login string, env ...string) Host {
	t.Helper()
	home := testkit.Dir(t)
	u, err := user.Lookup(login)
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.Atoi(u.Uid) // numbers on this system
	gid, _ := strconv.Atoi(u.Gid)
	if err := os.Chown(home, uid, gid); err != nil {
		t.Fatal(err)
	}
	h := SSH(t, name, login, testkit.ConfigLines("SetEnv HOME="+home+" "+strings.Join(env, " ")))
	h.Helper, h.Home = true, home
	return h
}

// SSH starts an sshd that logs in to the account login.
func SSH(t testing.TB, name, login string, opts ...testkit.SSHDOption) Host {
	t.Helper()
	s := testkit.SSHD(t, append(opts, testkit.LoginUser(login))...)
	return Host{
		Name: name, Root: login == "root", Server: s,
		target: target.Target{Name: name, Kind: target.SSH, Host: s.Host, Port: s.Port, User: s.User, KeyFile: s.ClientKeyFile},
		config: ssh.Config{KnownHosts: []string{s.KnownHostsFile(t)}, SSHConfig: "none", AgentSocket: "none"},
	}
}

// Dial connects to h; the connection closes when the test ends.
func (h Host) Dial(t testing.TB) transport.Conn {
	t.Helper()
	var conn transport.Conn
	if h.Server == nil {
		conn = local.Dial()
	} else {
		var err error
		if conn, err = ssh.Dial(t.Context(), h.target, h.config); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _ = conn.Close() }) // the test has had its answer
	if !h.Helper {
		return conn
	}
	c, err := (link.Helpers{Binaries: new(helperbin.Set)}).Start(t.Context(), conn, link.HelperOptions{Install: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(); <-c.Done() }) // first, so that nobody reads any more
	return executor.WithHelper(conn, c)
}

// Target is how to dial h, where it is not this machine.
func (h Host) Target() (target.Target, ssh.Config) { return h.target, h.config }

// Builtin returns a built-in profile.
func Builtin(t testing.TB, name string) profile.Profile {
	t.Helper()
	p, err := profilefile.Builtin(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// patience bounds waiting for what must happen.
const patience = 20 * time.Second

// Eventually returns when what reports "" and fails the test with its last
// answer if that takes longer than within.
func Eventually(t testing.TB, within time.Duration, what func() string) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(within); ; <-tick.C {
		problem := what()
		if problem == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %s: %s", within, problem)
		}
	}
}

// Gone waits until no process of this machine has marker among its arguments.
func Gone(t testing.TB, within time.Duration, marker string) {
	t.Helper()
	Eventually(t, within, func() string {
		if pids := With(marker); len(pids) > 0 {
			return "processes with " + marker + " are left: " + strings.Join(pids, ", ")
		}
		return ""
	})
}

// Sleeping reports whether the program sleep runs with marker as its argument.
func Sleeping(marker string) bool {
	return slices.ContainsFunc(With(marker), func(p string) bool { return strings.Contains(p, "(sleep "+marker) })
}

// Running waits until the program sleep runs with marker as its argument.
func Running(t testing.TB, marker string) {
	t.Helper()
	Eventually(t, patience, func() string {
		if !Sleeping(marker) {
			return "nothing sleeps " + marker
		}
		return ""
	})
}

// With lists the processes of this machine that have marker among their
// arguments, as "PID (arguments)".
func With(marker string) []string {
	var found []string
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		data, err := os.ReadFile(f)
		pid := filepath.Base(filepath.Dir(f))
		if err == nil && pid != strconv.Itoa(os.Getpid()) && strings.Contains(string(data), marker) {
			found = append(found, pid+" ("+strings.ReplaceAll(string(data[:min(len(data), 80)]), "\x00", " ")+")")
		}
	}
	return found
}

// cgroups lists the cgroup directories of runs.
func cgroups() []string {
	var dirs []string
	for _, pattern := range []string{"/sys/fs/cgroup/bowline-*", "/sys/fs/cgroup/memory/bowline-*", "/sys/fs/cgroup/pids/bowline-*"} {
		some, _ := filepath.Glob(pattern) // the patterns are well-formed
		dirs = append(dirs, some...)
	}
	return dirs
}

// orphaned reports whether the run that made a cgroup directory has ended.
func orphaned(dir string) bool {
	number, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), "bowline-"), "-") // of a helper, then its own
	pid, err := strconv.Atoi(number)
	return err == nil && syscall.Kill(pid, 0) == syscall.ESRCH
}

// WatchCgroups returns a check that every cgroup made since has gone with its
// run. Runs of other tests are waited for too.
func WatchCgroups(t testing.TB) (check func()) {
	t.Helper()
	before := cgroups()
	return func() {
		t.Helper()
		Eventually(t, patience, func() string {
			left := slices.DeleteFunc(cgroups(), func(d string) bool { return slices.Contains(before, d) || !orphaned(d) })
			if len(left) > 0 {
				return "cgroups are left: " + strings.Join(left, ", ")
			}
			return ""
		})
	}
}
