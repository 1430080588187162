package link_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/helper"
	"github.com/bowline-sh/bowline/internal/helperbin"
	"github.com/bowline-sh/bowline/internal/link"
	"github.com/bowline-sh/bowline/internal/sandbox"
	"github.com/bowline-sh/bowline/internal/testkit"
	"github.com/bowline-sh/bowline/internal/transport"
	"github.com/bowline-sh/bowline/internal/transport/ssh"
	"github.com/bowline-sh/bowline/profile/profilefile"
	"github.com/bowline-sh/bowline/target"
)

// far dials a real sshd whose account has an empty home directory of its own.
func far(t *testing.T, options ...testkit.SSHDOption) (conn transport.Conn, home string) {
	t.Helper()
	home = testkit.Dir(t)
	s := testkit.SSHD(t, append(options, testkit.ConfigLines("SetEnv HOME="+home))...)
	conn, err := ssh.Dial(t.Context(), target.Target{Name: "web1", Kind: target.SSH, Host: s.Host, Port: s.Port, User: s.User, KeyFile: s.ClientKeyFile},
		ssh.Config{KnownHosts: []string{s.KnownHostsFile(t)}, SSHConfig: "none", AgentSocket: "none"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn, home
}

func helpers(t *testing.T) link.Helpers {
	t.Helper()
	set := new(helperbin.Set)
	if _, err := set.For("amd64"); err != nil {
		t.Fatalf("%v: run 'make helpers' first", err)
	}
	return link.Helpers{Binaries: set}
}

func placed(t *testing.T, home string) string {
	t.Helper()
	found, err := filepath.Glob(home + "/.cache/bowline/helper/*")
	if err != nil || len(found) != 1 {
		t.Fatalf("helpers placed: %v, %v", found, err)
	}
	return found[0]
}

func TestHelperIsPlacedCheckedAndUsed(t *testing.T) {
	conn, home := far(t)
	h := helpers(t)
	if _, err := h.Start(t.Context(), conn, link.HelperOptions{}); diag.KindOf(err) != diag.Sandbox {
		t.Fatalf("no helper, not to be placed: %v", err)
	}
	c, err := h.Start(t.Context(), conn, link.HelperOptions{Install: true})
	if err != nil {
		t.Fatal(err)
	}
	file := placed(t, home)
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%s: %v, %v", file, info.Mode(), err)
	}
	p, err := profilefile.Builtin("script")
	if err != nil {
		t.Fatal(err)
	}
	call, err := c.Open(helper.VerbRun, helper.RunRequest{Profile: p, Argv: [][]byte{[]byte("sh"), []byte("-c"), []byte("cat; echo err >&2; exit 3")}, Stdin: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(call.Stdin, "hello\n"); err != nil {
		t.Fatal(err)
	}
	call.Stdin.Close()
	out, err := io.ReadAll(call.Stdout)
	if err != nil {
		t.Fatal(err)
	}
	errOut, err := io.ReadAll(call.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	var res sandbox.Result
	if err := call.Wait(t.Context(), &res); err != nil {
		t.Fatal(err)
	}
	if string(out) != "hello\n" || string(errOut) != "err\n" || res.ExitCode != 3 {
		t.Errorf("%q, %q, %+v", out, errOut, res)
	}
}

func TestTamperedHelperIsNotStarted(t *testing.T) {
	conn, home := far(t)
	h := helpers(t)
	if _, err := h.Start(t.Context(), conn, link.HelperOptions{Install: true}); err != nil {
		t.Fatal(err)
	}
	file := placed(t, home)
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(file); err != nil { // it is running
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("#!/bin/sh\ntouch "+home+"/started\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Start(t.Context(), conn, link.HelperOptions{}); diag.KindOf(err) != diag.Untrusted {
		t.Errorf("tampered helper: %v", err)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("the tampered helper is still there")
	}
	if _, err := h.Start(t.Context(), conn, link.HelperOptions{Install: true}); err != nil {
		t.Errorf("placing it again: %v", err)
	}
	if _, err := os.Stat(home + "/started"); err == nil {
		t.Error("the tampered helper was started")
	}
	if again, err := os.ReadFile(placed(t, home)); err != nil || !bytes.Equal(again, data) {
		t.Errorf("the helper placed again differs: %v", err)
	}
}

// TestNoexecHome: where the home may not hold programs the next place is used;
// where none may, the error says so.
func TestNoexecHome(t *testing.T) {
	testkit.Root(t) // to mount
	conn, home := far(t)
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "noexec", "none", home).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", home).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
	fallback := fmt.Sprintf("/var/tmp/bowline-%d", os.Geteuid())
	t.Cleanup(func() {
		if err := os.RemoveAll(fallback); err != nil {
			t.Error(err)
		}
	})
	if _, err := helpers(t).Start(t.Context(), conn, link.HelperOptions{Install: true}); err != nil {
		t.Fatal(err)
	}
	if found, err := filepath.Glob(fallback + "/*"); err != nil || len(found) != 1 || strings.Contains(found[0], ".new") {
		t.Errorf("%v, %v", found, err)
	}
}

// sftpOnly refuses to write the helper through the shell.
type sftpOnly struct {
	*ssh.Conn
	t *testing.T
}

func (c sftpOnly) Start(ctx context.Context, line string) (transport.Process, error) {
	if strings.Contains(line, "BOWLINE-PLACED") {
		c.t.Error("the helper was written through the shell")
	}
	return c.Conn.Start(ctx, line)
}

func TestHelperIsPlacedOverSFTP(t *testing.T) {
	conn, home := far(t)
	c, err := helpers(t).Start(t.Context(), sftpOnly{conn.(*ssh.Conn), t}, link.HelperOptions{Install: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	info, err := os.Stat(placed(t, home))
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	entries, err := os.ReadDir(home + "/.cache/bowline/helper")
	if err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

// TestHelperIsPlacedWithoutSFTP: where the subsystem is off, broken or may not
// write, the shell does it.
func TestHelperIsPlacedWithoutSFTP(t *testing.T) {
	for name, subsystem := range map[string]string{"off": "", "broken": "Subsystem sftp /bin/false", "read-only": "Subsystem sftp /usr/lib/openssh/sftp-server -R"} {
		t.Run(name, func(t *testing.T) {
			conn, home := far(t, testkit.Subsystem(subsystem))
			c, err := helpers(t).Start(t.Context(), conn, link.HelperOptions{Install: true})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			placed(t, home)
		})
	}
}
