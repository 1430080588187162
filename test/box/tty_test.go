package box

import (
	"bufio"
	"os/exec"
	"strings"
	"testing"

	"github.com/creack/pty"
)

// terminal runs a command in a box on a terminal: its size, which may come after its start, a change of it, Ctrl-C, and
// the exit code.
func (l *laptop) terminal(t *testing.T, name string) {
	cmd := exec.CommandContext(t.Context(), program, "box", "exec", "-t", "dev1", name, "--tty", "--", "sh", "-c",
		`stty -echo; tty >/dev/null && echo "at $(stty size)"; trap 's=$(stty size); echo "now $s"; [ "$s" != "20 70" ] || exit 9' WINCH; trap 'echo interrupted' INT; while :; do read -r x || :; done`)
	cmd.Env, cmd.Dir = l.env, l.dir
	f, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 31, Cols: 99})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	await := func(want string) {
		t.Helper()
		var seen []string
		for lines.Scan() {
			if strings.Contains(lines.Text(), want) {
				return
			}
			seen = append(seen, lines.Text())
		}
		t.Fatalf("%q does not come: %q", want, seen)
	}
	await("at ")
	if _, err := f.WriteString("\x03"); err != nil {
		t.Fatal(err)
	}
	await("interrupted")
	if err := pty.Setsize(f, &pty.Winsize{Rows: 20, Cols: 70}); err != nil {
		t.Fatal(err)
	}
	await("now 20 70")
	if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() != 9 {
		t.Errorf("%v", err)
	}
}
