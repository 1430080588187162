package cli_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/bowline-sh/bowline/internal/cli"
	"github.com/bowline-sh/bowline/internal/testkit"
)

func TestMain(m *testing.M) {
	testscript.Main(mainWithBin{m}, map[string]func(){"bowline": func() { os.Exit(cli.Main("v0.0.0-test")) }})
}

// mainWithBin tells tests where testscript has put the program: first in PATH.
type mainWithBin struct{ m *testing.M }

func (w mainWithBin) Run() int {
	dir, _, _ := strings.Cut(os.Getenv("PATH"), string(os.PathListSeparator))
	if err := os.Setenv("BOWLINE_BIN_DIR", dir); err != nil {
		panic(err)
	}
	return w.m.Run()
}

// TestScripts runs testdata/script/*.txtar. They need bwrap and sshd. Besides
// the commands of testscript they have:
//
//	sshd NAME          starts a real sshd; sets $NAME (its address as
//	                   user@host:port), $NAME_KEY and $NAME_FP
//	                   with "home", its account has an empty home of its own, $NAME_HOME
//	                   with "keys", sshd reads authorized_keys in such a home
//	                   with "etc", its /etc is its own, $NAME_ETC, and so is its home;
//	                   with "etc user" it logs in to an ordinary account
//	hosts VAR NAME...  starts a server for each name whose files at the path VAR are
//	                   its own: a directory with "app.conf" of limit=1, $NAME_DIR
//	fleet VAR          sets VAR to the id of the newest fleet
//	classof VAR FLEET TARGET   sets VAR to the class that a target is in
//	eventually CMD ARG...      runs a program until it succeeds, for 30 seconds
//	tree VAR           makes a directory outside the volatile paths, with a file
//	                   "old" in it, and sets VAR
//	newest VAR         sets VAR to the id of the newest session
//	wrongpin NAME      pins another key for that server in our known_hosts
//	appendrules DIR    allows transfers below DIR only, and not below DIR/secret
//	code N CMD ARG...  runs a program that must end with exit code N
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		UpdateScripts:       os.Getenv("UPDATE_SCRIPTS") != "",
		Setup: func(env *testscript.Env) error {
			env.Setenv("XDG_CONFIG_HOME", filepath.Join(env.WorkDir, "config"))
			env.Setenv("XDG_STATE_HOME", filepath.Join(env.WorkDir, "state"))
			env.Setenv("XDG_RUNTIME_DIR", filepath.Join(env.WorkDir, "run"))
			env.Setenv("NO_COLOR", "1")
			env.Setenv("BOWLINE_PERSIST", "off") // a background process would outlive the test
			env.Setenv("SSH_AUTH_SOCK", "")
			env.Values["t"] = env.T()
			env.Defer(func() { // what a failed test left of a background process
				cmd := exec.Command(filepath.Join(os.Getenv("BOWLINE_BIN_DIR"), "bowline"), "link", "close", "--all")
				cmd.Env = append(env.Vars, "XDG_RUNTIME_DIR="+filepath.Join(env.WorkDir, "r"))
				_ = cmd.Run() // there was none, in most
			})
			return nil
		},
		Condition: isRoot,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"sshd": startServer, "wrongpin": wrongPin, "code": exitCode, "tree": makeTree, "newest": newest, "appendrules": appendRules,
			"hosts": startHosts, "fleet": newestFleet, "classof": classOf, "eventually": eventually,
		},
	})
}

func testOf(ts *testscript.TestScript) testing.TB {
	t, ok := ts.Value("t").(testing.TB)
	if !ok {
		ts.Fatalf("testscript's T is no testing.TB")
	}
	return t
}

func startServer(ts *testscript.TestScript, _ bool, args []string) {
	t := testOf(ts)
	home := ""
	var options []testkit.SSHDOption
	if len(args) > 1 && args[1] == "home" {
		home = testkit.Dir(t)
		options = append(options, testkit.ConfigLines("SetEnv HOME="+home))
	}
	if len(args) > 1 && args[1] == "etc" { // root's home must not hold the sessions of this test
		testkit.Root(t)
		home = testkit.Dir(t)
		etc := filepath.Join(testkit.Dir(t), "etc")
		ts.Check(exec.Command("cp", "-a", "/etc", etc).Run())
		options = append(options, testkit.Bind(etc, "/etc"), testkit.ConfigLines("SetEnv HOME="+home))
		ts.Setenv(args[0]+"_ETC", etc)
		if len(args) > 2 {
			user := testkit.User(t)
			options = append(options, testkit.LoginUser(user))
			ts.Check(exec.Command("chown", user, home).Run())
		}
	}
	keys := ""
	if len(args) > 1 && args[1] == "keys" {
		home = testkit.Dir(t)
		keys = filepath.Join(home, ".ssh", "authorized_keys")
		options = append(options, testkit.Subsystem("Subsystem sftp internal-sftp -d "+home), testkit.ConfigLines("AuthorizedKeysFile "+keys))
	}
	s := testkit.SSHD(t, options...)
	if keys != "" {
		ts.Check(os.Mkdir(filepath.Dir(keys), 0o700))
		ts.Check(os.WriteFile(keys, ssh.MarshalAuthorizedKey(s.ClientPublicKey), 0o600))
	}
	setServer(ts, args[0], s)
	ts.Setenv(args[0]+"_HOME", home)
}

func setServer(ts *testscript.TestScript, name string, s *testkit.Server) {
	ts.Setenv(name, s.User+"@"+s.Addr)
	ts.Setenv(name+"_KEY", s.ClientKeyFile)
	ts.Setenv(name+"_FP", s.HostKeyFingerprint)
	ts.Setenv(name+"_ADDR", s.Addr)
}

func startHosts(ts *testscript.TestScript, _ bool, args []string) {
	t := testOf(ts)
	makeTree(ts, false, args[:1])
	for _, name := range args[1:] {
		dir := testkit.Dir(t)
		ts.Check(os.WriteFile(filepath.Join(dir, "app.conf"), []byte("limit=1\n"), 0o644))
		setServer(ts, name, testkit.SSHD(t, testkit.Bind(dir, ts.Getenv(args[0])), testkit.ConfigLines("SetEnv HOME="+testkit.Dir(t))))
		ts.Setenv(name+"_DIR", dir)
	}
}

// listed is a session as "session list --json" has it.
type listed struct {
	ID, Target, Fleet string
	Class             string `json:"plan_class"`
}

func list(ts *testscript.TestScript, args ...string) []listed {
	ts.Check(ts.Exec("bowline", append([]string{"session", "list", "--json"}, args...)...))
	var doc struct{ Sessions []listed }
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &doc))
	if len(doc.Sessions) == 0 {
		ts.Fatalf("no session")
	}
	return doc.Sessions
}

func newestFleet(ts *testscript.TestScript, _ bool, args []string) {
	ts.Setenv(args[0], list(ts)[0].Fleet)
}

func classOf(ts *testscript.TestScript, _ bool, args []string) {
	for _, s := range list(ts, "--fleet", args[1]) {
		if s.Target == args[2] {
			ts.Setenv(args[0], s.Class)
			return
		}
	}
	ts.Fatalf("%s is not in %s", args[2], args[1])
}

func eventually(ts *testscript.TestScript, _ bool, args []string) {
	deadline := time.Now().Add(30 * time.Second)
	for ts.Exec(args[0], args[1:]...) != nil {
		if time.Now().After(deadline) {
			ts.Fatalf("%s did not succeed", strings.Join(args, " "))
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func wrongPin(ts *testscript.TestScript, _ bool, args []string) {
	t := testOf(ts)
	other := testkit.NewKey(t, filepath.Join(t.TempDir(), "other"), "ed25519")
	line := knownhosts.Line([]string{ts.Getenv(args[0] + "_ADDR")}, other)
	file := filepath.Join(ts.Getenv("XDG_CONFIG_HOME"), "bowline", "known_hosts")
	ts.Check(os.MkdirAll(filepath.Dir(file), 0o700))
	text := line + "\n"
	if old, err := os.ReadFile(file); err == nil { // the pins of other servers stay
		for l := range strings.Lines(string(old)) {
			if !strings.HasPrefix(l, knownhosts.Normalize(ts.Getenv(args[0]+"_ADDR"))+" ") {
				text += l
			}
		}
	}
	ts.Check(os.WriteFile(file, []byte(text), 0o600))
	ts.Setenv("WRONG_FP", ssh.FingerprintSHA256(other))
}

func exitCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N CMD ARG...")
	}
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		got = -1
		if e, ok := err.(interface{ ExitCode() int }); ok {
			got = e.ExitCode()
		}
	}
	if fmt.Sprint(got) != args[0] {
		ts.Fatalf("%s ended with %d, want %s", strings.Join(args[1:], " "), got, args[0])
	}
}

// isRoot is the condition [root]. In CI nothing may be left out for want of it.
func isRoot(cond string) (bool, error) {
	switch {
	case cond != "root":
		return false, fmt.Errorf("unknown condition %q", cond)
	case os.Geteuid() != 0 && os.Getenv("CI") != "":
		return false, errors.New("this script needs root, and in CI it must not be left out")
	}
	return os.Geteuid() == 0, nil
}

func makeTree(ts *testscript.TestScript, _ bool, args []string) {
	t := testOf(ts)
	dir, err := os.MkdirTemp("/srv", "bowline-test-")
	ts.Check(err)
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	ts.Check(os.WriteFile(filepath.Join(dir, "old"), []byte("old\n"), 0o644))
	ts.Setenv(args[0], dir)
}

func newest(ts *testscript.TestScript, _ bool, args []string) {
	ts.Setenv(args[0], list(ts, "--limit", "1")[0].ID)
}

func appendRules(ts *testscript.TestScript, _ bool, args []string) {
	name := filepath.Join(ts.Getenv("XDG_CONFIG_HOME"), "bowline", "config.toml")
	text, err := os.ReadFile(name)
	ts.Check(err)
	text = fmt.Appendf(text, "\n[transfer]\nallow = [%q]\nrefuse = [%q]\n", args[0], args[0]+"/secret")
	ts.Check(os.WriteFile(name, text, 0o600))
}
