//go:build unix

package ssh

import (
	"context"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/testkit"
	"github.com/bowline-sh/bowline/internal/transport"
	"github.com/bowline-sh/bowline/internal/transport/transporttest"
	"github.com/bowline-sh/bowline/target"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// targetOf returns a target that logs in to s with its client key.
func targetOf(s *testkit.Server) target.Target {
	return target.Target{Name: "web1", Kind: target.SSH, Host: s.Host, Port: s.Port, User: s.User, KeyFile: s.ClientKeyFile}
}

// isolated returns a Config that reads nothing of the account that runs the
// tests and trusts what lines say.
func isolated(t testing.TB, lines ...string) Config {
	t.Helper()
	return Config{
		KnownHosts:  []string{testkit.WriteFile(t, "known_hosts", strings.Join(lines, "\n")+"\n", 0o600)},
		SSHConfig:   "none",
		AgentSocket: "none",
		Timeout:     30 * time.Second,
		Logf:        func(format string, args ...any) { t.Logf(format, args...) },
	}
}

// mustDial dials and closes the connection when the test ends.
func mustDial(t testing.TB, tg target.Target, cfg Config) *Conn {
	t.Helper()
	c, err := New(cfg).Dial(t.Context(), tg)
	if err != nil {
		t.Fatalf("Dial: %v\nhint: %s", err, diag.HintOf(err))
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// mustWork runs a command over c.
func mustWork(t testing.TB, c transport.Conn) {
	t.Helper()
	if out, _, exit := transporttest.Output(t, c, "echo works", ""); out != "works\n" || exit.Code != 0 {
		t.Errorf("echo = %q, %+v", out, exit)
	}
}

// refused dials, and checks the kind of the error and that its text and hint
// hold what is wanted.
func refused(t testing.TB, tg target.Target, cfg Config, kind diag.Kind, text ...string) error {
	t.Helper()
	return refusedBy(t, t.Context(), tg, cfg, kind, text...)
}

func refusedBy(t testing.TB, ctx context.Context, tg target.Target, cfg Config, kind diag.Kind, text ...string) error {
	t.Helper()
	c, err := New(cfg).Dial(ctx, tg)
	if err == nil {
		c.Close()
		t.Fatal("Dial succeeded")
	}
	if got := diag.KindOf(err); got != kind {
		t.Errorf("kind %q, want %q: %v", got, kind, err)
	}
	whole := err.Error() + "\nhint: " + diag.HintOf(err)
	for _, want := range text {
		if !strings.Contains(whole, want) {
			t.Errorf("want %q in:\n%s", want, whole)
		}
	}
	return err
}
