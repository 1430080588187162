//go:build unix

package ssh

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bowline-sh/bowline/internal/testkit"
	"github.com/bowline-sh/bowline/internal/transport"
	"github.com/bowline-sh/bowline/internal/transport/transporttest"
)

// patience bounds waiting for what must happen; nothing waits that long.
const patience = 30 * time.Second

func isDone(t testing.TB, c transport.Conn) {
	t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-c.Done():
	case <-timer.C:
		t.Fatalf("Done is not closed after %v", patience)
	}
}

func TestConnKeepsTransportContract(t *testing.T) {
	s := testkit.SSHD(t, testkit.LoginUser(testkit.User(t)))
	transporttest.Run(t, func(t *testing.T) transport.Conn {
		c, err := Dial(t.Context(), targetOf(s), isolated(t, s.KnownHostsLine()))
		if err != nil {
			t.Fatal(err)
		}
		return c
	})
}

func TestInfo(t *testing.T) {
	s := testkit.SSHD(t)
	got := mustDial(t, targetOf(s), isolated(t, s.KnownHostsLine())).Info()
	if got.DialTime <= 0 || !strings.HasPrefix(got.Server, "SSH-2.0-OpenSSH") {
		t.Errorf("DialTime %v, Server %q", got.DialTime, got.Server)
	}
	got.DialTime, got.Server = 0, ""
	want := transport.Info{
		Address: s.Addr, Login: s.User, HostKeyType: "ssh-ed25519", Fingerprint: s.HostKeyFingerprint,
		KeyID: fingerprintOf(s.ClientPublicKey),
	}
	if got != want {
		t.Errorf("Info = %+v, want %+v", got, want)
	}
}

func TestMaxSessionsIsBusy(t *testing.T) {
	s := testkit.SSHD(t, testkit.ConfigLines("MaxSessions 1"))
	c := mustDial(t, targetOf(s), isolated(t, s.KnownHostsLine()))
	p, err := c.Start(t.Context(), "cat")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Start(t.Context(), "echo no"); !errors.Is(err, transport.ErrBusy) {
		t.Errorf("second Start = %v, want ErrBusy", err)
	}
	p.Stdin().Close()
	if exit, err := p.Wait(); err != nil || exit.Code != 0 {
		t.Errorf("the first process = %+v, %v; want it unharmed", exit, err)
	}
	// sshd frees the session a moment after it closes the channel.
	for deadline := time.Now().Add(patience); ; {
		p, err := c.Start(t.Context(), "exit 0")
		if err == nil {
			p.Close()
			return
		}
		if !errors.Is(err, transport.ErrBusy) || time.Now().After(deadline) {
			t.Fatalf("Start after the first process ended: %v", err)
		}
	}
}

func TestKilledSessionIsLost(t *testing.T) {
	s := testkit.SSHD(t)
	c := mustDial(t, targetOf(s), isolated(t, s.KnownHostsLine()))
	p := running(t, c)
	s.SignalSessions(t, syscall.SIGKILL)
	isDone(t, c)
	if _, err := p.Wait(); !errors.Is(err, transport.ErrLost) {
		t.Errorf("Wait = %v, want ErrLost", err)
	}
	if _, err := c.Start(t.Context(), "exit 0"); !errors.Is(err, transport.ErrLost) {
		t.Errorf("Start = %v, want ErrLost", err)
	}
	if err := c.Err(); !errors.Is(err, transport.ErrLost) {
		t.Errorf("Err = %v, want ErrLost", err)
	}
}

// TestStartWhileTheConnectionDies: whoever asks for a session in that moment is answered.
func TestStartWhileTheConnectionDies(t *testing.T) {
	s := testkit.SSHD(t)
	cfg := isolated(t, s.KnownHostsLine())
	for range 4 {
		c := mustDial(t, targetOf(s), cfg)
		running(t, c)
		answers := make(chan error, 8)
		stop := make(chan struct{})
		for range cap(answers) {
			go func() {
				for {
					p, err := c.Start(t.Context(), "exit 0")
					if err == nil {
						p.Close()
						continue
					}
					select {
					case <-stop:
						answers <- err
						return
					default:
					}
				}
			}()
		}
		s.SignalSessions(t, syscall.SIGKILL)
		isDone(t, c)
		close(stop)
		for range cap(answers) {
			select {
			case err := <-answers:
				if !errors.Is(err, transport.ErrLost) && !errors.Is(err, transport.ErrBusy) {
					t.Fatalf("Start = %v, want ErrLost", err)
				}
			case <-time.After(20 * time.Second):
				t.Fatal("a call hangs")
			}
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// running starts a process and returns once it runs.
func running(t testing.TB, c transport.Conn) transport.Process {
	t.Helper()
	p, err := c.Start(t.Context(), "echo up; exec cat")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	if _, err := io.ReadFull(p.Stdout(), make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestKeepAliveNoticesFrozenPeer(t *testing.T) {
	s := testkit.SSHD(t)
	cfg := isolated(t, s.KnownHostsLine())
	cfg.KeepAlive = 30 * time.Millisecond
	c := mustDial(t, targetOf(s), cfg)
	p := running(t, c)
	s.SignalSessions(t, syscall.SIGSTOP)
	isDone(t, c)
	if _, err := p.Wait(); !errors.Is(err, transport.ErrLost) {
		t.Errorf("Wait = %v, want ErrLost", err)
	}
	if err := c.Err(); err == nil || !strings.Contains(err.Error(), "keep-alive") {
		t.Errorf("Err = %v, want it to tell of keep-alives", err)
	}
}

func TestKeepAliveLeavesLivingPeer(t *testing.T) {
	s := testkit.SSHD(t)
	cfg := isolated(t, s.KnownHostsLine())
	cfg.KeepAlive = 20 * time.Millisecond
	c := mustDial(t, targetOf(s), cfg)
	// Ten intervals pass while the command runs; the peer answers each.
	if out, _, _ := transporttest.Output(t, c, "sleep 0.5; echo works", ""); out != "works\n" {
		t.Errorf("output %q", out)
	}
	select {
	case <-c.Done():
		t.Errorf("connection ended: %v", c.Err())
	default:
	}
}

func TestStartSendsNoEnvironment(t *testing.T) {
	t.Setenv("LC_BOWLINE_TEST", "leaked")
	s := testkit.SSHD(t, testkit.ConfigLines("AcceptEnv *"))
	c := mustDial(t, targetOf(s), isolated(t, s.KnownHostsLine()))
	if out, _, _ := transporttest.Output(t, c, "env", ""); strings.Contains(out, "leaked") || strings.Contains(out, "SSH_AUTH_SOCK") {
		t.Errorf("environment on the target: %s", out)
	}
}

func TestStdinCloseWhileWriteBlocks(t *testing.T) {
	s := testkit.SSHD(t)
	c := mustDial(t, targetOf(s), isolated(t, s.KnownHostsLine()))
	p := mustStart(t, c, "echo up; read x; cat | wc -c")
	if _, err := io.ReadFull(p.Stdout(), make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	const size = 8 << 20 // more than the window
	first := make(chan struct{})
	written := make(chan error, 1)
	go func() {
		if _, err := fmt.Fprintln(p.Stdin(), "go"); err != nil {
			written <- err
			return
		}
		close(first)
		_, err := p.Stdin().Write(make([]byte, size))
		written <- err
	}()
	<-first
	if err := p.Stdin().Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	<-written // either all of it or a refusal; never a torn stream or a race
}

func mustStart(t testing.TB, c transport.Conn, line string) transport.Process {
	t.Helper()
	p, err := c.Start(t.Context(), line)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}
