package sandbox_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/sandbox"
	"github.com/bowline-sh/bowline/internal/sandbox/sandboxtest"
	"github.com/bowline-sh/bowline/internal/testkit"
	"github.com/bowline-sh/bowline/internal/transport"
	"github.com/bowline-sh/bowline/internal/transport/local"
)

// account makes an ordinary account with a login shell and start-up files, by
// their path below its home, and removes it when the test ends.
func account(t *testing.T, shell string, files map[string]string) string {
	t.Helper()
	name := fmt.Sprintf("bowline-%d-%d", os.Getpid()%10000, serial.Add(1))
	accounts(t, "useradd", "-m", "-p", "*", "-s", shell, name)
	t.Cleanup(func() { accounts(t, "userdel", "-r", name) })
	home := filepath.Join("/home", name)
	for file, text := range files {
		path := filepath.Join(home, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return name
}

// accounts runs a program that changes /etc/passwd, which only one at a time
// may do. Processes of an account may outlive its last session by a moment.
func accounts(t *testing.T, argv ...string) {
	t.Helper()
	tool := testkit.Tool(t, argv[0])
	sandboxtest.Eventually(t, 10*time.Second, func() string {
		out, err := exec.Command(tool, argv[1:]...).CombinedOutput()
		if err != nil && !strings.Contains(string(out), "mail spool") {
			return fmt.Sprintf("%s: %v: %s", strings.Join(argv, " "), err, out)
		}
		return ""
	})
}

// noise is what start-up files like to say; each line in its shell's language.
func noise() map[string]string {
	const posix = "echo BANNER; echo BANNER >&2; printf '\\002 BANNER 1 2'\n"
	return map[string]string{
		".bashrc": posix, ".profile": posix, ".bash_profile": posix, ".zshenv": posix, ".zshrc": posix,
		".tcshrc": "echo BANNER\nsh -c 'echo BANNER >&2'\n", ".cshrc": "echo BANNER\n",
		".config/fish/config.fish": "echo BANNER; echo BANNER >&2\n",
	}
}

// loginShells are programs that an account may have as its shell.
func loginShells(t *testing.T) map[string]string {
	dir := testkit.Dir(t)
	wrapper := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	busybox := testkit.Tool(t, "busybox")
	shells := map[string]string{
		"busybox": wrapper("busybox-sh", "#!"+busybox+" sh\nexec "+busybox+" ash \"$@\"\n"),
		// One that stays between sshd and the command: the group is its own.
		"wrapper that stays": wrapper("staying-sh", "#!/bin/sh\necho BANNER\n/bin/bash \"$@\"\ne=$?\necho BANNER\nexit $e\n"),
	}
	for _, name := range []string{"bash", "dash", "zsh", "fish", "tcsh"} {
		shells[name] = testkit.Tool(t, name)
	}
	return shells
}

// TestLoginShells: whatever the account's shell is and says, a run is the same.
func TestLoginShells(t *testing.T) {
	for name, shell := range loginShells(t) {
		t.Run(name, func(t *testing.T) {
			h := sandboxtest.SSH(t, "ssh", account(t, shell, noise()))
			common(t, h.Dial(t))
		})
	}
}

// common is a run of each kind, for targets that are odd in some way.
func common(t *testing.T, conn transport.Conn) {
	t.Helper()
	args := []string{"", "a b", "'", `\`, "\n", "!", "$x", "*", "\xff"}
	o := ran(t, try(t.Context(), conn, script(t, append([]string{"printf", `%s\0`}, args...)...)))
	if got := strings.Split(strings.TrimSuffix(o.out, "\x00"), "\x00"); !slices.Equal(got, args) || o.log != "" {
		t.Errorf("arguments %q, stderr %q", got, o.log)
	}
	cmd := sh(t, "cat; echo err >&2; exit 42")
	cmd.Stdin = strings.NewReader("in")
	if o := ran(t, try(t.Context(), conn, cmd)); o.ExitCode != 42 || o.out != "in" || o.log != "err\n" {
		t.Errorf("%+v %q %q", o.Result, o.out, o.log)
	}
	o = ran(t, try(t.Context(), conn, script(t, "env")))
	env := strings.Split(strings.TrimSpace(o.out), "\n")
	slices.Sort(env)
	if got := strings.Join(env, " "); got != "HOME=/home/sandbox LANG=C.UTF-8 LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin PWD=/home/sandbox SYSTEMD_PAGER=" {
		t.Errorf("environment %q", got)
	}
	o = ran(t, try(t.Context(), conn, sh(t, "ulimit -n; cat /etc/shadow; grep Seccomp: /proc/self/status")))
	if o.out != "1024\nSeccomp:\t2\n" {
		t.Errorf("inside: %q", o.out)
	}
	for _, withInput := range []bool{false, true} {
		marker := marked()
		cmd = sh(t, "trap '' TERM; sleep "+marker+" & sleep "+marker)
		cmd.Timeout = 500 * time.Millisecond
		if withInput {
			cmd.Stdin = silence(t)
		}
		start := time.Now()
		if o := ran(t, try(t.Context(), conn, cmd)); !o.TimedOut {
			t.Errorf("%+v", o.Result)
		}
		within(t, start, cmd.Timeout+grace)
		sandboxtest.Gone(t, grace, marker)
	}
	refusal(t, try(t.Context(), conn, script(t, "nosuch")), diag.NotFound)
}

// secretive sees that a command which is given the login's environment, as a
// profile may have it, does not find ours there.
func secretive(t *testing.T, conn transport.Conn) {
	t.Helper()
	cmd := script(t, "env")
	cmd.Profile.ClearEnv = false
	if o := ran(t, try(t.Context(), conn, cmd)); strings.ContainsAny(o.out, "\x02") || strings.Contains(o.out, "set -- ") {
		t.Errorf("the environment inside holds what BOOT was told: %q", o.out)
	}
}

// TestHostileEnvironment: a login may export what changes how shells read.
func TestHostileEnvironment(t *testing.T) {
	dir := testkit.Dir(t)
	rc := filepath.Join(dir, "rc")
	if err := os.WriteFile(rc, []byte("echo BANNER; printf() { echo EVIL; }; alias echo='echo EVIL'\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	var set []string
	for _, v := range hostile(rc) {
		set = append(set, `SetEnv "`+strings.ReplaceAll(v, `"`, `\"`)+`"`)
	}
	// sshd takes the first SetEnv line only; all variables go on one.
	line := "SetEnv " + strings.ReplaceAll(strings.Join(set, " "), "SetEnv ", "")
	h := sandboxtest.SSH(t, "ssh", testkit.User(t), testkit.ConfigLines(line))
	conn := h.Dial(t)
	common(t, conn)
	secretive(t, conn)
}

// hostile is an environment that shells act upon, and names that BOOT uses.
func hostile(rc string) []string {
	env := []string{"ENV=" + rc, "BASH_ENV=" + rc, "IFS=aeiou/", "CDPATH=/", "GLOBIGNORE=*", "SHELLOPTS=nounset:noglob:noclobber:allexport:errexit",
		"LC_ALL=C", "PS4=EVIL"}
	for _, f := range []string{"printf", "echo", "read", "kill", "readlink", "ulimit", "wait", "bwrap", "unshare", "grep", "mkdir", "umask", "command"} {
		env = append(env, "BASH_FUNC_"+f+"%%=() { :; }")
	}
	for _, v := range "abcdefghijklmnopqrstuvwxyzN" {
		env = append(env, string(v)+"=EVIL")
	}
	return env
}

// shellConn gives lines to a /bin/sh of another kind on this machine, in a
// hostile environment: it mounts that shell over the real one, for itself.
type shellConn struct {
	transport.Conn
	shell string
	env   []string
}

func (c shellConn) Start(ctx context.Context, line string) (transport.Process, error) {
	text := `real=$(readlink -f /bin/sh); [ "$0" = "$real" ] || mount --bind "$0" "$real"; exec env "$@"`
	words := []string{"exec", "unshare", "-m", "/bin/bash", "-c", text, c.shell}
	words = append(append(words, c.env...), "/bin/sh", "-c", line)
	for i, w := range words {
		q, err := sandbox.Quote(w)
		if err != nil {
			return nil, err
		}
		words[i] = q
	}
	return c.Conn.Start(ctx, strings.Join(words, " "))
}

// TestShells runs BOOT with every /bin/sh there is.
func TestShells(t *testing.T) {
	dir := testkit.Dir(t)
	rc := filepath.Join(dir, "rc")
	if err := os.WriteFile(rc, []byte("echo BANNER\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"dash", "bash", "busybox", "zsh"} {
		for what, env := range map[string][]string{"clean": nil, "hostile": hostile(rc), "options": {"SHELLOPTS=noglob:nounset:noclobber:errexit:xtrace"}, "globbing": {"BASHOPTS=failglob:nullglob:nocaseglob:extglob:dotglob"}} {
			t.Run(name+" "+what, func(t *testing.T) {
				conn := shellConn{local.Dial(), testkit.Tool(t, name), env}
				t.Cleanup(func() { _ = conn.Close() })
				common(t, conn)
				masks(t, conn)
				secretive(t, conn)
			})
		}
	}
}

// TestStartUpFilesEatInput: a login that reads our lines cannot run them.
func TestStartUpFilesEatInput(t *testing.T) {
	h := sandboxtest.SSH(t, "ssh", account(t, "/bin/bash", map[string]string{".bashrc": "read eaten\n"}))
	cmd := script(t, "echo", "ran")
	cmd.Timeout = time.Second
	o := try(t.Context(), h.Dial(t), cmd)
	if o.out != "" || o.err == nil && !o.TimedOut {
		t.Errorf("%+v %v %q", o.Result, o.err, o.out)
	}
}

// TestNoShell: the account cannot run anything.
func TestNoShell(t *testing.T) {
	h := sandboxtest.SSH(t, "ssh", account(t, "/usr/sbin/nologin", nil))
	refusal(t, try(t.Context(), h.Dial(t), script(t, "true")), diag.Sandbox, "not available", "ssh")
}
