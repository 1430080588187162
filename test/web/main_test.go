// Package web holds 'bowline serve' to its promises from outside: the built program, a
// real sshd, a model's client on the Go SDK, and a person in a real browser.
package web

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/bowline-sh/bowline/internal/testkit"
)

// program is the built bowline.
var program string

func TestMain(m *testing.M) {
	os.Exit(testkit.Main(m, &program))
}

// world is a machine that serves, with the targets web1, web2, ...
type world struct {
	t    *testing.T
	dir  string // of configuration, state and runtime files
	site string // directory on the targets that a dry run captures
	env  []string
	url  string // of the server
}

func newWorld(t *testing.T, servers int, flags ...string) *world {
	t.Helper()
	testkit.Root(t)
	site, err := os.MkdirTemp("/srv", "bowline-web-")
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
		s := testkit.SSHD(t, testkit.ConfigLines("SetEnv HOME="+testkit.Dir(t)))
		w.bowline("target", "add", fmt.Sprintf("web%d", i+1), fmt.Sprintf("%s@%s:%d", s.User, s.Host, s.Port),
			"--key", s.ClientKeyFile, "--fingerprint", s.HostKeyFingerprint, "--label", "env=test")
	}
	w.serve(flags...)
	return w
}

// serve starts the server and waits until it takes work.
func (w *world) serve(flags ...string) {
	w.t.Helper()
	cmd := exec.Command(program, append([]string{"serve", "--listen", "127.0.0.1:0"}, flags...)...)
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
			w.t.Logf("log of the server:\n%s", log.String())
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		w.t.Fatalf("serve: %v\n%s", err, log.String())
	}
	w.url = strings.TrimSpace(line)
	resp, err := http.Get(w.url + "/readyz")
	if err != nil || resp.StatusCode != http.StatusOK {
		w.t.Fatalf("not ready: %v, %v", resp, err)
	}
	_ = resp.Body.Close()
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

// token makes one for a user.
func (w *world) token(user, scopes string) string {
	return w.bowline("token", "create", "--name", user, "--user", user, "--scope", scopes)
}

// bearer adds a token to requests.
type bearer string

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+string(b))
	return http.DefaultTransport.RoundTrip(r)
}

// model is an MCP client that has a token.
func (w *world) model(token string) *mcp.ClientSession {
	w.t.Helper()
	c := mcp.NewClient(&mcp.Implementation{Name: "model", Version: "1"}, nil)
	s, err := c.Connect(w.t.Context(), &mcp.StreamableClientTransport{Endpoint: w.url + "/mcp", HTTPClient: &http.Client{Transport: bearer(token)}}, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = s.Close() })
	return s
}

// browser is a person's.
type browser struct {
	*world
	ctx context.Context
}

// browse starts a browser of width by height pixels. It ends with the test.
func (w *world) browse(width, height int64, opts ...chromedp.ExecAllocatorOption) *browser {
	w.t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		w.t.Fatal(err)
	}
	all := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox)
	ctx, stop := chromedp.NewExecAllocator(context.WithoutCancel(w.t.Context()), append(all, opts...)...)
	w.t.Cleanup(stop)
	ctx, _ = chromedp.NewContext(ctx)
	w.t.Cleanup(func() {
		if err := chromedp.Cancel(ctx); err != nil { // waits for the browser's end
			w.t.Logf("the browser ended with %v", err)
		}
	})
	b := &browser{w, ctx}
	b.do(chromedp.EmulateViewport(width, height))
	return b
}

// do does things in the browser; each waits for what it needs.
func (b *browser) do(actions ...chromedp.Action) {
	b.t.Helper()
	if err := chromedp.Run(b.ctx, actions...); err != nil {
		var page string
		_ = chromedp.Run(b.ctx, chromedp.Text("body", &page))
		b.t.Fatalf("%v; the page says:\n%s", err, page)
	}
}

// signIn opens the server and shows a token.
func (b *browser) signIn(token string) {
	b.t.Helper()
	b.do(chromedp.Navigate(b.url+"/"), chromedp.SendKeys("#token", token), chromedp.Click("button.primary"), chromedp.WaitVisible("#waiting"))
}

// says returns the text of what a selector finds.
func (b *browser) says(selector string) string {
	b.t.Helper()
	var text string
	b.do(chromedp.Text(selector, &text))
	return text
}

// waits waits until an element says something, on this page or the one it leads to.
func (b *browser) waits(selector, want string) {
	b.t.Helper()
	ask := fmt.Sprintf("Boolean(document.querySelector(%q)?.innerText.includes(%q))", selector, want)
	for deadline := time.Now().Add(time.Minute); ; {
		var is bool
		err := chromedp.Run(b.ctx, chromedp.Evaluate(ask, &is)) // fails while the page changes
		if err == nil && is {
			return
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("%s never says %q (%v); the page says:\n%s", selector, want, err, b.says("body"))
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// picture keeps a screenshot of the page, for the docs if BOWLINE_PICTURES names a
// directory.
func (b *browser) picture(name string) {
	b.t.Helper()
	dir := os.Getenv("BOWLINE_PICTURES")
	if dir == "" {
		return
	}
	var png []byte
	b.do(chromedp.CaptureScreenshot(&png))
	if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644); err != nil {
		b.t.Fatal(err)
	}
}
