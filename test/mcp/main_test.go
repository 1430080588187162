// Package mcp holds 'bowline mcp serve' to its promises from outside: the built
// program, real sshds, and clients on the Go SDK that a model would sit behind. A
// person's part is played by the same program on its command line.
package mcp

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/bowline-sh/bowline/internal/testkit"
)

// program is the built bowline.
var program string

func TestMain(m *testing.M) {
	os.Exit(testkit.Main(m, &program))
}

// world is a person's machine with targets web1, web2, ...
type world struct {
	t        *testing.T
	revision string // of the protocol that clients speak; "" is the newest
	dir      string // of configuration, state and runtime files
	site     string // directory on the targets that a dry run captures
	env      []string
}

func newWorld(t *testing.T, servers int) *world {
	t.Helper()
	testkit.Root(t)
	site, err := os.MkdirTemp("/srv", "bowline-mcp-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(site) })
	dir := testkit.Dir(t)
	w := &world{t: t, dir: dir, site: site}
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "SSH_AUTH_SOCK=") && !strings.HasPrefix(kv, "XDG_") && !strings.HasPrefix(kv, "BOWLINE_") {
			w.env = append(w.env, kv)
		}
	}
	w.env = append(w.env, "XDG_CONFIG_HOME="+dir+"/config", "XDG_STATE_HOME="+dir+"/state", "XDG_RUNTIME_DIR="+dir, "BOWLINE_PERSIST=off")
	for i := range servers {
		home := testkit.Dir(t)
		s := testkit.SSHD(t, testkit.ConfigLines("SetEnv HOME="+home))
		w.bowline("target", "add", fmt.Sprintf("web%d", i+1), fmt.Sprintf("%s@%s:%d", s.User, s.Host, s.Port),
			"--key", s.ClientKeyFile, "--fingerprint", s.HostKeyFingerprint, "--label", "env=test")
	}
	return w
}

// bowline is the person's command line; it must succeed.
func (w *world) bowline(args ...string) string {
	w.t.Helper()
	out, code := w.try(args...)
	if code != 0 {
		w.t.Fatalf("bowline %q: exit code %d\n%s", args, code, out)
	}
	return out
}

func (w *world) try(args ...string) (out string, code int) {
	w.t.Helper()
	cmd := exec.CommandContext(w.t.Context(), program, args...)
	cmd.Env = w.env
	b, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		w.t.Fatal(err)
	}
	return string(b), cmd.ProcessState.ExitCode()
}

// agent is a model's client of a server of its own.
type agent struct {
	*mcp.ClientSession
	t      *testing.T
	cmd    *exec.Cmd
	stderr *bytes.Buffer
}

// connect starts a server over stdio and a client of it.
func (w *world) connect(name string, opts *mcp.ClientOptions, flags ...string) *agent {
	w.t.Helper()
	cmd := exec.Command(program, append([]string{"mcp", "serve"}, flags...)...)
	cmd.Env = w.env
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	c := mcp.NewClient(&mcp.Implementation{Name: name, Version: "1"}, opts)
	s, err := c.Connect(w.t.Context(), &mcp.CommandTransport{Command: cmd}, &mcp.ClientSessionOptions{ProtocolVersion: w.revision})
	if err != nil {
		w.t.Fatalf("connect: %v\n%s", err, stderr.String())
	}
	a := &agent{ClientSession: s, t: w.t, cmd: cmd, stderr: &stderr}
	w.t.Cleanup(func() { _ = s.Close() }) // a test may have killed it
	return a
}

// answer is the result of a call.
type answer struct {
	text    string
	failed  bool
	content map[string]any
}

func (a *agent) call(name string, args map[string]any) answer {
	a.t.Helper()
	r, err := a.tryCall(a.t.Context(), name, args)
	if err != nil {
		a.t.Fatalf("%s %v: %v\n%s", name, args, err, a.stderr.String())
	}
	return r
}

func (a *agent) tryCall(ctx context.Context, name string, args map[string]any) (answer, error) {
	res, err := a.CallTool(ctx, &mcp.CallToolParams{Name: name, Arguments: args})
	if err != nil {
		return answer{}, err
	}
	r := answer{failed: res.IsError}
	for _, c := range res.Content {
		if t, ok := c.(*mcp.TextContent); ok {
			r.text += t.Text
		}
	}
	r.content, _ = res.StructuredContent.(map[string]any)
	return r, nil
}

// must is call for what has to succeed.
func (a *agent) must(name string, args map[string]any) answer {
	a.t.Helper()
	r := a.call(name, args)
	if r.failed {
		a.t.Fatalf("%s %v failed: %s", name, args, r.text)
	}
	return r
}

func (r answer) str(key string) string {
	s, _ := r.content[key].(string)
	return s
}

// first is the first result of a command.
func (r answer) first(key string) any {
	list, _ := r.content["results"].([]any)
	if len(list) == 0 {
		return nil
	}
	m, _ := list[0].(map[string]any)
	return m[key]
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it never came about: %s", what)
		}
	}
}

// sleeping reports whether somebody sleeps for exactly so many seconds.
func sleeping(seconds string) bool {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil && string(b) == "sleep\x00"+seconds+"\x00" {
			return true
		}
	}
	return false
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
