package tui_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/bowline-sh/bowline/internal/testkit"
)

// site is a place that a dry run captures and that is the same in every run, and a
// program that the dry run defers and that runs until release is called.
func site(t *testing.T) (dir string, release func()) {
	t.Helper()
	testkit.Root(t)
	const program = "/usr/local/bin/firewall-cmd"
	dir = "/srv/bowline-review"
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	gate := filepath.Join(testkit.Dir(t), "go")
	f, err := os.OpenFile(program, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(program) })
	if _, err := f.WriteString("#!/bin/sh\nprintf 'reloading \\033[2J\\033[Hrules\\n'; while [ ! -e " + gate + " ]; do sleep 0.02; done; echo success\n"); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	write(t, dir+"/app.conf", "# the application\nworkers=1\nport=80\nlog=info\n")
	return dir, func() { write(t, gate, "") }
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// deploy changes a little of everything, with names that try to draw.
const deploy = `#!/bin/sh
set -e
cd /srv/bowline-review
sed -i s/workers=1/workers=4/ app.conf
mkdir -m 755 conf.d .ssh
printf 'log=debug\t# \033[31mred\033[0m \342\200\256gpj.exe\n' > conf.d/log.conf
echo x > "$(printf 'conf.d/\033[2J\033]0;owned\007\342\200\256fdp.sh')"
echo 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKWLE5JTvGyFtHlo2QDxqy0uPIcGYu/2NAyg2dCzIgsF eve@example.com' > .ssh/authorized_keys
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do mkdir -p cache/$i; echo $i > cache/$i/entry; done
firewall-cmd --reload
echo done > done
`

// TestStory goes the whole way in a real terminal, against a real host: list, read,
// approve, apply with output, roll back.
func TestStory(t *testing.T) {
	for _, size := range []struct {
		name          string
		width, height int
		env           []string
	}{{"80x24", 80, 24, nil}, {"200x60", 200, 60, nil}, {"nocolor", 80, 24, []string{"NO_COLOR=1"}}} {
		t.Run(size.name, func(t *testing.T) { story(t, size.name, size.width, size.height, size.env) })
	}
}

func story(t *testing.T, name string, width, height int, env []string) {
	dir, release := site(t)
	w := newWorld(t, env...)
	id := w.plan("deploy.sh", deploy, "--name", "deploy", "--note", "more \x1b[5mworkers")
	x := w.start(width, height, "review")
	golden := func(step string, want ...string) { x.t.Helper(); x.golden(filepath.Join(name, step), want...) }

	golden("1-list", id, "1 wait for approval")
	x.press("Enter")
	golden("2-session", "Risks", "firewall")
	if colours := regexp.MustCompile("\x1b\\[([0-9]+;)*3[1-7]m").MatchString(x.do("capture-pane", "-e", "-p")); colours != (len(env) == 0) {
		t.Errorf("colours on the screen: %v", colours)
	}
	x.press("Tab", "Tab")
	golden("3-operations", "Operations", "app.conf", "/done")
	x.press("/")
	x.see("Find")
	x.press("app.conf", "Enter", "Enter")
	golden("4-diff", "Operation", "workers=4")
	x.press("q")
	x.see("a approve")
	x.press("a")
	golden("5-approve", "Approve this, once", "sha256:", "y approve")
	x.press("y")
	x.see("approved until", "A apply")
	if got := read(t, dir+"/app.conf"); !strings.Contains(got, "workers=1\n") {
		t.Errorf("approving changed the target: %q", got)
	}
	x.press("A")
	golden("6-apply", "Apply 3", "y apply")
	x.press("y")
	golden("7-applying", "Applying", "reloading")
	release()
	golden("8-applied", "success", "the session is now executed")
	if got := read(t, dir+"/app.conf"); !strings.Contains(got, "workers=4\n") {
		t.Errorf("applied: %q", got)
	}
	x.press("q")
	golden("9-results", "executed on web1", "u roll back")
	x.press("d")
	x.see("nothing differs on web1")
	x.press("u")
	x.see("Roll back "+id, "y roll back")
	x.press("y")
	golden("10-rolledback", "the session is now rolled_back", "no undo is known")
	if got := read(t, dir+"/app.conf"); !strings.Contains(got, "workers=1\n") {
		t.Errorf("rolled back: %q", got)
	}
	if _, err := os.Stat(dir + "/conf.d"); err == nil {
		t.Error("rolled back, and a directory is left")
	}
	x.press("q", "q")
	x.see("rolled_back", "quit")
	x.press("q")
	x.see("ended with 0")
}

// TestResizeInTheMiddle: the terminal changes its size while an approval is asked
// for, and while it is applied with a window, which is then confirmed.
func TestResizeInTheMiddle(t *testing.T) {
	dir, release := site(t)
	w := newWorld(t)
	id := w.plan("deploy.sh", deploy, "--name", "deploy")
	x := w.start(200, 60, "review", id)
	x.see("Risks", "asked by")
	x.press("a")
	x.see("Approve this, once")
	x.resize(80, 24)
	x.golden("resize/1-approve-80x24", "\n  bytes), 1 commands; 2 need", "y approve")
	x.resize(60, 20)
	x.see("60 columns and 20 lines")
	x.press("y") // what cannot be seen cannot be approved
	x.resize(100, 30)
	x.see("Approve this, once", "pending on web1", "y approve")
	x.press("y")
	x.see("approved until", "A apply")
	x.press("A")
	x.see("w apply with a window")
	x.press("w")
	x.see("60s")
	x.press("Enter")
	x.see("Applying", "reloading")
	x.resize(80, 24)
	release()
	x.golden("resize/2-window", "to confirm: press c", "waiting")
	x.press("q")
	x.see("goes on there", "bowline confirm "+id)
	x.press("n")
	x.press("c")
	x.golden("resize/3-confirmed", "confirmed; "+id+" stays", "the session is now executed")
	if got := read(t, dir+"/app.conf"); !strings.Contains(got, "workers=4\n") {
		t.Errorf("applied: %q", got)
	}
	x.press("C-c")
	x.see("ended with 0")
	if got := w.run("session", "show", id, "--json"); !strings.Contains(got, `"status":"executed"`) {
		t.Errorf("afterwards: %s", got)
	}
	w.run("rollback", id, "--yes")
}

// TestSelectOnTheTarget leaves operations out, on the real thing: what needs one that
// is left out is refused, and a selection is applied alone.
func TestSelectOnTheTarget(t *testing.T) {
	dir, release := site(t)
	release()
	w := newWorld(t)
	id := w.plan("deploy.sh", deploy, "--name", "deploy")
	x := w.start(120, 40, "review")
	x.see(id)
	x.press("Enter")
	x.see("[x]    1 + /srv/bowline-review/.ssh")
	x.press("/")
	x.see("Find")
	x.press("review/.ssh  dir", "Enter", "Space")
	x.see("[ ]    1 +", "38 of 39")
	x.press("a")
	x.golden("select/1-refused", "The selection was not made", "operation 2 needs operation 1")
	x.press("Enter")
	x.see("a approve", "Tab next part")
	x.press("Space") // its key goes with it
	x.see("37 of 39")
	x.press("a")
	x.golden("select/2-part", "A selection of "+id, "y approve")
	x.press("y")
	x.see("approved until", "A apply")
	x.press("A")
	x.see("Apply 37 operations")
	x.press("y")
	x.see("the session is now executed: 37 of 37")
	if _, err := os.Stat(dir + "/.ssh"); err == nil {
		t.Error("what was left out was applied")
	}
	if got := read(t, dir+"/app.conf"); !strings.Contains(got, "workers=4\n") {
		t.Errorf("applied: %q", got)
	}
	x.press("q", "q", "q")
	x.see("cancelled", "executed")
	x.press("q")
	x.see("ended with 0")
}
