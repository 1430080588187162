package copier_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/audit"
	"github.com/bowline-sh/bowline/internal/helperbin"
	"github.com/bowline-sh/bowline/internal/link"
	"github.com/bowline-sh/bowline/internal/policy"
	"github.com/bowline-sh/bowline/internal/testkit"
	"github.com/bowline-sh/bowline/internal/transfer"
	"github.com/bowline-sh/bowline/internal/transfer/copier"
	"github.com/bowline-sh/bowline/internal/transport"
	"github.com/bowline-sh/bowline/internal/transport/local"
	"github.com/bowline-sh/bowline/internal/transport/ssh"
	"github.com/bowline-sh/bowline/target"
)

// world is a copier with a real sshd, known as web1 (helper) and bare (agentless).
type world struct {
	*copier.Copier
	t      *testing.T
	server *testkit.Server
	home   string // of the account on the target
	here   string // on this machine
	far    string // on the target
	log    *recorder
	rules  transfer.Policy
	pool   *link.Pool
	moved  atomic.Int64 // bytes of every process on the target, both ways
}

func newWorld(t *testing.T, options ...testkit.SSHDOption) *world {
	t.Helper()
	w := &world{t: t, home: testkit.Dir(t), here: testkit.Dir(t), far: testkit.Dir(t), log: &recorder{}}
	if err := os.Chmod(w.home, 0o777); err != nil {
		t.Fatal(err)
	}
	w.server = testkit.SSHD(t, append(options, testkit.ConfigLines("SetEnv HOME="+w.home))...)
	targets := map[string]target.Target{}
	for name, bare := range map[string]bool{"web1": false, "web2": false, "bare": true, "bare2": true} {
		targets[name] = target.Target{Name: name, Kind: target.SSH, Host: w.server.Host, Port: w.server.Port, User: w.server.User, KeyFile: w.server.ClientKeyFile, NoHelper: bare}
	}
	targets["local"] = target.Target{Name: "local", Kind: target.Local}
	dialer := ssh.New(ssh.Config{KnownHosts: []string{w.server.KnownHostsFile(t)}, SSHConfig: "none", AgentSocket: "none"})
	w.pool = link.NewPool(func(ctx context.Context, t target.Target) (transport.Conn, error) {
		if t.Kind == target.Local {
			return local.Dial(), nil
		}
		conn, err := dialer.Dial(ctx, t)
		if err != nil {
			return nil, err
		}
		return &testConn{Conn: conn, moved: &w.moved}, nil
	}, nil)
	t.Cleanup(func() {
		if err := w.pool.Close(); err != nil {
			t.Error(err)
		}
	})
	w.Copier = copier.New(copier.Config{
		Gate:  openGate{},
		Links: w.pool, Helpers: &link.Helpers{Binaries: new(helperbin.Set)}, Recorder: w.log, Now: time.Now, Rules: func() transfer.Policy { return w.rules },
		Target: func(name string) (target.Target, error) {
			if t, ok := targets[name]; ok {
				return t, nil
			}
			return target.Target{}, diag.New(diag.Usage, "find target", "", "there is no target %q", name)
		},
	})
	return w
}

// testConn counts the bytes that processes on the target read and write.
type testConn struct {
	transport.Conn
	moved *atomic.Int64
}

func (c *testConn) Start(ctx context.Context, line string) (transport.Process, error) {
	p, err := c.Conn.Start(ctx, line)
	return c.count(p, err)
}

func (c *testConn) Subsystem(ctx context.Context, name string) (transport.Process, error) {
	p, err := c.Conn.(transport.Subsystems).Subsystem(ctx, name)
	return c.count(p, err)
}

func (c *testConn) count(p transport.Process, err error) (transport.Process, error) {
	if err != nil {
		return nil, err
	}
	return &counted{Process: p, moved: c.moved}, nil
}

type counted struct {
	transport.Process
	moved *atomic.Int64
}

func (c *counted) Stdin() io.WriteCloser { return &countedIn{c.Process.Stdin(), c.moved} }
func (c *counted) Stdout() io.Reader     { return &countedOut{c.Process.Stdout(), c.moved} }

type countedIn struct {
	io.WriteCloser
	moved *atomic.Int64
}

func (c *countedIn) Write(p []byte) (int, error) {
	n, err := c.WriteCloser.Write(p)
	c.moved.Add(int64(n))
	return n, err
}

type countedOut struct {
	io.Reader
	moved *atomic.Int64
}

func (c *countedOut) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.moved.Add(int64(n))
	return n, err
}

type recorder struct {
	mu       sync.Mutex
	intents  []audit.Intent
	outcomes []audit.Outcome
	refuse   error
}

func (r *recorder) Begin(_ context.Context, in audit.Intent) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.refuse != nil {
		return "", r.refuse
	}
	r.intents = append(r.intents, in)
	return fmt.Sprint(len(r.intents)), nil
}

func (r *recorder) End(_ context.Context, _ string, out audit.Outcome) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.outcomes = append(r.outcomes, out)
	return nil
}

// loc reads "web1:/x" and "/x".
func loc(s string) copier.Location {
	if name, p, ok := strings.Cut(s, ":"); ok && !strings.Contains(name, "/") {
		return copier.Location{Target: name, Path: p}
	}
	return copier.Location{Path: s}
}

// req is a recursive copy from src to dst.
func req(src, dst string) copier.Request {
	return copier.Request{Sources: []copier.Location{loc(src)}, Dest: loc(dst), Recursive: true}
}

// cp copies and must succeed.
func (w *world) cp(src, dst string) copier.Result {
	w.t.Helper()
	res, err := w.Copy(w.t.Context(), req(src, dst))
	if err != nil {
		w.t.Fatalf("copy %s to %s: %v\n%.2000s", src, dst, err, fmt.Sprintf("%+v", res))
	}
	return res
}

// noTemps fails if a temporary is left anywhere below dir.
func noTemps(t *testing.T, dir string) {
	t.Helper()
	if list := temps(t, dir); len(list) > 0 {
		t.Errorf("left behind: %q", list)
	}
}

func temps(t *testing.T, dir string) []string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasPrefix(d.Name(), ".bowline-") {
			list = append(list, p)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func write(t *testing.T, p string, data []byte) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, data, 0o644)); err != nil {
		t.Fatal(err)
	}
}

// noise is n bytes that do not repeat, from a seed.
func noise(n int, seed byte) []byte {
	out := make([]byte, 0, n+32)
	for sum := sha256.Sum256([]byte{seed}); len(out) < n; sum = sha256.Sum256(sum[:]) {
		out = append(out, sum[:]...)
	}
	return out[:n]
}

// tree describes everything below dir: names, types, modes, times, contents.
func tree(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		switch {
		case d.Type()&fs.ModeSymlink != 0:
			text, err := os.Readlink(p)
			out = append(out, fmt.Sprintf("%q -> %q", rel, text))
			return err
		case d.IsDir():
			out = append(out, fmt.Sprintf("%q %v %d", rel, info.Mode(), info.ModTime().Unix()))
		case info.Mode().IsRegular():
			data, err := os.ReadFile(p)
			sum := sha256.Sum256(data)
			out = append(out, fmt.Sprintf("%q %v %d %d %s", rel, info.Mode(), info.ModTime().Unix(), len(data), hex.EncodeToString(sum[:4])))
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func sameTree(t *testing.T, a, b string) {
	t.Helper()
	x, y := tree(t, a), tree(t, b)
	if slices.Equal(x, y) {
		return
	}
	for _, l := range x {
		if !slices.Contains(y, l) {
			t.Errorf("only in %s: %s", a, l)
		}
	}
	for _, l := range y {
		if !slices.Contains(x, l) {
			t.Errorf("only in %s: %s", b, l)
		}
	}
}

// openGate lets everything in.
type openGate struct{}

func (openGate) Enter(context.Context, policy.Request) (func(), error) { return func() {}, nil }
