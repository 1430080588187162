package box_test

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/box"
	"github.com/bowline-sh/bowline/internal/link"
	"github.com/bowline-sh/bowline/internal/podman"
	"github.com/bowline-sh/bowline/internal/testkit"
	"github.com/bowline-sh/bowline/internal/transport"
	"github.com/bowline-sh/bowline/internal/transport/ssh"
	"github.com/bowline-sh/bowline/target"
)

// server returns the boxes of a new Podman behind a real sshd.
func server(t *testing.T) *box.Server {
	t.Helper()
	s := testkit.PodmanHost(t)
	known := s.KnownHostsFile(t)
	pool := link.NewPool(func(ctx context.Context, to target.Target) (transport.Conn, error) {
		return ssh.Dial(ctx, to, ssh.Config{KnownHosts: []string{known}, SSHConfig: "none", AgentSocket: "none"})
	}, nil)
	t.Cleanup(func() { _ = pool.Close() })
	l, err := pool.Get(t.Context(), target.Target{Name: "p", Kind: target.SSH, Host: s.Host, Port: s.Port, User: s.User, KeyFile: s.ClientKeyFile})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Release)
	p, err := podman.Open(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return box.NewServer(p.API(), box.Podman{Version: p.Version, Rootless: p.Rootless})
}

// TestThread is the life of a box, twice in a row.
func TestThread(t *testing.T) {
	s := server(t)
	for range 2 {
		b, err := s.Create(t.Context(), box.Spec{Name: "thread", Image: testkit.BoxImage, Owner: "ann@laptop", Worktree: "/home/ann/src", Keys: []byte("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl\n")})
		if err != nil {
			t.Fatal(err)
		}
		if b.Name != "thread" || b.Status != "running" || b.Owner != "ann@laptop" || b.User != "dev" {
			t.Errorf("%+v", b)
		}
		var out, errs bytes.Buffer
		code, err := s.Exec(t.Context(), "thread", box.ExecRequest{
			Argv: []string{"sh", "-c", `id -un; pwd; cat; echo oops >&2; grep -E "NoNewPrivs|CapEff" /proc/self/status; exit 7`}, Stdin: strings.NewReader("given\n"), Stdout: &out, Stderr: &errs,
		})
		if err != nil || code != 7 || !strings.HasPrefix(out.String(), "dev\n/workspace/project\ngiven\n") || errs.String() != "oops\n" || !strings.Contains(out.String(), "NoNewPrivs:\t1\n") || !strings.Contains(out.String(), "CapEff:\t0000000000000000\n") {
			t.Errorf("exit %d, %v, %q, %q", code, err, out.String(), errs.String())
		}
		if _, err := s.Create(t.Context(), box.Spec{Name: "thread", Image: testkit.BoxImage, Owner: "x"}); diag.KindOf(err) != diag.Conflict {
			t.Errorf("the same name again: %v", err)
		}
		for _, name := range []string{"", "*", "thr*", "=", "thread,x"} { // Podman has patterns
			if err := s.Remove(t.Context(), name, false); diag.KindOf(err) != diag.Usage {
				t.Errorf("removed as %q: %v", name, err)
			}
		}
		if err := s.Stop(t.Context(), "thread"); err != nil {
			t.Error(err)
		}
		if _, err := s.Exec(t.Context(), "thread", box.ExecRequest{Argv: []string{"true"}, Stdout: &out, Stderr: &errs}); diag.KindOf(err) != diag.Refused {
			t.Errorf("in a stopped box: %v", err)
		}
		if err := s.Start(t.Context(), "thread"); err != nil {
			t.Error(err)
		}
		if err := s.Remove(t.Context(), "thread", false); err != nil {
			t.Error(err)
		}
		if list, err := s.List(t.Context()); err != nil || len(list) != 0 {
			t.Errorf("left: %v, %v", list, err)
		}
	}
}
