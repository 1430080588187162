//go:build unix

package ssh

import (
	"context"
	"fmt"
	"net"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/testkit"
	"github.com/bowline-sh/bowline/target"
)

func hostTarget(host string, port int) target.Target {
	return target.Target{Name: "web1", Kind: target.SSH, Host: host, Port: port, User: "deploy"}
}

func TestConnectionRefused(t *testing.T) {
	port := testkit.FreePort(t, "127.0.0.1")
	refused(t, hostTarget("127.0.0.1", port), isolated(t), diag.Unreachable,
		fmt.Sprintf("deploy@127.0.0.1:%d", port), "connection refused")
}

func TestUnresolvableName(t *testing.T) {
	cfg := isolated(t)
	refused(t, hostTarget("no-such-host.invalid", 22), cfg, diag.Unreachable, "no-such-host.invalid:22", "resolve")
}

func TestIPv6(t *testing.T) {
	s := testkit.SSHD(t, testkit.Listen("::1"))
	if !strings.HasPrefix(s.KnownHostsLine(), "[::1]:") {
		t.Fatalf("known_hosts line %q", s.KnownHostsLine())
	}
	c := mustDial(t, targetOf(s), isolated(t, s.KnownHostsLine()))
	mustWork(t, c)
	if c.Info().Address != s.Addr {
		t.Errorf("Address = %q, want %q", c.Info().Address, s.Addr)
	}
}

// silent listens and never says a word to those who connect; say is sent first.
func silent(t *testing.T, say string) (host string, port int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var handlers sync.WaitGroup
	handlers.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			handlers.Go(func() {
				defer c.Close()
				fmt.Fprint(c, say)
				buf := make([]byte, 1024)
				for { // until the client gives up
					if _, err := c.Read(buf); err != nil {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		handlers.Wait()
	})
	a := l.Addr().(*net.TCPAddr)
	return a.IP.String(), a.Port
}

func TestSilentServerEndsWithTheDeadline(t *testing.T) {
	for name, say := range map[string]string{"NoBanner": "", "NoKeyExchange": "SSH-2.0-Silence\r\n"} {
		t.Run(name, func(t *testing.T) {
			host, port := silent(t, say)
			cfg := isolated(t)
			cfg.Timeout = 200 * time.Millisecond
			cfg.Attempts = 5
			started := time.Now()
			refused(t, hostTarget(host, port), cfg, diag.Unreachable, "timed out after 200ms", "exchanging keys", fmt.Sprint(port))
			if took := time.Since(started); took > 10*time.Second {
				t.Errorf("took %v with a deadline of %v", took, cfg.Timeout)
			}
		})
	}
}

func TestCallerCancels(t *testing.T) {
	host, port := silent(t, "")
	ctx, cancel := context.WithCancel(t.Context())
	cfg := isolated(t)
	time.AfterFunc(50*time.Millisecond, cancel)
	refusedBy(t, ctx, hostTarget(host, port), cfg, diag.Canceled, "canceled")

	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	refusedBy(t, ctx, hostTarget(host, port), cfg, diag.Unreachable, "deadline")
}

func TestHostileBannerIsEscaped(t *testing.T) {
	host, port := silent(t, "\x1b[2J\x1b]0;pwned\a not ssh\r\nSSH-1.0-\x1b[31mold\r\n")
	cfg := isolated(t)
	cfg.Timeout = 2 * time.Second
	err := refused(t, hostTarget(host, port), cfg, diag.Unreachable)
	if regexp.MustCompile(`[\x00-\x1f\x7f]`).MatchString(err.Error()) {
		t.Errorf("the error holds control characters: %q", err)
	}
}

// dropping drops the first n connections, as sshd does under MaxStartups, and
// passes the others on to addr.
func dropping(t *testing.T, n int32, addr string) (host string, port int, count *atomic.Int32) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	count = &atomic.Int32{}
	var handlers sync.WaitGroup
	handlers.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if count.Add(1) <= n {
				c.Close()
				continue
			}
			handlers.Go(func() { forward(c, addr) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		handlers.Wait()
	})
	a := l.Addr().(*net.TCPAddr)
	return a.IP.String(), a.Port, count
}

func TestDroppedConnectionsAreRetried(t *testing.T) {
	s := testkit.SSHD(t)
	host, port, count := dropping(t, 2, s.Addr)
	tg := targetOf(s)
	tg.Host, tg.Port = host, port
	line := strings.Replace(s.KnownHostsLine(), fmt.Sprint(s.Port), fmt.Sprint(port), 1)
	cfg := isolated(t, line)
	mustWork(t, mustDial(t, tg, cfg))
	if got := count.Load(); got != 3 {
		t.Errorf("%d connections, want three", got)
	}
	host, port, count = dropping(t, 1000, s.Addr)
	refused(t, hostTarget(host, port), isolated(t), diag.Unreachable, "before the server said anything")
	if got := count.Load(); got != dropTries {
		t.Errorf("%d connections to a server that drops all, want %d", got, dropTries)
	}
}

func TestRefusalsAreNotRetried(t *testing.T) {
	s := testkit.SSHD(t)
	host, port, count := dropping(t, 0, s.Addr)
	tg := targetOf(s)
	tg.Host, tg.Port = host, port
	cfg := isolated(t)
	cfg.Attempts = 4
	refused(t, tg, cfg, diag.Untrusted)
	cfg = isolated(t, strings.Replace(s.KnownHostsLine(), fmt.Sprint(s.Port), fmt.Sprint(port), 1))
	cfg.Attempts = 4
	tg.KeyFile = firstKey(t)
	refused(t, tg, cfg, diag.Denied)
	if got := count.Load(); got != 2 {
		t.Errorf("%d connections for two refusals", got)
	}
}

func TestWrongTargetIsUsage(t *testing.T) {
	refused(t, target.Target{Name: "web1", Kind: target.SSH, Host: "-oProxyCommand=x"}, isolated(t), diag.Usage)
	refused(t, target.Target{Name: "here", Kind: target.Local}, isolated(t), diag.Usage)
}
