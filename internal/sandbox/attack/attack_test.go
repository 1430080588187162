package attack

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/bowline-sh/bowline/internal/sandbox/sandboxtest"
	"github.com/bowline-sh/bowline/internal/testkit"
	"github.com/bowline-sh/bowline/internal/transport"
	"github.com/bowline-sh/bowline/internal/transport/local"
	"github.com/bowline-sh/bowline/profile"
	"github.com/bowline-sh/bowline/profile/profilefile"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// setBait offers an attacker a TCP port and two UNIX sockets. It returns what
// has connected to them so far.
func setBait(t *testing.T) (taken func() []string) {
	t.Helper()
	dir := testkit.Dir(t)
	var mu sync.Mutex
	var got []string
	for _, addr := range []string{"tcp 127.0.0.1:0", "unix " + filepath.Join(dir, "bait.sock"), "unix @bowline-" + filepath.Base(dir)} {
		network, address, _ := strings.Cut(addr, " ")
		l, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(address, "/") {
			if err := os.Chmod(address, 0o777); err != nil {
				t.Fatal(err)
			}
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				mu.Lock()
				got = append(got, addr)
				mu.Unlock()
				c.Close()
			}
		}()
		t.Cleanup(func() {
			l.Close()
			<-done
		})
	}
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(got)
	}
}

// hostState is what the attacks want to change. It must not depend on what
// other tests do meanwhile.
func hostState(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	for _, f := range []string{"/proc/sys/kernel/core_pattern", "/proc/sys/kernel/hostname", "/proc/sys/kernel/modprobe"} {
		data, err := os.ReadFile(f)
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // a kernel without modules has no modprobe
			t.Fatal(err)
		}
		b.Write(data)
	}
	for _, f := range []string{"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/etc/shadow", "/etc", "/usr/bin"} {
		info, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString(f + " " + info.Mode().String() + "\n")
	}
	for _, pattern := range []string{"/.bowline-attack-*", "/*/.bowline-attack-*", "/usr/*/.bowline-attack-*", "/var/*/.bowline-attack-*", "/dev/shm/.bowline-*", "/sys/fs/cgroup/*/.bowline-*"} {
		left, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString(strings.Join(left, "\n"))
	}
	return b.String()
}

func withShell(p profile.Profile) profile.Profile {
	p = p.Clone()
	if len(p.AllowedCommands) > 0 {
		p.AllowedCommands = append(p.AllowedCommands, "sh")
	}
	return p
}

// TestBuiltinProfilesHold attacks every built-in profile on every kind of
// target, and looks on the host's side whether anything got through.
func TestBuiltinProfilesHold(t *testing.T) {
	for _, h := range sandboxtest.Hosts(t) {
		for _, name := range profilefile.BuiltinNames() {
			t.Run(h.Name+"/"+name, func(t *testing.T) {
				taken, cgroupsGone := setBait(t), sandboxtest.WatchCgroups(t)
				before := hostState(t)
				attackAll(t, h.Dial(t), withShell(sandboxtest.Builtin(t, name)))
				if hostState(t) != before {
					t.Errorf("the host was\n%s\nand is\n%s", before, hostState(t))
				}
				if got := taken(); got != nil {
					t.Errorf("connections came through: %q", got)
				}
				cgroupsGone()
			})
		}
	}
}

// attackAll fails t for every attack that did not hold.
func attackAll(t *testing.T, conn transport.Conn, p profile.Profile) {
	t.Helper()
	findings, err := Run(t.Context(), conn, p)
	if err != nil {
		t.Fatal(err)
	}
	if len(findings) != len(Suite())+1 {
		t.Errorf("%d findings for %d attacks and the inspection", len(findings), len(Suite()))
	}
	for _, f := range findings {
		if !f.Held {
			t.Errorf("%s: %s", f.Name, f.Detail)
		}
		if f.Detail == "" || strings.ContainsAny(f.Detail, "\n\x1b") {
			t.Errorf("%s has the detail %q; want one plain line", f.Name, f.Detail)
		}
	}
}

// TestRunIsFast holds the suite to its promise; it takes 0.6 s on two cores.
func TestRunIsFast(t *testing.T) {
	start := time.Now()
	attackAll(t, local.Dial(), sandboxtest.Builtin(t, "readonly"))
	if d := time.Since(start); d > 10*time.Second {
		t.Errorf("the suite took %s", d)
	}
}

// TestWeakenedProfilesAreFound shows that the attacks can win: each profile
// lacks one piece of the confinement, and the attacks on that piece must say so.
func TestWeakenedProfilesAreFound(t *testing.T) {
	helped := sandboxtest.Helped(t, "helper", "root").Dial(t)
	for _, tt := range []struct {
		name   string
		weaken func(t *testing.T, p *profile.Profile)
		found  []string
	}{
		{"network", func(_ *testing.T, p *profile.Profile) { p.NetworkIsolation = false }, []string{"network", "namespaces-apart", "unix-sockets"}},
		{"unix sockets", func(_ *testing.T, p *profile.Profile) { p.UnixSockets = true }, []string{"unix-sockets"}},
		{"no user namespace", func(_ *testing.T, p *profile.Profile) { p.UserNamespaceIsolation = false }, []string{"namespaces-apart"}},
		{"root of the host writable", func(_ *testing.T, p *profile.Profile) { p.AdditionalArgs = []string{"--bind", "/", "/host"} }, []string{"writes", "secrets"}},
		{"root of the host, uncovered", func(_ *testing.T, p *profile.Profile) { p.AdditionalArgs = []string{"--ro-bind", "/", "/host"} }, []string{"secrets"}},
		{"capabilities", func(_ *testing.T, p *profile.Profile) { p.AdditionalArgs = []string{"--cap-add", "ALL"} }, []string{"capabilities", "chroot"}},
		{"no filter", func(t *testing.T, p *profile.Profile) { p.SeccompProfile = allowAll() }, []string{"kernel-calls", "user-namespace", "keyring", "unix-sockets"}},
		{"capabilities and no filter", func(_ *testing.T, p *profile.Profile) {
			p.SeccompProfile = allowAll()
			p.AdditionalArgs = []string{"--cap-add", "ALL"}
		}, []string{"mount", "remount", "chroot", "namespaces-entered"}},
		{"host's devices", func(_ *testing.T, p *profile.Profile) { p.AdditionalArgs = []string{"--dev-bind", "/dev", "/dev"} }, []string{"devices"}},
		{"host's proc", func(_ *testing.T, p *profile.Profile) { p.AdditionalArgs = []string{"--bind", "/proc", "/proc"} }, []string{"core-pattern", "proc-writes", "host-processes"}},
		{"host's sys", func(_ *testing.T, p *profile.Profile) { p.AdditionalArgs = []string{"--bind", "/sys", "/sys"} }, []string{"cgroup", "sys-writes"}},
		{"login's environment", func(_ *testing.T, p *profile.Profile) { p.ClearEnv = false }, []string{"environment"}},
	} {
		for way, conn := range map[string]transport.Conn{"local": local.Dial(), "helper": helped} {
			t.Run(tt.name+"/"+way, func(t *testing.T) {
				setBait(t)
				p := sandboxtest.Builtin(t, "script")
				tt.weaken(t, &p)
				findings, err := Run(t.Context(), conn, p)
				if err != nil {
					t.Fatal(err)
				}
				for _, name := range tt.found {
					i := slices.IndexFunc(findings, func(f Finding) bool { return f.Name == name })
					if i < 0 || findings[i].Held {
						t.Errorf("%s is not found: %+v", name, findings[max(i, 0)])
					}
				}
				for _, f := range findings {
					if !f.Held {
						t.Logf("found %s: %s", f.Name, f.Detail)
					}
				}
			})
		}
	}
}

// allowAll is a seccomp filter that returns SECCOMP_RET_ALLOW for every call.
func allowAll() []byte { return []byte{6, 0, 0, 0, 0, 0, 0xff, 0x7f} }

// noSandbox is a bwrap that confines nothing: it drops its options and runs the
// command.
const noSandbox = `#!/bin/sh
while [ "$1" != -- ]; do shift; done
shift
"$@" 3<&- 4<&- 7<&-
echo "{ \"exit-code\": $? }" >&5
`

// TestNoSandboxIsFound runs the attacks where there is no sandbox at all: not
// one piece of the confinement may be reported as holding.
func TestNoSandboxIsFound(t *testing.T) {
	dir := testkit.Dir(t)
	if err := os.WriteFile(filepath.Join(dir, "bwrap"), []byte(noSandbox), 0o755); err != nil {
		t.Fatal(err)
	}
	path := "PATH=" + dir + ":/usr/bin:/bin:/usr/sbin:/sbin"
	for _, h := range []sandboxtest.Host{sandboxtest.SSH(t, "ssh-user", testkit.User(t), testkit.ConfigLines("SetEnv "+path)), sandboxtest.Helped(t, "helper-user", testkit.User(t), path)} {
		t.Run(h.Name, func(t *testing.T) { findsNothingHolding(t, h.Dial(t)) })
	}
}

func findsNothingHolding(t *testing.T, conn transport.Conn) {
	t.Helper()
	findings, err := Run(t.Context(), conn, sandboxtest.Builtin(t, "script"))
	if err != nil {
		t.Fatal(err)
	}
	// What the kernel refuses an ordinary account holds by itself.
	for _, name := range []string{"kill-host", "namespaces-apart", "unix-sockets", "host-processes", "no-new-privileges", "user-namespace",
		"capabilities", "writes", "environment", "network", "keyring", "kernel-calls"} {
		i := slices.IndexFunc(findings, func(f Finding) bool { return f.Name == name })
		if i < 0 || findings[i].Held {
			t.Errorf("%s is not found: %+v", name, findings[max(i, 0)])
		}
	}
}

func TestJudge(t *testing.T) {
	attacks := []Attack{{Name: "a"}, {Name: "b"}, {Name: "c"}, {Name: "d"}}
	got := judge(attacks, "+ a fine\n- a worked\n+ b first\n+ b second\nnoise\n+ d \x1b[31mred\n")
	want := []Finding{{"a", false, "worked"}, {"b", true, "first"}, {"c", false, "the attack gave no answer"}, {"d", true, `\x1b[31mred`}}
	if !slices.Equal(got, want) {
		t.Errorf("judge = %+v, want %+v", got, want)
	}
}

func TestSuite(t *testing.T) {
	seen := map[string]bool{}
	for _, a := range Suite() {
		if a.Name == "" || a.Goal == "" || seen[a.Name] || !strings.Contains(a.script, "held") && !strings.Contains(a.script, "must_fail") && !strings.Contains(a.script, "write_files") {
			t.Errorf("attack %+v", a)
		}
		seen[a.Name] = true
	}
	if len(seen) < 25 {
		t.Errorf("only %d attacks", len(seen))
	}
	// What python3 reports must be an attack of the suite, or nobody hears it.
	for line := range strings.Lines(strong) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), `attempt("`); ok {
			if name, _, _ := strings.Cut(rest, `"`); !seen[name] {
				t.Errorf("probe.py reports the unknown attack %q", name)
			}
		}
	}
}
