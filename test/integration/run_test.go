// Package integration holds the product to its promises from outside, through
// package bowline alone, against a real sshd and a real bubblewrap. It needs
// bwrap, sshd and python3; what needs root says so.
package integration

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/helperbin"
	"github.com/bowline-sh/bowline/internal/link"
	"github.com/bowline-sh/bowline/internal/testkit"
	"github.com/bowline-sh/bowline/internal/transport/ssh"
	"github.com/bowline-sh/bowline/target"
)

// ways are the ways to a target that must not differ.
func ways(t *testing.T, f func(t *testing.T, c *bowline.Client, name string)) {
	t.Run("local", func(t *testing.T) { f(t, open(t), bowline.LocalTarget) })
	t.Run("ssh", func(t *testing.T) { f(t, open(t, testkit.SSHD(t)), "t0") })
	if os.Geteuid() == 0 {
		t.Run("ssh as an ordinary user", func(t *testing.T) {
			f(t, open(t, testkit.SSHD(t, testkit.LoginUser(testkit.User(t)))), "t0")
		})
	}
	t.Run("https", func(t *testing.T) { f(t, openLent(t), "t0") })
	t.Run("ssh with a helper", func(t *testing.T) { f(t, openHelped(t), "t0") })
	if os.Geteuid() == 0 {
		t.Run("ssh with a helper as an ordinary user", func(t *testing.T) { f(t, openHelped(t, testkit.LoginUser(testkit.User(t))), "t0") })
	}
}

// openHelped returns a client whose target t0 has a helper, which is in use.
func openHelped(t *testing.T, opts ...testkit.SSHDOption) *bowline.Client {
	t.Helper()
	home := testkit.Dir(t)
	if err := os.Chmod(home, 0o777); err != nil { // whoever logs in
		t.Fatal(err)
	}
	s := testkit.SSHD(t, append(opts, testkit.ConfigLines("SetEnv HOME="+home))...)
	c := open(t, s)
	placeHelper(t, s)
	useHelper(t, c, s)
	return c
}

// useHelper runs commands until they start no sessions: the helper is looked for
// beside them.
func useHelper(t *testing.T, c *bowline.Client, s *testkit.Server) (sessions func() int) {
	t.Helper()
	sessions = func() int { return strings.Count(s.Log(), "Starting session") }
	run(t, c, bowline.RunRequest{Target: "t0", Argv: []string{"true"}})
	for deadline, last := time.Now().Add(20*time.Second), -1; sessions() != last; {
		last = sessions()
		run(t, c, bowline.RunRequest{Target: "t0", Argv: []string{"true"}})
		if time.Now().After(deadline) {
			t.Fatal("the helper is not used")
		}
	}
	return sessions
}

// open returns a client with a target t0, t1, ... for each server.
func open(t *testing.T, servers ...*testkit.Server) *bowline.Client {
	t.Helper()
	return openWith(t, "", servers...)
}

// openWith is open with more text in the configuration. Passphrases are "open sesame".
func openWith(t *testing.T, table string, servers ...*testkit.Server) *bowline.Client {
	t.Helper()
	return openIn(t, t.TempDir(), table, servers...)
}

// openIn is openWith for a client that keeps all in dir.
func openIn(t *testing.T, dir, table string, servers ...*testkit.Server) *bowline.Client {
	t.Helper()
	t.Setenv("SSH_AUTH_SOCK", "")
	if table != "" {
		if err := os.Mkdir(filepath.Join(dir, "config"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "config", "config.toml"), []byte(table), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := bowline.Open(t.Context(), bowline.Config{ConfigDir: filepath.Join(dir, "config"), StateDir: filepath.Join(dir, "state"), RuntimeDir: dir,
		Prompt: func(context.Context, string, bool) (string, error) { return "open sesame", nil }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	for i, s := range servers {
		tg := target.Target{Name: fmt.Sprintf("t%d", i), Kind: target.SSH, Host: s.Host, Port: s.Port, User: s.User, KeyFile: s.ClientKeyFile}
		if _, err := c.AddTarget(t.Context(), tg, s.HostKeyFingerprint, nil); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func run(t *testing.T, c *bowline.Client, req bowline.RunRequest) bowline.RunResult {
	t.Helper()
	res, err := c.Run(t.Context(), req)
	if err != nil {
		t.Fatalf("%q: %v", req.Argv, err)
	}
	return res
}

// sh is a request for a shell line under the profile that allows any program.
func sh(name, line string) bowline.RunRequest {
	return bowline.RunRequest{Target: name, Profile: "script", Argv: []string{"sh", "-c", line}}
}

func TestRunAnswers(t *testing.T) {
	want, err := os.ReadFile("/etc/os-release")
	if err != nil {
		t.Fatal(err)
	}
	ways(t, func(t *testing.T, c *bowline.Client, name string) {
		res := run(t, c, bowline.RunRequest{Target: name, Argv: []string{"cat", "/etc/os-release"}})
		if !bytes.Equal(res.Stdout, want) || res.ExitCode != 0 || len(res.Stderr) != 0 {
			t.Errorf("cat /etc/os-release: %+v", res)
		}
		if res := run(t, c, sh(name, "exit 42")); res.ExitCode != 42 || res.Signal != "" {
			t.Errorf("exit 42: %+v", res)
		}
		if res := run(t, c, sh(name, "kill -9 $$")); res.ExitCode != 137 || res.Signal != "KILL" {
			t.Errorf("kill -9: %+v", res)
		}
		start := time.Now()
		if res := run(t, c, bowline.RunRequest{Target: name, Argv: []string{"cat"}}); res.ExitCode != 0 || len(res.Stdout) != 0 {
			t.Errorf("cat without input: %+v", res)
		}
		if d := time.Since(start); d > 10*time.Second {
			t.Errorf("cat without input took %s", d)
		}
		res = run(t, c, sh(name, "head -c 20971520 /dev/zero"))
		if !res.Truncated || res.StdoutBytes != 20<<20 || len(res.Stdout) != 10<<20 || res.ExitCode != 0 {
			t.Errorf("20 MiB: truncated %v, %d bytes, %d kept", res.Truncated, res.StdoutBytes, len(res.Stdout))
		}
	})
}

// TestTimeoutReachesTheFarSide: 124 in under 3 s, and nothing is left running.
func TestTimeoutReachesTheFarSide(t *testing.T) {
	ways(t, func(t *testing.T, c *bowline.Client, name string) {
		run(t, c, bowline.RunRequest{Target: name, Argv: []string{"true"}}) // the link is up
		mark := fmt.Sprintf("%d.%d", 7000+os.Getpid()%1000, time.Now().UnixNano()%1e9)
		start := time.Now()
		res := run(t, c, bowline.RunRequest{Target: name, Argv: []string{"sleep", mark}, Timeout: time.Second})
		if !res.TimedOut || res.ExitCode != 124 || time.Since(start) > 3*time.Second {
			t.Errorf("%+v after %s", res, time.Since(start))
		}
		gone(t, mark)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			seen(t, mark)
			cancel()
		}()
		_, err := c.Run(ctx, bowline.RunRequest{Target: name, Argv: []string{"sleep", mark}})
		if diag.KindOf(err) != diag.Canceled {
			t.Errorf("cancelled run: %v", err)
		}
		gone(t, mark)
		if res := run(t, c, bowline.RunRequest{Target: name, Argv: []string{"echo", "still here"}}); string(res.Stdout) != "still here\n" {
			t.Errorf("the link after a timeout: %+v", res)
		}
	})
}

// processes lists the command lines of the host that hold mark.
func processes(t testing.TB, mark string) (found []string) {
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Error(err)
	}
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil && bytes.Contains(b, []byte(mark)) { // others come and go
			found = append(found, strings.ReplaceAll(string(b), "\x00", " "))
		}
	}
	return found
}

func seen(t testing.TB, mark string) {
	for deadline := time.Now().Add(20 * time.Second); len(processes(t, mark)) == 0; {
		if time.Now().After(deadline) {
			t.Errorf("%s never started", mark)
			return
		}
		runtime.Gosched()
	}
}

// gone waits for the kernel to take away what was killed.
func gone(t *testing.T, mark string) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Second)
	for len(processes(t, mark)) > 0 {
		if time.Now().After(deadline) {
			t.Errorf("left running: %q", processes(t, mark))
			return
		}
		runtime.Gosched()
	}
}

// TestOutOfReach: what a command must not do or see, each with the same words on
// every way.
func TestOutOfReach(t *testing.T) {
	t.Setenv("BOWLINE_TEST_SECRET", "visible")
	socket := hostSocket(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	port := listener.Addr().(*net.TCPAddr).Port
	ways(t, func(t *testing.T, c *bowline.Client, name string) {
		for _, tt := range []struct{ what, line, want string }{
			{"write", "touch /usr/x; touch /etc/x; touch /bin/x; touch /x", ""},
			{"shadow", "cat /etc/shadow", ""},
			{"host keys", "cat /etc/ssh/*_key", ""},
			{"login's keys", "ls -A /root/.ssh /home/*/.ssh", ""},
			{"sockets of /run", "ls -d /run/*.sock /run/dbus 2>/dev/null", ""},
			{"Unix socket", "python3 -c 'import socket; s=socket.socket(socket.AF_UNIX); s.connect(\"" + socket + "\"); print(\"connected\")'", ""},
			{"network", fmt.Sprintf("python3 -c 'import socket; s=socket.create_connection((\"127.0.0.1\",%d),3); print(\"connected\")'", port), ""},
			{"interfaces", "tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' ' | grep -v '^lo$'", ""},
			{"environment", "env | grep -c -e SECRET -e SSH -e SUDO", "0\n"},
			{"host processes", fmt.Sprintf("ls -d /proc/%d 2>/dev/null; ls -d /proc/[0-9]* | wc -l | grep -v '^[1-9]$'", os.Getpid()), ""},
			{"capabilities", "grep -c -e 'Cap...:.0000000000000000' /proc/self/status", "5\n"},
			{"new privileges", "grep NoNewPrivs /proc/self/status", "NoNewPrivs:\t1\n"},
		} {
			res := run(t, c, sh(name, tt.line))
			if string(res.Stdout) != tt.want {
				t.Errorf("%s: printed %q, want %q (stderr %q)", tt.what, res.Stdout, tt.want, res.Stderr)
			}
		}
		for _, f := range []string{"/usr/x", "/etc/x", "/bin/x", "/x"} {
			if _, err := os.Lstat(f); err == nil {
				t.Errorf("%s was made on the host", f)
			}
		}
		_, err := c.Run(t.Context(), bowline.RunRequest{Target: name, Argv: []string{"id"}})
		if diag.KindOf(err) != diag.Refused {
			t.Errorf("id outside the allow-list: %v", err)
		}
		_, err = c.Run(t.Context(), bowline.RunRequest{Target: name, Argv: []string{"/usr/bin/../bin/cat", "/etc/hosts"}})
		if diag.KindOf(err) != diag.Refused {
			t.Errorf("an unclean path: %v", err)
		}
	})
}

// hostSocket listens on a Unix socket that any account may connect to, below a
// path that the profiles show.
func hostSocket(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if os.Geteuid() == 0 {
		dir = "/srv/bowline-test-" + fmt.Sprint(os.Getpid())
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := os.RemoveAll(dir); err != nil {
				t.Error(err)
			}
		})
	}
	path := filepath.Join(dir, "host.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	if err := os.Chmod(path, 0o777); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestHundredAtOnce: 100 commands through one Client to one sshd with its default
// limits, over one connection.
func TestHundredAtOnce(t *testing.T) {
	s := testkit.SSHD(t, testkit.ConfigLines("MaxSessions 10", "MaxStartups 10:30:100"))
	c := open(t, s)
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			res, err := c.Run(t.Context(), bowline.RunRequest{Target: "t0", Argv: []string{"echo", fmt.Sprint(i)}, Timeout: time.Minute})
			if err != nil || string(res.Stdout) != fmt.Sprintln(i) {
				t.Errorf("run %d: %q, %v", i, res.Stdout, err)
			}
		})
	}
	wg.Wait()
	// One for adding the target, one for the commands.
	if n := strings.Count(s.Log(), "Accepted publickey"); n != 1 {
		t.Errorf("%d logins, want 1", n)
	}
	report, err := c.VerifyAudit(t.Context())
	if err != nil || !report.OK || report.Entries != 202 {
		t.Errorf("audit: %+v, %v", report, err)
	}
}

// TestLostLink: a link that drops in mid-command is an error that claims nothing.
func TestLostLink(t *testing.T) {
	s := testkit.SSHD(t)
	c := open(t, s)
	mark := fmt.Sprintf("7.%d", time.Now().UnixNano())
	go func() {
		seen(t, mark)
		s.SignalSessions(t, 9)
	}()
	_, err := c.Run(t.Context(), bowline.RunRequest{Target: "t0", Argv: []string{"sleep", mark}})
	if diag.KindOf(err) != diag.Lost || !strings.Contains(err.Error(), "nothing is known of the outcome") {
		t.Errorf("lost link: %v", err)
	}
	gone(t, mark)
	if res := run(t, c, bowline.RunRequest{Target: "t0", Argv: []string{"true"}}); res.ExitCode != 0 {
		t.Errorf("the next command: %+v", res)
	}
}

// TestHelperChangesNothing: with a helper at the far end every answer is the same,
// and commands do not start login shells any more.
func TestHelperChangesNothing(t *testing.T) {
	s := testkit.SSHD(t, testkit.ConfigLines("SetEnv HOME="+testkit.Dir(t)))
	c := open(t, s)
	placeHelper(t, s)
	logins := useHelper(t, c, s)
	before := logins()
	res := run(t, c, sh("t0", "printf 'a\\377'; echo err >&2; kill -9 $$"))
	if string(res.Stdout) != "a\xff" || string(res.Stderr) != "err\n" || res.ExitCode != 137 || res.Signal != "KILL" {
		t.Errorf("%+v", res)
	}
	if res := run(t, c, sh("t0", "head -c 20971520 /dev/zero")); !res.Truncated || len(res.Stdout) != 10<<20 || res.StdoutBytes != 20<<20 {
		t.Errorf("truncated %v, %d kept of %d", res.Truncated, len(res.Stdout), res.StdoutBytes)
	}
	res = run(t, c, bowline.RunRequest{Target: "t0", Argv: []string{"cat"}, Stdin: strings.NewReader("in\n")})
	if string(res.Stdout) != "in\n" {
		t.Errorf("%+v", res)
	}
	mark := fmt.Sprintf("7.%d", time.Now().UnixNano())
	if res := run(t, c, bowline.RunRequest{Target: "t0", Argv: []string{"sleep", mark}, Timeout: time.Second}); !res.TimedOut || res.ExitCode != 124 {
		t.Errorf("%+v", res)
	}
	gone(t, mark)
	if _, err := c.Run(t.Context(), bowline.RunRequest{Target: "t0", Profile: "script", Argv: []string{"no-such-program"}}); diag.KindOf(err) != diag.NotFound {
		t.Errorf("not found: %v", err)
	}
	go func() {
		seen(t, mark)
		s.SignalSessions(t, 9)
	}()
	if _, err := c.Run(t.Context(), bowline.RunRequest{Target: "t0", Argv: []string{"sleep", mark}}); diag.KindOf(err) != diag.Lost {
		t.Errorf("lost link: %v", err)
	}
	gone(t, mark)
	if after := logins(); after != before {
		t.Errorf("%d sessions were started beside the helper's", after-before)
	}
}

// placeHelper puts the helper where plans would have put it.
func placeHelper(t *testing.T, s *testkit.Server) {
	t.Helper()
	conn, err := ssh.Dial(t.Context(), target.Target{Name: "p", Kind: target.SSH, Host: s.Host, Port: s.Port, User: s.User, KeyFile: s.ClientKeyFile},
		ssh.Config{KnownHosts: []string{s.KnownHostsFile(t)}, SSHConfig: "none", AgentSocket: "none"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := (link.Helpers{Binaries: new(helperbin.Set)}).Start(t.Context(), conn, link.HelperOptions{Install: true}); err != nil {
		t.Fatal(err)
	}
}
