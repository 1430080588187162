package tui_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/bowline-sh/bowline/internal/cli"
	"github.com/bowline-sh/bowline/internal/testkit"
)

// asProgram makes this test binary the program itself.
const asProgram = "BOWLINE_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		os.Exit(cli.Main("v0.0.0-test"))
	}
	os.Exit(m.Run())
}

// world is a target on a real sshd and a configuration that knows it as web1.
type world struct {
	t    *testing.T
	sshd *testkit.Server
	env  []string // NAME=value for the program
	dir  string
}

func newWorld(t *testing.T, env ...string) *world {
	t.Helper()
	home := testkit.Dir(t)
	w := &world{t: t, dir: t.TempDir(), sshd: testkit.SSHD(t, testkit.ConfigLines("SetEnv HOME="+home))}
	w.env = append([]string{asProgram + "=1", "XDG_CONFIG_HOME=" + w.dir + "/config", "XDG_STATE_HOME=" + w.dir + "/state", "XDG_RUNTIME_DIR=" + w.dir + "/run",
		"SSH_AUTH_SOCK=", "BOWLINE_TARGET=", "TZ=UTC", "LANG=C.UTF-8"}, env...)
	w.run("target", "add", "web1", w.sshd.User+"@"+w.sshd.Addr, "--key", w.sshd.ClientKeyFile, "--fingerprint", w.sshd.HostKeyFingerprint)
	return w
}

// run runs one command line, which must succeed, and returns its standard output.
func (w *world) run(args ...string) string {
	w.t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), w.env...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		w.t.Fatalf("bowline %s: %v\n%s%s", strings.Join(args, " "), err, out, errs.String())
	}
	return string(out)
}

// plan plans a script and returns the id of its session.
func (w *world) plan(name, script string, flags ...string) string {
	w.t.Helper()
	file := filepath.Join(w.t.TempDir(), name)
	if err := os.WriteFile(file, []byte(script), 0o700); err != nil {
		w.t.Fatal(err)
	}
	out := w.run(append(append([]string{"plan", "-t", "web1", "--json"}, flags...), file)...)
	return regexp.MustCompile(`"id":"([^"]+)"`).FindStringSubmatch(out)[1]
}

// terminal is a real terminal, of tmux, in which the program runs.
type terminal struct {
	t    *testing.T
	tmux string
	sock string
	hide *strings.Replacer
	seen string
}

// start runs bowline in a terminal of its own.
func (w *world) start(width, height int, args ...string) *terminal {
	w.t.Helper()
	x := &terminal{t: w.t, tmux: testkit.Tool(w.t, "tmux"), sock: filepath.Join(testkit.Dir(w.t), "tmux")}
	host, err := os.Hostname()
	if err != nil {
		w.t.Fatal(err)
	}
	x.hide = strings.NewReplacer("@"+host, "@HOST", w.sshd.Addr, "ADDRESS")
	line := []string{"env"}
	for _, e := range append(w.env, "TERM=screen-256color") {
		line = append(line, quote(e))
	}
	line = append(line, quote(os.Args[0]))
	for _, a := range args {
		line = append(line, quote(a))
	}
	text := strings.Join(line, " ") + `; echo "ended with $?"; read wait`
	x.do("-f", "/dev/null", "start-server", ";", "set", "-g", "status", "off", ";", "set", "-s", "escape-time", "0", ";",
		"new-session", "-d", "-x", fmt.Sprint(width), "-y", fmt.Sprint(height), text)
	w.t.Cleanup(func() { x.do("kill-server") })
	return x
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func (x *terminal) do(args ...string) string {
	x.t.Helper()
	cmd := exec.Command(x.tmux, append([]string{"-u", "-S", x.sock}, args...)...)
	cmd.Env = append(os.Environ(), "TMUX=", "LANG=C.UTF-8")
	out, err := cmd.CombinedOutput()
	if err != nil {
		x.t.Fatalf("tmux %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// press types keys, by tmux's names for them.
func (x *terminal) press(keys ...string) {
	x.t.Helper()
	x.do(append([]string{"send-keys"}, keys...)...)
}

// screen is what the terminal shows now.
func (x *terminal) screen() string { return x.do("capture-pane", "-p") }

// see waits until the screen shows all of want and returns it.
func (x *terminal) see(want ...string) string {
	x.t.Helper()
	return x.until(strings.Join(want, ", "), func(s string) bool {
		for _, w := range want {
			if !strings.Contains(s, w) {
				return false
			}
		}
		return true
	})
}

func (x *terminal) until(what string, ok func(string) bool) string {
	x.t.Helper()
	for end := time.Now().Add(30 * time.Second); ; {
		x.seen = x.screen()
		if ok(x.seen) {
			return x.seen
		}
		if time.Now().After(end) {
			x.t.Fatalf("the screen never showed %s:\n%s", what, x.seen)
		}
		time.Sleep(5 * time.Millisecond) // between two looks
	}
}

var varying = []struct {
	re *regexp.Regexp
	by string
}{
	{regexp.MustCompile(`2\d{7}-([a-z]+)-[0-9a-f]{4}([0-9a-f]{4})?`), "DATE-$1-XXXX"},
	{regexp.MustCompile(`sha256:[0-9a-f]{64}`), "sha256:DIGEST"},
	{regexp.MustCompile(`expires in \d\d:\d\d`), "expires in MM:SS"},
	{regexp.MustCompile(`\d+[sm] ago`), "AGE ago"},
	{regexp.MustCompile(`(web1  +)\d+[sm] `), "${1}AGE "},
	{regexp.MustCompile(`\d\d:\d\d:\d\d`), "HH:MM:SS"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT[0-9:.]+Z`), "TIME"},
	{regexp.MustCompile(`2\d{3}-\d\d-\d\dTHH:MM:SS(\.\d+)?Z`), "TIME"},
	{regexp.MustCompile(`\d+s to confirm`), "NNs to confirm"},
	{regexp.MustCompile(`waiting (1m0s|59s)`), "waiting LENGTH"},
}

// golden waits until the screen is that of testdata/NAME.txt. With UPDATE=1 it waits
// until the screen shows want and stays as it is, and writes it.
func (x *terminal) golden(name string, want ...string) {
	x.t.Helper()
	file := filepath.Join("testdata", name+".txt")
	if os.Getenv("UPDATE") != "" {
		x.see(want...)
		last := ""
		text := x.until("the same twice", func(s string) bool {
			was := last
			last = x.normal(s)
			time.Sleep(100 * time.Millisecond) // what would still come has come
			return was == last
		})
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			x.t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(x.normal(text)), 0o644); err != nil {
			x.t.Fatal(err)
		}
		return
	}
	text, err := os.ReadFile(file)
	if err != nil {
		x.t.Fatal(err)
	}
	for _, w := range want {
		if !strings.Contains(string(text), w) && !strings.Contains(w, "-deploy-") && !strings.HasPrefix(w, "\n") {
			x.t.Fatalf("%s lacks %q", file, w)
		}
	}
	x.until("what "+file+" holds (UPDATE=1 go test writes it)\n"+string(text)+"but", func(s string) bool { return x.normal(s) == string(text) })
}

// normal is a screen without what differs from run to run.
func (x *terminal) normal(screen string) string {
	screen = x.hide.Replace(screen)
	for _, v := range varying {
		screen = v.re.ReplaceAllString(screen, v.by)
	}
	var b strings.Builder
	for l := range strings.Lines(screen) {
		b.WriteString(strings.TrimRight(l, " \n") + "\n")
	}
	return b.String()
}

// resize gives the terminal another size.
func (x *terminal) resize(width, height int) {
	x.t.Helper()
	x.do("resize-window", "-x", fmt.Sprint(width), "-y", fmt.Sprint(height))
}
