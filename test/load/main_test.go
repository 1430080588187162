// Package load keeps 'bowline serve' busy as a team would, and disturbed as a network
// would, and asks how long a read takes meanwhile. The program is the built one, the
// targets are a real sshd.
package load

import (
	"bufio"
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bowline-sh/bowline/internal/testkit"
)

// program is the built bowline.
var program string

func TestMain(m *testing.M) {
	os.Exit(testkit.Main(m, &program))
}

// world is a server with one target, web1.
type world struct {
	t    *testing.T
	site string // directory on the target that everybody reads
	env  []string
	url  string
	pid  int
}

func newWorld(t *testing.T) *world {
	t.Helper()
	testkit.Root(t)
	site, err := os.MkdirTemp("/srv", "bowline-load-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(site) })
	if err := os.Chmod(site, 0o755); err != nil {
		t.Fatal(err)
	}
	dir := testkit.Dir(t)
	w := &world{t: t, site: site}
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "SSH_AUTH_SOCK=") && !strings.HasPrefix(kv, "XDG_") && !strings.HasPrefix(kv, "BOWLINE_") {
			w.env = append(w.env, kv)
		}
	}
	w.env = append(w.env, "XDG_CONFIG_HOME="+dir+"/config", "XDG_STATE_HOME="+dir+"/state", "XDG_RUNTIME_DIR="+dir, "BOWLINE_PERSIST=off")
	s := testkit.SSHD(t, testkit.ConfigLines("SetEnv HOME="+testkit.Dir(t), "MaxSessions 200"))
	w.bowline("target", "add", "web1", fmt.Sprintf("%s@%s:%d", s.User, s.Host, s.Port), "--key", s.ClientKeyFile, "--fingerprint", s.HostKeyFingerprint)
	if file := os.Getenv("BOWLINE_LOAD_PROFILE"); file != "" {
		w.serveHere(file)
		return w
	}
	w.serve()
	return w
}

// serve starts the server and waits until it takes work.
func (w *world) serve() {
	w.t.Helper()
	cmd := exec.Command(program, "serve", "--listen", "127.0.0.1:0")
	cmd.Env = w.env
	var log bytes.Buffer
	cmd.Stderr = &log
	out, err := cmd.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		if err := cmd.Wait(); err != nil {
			w.t.Errorf("serve ended with %v", err)
		}
		if w.t.Failed() {
			w.t.Logf("log of the server:\n%.20000s", log.String())
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		w.t.Fatalf("serve: %v\n%s", err, log.String())
	}
	w.url, w.pid = strings.TrimSpace(line), cmd.Process.Pid
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		resp, err := http.Get(w.url + "/readyz")
		if err == nil && resp.Body.Close() == nil && resp.StatusCode == http.StatusOK {
			return
		}
		if time.Now().After(end) {
			w.t.Fatalf("not ready: %v", err)
		}
	}
}

// bowline is the command line of whoever runs the server; it must succeed.
func (w *world) bowline(args ...string) string {
	w.t.Helper()
	cmd := exec.CommandContext(w.t.Context(), program, args...)
	cmd.Env = w.env
	out, err := cmd.Output()
	if err != nil {
		w.t.Fatalf("bowline %q: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// tokens makes n of them.
func (w *world) tokens(n int) []string {
	w.t.Helper()
	out := make([]string, n)
	for i := range out {
		name := "user" + strconv.Itoa(i)
		out[i] = w.bowline("token", "create", "--name", name, "--user", name, "--scope", "read,run,plan")
	}
	return out
}

// memory is what the server has resident, in MiB.
func (w *world) memory() float64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", w.pid))
	if err != nil {
		return 0 // it ends, or there is no /proc
	}
	_, rest, _ := strings.Cut(string(data), "VmRSS:")
	kib, err := strconv.ParseFloat(strings.Fields(rest + " 0")[0], 64)
	if err != nil {
		return 0
	}
	return kib / 1024
}

// processor is the time that the server has had of processors, in seconds.
func (w *world) processor() float64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", w.pid))
	if err != nil {
		return 0
	}
	f := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	user, uerr := strconv.ParseFloat(f[11], 64)
	system, serr := strconv.ParseFloat(f[12], 64)
	if uerr != nil || serr != nil {
		return 0
	}
	return (user + system) / 100 // USER_HZ
}
