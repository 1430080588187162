package sandbox_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/sandbox"
	"github.com/bowline-sh/bowline/internal/transport/local"
	"github.com/bowline-sh/bowline/profile"
)

func builtin(t testing.TB, name string) profile.Profile {
	t.Helper()
	p, err := profile.Builtin(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestQuick(t *testing.T) {
	for _, argv := range [][]string{{"cat", "/etc/os-release"}, {"sh", "-c", "exit 42"}, {"sh", "-c", "kill -9 $$"}, {"nosuch"}, {"cat"}, {"ls", "-la", "/proc/self/fd"},
		{"sh", "-c", "ulimit -a; env; ls /run /tmp; cat /etc/shadow; id; touch /usr/x; echo x > /proc/sys/kernel/core_pattern; python3 -c 'import socket;socket.socket(1)'; cat /proc/self/cgroup"}, {"printf", "%s", "a\nb'c\\d"}} {
		conn := local.Dial()
		defer conn.Close()
		var out, errw bytes.Buffer
		res, err := sandbox.Exec(t.Context(), conn, sandbox.Command{Spec: sandbox.Spec{Profile: builtin(t, "script"), Argv: argv}, Stdout: &out, Stderr: &errw})
		t.Logf("%q: %+v %v (%s)\nout %s\nerr %s", argv, res, err, diag.KindOf(err), out.String(), errw.String())
	}
	conn := local.Dial()
	res, err := sandbox.Exec(t.Context(), conn, sandbox.Command{Spec: sandbox.Spec{Profile: builtin(t, "script"), Argv: []string{"sleep", "33"}}, Timeout: time.Second})
	t.Log(res, err)
	res, err = sandbox.Exec(t.Context(), conn, sandbox.Command{Spec: sandbox.Spec{Profile: builtin(t, "script"), Argv: []string{"sleep", "33"}}, Timeout: time.Second, Stdin: strings.NewReader("")})
	t.Log(res, err)
	var out bytes.Buffer
	res, err = sandbox.Exec(t.Context(), conn, sandbox.Command{Spec: sandbox.Spec{Profile: builtin(t, "script"), Argv: []string{"cat"}}, Stdout: &out, Stdin: strings.NewReader("hello\n")})
	t.Log(res, err, out.String())
}
