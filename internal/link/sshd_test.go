package link_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/bowline-sh/bowline/internal/link"
	"github.com/bowline-sh/bowline/internal/sandbox"
	"github.com/bowline-sh/bowline/internal/sandbox/sandboxtest"
	"github.com/bowline-sh/bowline/internal/testkit"
	"github.com/bowline-sh/bowline/internal/transport"
	"github.com/bowline-sh/bowline/internal/transport/ssh"
	"github.com/bowline-sh/bowline/target"
)

// pool is one over real connections to h, and the number of its dials.
func pool(t *testing.T, h sandboxtest.Host) (p *link.Pool, tg target.Target, dials *atomic.Int32) {
	t.Helper()
	tg, cfg := h.Target()
	dials = new(atomic.Int32)
	p = link.NewPool(func(ctx context.Context, t target.Target) (transport.Conn, error) {
		dials.Add(1)
		return ssh.Dial(ctx, t, cfg)
	}, nil)
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Errorf("close the pool: %v", err)
		}
	})
	return p, tg, dials
}

func echo(t *testing.T, p *link.Pool, tg target.Target, text string) error {
	l, err := p.Get(t.Context(), tg)
	if err != nil {
		return err
	}
	defer l.Release()
	var out bytes.Buffer
	cmd := sandbox.Command{Spec: sandbox.Spec{Profile: sandboxtest.Builtin(t, "minimal"), Argv: []string{"echo", text}}, Stdout: &out}
	cmd.Timeout = 2 * time.Minute // a hundred on two processors
	res, err := sandbox.Exec(t.Context(), l, cmd)
	if err == nil && (res.ExitCode != 0 || out.String() != text+"\n") {
		err = fmt.Errorf("%+v, output %q, want %q", res, out.String(), text)
	}
	return err
}

// TestHundredAtOnce: whatever sshd allows on one connection, a hundred commands
// over one link succeed, over one connection.
func TestHundredAtOnce(t *testing.T) {
	for _, sessions := range []int{10, 2, 1} {
		t.Run(fmt.Sprintf("MaxSessions %d", sessions), func(t *testing.T) {
			h := sandboxtest.SSH(t, "ssh", testkit.User(t), testkit.ConfigLines(fmt.Sprintf("MaxSessions %d", sessions), "MaxStartups 10:30:100"))
			p, tg, dials := pool(t, h)
			var wg sync.WaitGroup
			for i := range 100 {
				wg.Go(func() {
					if err := echo(t, p, tg, fmt.Sprintf("command %d", i)); err != nil {
						t.Errorf("command %d: %v", i, err)
					}
				})
			}
			wg.Wait()
			if n := dials.Load(); n != 1 {
				t.Errorf("%d dials", n)
			}
			if n := strings.Count(h.Server.Log(), "Accepted publickey for"); n != 1 {
				t.Errorf("sshd saw %d logins", n)
			}
		})
	}
}

// TestDeadConnectionIsReplaced: sshd dies under an idle link, and the next
// command gets a new one.
func TestDeadConnectionIsReplaced(t *testing.T) {
	h := sandboxtest.SSH(t, "ssh", testkit.User(t))
	p, tg, dials := pool(t, h)
	if err := echo(t, p, tg, "before"); err != nil {
		t.Fatal(err)
	}
	l, err := p.Get(t.Context(), tg)
	if err != nil {
		t.Fatal(err)
	}
	h.Server.SignalSessions(t, syscall.SIGKILL)
	select {
	case <-l.Done():
	case <-time.After(20 * time.Second):
		t.Fatal("the death of the connection went unnoticed")
	}
	l.Release()
	if err := echo(t, p, tg, "after"); err != nil {
		t.Fatal(err)
	}
	if n := dials.Load(); n != 2 {
		t.Errorf("%d dials", n)
	}
}

// TestKillWhenFull: a command that overruns is killed although every session
// of the link is taken.
func TestKillWhenFull(t *testing.T) {
	h := sandboxtest.SSH(t, "ssh", testkit.User(t), testkit.ConfigLines("MaxSessions 10"))
	p, tg, _ := pool(t, h)
	l, err := p.Get(t.Context(), tg)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Release()
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			cmd := sandbox.Command{Spec: sandbox.Spec{Profile: sandboxtest.Builtin(t, "minimal"), Argv: []string{"sleep", "600"}}, Timeout: 2 * time.Second, Stdin: strings.NewReader("")}
			if res, err := sandbox.Exec(t.Context(), l, cmd); err != nil || !res.TimedOut {
				t.Errorf("%+v %v", res, err)
			}
		})
	}
	wg.Wait()
	if err := echo(t, p, tg, "works"); err != nil {
		t.Error(err)
	}
}
