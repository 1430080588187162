//go:build unix

package keys_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	gossh "golang.org/x/crypto/ssh"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/audit"
	"github.com/bowline-sh/bowline/internal/config"
	"github.com/bowline-sh/bowline/internal/keys"
	"github.com/bowline-sh/bowline/internal/testkit"
	"github.com/bowline-sh/bowline/internal/transport"
	"github.com/bowline-sh/bowline/internal/transport/ssh"
	"github.com/bowline-sh/bowline/target"
)

// The test binary runs itself as a client that is killed in the middle of a rotation.
func TestMain(m *testing.M) {
	if dir := os.Getenv("KEYS_DIR"); dir != "" {
		os.Exit(rotateAndDie(dir, os.Getenv("KEYS_STEP")))
	}
	os.Exit(m.Run())
}

// client is a configuration directory with its Keeper.
type client struct {
	*keys.Keeper
	dir    string
	file   string // config.toml
	log    *audit.Log
	refuse func() error // in place of changing the configuration
	prompt func(question string) string
}

func newClient(dir, agent string) (*client, error) {
	log, err := audit.Open(context.Background(), audit.Config{Dir: filepath.Join(dir, "audit"), HeadFile: filepath.Join(dir, "head.json")})
	if err != nil {
		return nil, err
	}
	c := &client{dir: dir, file: filepath.Join(dir, "config.toml"), log: log}
	ask := func(_ context.Context, question string, _ bool) (string, error) {
		if c.prompt == nil {
			return "", errors.New("nobody is there")
		}
		return c.prompt(question), nil
	}
	dialer := ssh.New(ssh.Config{KnownHosts: []string{filepath.Join(dir, "known_hosts")}, SSHConfig: "none", AgentSocket: agent, Prompt: ask})
	c.Keeper = keys.New(keys.Config{
		Target:  func(name string) (target.Target, error) { cfg, err := c.config(); return resolve(cfg, name, err) },
		Targets: func() []target.Target { cfg, _ := c.config(); return cfg.Targets() },
		Update: func(ctx context.Context, t target.Target) error {
			if c.refuse != nil {
				return c.refuse()
			}
			return config.Editor{File: c.file}.UpdateTarget(ctx, t)
		},
		Dial: func(ctx context.Context, t target.Target) (transport.Conn, error) { return dialer.Dial(ctx, t) },
		Prove: func(ctx context.Context, t target.Target, _ string) (transport.Conn, error) {
			return conn(dialer.DialWithKey(ctx, t))
		},
		Offers: dialer.Keys, Forget: func(context.Context, target.Target) {},
		Recorder: log, Dir: filepath.Join(dir, "keys"), State: filepath.Join(dir, "rotations"), Now: time.Now,
		Prompt: func(ctx context.Context, question string, echo bool) (string, error) {
			if c.prompt == nil {
				return "", diag.New(diag.Usage, "", "--no-passphrase", "nobody can be asked")
			}
			return ask(ctx, question, echo)
		},
	})
	return c, nil
}

// conn keeps a nil *ssh.Conn from being a connection.
func conn(c *ssh.Conn, err error) (transport.Conn, error) {
	if err != nil {
		return nil, err
	}
	return c, nil
}

func resolve(cfg config.Config, name string, err error) (target.Target, error) {
	if err != nil {
		return target.Target{}, err
	}
	return cfg.Resolve(name, "")
}

func (c *client) config() (config.Config, error) { return config.Load(c.file, c.dir) }

// world is a client and a real account on a real sshd, whose home is a directory of
// its own.
type world struct {
	*client
	t      *testing.T
	server *testkit.Server
	home   string
}

func newWorld(t *testing.T, agent string, options ...testkit.SSHDOption) *world {
	t.Helper()
	home := testkit.Dir(t)
	w := &world{t: t, home: home}
	options = append(options, testkit.Subsystem("Subsystem sftp internal-sftp -d "+home), testkit.ConfigLines("AuthorizedKeysFile "+filepath.Join(home, ".ssh/authorized_keys")))
	w.server = testkit.SSHD(t, options...)
	must(t, os.Mkdir(filepath.Join(home, ".ssh"), 0o700))
	w.put("# mine\n" + w.line(w.server.ClientPublicKey) + " old\n")
	c, err := newClient(t.TempDir(), agent)
	must(t, err)
	t.Cleanup(func() { must(t, c.log.Close()) })
	w.client = c
	hosts, err := os.ReadFile(w.server.KnownHostsFile(t))
	must(t, err)
	must(t, os.WriteFile(filepath.Join(c.dir, "known_hosts"), hosts, 0o600))
	w.configure("web1", w.server.ClientKeyFile)
	return w
}

// chown gives the home to the account that logs in.
func (w *world) chown(name string) {
	w.t.Helper()
	out, err := exec.Command("chown", "-R", name+":", w.home).CombinedOutput()
	if err != nil {
		w.t.Fatalf("%v: %s", err, out)
	}
}

func (w *world) configure(name, key string) {
	w.t.Helper()
	f, err := os.OpenFile(w.file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	must(w.t, err)
	_, err = fmt.Fprintf(f, "# of %[1]s\n[targets.%[1]s] # here\ntype = \"ssh\"\nhost = %[2]q\nport = %[3]d\nuser = %[4]q\nkey_file = %[5]q # which key\n", name, w.server.Host, w.server.Port, w.server.User, key)
	must(w.t, errors.Join(err, f.Close()))
}

func (w *world) path() string { return filepath.Join(w.home, ".ssh/authorized_keys") }

func (w *world) put(text string) {
	w.t.Helper()
	must(w.t, os.WriteFile(w.path(), []byte(text), 0o600))
}

func (w *world) get() string {
	w.t.Helper()
	data, err := os.ReadFile(w.path())
	must(w.t, err)
	return string(data)
}

func (w *world) line(k gossh.PublicKey) string {
	return strings.TrimSpace(string(gossh.MarshalAuthorizedKey(k)))
}

func (w *world) keyFile(name string) string {
	w.t.Helper()
	cfg, err := w.config()
	must(w.t, err)
	t, _ := cfg.Find(name)
	return t.KeyFile
}

func (w *world) public(file string) gossh.PublicKey {
	w.t.Helper()
	k, err := ssh.ReadKey(file)
	must(w.t, err)
	return k.Public
}

// rotate rotates and must succeed.
func (w *world) rotate(name string, how *keys.Rotation) keys.Rotated {
	w.t.Helper()
	res, err := w.Rotate(w.t.Context(), name, how)
	if err != nil {
		w.t.Fatalf("rotate: %v (hint %q)\n%s", err, diag.HintOf(err), w.get())
	}
	return res
}

// tidy fails where a rotation left something behind.
func (w *world) tidy() {
	w.t.Helper()
	for _, dir := range []string{filepath.Join(w.dir, "rotations"), filepath.Join(w.home, ".ssh")} {
		list, err := os.ReadDir(dir)
		must(w.t, err)
		for _, f := range list {
			if strings.HasSuffix(f.Name(), ".json") || strings.Contains(f.Name(), "bowline") {
				w.t.Errorf("left behind: %s", filepath.Join(dir, f.Name()))
			}
		}
	}
}

// oldWorks fails where the key in use does not log in any more.
func (w *world) oldWorks() {
	w.t.Helper()
	if w.keyFile("web1") != w.server.ClientKeyFile {
		w.t.Errorf("the configuration names %s", w.keyFile("web1"))
	}
	cfg := ssh.Config{KnownHosts: []string{filepath.Join(w.dir, "known_hosts")}, SSHConfig: "none", AgentSocket: "none"}
	c, err := ssh.Dial(w.t.Context(), target.Target{Name: "web1", Kind: target.SSH, Host: w.server.Host, Port: w.server.Port, User: w.server.User, KeyFile: w.server.ClientKeyFile}, cfg)
	if err != nil {
		w.t.Fatalf("the old key is locked out: %v", err)
	}
	must(w.t, c.Close())
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// rotateAndDie is another client on the same files, that kills itself after a step.
func rotateAndDie(dir, step string) int {
	c, err := newClient(dir, "none")
	if err == nil {
		_, err = c.Rotate(context.Background(), "web1", &keys.Rotation{Progress: func(_ string, s keys.Step) {
			if string(s) == step {
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			}
		}})
	}
	fmt.Fprintln(os.Stderr, "not killed:", err)
	return 1
}
