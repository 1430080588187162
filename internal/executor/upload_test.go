//go:build linux

package executor_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/audit"
	"github.com/bowline-sh/bowline/internal/executor"
	"github.com/bowline-sh/bowline/internal/link"
	"github.com/bowline-sh/bowline/internal/policy"
	"github.com/bowline-sh/bowline/internal/testkit"
	"github.com/bowline-sh/bowline/internal/transport"
	"github.com/bowline-sh/bowline/internal/transport/ssh"
	"github.com/bowline-sh/bowline/profile"
	"github.com/bowline-sh/bowline/profile/profilefile"
	"github.com/bowline-sh/bowline/target"
)

// world is an executor with a real sshd, whose account has a home of its own.
type world struct {
	*executor.Executor
	t    *testing.T
	home string
}

func newWorld(t *testing.T, home string, options ...testkit.SSHDOption) *world {
	t.Helper()
	if err := os.Chmod(home, 0o777); err != nil {
		t.Fatal(err)
	}
	s := testkit.SSHD(t, append(options, testkit.ConfigLines("SetEnv HOME="+home+" XDG_RUNTIME_DIR="))...)
	dialer := ssh.New(ssh.Config{KnownHosts: []string{s.KnownHostsFile(t)}, SSHConfig: "none", AgentSocket: "none"})
	pool := link.NewPool(func(ctx context.Context, t target.Target) (transport.Conn, error) {
		c, err := dialer.Dial(ctx, t)
		if err != nil {
			return nil, err
		}
		return c, nil
	}, nil)
	t.Cleanup(func() { _ = pool.Close() })
	return &world{t: t, home: home, Executor: executor.New(executor.Config{
		Target: func(name string) (target.Target, error) {
			return target.Target{Name: name, Kind: target.SSH, Host: s.Host, Port: s.Port, User: s.User, KeyFile: s.ClientKeyFile}, nil
		},
		Profile: func(name string) (profile.Profile, error) { return profilefile.Builtin(name) },
		Default: "script", Links: pool, Recorder: nobody{}, Gate: openGate{},
	})}
}

type nobody struct{}

func (nobody) Begin(context.Context, audit.Intent) (string, error) { return "1", nil }
func (nobody) End(context.Context, string, audit.Outcome) error    { return nil }

func script(text string) *executor.Upload {
	return &executor.Upload{Data: []byte(text), Name: "a b;$(id).sh", Interpreter: []string{"/bin/sh"}}
}

// left lists what stands where scripts are placed.
func (w *world) left() []string {
	w.t.Helper()
	list, err := filepath.Glob(filepath.Join(w.home, ".cache/bowline/script/*"))
	if err != nil {
		w.t.Fatal(err)
	}
	return list
}

func (w *world) clean() {
	w.t.Helper()
	if list := w.left(); len(list) > 0 {
		w.t.Errorf("left on the target: %q", list)
	}
}

func TestUpload(t *testing.T) {
	for _, login := range []string{"own", "ordinary"} {
		t.Run(login, func(t *testing.T) {
			var options []testkit.SSHDOption
			if login == "ordinary" {
				options = append(options, testkit.LoginUser(testkit.User(t)))
			}
			w := newWorld(t, testkit.Dir(t), options...)
			var out bytes.Buffer
			res, err := w.Run(t.Context(), executor.Request{Target: "web1", Upload: script("#!/bin/sh\necho \"$0 $1 $E\"; pwd; cat; echo no >>\"$0\"; exit 3\n"), Argv: []string{"x y"},
				Env: map[string]string{"E": "e f"}, Cwd: "/usr", Stdin: strings.NewReader("in\n"), Stdout: &out})
			if err != nil || res.ExitCode != 3 || out.String() != "/dev/bowline/a_b___id_.sh x y e f\n/usr\nin\n" {
				t.Errorf("%q, %d, %v", out.String(), res.ExitCode, err)
			}
			w.clean()
		})
	}
}

// TestUploadIsRemoved: after a timeout, a stop by the caller and a refusal of the
// sandbox nothing is left, and the link still works.
func TestUploadIsRemoved(t *testing.T) {
	w := newWorld(t, testkit.Dir(t))
	res, err := w.Run(t.Context(), executor.Request{Target: "web1", Upload: script("#!/bin/sh\nsleep 60\n"), Timeout: 300 * time.Millisecond})
	if err != nil || !res.TimedOut {
		t.Errorf("%+v, %v", res, err)
	}
	w.clean()
	ctx, stop := context.WithCancel(t.Context())
	_, err = w.Run(ctx, executor.Request{Target: "web1", Upload: script("#!/bin/sh\necho up; sleep 60\n"), Stdout: stopper{stop}})
	if diag.KindOf(err) != diag.Canceled {
		t.Errorf("%v", err)
	}
	w.clean()
	_, err = w.Run(t.Context(), executor.Request{Target: "web1", Upload: script("#!/bin/sh\ntouch /ran\n"), Cwd: "/nowhere"})
	if diag.KindOf(err) != diag.Usage || !strings.Contains(err.Error(), "nothing ran") {
		t.Errorf("%v", err)
	}
	w.clean()
	_, err = w.Run(t.Context(), executor.Request{Target: "web1", Profile: "readonly", Upload: script("#!/bin/sh\n")})
	if diag.KindOf(err) != diag.Refused {
		t.Errorf("%v", err)
	}
}

// stopper stops the caller at the first output.
type stopper struct{ stop func() }

func (s stopper) Write(p []byte) (int, error) { s.stop(); return len(p), nil }

// TestUploadIsVerified: a script that did not arrive as it was sent is not executed.
func TestUploadIsVerified(t *testing.T) {
	bin := testkit.Dir(t)
	fake := "#!/bin/sh\necho " + strings.Repeat("0", 64) + "  -\n"
	if err := os.WriteFile(filepath.Join(bin, "sha256sum"), []byte(fake), 0o755); err != nil {
		t.Fatal(err)
	}
	home := testkit.Dir(t)
	w := newWorld(t, home, testkit.ConfigLines("SetEnv HOME="+home+" XDG_RUNTIME_DIR= PATH="+bin+":/usr/bin:/bin"))
	var out bytes.Buffer
	_, err := w.Run(t.Context(), executor.Request{Target: "web1", Upload: script("#!/bin/sh\necho ran\n"), Stdout: &out})
	if diag.KindOf(err) != diag.Conflict || !strings.Contains(err.Error(), "nothing ran") || out.Len() > 0 {
		t.Errorf("%q, %v", out.String(), err)
	}
	w.clean()
}

// TestUploadAtOnce: scripts of one name do not meet.
func TestUploadAtOnce(t *testing.T) {
	w := newWorld(t, testkit.Dir(t))
	var all sync.WaitGroup
	for i := range 6 {
		all.Go(func() {
			var out bytes.Buffer
			text := strings.Repeat("x", i+1)
			_, err := w.Run(t.Context(), executor.Request{Target: "web1", Upload: script("#!/bin/sh\nprintf " + text), Stdout: &out})
			if err != nil || out.String() != text {
				t.Errorf("%q, %v", out.String(), err)
			}
		})
	}
	all.Wait()
	w.clean()
}

// TestUploadNoExec: where no program may run, the error says so, and nothing is left.
func TestUploadNoExec(t *testing.T) {
	if os.Geteuid() != 0 {
		testkit.LeftOut(t, "needs root to mount a file system noexec")
	}
	home, bin := testkit.Dir(t), testkit.Dir(t)
	if err := unix.Mount("none", home, "tmpfs", unix.MS_NOEXEC, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(home, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	// /var/tmp of this machine is not ours to mount: no directory is made there.
	fake := "#!/bin/sh\ncase \"$*\" in */var/tmp/*) exit 1;; esac\nexec /bin/mkdir \"$@\"\n"
	if err := os.WriteFile(filepath.Join(bin, "mkdir"), []byte(fake), 0o755); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, home, testkit.ConfigLines("SetEnv HOME="+home+" XDG_RUNTIME_DIR= PATH="+bin+":/usr/bin:/bin"))
	_, err := w.Run(t.Context(), executor.Request{Target: "web1", Upload: script("#!/bin/sh\n")})
	if diag.KindOf(err) != diag.Sandbox || !strings.Contains(err.Error(), "noexec") || !strings.Contains(diag.HintOf(err), "'bowline run --script FILE'") {
		t.Errorf("%v (hint %q)", err, diag.HintOf(err))
	}
	w.clean()
}

// TestUploadSweeps: what a killed client left goes with a later upload.
func TestUploadSweeps(t *testing.T) {
	w := newWorld(t, testkit.Dir(t))
	base := filepath.Join(w.home, ".cache/bowline/script")
	old, young := filepath.Join(base, "run-OLD"), filepath.Join(base, "run-YOUNG")
	for _, d := range []string{old, young} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	at := time.Now().Add(-49 * time.Hour)
	if err := os.Chtimes(old, at, at); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Run(t.Context(), executor.Request{Target: "web1", Upload: script("#!/bin/sh\n")}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(old); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(young); err != nil {
		t.Errorf("one that may still run is gone: %v", err)
	}
}

// openGate lets everything in.
type openGate struct{}

func (openGate) Enter(context.Context, policy.Request) (func(), error) { return func() {}, nil }
