// Package scale holds several 'bowline serve' on one PostgreSQL to their promise, through
// the front door: built programs, real sshds, and a client that knows nothing but HTTP.
package scale

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/bowline-sh/bowline/internal/testkit"
)

// program is the built bowline.
var program string

func TestMain(m *testing.M) {
	os.Exit(testkit.Main(m, &program))
}

// host is one target: an sshd at an address of its own that sees its own files at the
// site, with a home of its own.
type host struct {
	name, dir, home string
	pipe            *os.File // a pipe at the site: sandboxed commands, which can write nothing, leave marks there
}

// world is a team's installation.
type world struct {
	t       *testing.T
	dir     string
	site    string // where each host has its files
	command string // base name of a program that reaches outside the file system
	pg      *testkit.Postgres
	hosts   []*host
	servers []*server
}

// newWorld starts n targets, PostgreSQL, and servers.
func newWorld(t *testing.T, n, servers int) *world {
	t.Helper()
	testkit.Root(t)
	site, err := os.MkdirTemp("/srv", "bowline-scale-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(site) })
	w := &world{t: t, dir: testkit.Dir(t), site: site, command: filepath.Base(site)}
	w.install()
	w.pg = testkit.StartPostgres(t)
	w.configure(n, w.pg.NewDatabase("bowline"))
	for i := range servers {
		w.servers = append(w.servers, &server{w: w, state: filepath.Join(w.dir, fmt.Sprintf("s%d", i)), listen: "127.0.0.1:" + strconv.Itoa(testkit.FreePort(t, "127.0.0.1"))})
	}
	w.share()
	for _, s := range w.servers {
		s.start()
	}
	return w
}

// install makes the program that plans defer. It leaves a mark in the file that it is
// given, in each of its runs.
func (w *world) install() {
	w.t.Helper()
	name := filepath.Join("/usr/local/bin", w.command)
	w.t.Cleanup(func() { os.Remove(name) })
	w.write(name, "#!/bin/sh\necho begun >> \"$1\"; sleep 0.2; echo ended >> \"$1\"\n", 0o755)
}

func (w *world) write(name, text string, mode os.FileMode) {
	w.t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), mode); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Chmod(name, mode); err != nil {
		w.t.Fatal(err)
	}
}

// configure makes the targets and what all servers share.
func (w *world) configure(n int, dsn string) {
	w.t.Helper()
	hostKey := filepath.Join(w.dir, "host_key")
	testkit.NewKey(w.t, hostKey, "ed25519")
	var config, known strings.Builder
	fmt.Fprintf(&config, "store = %q\n", dsn)
	for i := range n {
		h := &host{name: fmt.Sprintf("h%03d", i), dir: testkit.Dir(w.t), home: testkit.Dir(w.t)}
		s := testkit.SSHD(w.t, testkit.Listen(fmt.Sprintf("127.0.%d.%d", 1+i/200, 1+i%200)), testkit.Bind(h.dir, w.site), testkit.HostKeyFile(hostKey), testkit.ConfigLines("SetEnv HOME="+h.home))
		fmt.Fprintf(&config, "[targets.%s]\ntype = \"ssh\"\nhost = %q\nport = %d\nuser = %q\nkey_file = %q\nprofile = \"scale\"\n", h.name, s.Host, s.Port, s.User, s.ClientKeyFile)
		fmt.Fprintln(&known, knownhosts.Line([]string{net.JoinHostPort(s.Host, strconv.Itoa(s.Port))}, s.HostPublicKey))
		w.write(filepath.Join(h.dir, "app.conf"), fmt.Sprintf("limit=%d\n", i%3/2), 0o644) // two classes
		w.pipe(h)
		w.hosts = append(w.hosts, h)
	}
	w.write(filepath.Join(w.dir, "config/bowline/config.toml"), config.String(), 0o600)
	w.write(filepath.Join(w.dir, "config/bowline/known_hosts"), known.String(), 0o600)
	w.write(filepath.Join(w.dir, "config/bowline/profiles/scale.toml"), `name = "scale"
tmpfs_paths = ["/tmp"]
binds = [
  { source = "/usr", target = "/usr" }, { source = "/bin", target = "/bin" }, { source = "/lib", target = "/lib" },
  { source = "/lib64", target = "/lib64" }, { source = "/etc", target = "/etc" }, { source = "/srv", target = "/srv" },
]
cwd = "/tmp"
[environment]
PATH = "/usr/local/bin:/usr/bin:/bin"
[[defer]]
programs = ["`+w.command+`"]
`, 0o600)
}

func (w *world) pipe(h *host) {
	w.t.Helper()
	name := filepath.Join(h.dir, "pipe")
	if err := syscall.Mkfifo(name, 0o666); err != nil {
		w.t.Fatal(err)
	}
	f, err := os.OpenFile(name, os.O_RDWR|syscall.O_NONBLOCK, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { f.Close() })
	h.pipe = f
}

// share has the helper on all targets after one of them got it: on real hosts the disks
// are not one.
func (w *world) share() {
	w.t.Helper()
	first := w.hosts[0].home
	w.bowline(0, "plan", "-t", w.hosts[0].name, "--", "true")
	list, err := filepath.Glob(filepath.Join(first, ".cache/bowline/helper/*"))
	if err != nil || len(list) == 0 {
		w.t.Fatalf("no helper on the first target: %v", err)
	}
	for _, h := range w.hosts[1:] {
		dir := filepath.Join(h.home, ".cache/bowline/helper")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			w.t.Fatal(err)
		}
		for _, name := range list {
			if err := os.Link(name, filepath.Join(dir, filepath.Base(name))); err != nil {
				w.t.Fatal(err)
			}
		}
	}
}

func (w *world) env(state string) []string {
	var env []string
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "SSH_AUTH_SOCK=") && !strings.HasPrefix(kv, "XDG_") && !strings.HasPrefix(kv, "BOWLINE_") {
			env = append(env, kv)
		}
	}
	return append(env, "XDG_CONFIG_HOME="+w.dir+"/config", "XDG_STATE_HOME="+state, "XDG_RUNTIME_DIR="+state, "BOWLINE_PERSIST=off")
}

// bowline is the command line on the machine of a server; it must succeed.
func (w *world) bowline(server int, args ...string) string {
	w.t.Helper()
	out, err := w.try(server, args...)
	if err != nil {
		w.t.Fatalf("bowline %q: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(out)
}

func (w *world) try(server int, args ...string) (string, error) {
	state := filepath.Join(w.dir, fmt.Sprintf("s%d", server))
	if err := os.MkdirAll(state, 0o700); err != nil {
		w.t.Fatal(err)
	}
	cmd := exec.Command(program, args...)
	cmd.Env = w.env(state)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if err != nil {
		return stdout.String() + stderr.String(), err
	}
	return stdout.String(), nil
}

// server is one 'bowline serve', with a state directory of its own.
type server struct {
	w             *world
	state, listen string

	mu  sync.Mutex // guards cmd
	cmd *exec.Cmd
	log bytes.Buffer
}

// start starts the program and waits until it takes work.
func (s *server) start() {
	s.w.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := os.MkdirAll(s.state, 0o700); err != nil {
		s.w.t.Fatal(err)
	}
	cmd := exec.Command(program, "serve", "--listen", s.listen)
	cmd.Env = s.w.env(s.state)
	cmd.Stderr = &s.log
	out, err := cmd.StdoutPipe()
	if err != nil {
		s.w.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		s.w.t.Fatal(err)
	}
	s.cmd = cmd
	s.w.t.Cleanup(func() { s.end(cmd, os.Interrupt) })
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		s.w.t.Fatalf("serve said %q: %v", line, err)
	}
}

// kill is kill -9.
func (s *server) kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end(s.cmd, os.Kill)
}

func (s *server) end(cmd *exec.Cmd, sig os.Signal) {
	if cmd.ProcessState != nil {
		return
	}
	_ = cmd.Process.Signal(sig)
	_ = cmd.Wait() // killed
	if s.w.t.Failed() {
		s.w.t.Logf("log of %s:\n%s", s.state, s.log.String())
	}
	s.log.Reset()
}

// client is somebody with a token who knows all servers.
type client struct {
	w     *world
	token string

	mu    sync.Mutex
	next  int // server to ask
	moved int // requests that another server had to answer
}

func (w *world) client(user, scopes string) *client {
	w.t.Helper()
	return &client{w: w, token: w.bowline(0, "token", "create", "--name", user, "--user", user, "--scope", scopes)}
}

type doc = map[string]any

// do sends a request to the next server, and to the one after it where that is dead or
// cannot answer, always with the same key.
func (c *client) do(method, path, key string, body, answer any) (status int) {
	c.w.t.Helper()
	data, err := json.Marshal(body)
	if err != nil {
		c.w.t.Fatal(err)
	}
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		status, err := c.once(method, path, key, data, answer)
		if err == nil && status < 500 {
			return status
		}
		if time.Now().After(deadline) {
			c.w.t.Fatalf("%s %s: %d, %v", method, path, status, err)
		}
		c.mu.Lock()
		c.moved++
		c.mu.Unlock()
	}
}

func (c *client) once(method, path, key string, data []byte, answer any) (int, error) {
	c.mu.Lock()
	s := c.w.servers[c.next%len(c.w.servers)]
	c.next++
	c.mu.Unlock()
	req, err := http.NewRequest(method, "http://"+s.listen+"/api/v1"+path, bytes.NewReader(data))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	cl := &http.Client{Timeout: 90 * time.Second}
	resp, err := cl.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return resp.StatusCode, err
	}
	if resp.StatusCode >= 500 {
		return resp.StatusCode, fmt.Errorf("%s", text)
	}
	return resp.StatusCode, json.Unmarshal(text, answer)
}

// operation is what the test reads of one.
type operation struct {
	ID     string         `json:"id"`
	State  string         `json:"state"`
	Counts map[string]int `json:"counts"`
	Fleet  string         `json:"fleet"`
	Tasks  []task         `json:"tasks"`
}

type task struct {
	Target  string `json:"target"`
	Session string `json:"session"`
	State   string `json:"state"`
	Attempt int    `json:"attempt"`
	Kind    string `json:"kind"`
	Error   string `json:"error"`
}

func (o operation) over() int {
	return o.Counts["succeeded"] + o.Counts["failed"] + o.Counts["unknown"] + o.Counts["cancelled"]
}

// submit submits work and sends the request twice more, as somebody does who got no
// answer: it is the same work.
func (c *client) submit(key string, body doc) operation {
	c.w.t.Helper()
	var o operation
	if status := c.do("POST", "/operations", key, body, &o); status != http.StatusAccepted {
		c.w.t.Fatalf("submit: %d %+v", status, o)
	}
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			var again operation
			if status := c.do("POST", "/operations", key, body, &again); status != http.StatusAccepted || again.ID != o.ID {
				c.w.t.Errorf("the same request made %q and %q", o.ID, again.ID)
			}
		})
	}
	wg.Wait()
	return o
}

// troubles is how often there is trouble in an operation.
func (w *world) troubles() int { return min(3+len(w.hosts)/50, 9) }

// await follows an operation to its end, with trouble at even parts of the first half.
func (c *client) await(id string, trouble func(n int)) operation {
	c.w.t.Helper()
	began, happened := time.Now(), 0
	var troubled sync.WaitGroup // one at a time: the others go on
	defer troubled.Wait()
	over := make(chan struct{}, 1)
	over <- struct{}{}
	for {
		var o operation
		if status := c.do("GET", "/operations/"+id, "", nil, &o); status != http.StatusOK {
			c.w.t.Fatalf("%s: %d", id, status)
		}
		n := o.over()
		if n == len(o.Tasks) && o.State != "queued" && o.State != "running" {
			return o
		}
		if trouble != nil && happened < c.w.troubles() && n > len(o.Tasks)*happened/c.w.troubles()/2 {
			select {
			case <-over:
				k := happened
				happened++
				troubled.Go(func() {
					trouble(k)
					over <- struct{}{}
				})
			default:
			}
		}
		if time.Since(began) > 10*time.Minute {
			c.w.t.Fatalf("%s does not end: %v", id, o.Counts)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// lines counts those of a host's file, by what they say.
func (w *world) lines(h *host, name string) map[string]int {
	w.t.Helper()
	text, err := os.ReadFile(filepath.Join(h.dir, name))
	if err != nil && !os.IsNotExist(err) {
		w.t.Fatal(err)
	}
	return count(string(text))
}

func count(text string) map[string]int {
	n := map[string]int{}
	for line := range strings.Lines(text) {
		n[strings.TrimSpace(line)]++
	}
	return n
}

// marks are those that commands left in a host's pipe since the last look.
func (w *world) marks(h *host) map[string]int {
	w.t.Helper()
	var all []byte
	buf := make([]byte, 4096)
	for {
		n, err := syscall.Read(int(h.pipe.Fd()), buf)
		if n <= 0 {
			if err != nil && err != syscall.EAGAIN {
				w.t.Fatal(err)
			}
			return count(string(all))
		}
		all = append(all, buf[:n]...)
	}
}
