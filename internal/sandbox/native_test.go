//go:build linux

package sandbox_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/sandbox"
	"github.com/bowline-sh/bowline/internal/sandbox/sandboxtest"
	"github.com/bowline-sh/bowline/internal/testkit"
	"github.com/bowline-sh/bowline/internal/transport"
	"github.com/bowline-sh/bowline/internal/transport/local"
	"github.com/bowline-sh/bowline/profile"
	"github.com/bowline-sh/bowline/profile/profilefile"
)

// survey prints all that a command can see of how it is confined.
const survey = `
cat /proc/self/mountinfo; grep -E '^(Uid|Gid|Groups|SigBlk|SigIgn|SigCgt|Shd|Cap|NoNew|Seccomp|Umask|Speculation|THP)' /proc/self/status
cat /proc/self/limits /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups /proc/self/oom_score_adj /proc/self/cgroup
tr '\0' '\n' < /proc/self/environ | sort; umask; pwd; id; hostname; cut -d : -f 1 /proc/net/dev
PROCESSES
for p in 1 self; do for f in /proc/$p/fd/*; do echo $p ${f##*/} $(readlink $f); done; done
ls -lanR /dev /tmp /home 2>&1; stat -c '%n %a %u %g %F' / /* /etc/* /run/* /var/* /proc/* /proc/sys/kernel/core_pattern 2>/dev/null | grep -v '^/proc/[0-9]'
for d in / /dev /dev/shm /etc /usr /tmp /proc /proc/sys /sys /run; do touch $d/x 2>&1 | sed "s/$$/N/"; done
chmod 777 /dev/null 2>&1; echo > /dev/null; nice; cat /proc/self/timerslack_ns /proc/self/personality 2>/dev/null
cat; exit 7`

// processes is the part of it that says more of the host where its /proc is shown.
const processes = `cut -d ' ' -f 1,4-8 /proc/self/stat; for p in /proc/[0-9]*; do tr '\0' ' ' < $p/cmdline | cut -c 1-20; done`

// passing are the parts of a survey that are not the same twice.
var passing = []*regexp.Regexp{
	regexp.MustCompile(`(?m)^\d+ \d+ \d+:\d+ `),                      // mountinfo: numbers of mounts and anonymous devices
	regexp.MustCompile(`(shared|master|peer):\d+`),                   // mountinfo: groups
	regexp.MustCompile(`(pipe|socket|net|ns):\[\d+\]`),               // numbers of pipes
	regexp.MustCompile(`(?m)^Max processes .*$`),                     // the load comes on top
	regexp.MustCompile(`/bowline-[\d-]+`),                            // cgroups
	regexp.MustCompile(`\w{3} +\d+ +(\d\d:\d\d|\d{4})`),              // ls
	regexp.MustCompile(`\d+ anon_inode:\[eventfd\]`),                 // of bubblewrap: we give it one descriptor more
	regexp.MustCompile(`(?s)exit code 1: .*system call filtering.*`), // two of its processes speak at once
	regexp.MustCompile(`(--block-fd 4 )?--unsetenv bowline_\w+`),
}

func steady(text string) string {
	for _, re := range passing {
		text = re.ReplaceAllString(text, "*")
	}
	return text
}

// difference is a spec and an input.
type difference struct {
	name string
	cmd  sandbox.Command
	in   string
}

func differences(t *testing.T) []difference {
	var all []difference
	add := func(name string, cmd sandbox.Command, in string) { all = append(all, difference{name, cmd, in}) }
	for _, name := range profilefile.BuiltinNames() {
		p := sandboxtest.Builtin(t, name)
		add("built-in "+name, sandbox.Command{Spec: sandbox.Spec{Profile: p, Argv: []string{"sh", "-c", survey}}}, "")
	}
	change := func(name string, f func(*sandbox.Command)) {
		cmd := sh(t, survey)
		f(&cmd)
		add(name, cmd, "")
	}
	change("no limits", func(c *sandbox.Command) { c.Profile.Limits = profile.Limits{} })
	change("odd limits", func(c *sandbox.Command) {
		c.Profile.Limits = profile.Limits{Memory: 100<<20 + 77, CPUSeconds: 7, OpenFiles: 77, Processes: 33, Output: 1<<20 + 1} // what is cut of it holds mount numbers
	})
	change("little memory", func(c *sandbox.Command) { c.Profile.Limits.Memory = 8 << 20 })
	change("more files than allowed", func(c *sandbox.Command) { c.Profile.Limits.OpenFiles = 1 << 19 })
	change("login's environment", func(c *sandbox.Command) { c.Profile.ClearEnv = false; c.Env = map[string]string{"A": "b\nc"} })
	change("network, sockets", func(c *sandbox.Command) { c.Profile.NetworkIsolation = false; c.Profile.UnixSockets = true })
	change("no user namespace", func(c *sandbox.Command) { c.Profile.UserNamespaceIsolation = false })
	change("whole root", func(c *sandbox.Command) {
		c.Profile.Binds = []profile.Bind{{Source: "/", Target: "/", ReadOnly: true}}
	})
	change("host's proc", func(c *sandbox.Command) { c.Profile.HostProc = true; c.Argv[2] = "cat /proc/self/mountinfo" })
	change("more options", func(c *sandbox.Command) {
		c.Profile.AdditionalArgs = []string{"--dir", "/extra dir", "--symlink", "a", "/link"}
	})
	change("filter of its own", func(c *sandbox.Command) { c.Profile.SeccompProfile = []byte{6, 0, 0, 0, 0, 0, 0xff, 0x7f} })
	change("cwd", func(c *sandbox.Command) { c.Cwd = "/usr/share" })
	change("no such cwd", func(c *sandbox.Command) { c.Cwd = "/no such" })
	change("bad option", func(c *sandbox.Command) { c.Profile.AdditionalArgs = []string{"--nosuch"} })
	change("bad filter", func(c *sandbox.Command) { c.Profile.SeccompProfile = []byte{1, 2, 3, 4, 5, 6, 7, 8} })
	change("bind inside read-only", func(c *sandbox.Command) {
		c.Profile.Binds = append(c.Profile.Binds, profile.Bind{Source: "/etc", Target: "/usr/no/such/place", ReadOnly: true})
	})
	change("output beyond the limit", func(c *sandbox.Command) {
		c.Profile.Limits.Output = 1000
		c.Argv[2] = "head -c 5000 /dev/zero; head -c 3000 /dev/zero >&2"
	})
	for _, argv := range [][]string{{"nosuch"}, {"/etc"}, {"/etc/passwd"}, {"sh", "-c", "exit 3"}, {"sh", "-c", "kill -9 $$"}, {"sh", "-c", "kill -PIPE $$"},
		{"sh", "-c", "echo bwrap: no >&2; exit 1"}, {"printf", "%s|", "", "\xff", "a\nb", "'", "--"}, {"true", strings.Repeat("x", 200<<10)}, {"true", "a\x00b"}, {"sh", "-c", "echo $$; ps ax -o pid,ppid,sess,args"}, {""}} {
		add(fmt.Sprintf("%.40q", argv), script(t, argv...), "")
	}
	add("input", script(t, "cat"), "in\x00put\n")
	timeout := sh(t, "echo before; sleep 100 & sleep 100")
	timeout.Timeout = 700 * time.Millisecond
	add("timeout", timeout, "")
	return all
}

// TestNativeIsTheShell runs everything twice, with a shell and without: whatever a
// command can see, and whatever its caller is told, is the same.
func TestNativeIsTheShell(t *testing.T) {
	for _, login := range []string{"root", testkit.User(t)} {
		h := sandboxtest.Helped(t, "helper", login)
		native := h.Dial(t)
		h.Helper = false
		shell := h.Dial(t)
		for _, d := range differences(t) {
			t.Run(login+"/"+d.name, func(t *testing.T) {
				a, b := told(t, shell, d), told(t, native, d)
				if a != b {
					t.Errorf("they differ:\n%s", firstDifference(a, b))
				}
			})
		}
	}
}

// told is all that a run gives its caller but for what is not the same twice.
func told(t *testing.T, conn transport.Conn, d difference) string {
	cmd := d.cmd
	if part := processes; cmd.Argv[0] == "sh" {
		if cmd.Profile.HostProc {
			part = ""
		}
		cmd.Argv = []string{"sh", "-c", strings.Replace(cmd.Argv[2], "PROCESSES", part, 1)}
	}
	if d.in != "" {
		cmd.Stdin = strings.NewReader(d.in)
	}
	o := try(t.Context(), conn, cmd)
	o.Duration = 0
	if last := cmd.Argv[len(cmd.Argv)-1]; strings.Contains(last, "mountinfo") || strings.Contains(last, "ps ax") {
		o.StdoutBytes = 0
	}
	text := ""
	if o.err != nil {
		text = fmt.Sprintf("%s: %s\n%s", diag.KindOf(o.err), o.err, diag.HintOf(o.err))
	}
	return steady(fmt.Sprintf("%s\nstderr %s\n%+v\n%s", o.out, o.log, o.Result, text))
}

func firstDifference(a, b string) string {
	as, bs := strings.Split(a, "\n"), strings.Split(b, "\n")
	var out []string
	for i := range max(len(as), len(bs)) {
		var x, y string
		if i < len(as) {
			x = as[i]
		}
		if i < len(bs) {
			y = bs[i]
		}
		if x != y && len(out) < 12 {
			out = append(out, fmt.Sprintf("%d shell  %.300q\n%d native %.300q", i, x, i, y))
		}
	}
	return strings.Join(out, "\n")
}

// helpers finds the helpers that run from a home directory.
func helpers(t *testing.T, home string) []int {
	t.Helper()
	var pids []int
	files, _ := filepath.Glob("/proc/[0-9]*/exe")
	for _, f := range files {
		exe, _ := os.Readlink(f) // it may have ended
		args, _ := os.ReadFile(filepath.Join(filepath.Dir(f), "cmdline"))
		if !strings.HasPrefix(exe, home+"/") || strings.HasPrefix(string(args), "bowline-") {
			continue // a guard is a helper under another name
		}
		var pid int
		if _, err := fmt.Sscan(filepath.Base(filepath.Dir(f)), &pid); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// TestHelperKilled: whatever a command does, and however far bubblewrap has come,
// nothing of it survives a helper that is killed, nor do its cgroups.
func TestHelperKilled(t *testing.T) {
	for _, login := range []string{"root", testkit.User(t)} {
		t.Run(login, func(t *testing.T) {
			h := sandboxtest.Helped(t, "helper", login)
			for after := range 12 {
				conn := h.Dial(t)
				found := helpers(t, h.Home)
				if len(found) != 1 {
					t.Fatalf("helpers %v, want one", found)
				}
				pid := found[0]
				marker := marked()
				ran(t, try(t.Context(), conn, script(t, "true"))) // the guard is there
				done := make(chan outcome, 1)
				go func() { done <- try(t.Context(), conn, sh(t, "setsid sleep "+marker+" & sleep "+marker)) }()
				if after < 2 {
					sandboxtest.Running(t, marker)
				}
				time.Sleep(time.Duration(after) * time.Millisecond) // another stage of the start each time
				if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
				if o := <-done; diag.KindOf(o.err) != diag.Lost {
					t.Errorf("%+v %v (%s), want kind lost", o.Result, o.err, diag.KindOf(o.err))
				}
				sandboxtest.Gone(t, grace, marker)
				sandboxtest.Eventually(t, grace, func() string {
					var left []string
					for _, pattern := range []string{"/sys/fs/cgroup/bowline-%d-*", "/sys/fs/cgroup/memory/bowline-%d-*", "/sys/fs/cgroup/pids/bowline-%d-*"} {
						some, _ := filepath.Glob(fmt.Sprintf(pattern, pid))
						left = append(left, some...)
					}
					return strings.Join(append(left, sandboxtest.With(fmt.Sprintf("\x00%d\x00", pid))...), " ") // the guard names its charge
				})
			}
		})
	}
}

// TestHostMounts: what root mounts and unmounts between two commands is there for
// the second one, and not kept in use by what waits between them.
func TestHostMounts(t *testing.T) {
	conn := sandboxtest.Helped(t, "helper", "root").Dial(t)
	dir := testkit.Dir(t)
	p := sandboxtest.Builtin(t, "script")
	p.Binds = append(p.Binds, profile.Bind{Source: dir, Target: "/data", ReadOnly: true})
	ls := sandbox.Command{Spec: sandbox.Spec{Profile: p, Argv: []string{"ls", "/data"}}}
	for range 3 {
		if o := ran(t, try(t.Context(), conn, ls)); o.out != "" {
			t.Errorf("before: %q", o.out)
		}
		if err := syscall.Mount("bowline-test", dir, "tmpfs", 0, ""); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "mounted"), nil, 0o644); err != nil {
			t.Error(err)
		}
		if o := ran(t, try(t.Context(), conn, ls)); o.out != "mounted\n" {
			t.Errorf("mounted: %q", o.out)
		}
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Fatal(err)
		}
		sandboxtest.Eventually(t, grace, func() string { return inUse(t, "bowline-test", dir) })
	}
}

// inUse says who has a file system mounted at dir.
func inUse(t *testing.T, source, dir string) string {
	t.Helper()
	files, _ := filepath.Glob("/proc/[0-9]*/task/*/mountinfo")
	for _, f := range files {
		if data, err := os.ReadFile(f); err == nil && strings.Contains(string(data), dir+" ") && strings.Contains(string(data), source) {
			return dir + " is still mounted for " + f
		}
	}
	return ""
}

// TestLimitsBetweenCommands: what is kept between commands limits the next one as
// it asks.
func TestLimitsBetweenCommands(t *testing.T) {
	conn := sandboxtest.Helped(t, "helper", "root").Dial(t)
	for i := range 12 {
		cmd := sh(t, "head -c 60000000 /dev/zero > /tmp/f && echo fits; i=0; while [ $i -lt 30 ]; do sleep 5 & i=$((i + 1)); done; echo all")
		fits := i%3 != 1
		cmd.Profile.Limits.Memory, cmd.Profile.Limits.Processes = 200<<20, 100
		switch i % 3 {
		case 1:
			cmd.Profile.Limits.Memory = 30 << 20
			cmd.Argv[2] = "head -c 60000000 /dev/zero > /tmp/f && echo fits"
		case 2:
			cmd.Profile.Limits.Processes = 20
		}
		o := try(t.Context(), conn, cmd)
		if diag.KindOf(o.err) == diag.Lost && !fits {
			continue // the kernel chose bubblewrap
		}
		ran(t, o)
		if got := strings.HasPrefix(o.out, "fits\n"); got != fits {
			t.Errorf("run %d: %q %q, fits %v", i, o.out, o.log, fits)
		}
		if got := strings.HasSuffix(o.out, "all\n"); got != (i%3 == 0) {
			t.Errorf("run %d: %q %q: all of 30 processes started: %v", i, o.out, o.log, got)
		}
	}
}

// TestManyAtOnce: runs do not get into each other's way.
func TestManyAtOnce(t *testing.T) {
	for _, login := range []string{"root", testkit.User(t)} {
		conn := sandboxtest.Helped(t, "helper", login).Dial(t)
		errs := make(chan error)
		for i := range 60 {
			cmd := sh(t, fmt.Sprintf("cat; exit %d", i))
			cmd.Stdin = io.LimitReader(zeros{}, int64(i)*10_000)
			go func() {
				o := try(t.Context(), conn, cmd)
				var wrong error
				if o.ExitCode != i || len(o.out) != i*10_000 {
					wrong = fmt.Errorf("run %d: %+v", i, o.Result)
				}
				errs <- errors.Join(o.err, wrong)
			}()
		}
		for range 60 {
			if err := <-errs; err != nil {
				t.Errorf("%s: %v", login, err)
			}
		}
	}
}

// TestNativeInProcess keeps a Native in this process, where a race would be seen,
// and sees that nothing of it is left.
func TestNativeInProcess(t *testing.T) {
	shell := func(context.Context, sandbox.Command) (sandbox.Result, error) {
		return sandbox.Result{}, errors.New("it went to the shell")
	}
	defer syscall.Umask(syscall.Umask(0o077)) // must not reach commands
	n := sandbox.NewNative(shell)
	conn := runner{Conn: local.Dial(), native: n}
	defer conn.Close()
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			cmd := sh(t, "cat; umask; echo err >&2; exit 4")
			cmd.Stdin = strings.NewReader("in")
			if i%4 == 3 {
				cmd = sh(t, "sleep 100 & sleep 100")
				cmd.Timeout = 50 * time.Millisecond
			}
			o := try(t.Context(), conn, cmd)
			if o.err != nil || !o.TimedOut && (o.ExitCode != 4 || o.out != "in0022\n" || o.log != "err\n") {
				t.Errorf("%+v %v", o, o.err)
			}
		})
	}
	wg.Wait()
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	left, _ := filepath.Glob(fmt.Sprintf("/sys/fs/cgroup/*/bowline-%d-*", os.Getpid()))
	if guard := sandboxtest.With("bowline-guard"); len(left) > 0 || slices.ContainsFunc(guard, func(p string) bool { return strings.Contains(p, fmt.Sprint(" ", os.Getpid(), " ")) }) {
		t.Errorf("left behind: %v %v", left, guard)
	}
}

// runner is this machine with a Native.
type runner struct {
	transport.Conn
	native *sandbox.Native
}

func (r runner) RunSandboxed(ctx context.Context, cmd sandbox.Command) (sandbox.Result, error) {
	return r.native.Exec(ctx, cmd)
}

// BenchmarkNative is a command under the default profile; what bubblewrap itself
// takes is in docs/benchmarks.md.
func BenchmarkNative(b *testing.B) {
	n := sandbox.NewNative(nil)
	defer n.Close()
	cmd := sandbox.Command{Spec: sandbox.Spec{Profile: sandboxtest.Builtin(b, profile.DefaultName), Argv: []string{"true"}}}
	for b.Loop() {
		if _, err := n.Exec(b.Context(), cmd); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkShell is the same through a shell.
func BenchmarkShell(b *testing.B) {
	conn := local.Dial()
	defer conn.Close()
	cmd := sandbox.Command{Spec: sandbox.Spec{Profile: sandboxtest.Builtin(b, profile.DefaultName), Argv: []string{"true"}}}
	for b.Loop() {
		if _, err := sandbox.Exec(b.Context(), conn, cmd); err != nil {
			b.Fatal(err)
		}
	}
}
