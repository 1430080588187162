// Package bench measures Bowline against the tools people use for the same work,
// both sides on the same sshd in the same run, turn by turn, so that what the
// machine does besides hits both. It reports ratios of medians; below 1 Bowline
// is faster. "make bench" runs it and docs/benchmarks.md keeps the figures.
package bench

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/internal/helperbin"
	"github.com/bowline-sh/bowline/internal/link"
	"github.com/bowline-sh/bowline/internal/sandbox"
	"github.com/bowline-sh/bowline/internal/testkit"
	"github.com/bowline-sh/bowline/internal/transport/ssh"
	"github.com/bowline-sh/bowline/profile"
	"github.com/bowline-sh/bowline/profile/profilefile"
	"github.com/bowline-sh/bowline/target"
)

// world is an sshd, a client configured for it, and ssh configured alike.
type world struct {
	server *testkit.Server
	client *bowline.Client
	env    []string // for our program
	ssh    []string // argv prefix that reaches the same server
	line   string   // the bubblewrap line Bowline runs, for ssh
}

var argv = []string{"true"}

// newWorld starts the sshd. The account's home is empty, so that its start-up
// files cost neither side anything.
func newWorld(b *testing.B, options ...testkit.SSHDOption) *world {
	b.Helper()
	dir := b.TempDir()
	s := testkit.SSHD(b, append(options, testkit.ConfigLines("SetEnv HOME="+testkit.Dir(b)))...)
	w := &world{server: s}
	cfg := bowline.Config{ConfigDir: filepath.Join(dir, "config", "bowline"), StateDir: filepath.Join(dir, "state", "bowline"), RuntimeDir: filepath.Join(dir, "run")}
	w.env = append(os.Environ(), "XDG_CONFIG_HOME="+filepath.Join(dir, "config"), "XDG_STATE_HOME="+filepath.Join(dir, "state"), "SSH_AUTH_SOCK=", "XDG_RUNTIME_DIR="+dir)
	b.Cleanup(func() { // the process that keeps links
		cmd := exec.Command("../../bin/bowline", "link", "close", "--all")
		cmd.Env = w.env
		mustRun(b, cmd)
	})
	c, err := bowline.Open(b.Context(), cfg)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := c.Close(); err != nil {
			b.Error(err)
		}
	})
	w.client = c
	t := target.Target{Name: "web1", Kind: target.SSH, Host: s.Host, Port: s.Port, User: s.User, KeyFile: s.ClientKeyFile}
	if _, err := c.AddTarget(b.Context(), t, s.HostKeyFingerprint, nil); err != nil {
		b.Fatal(err)
	}
	p, err := profilefile.Builtin(profile.DefaultName)
	if err != nil {
		b.Fatal(err)
	}
	w.line = bwrapLine(b, p)
	w.ssh = []string{testkit.Tool(b, "ssh"), "-F", "none", "-o", "IdentitiesOnly=yes", "-i", s.ClientKeyFile, "-o", "UserKnownHostsFile=" + s.KnownHostsFile(b),
		"-o", "BatchMode=yes", "-p", fmt.Sprint(s.Port), s.User + "@" + s.Host}
	return w
}

// bwrapLine is what a person would type to get the same confinement; the seccomp
// filter, which has no place on a command line, is left out.
func bwrapLine(b *testing.B, p profile.Profile) string {
	line, err := sandbox.Line(sandbox.Spec{Profile: p, Argv: argv}, func(file string) (dir, ok bool) {
		info, err := os.Stat(file)
		return err == nil && info.IsDir(), err == nil
	})
	if err != nil {
		b.Fatal(err)
	}
	return strings.Replace(line, "--seccomp 7 ", "", 1)
}

// ours runs the command through the Go API, and returns what the far side took.
func (w *world) ours(b *testing.B) time.Duration {
	res, err := w.client.Run(b.Context(), bowline.RunRequest{Target: "web1", Argv: argv})
	if err != nil || res.ExitCode != 0 {
		b.Fatalf("%+v, %v", res, err)
	}
	return res.Duration
}

// cli runs the command through bin/bowline.
// cli runs the command from the command line, with more environment.
func (w *world) cli(b *testing.B, env ...string) {
	cmd := exec.CommandContext(b.Context(), "../../bin/bowline", append([]string{"run", "-t", "web1", "--"}, argv...)...)
	cmd.Env = append(slices.Clone(w.env), env...)
	mustRun(b, cmd)
}

func mustRun(b *testing.B, cmd *exec.Cmd) {
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		b.Fatalf("%s: %v\n%s", cmd.Args, err, out.String())
	}
}

// peer runs the same bubblewrap line with ssh and the given options.
func (w *world) peer(b *testing.B, options ...string) {
	args := slices.Concat(w.ssh[1:], []string{w.line})
	mustRun(b, exec.CommandContext(b.Context(), w.ssh[0], append(options, args...)...))
}

// master starts an ssh ControlMaster and returns the options that use it.
func (w *world) master(b *testing.B) []string {
	dir, err := os.MkdirTemp("", "cm") // short: a socket's path is bounded
	if err != nil {
		b.Fatal(err)
	}
	path := filepath.Join(dir, "s")
	options := []string{"-o", "ControlPath=" + path}
	start := slices.Concat([]string{"-o", "ControlMaster=yes", "-o", "ControlPersist=600", "-N", "-f"}, options, w.ssh[1:])
	mustRun(b, exec.Command(w.ssh[0], start...))
	b.Cleanup(func() {
		stop := slices.Concat([]string{"-O", "exit"}, options, w.ssh[1:])
		_ = exec.Command(w.ssh[0], stop...).Run() // the server is about to go anyway
		_ = os.RemoveAll(dir)
	})
	return options
}

// rounds is how often each side runs.
const rounds = 60

// compare runs both turn by turn and reports the ratio of their medians.
func compare(b *testing.B, ours, peer func()) { compareRounds(b, rounds, ours, peer) }

func compareRounds(b *testing.B, n int, ours, peer func()) {
	ours()
	peer()
	var a, p []time.Duration
	for range n {
		a, p = append(a, timed(ours)), append(p, timed(peer))
	}
	b.ReportMetric(ms(median(a)), "ours_ms")
	b.ReportMetric(ms(median(p)), "peer_ms")
	b.ReportMetric(float64(median(a))/float64(median(p)), "ratio")
	b.ReportMetric(0, "ns/op")
}

func timed(f func()) time.Duration {
	start := time.Now()
	f()
	return time.Since(start)
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// BenchmarkWarmAPI: a sandboxed command on an open link, from Go, against ssh
// with ControlMaster running the same bubblewrap line.
func BenchmarkWarmAPI(b *testing.B) {
	w := newWorld(b)
	options := w.master(b)
	compare(b, func() { w.ours(b) }, func() { w.peer(b, options...) })
}

// BenchmarkWarmHelper: the same with a helper at the far end. far_ms is what the
// helper took, bubblewrap in it; the rest is the client's: audit, frame and SSH.
func BenchmarkWarmHelper(b *testing.B) {
	w := newWorld(b)
	w.placeHelper(b)
	options := w.master(b)
	var far []time.Duration
	compare(b, func() { far = append(far, w.ours(b)) }, func() { w.peer(b, options...) })
	b.ReportMetric(ms(median(far)), "far_ms")
}

// BenchmarkBubblewrapAlone: the same bubblewrap line, started here by a shell that
// becomes it: no API with one bubblewrap for each command can be faster.
func BenchmarkBubblewrapAlone(b *testing.B) {
	w := newWorld(b)
	options := w.master(b)
	compare(b, func() { mustRun(b, exec.CommandContext(b.Context(), "/bin/sh", "-c", "exec "+w.line)) }, func() { w.peer(b, options...) })
}

// placeHelper puts the helper where plans put it, and runs commands until it is
// in use: sshd starts no further session then.
func (w *world) placeHelper(b *testing.B) {
	s := w.server
	conn, err := ssh.Dial(b.Context(), target.Target{Name: "p", Kind: target.SSH, Host: s.Host, Port: s.Port, User: s.User, KeyFile: s.ClientKeyFile},
		ssh.Config{KnownHosts: []string{s.KnownHostsFile(b)}, SSHConfig: "none", AgentSocket: "none"})
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	if _, err := (link.Helpers{Binaries: new(helperbin.Set)}).Start(b.Context(), conn, link.HelperOptions{Install: true}); err != nil {
		b.Fatal(err)
	}
	w.ours(b)
	for last := -1; ; {
		n := strings.Count(s.Log(), "Starting session")
		if n == last {
			return
		}
		last = n
		w.ours(b)
	}
}

// BenchmarkWarmCLI: the same from the command line, over a link and a helper that the
// background process keeps.
func BenchmarkWarmCLI(b *testing.B) {
	w := newWorld(b)
	w.placeHelper(b)
	for range 3 { // it takes a helper that is there from the second command on
		w.cli(b)
	}
	options := w.master(b)
	compare(b, func() { w.cli(b) }, func() { w.peer(b, options...) })
}

// BenchmarkColdCLI: connect, authenticate, run, against ssh doing the same.
func BenchmarkColdCLI(b *testing.B) {
	w := newWorld(b)
	compare(b, func() { w.cli(b, "BOWLINE_PERSIST=off") }, func() { w.peer(b) })
}

// BenchmarkVersion: start of the program, against "ssh -V".
func BenchmarkVersion(b *testing.B) {
	ssh := testkit.Tool(b, "ssh")
	compare(b, func() { mustRun(b, exec.Command("../../bin/bowline", "version")) }, func() { mustRun(b, exec.Command(ssh, "-V")) })
}

// BenchmarkConcurrent: 100 commands at once through one client and one link.
func BenchmarkConcurrent(b *testing.B) {
	w := newWorld(b)
	w.ours(b)
	start := time.Now()
	errs := make(chan error, 100)
	for range 100 {
		go func() {
			_, err := w.client.Run(context.WithoutCancel(b.Context()), bowline.RunRequest{Target: "web1", Argv: argv, Stdout: io.Discard, Timeout: time.Minute})
			errs <- err
		}()
	}
	for range 100 {
		if err := <-errs; err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(100/time.Since(start).Seconds(), "commands/s")
	b.ReportMetric(0, "ns/op")
}
