package podman_test

import (
	"context"
	"testing"

	"github.com/moby/moby/client"

	"github.com/bowline-sh/bowline/internal/link"
	"github.com/bowline-sh/bowline/internal/podman"
	"github.com/bowline-sh/bowline/internal/testkit"
	"github.com/bowline-sh/bowline/internal/transport"
	"github.com/bowline-sh/bowline/internal/transport/ssh"
	"github.com/bowline-sh/bowline/target"
)

// dial returns a link to a server.
func dial(t *testing.T, s *testkit.Server) *link.Link {
	t.Helper()
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
	return l
}

// TestServiceOnDemand: without a socket the service runs for the life of the link.
func TestServiceOnDemand(t *testing.T) {
	s := testkit.PodmanHost(t)
	p, err := podman.Open(t.Context(), dial(t, s))
	if err != nil {
		t.Fatal(err)
	}
	list, err := p.API().ImageList(t.Context(), client.ImageListOptions{})
	if err != nil || len(list.Items) != 1 {
		t.Errorf("images %+v, %v", list.Items, err)
	}
	t.Log(p)
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}
