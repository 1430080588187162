//go:build unix

package ssh

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/testkit"
)

// many dials n loopback addresses of s at once, with one Dialer.
func many(t *testing.T, s *testkit.Server, n int) (errs []error) {
	t.Helper()
	d := New(isolated(t, fmt.Sprintf("* %s", strings.SplitN(s.KnownHostsLine(), " ", 2)[1])))
	var all sync.WaitGroup
	errs = make([]error, n)
	for i := range n {
		all.Go(func() {
			tg := targetOf(s)
			tg.Host = fmt.Sprintf("127.0.%d.%d", 1+i/250, 1+i%250)
			c, err := d.Dial(t.Context(), tg)
			if err != nil {
				errs[i] = err
				return
			}
			c.Close()
		})
	}
	all.Wait()
	return errs
}

func wantNone(t *testing.T, errs []error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
}

// TestDefaultMaxStartupsDropsNobody: all loopback addresses are one sshd.
func TestDefaultMaxStartupsDropsNobody(t *testing.T) {
	s := testkit.SSHD(t, testkit.Listen("0.0.0.0"), testkit.ConfigLines("MaxStartups 10:30:100"))
	wantNone(t, many(t, s, 40))
	if log := s.Log(); strings.Contains(log, "MaxStartups") {
		t.Errorf("sshd dropped connections:\n%s", log)
	}
}

// TestFewerWhereFewerAreBorne: drops, but no errors.
func TestFewerWhereFewerAreBorne(t *testing.T) {
	s := testkit.SSHD(t, testkit.Listen("0.0.0.0"), testkit.ConfigLines("MaxStartups 1"))
	wantNone(t, many(t, s, 24))
	if !strings.Contains(s.Log(), "past MaxStartups") {
		t.Error("nothing was dropped, so nothing was tested")
	}
}

// TestPenaltyIsNotProvoked: a server that refuses our address is left alone.
func TestPenaltyIsNotProvoked(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	came := make(chan int)
	go func() {
		n := 0
		defer func() { came <- n }()
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			n++
			fmt.Fprint(c, saysPenalty+"\r\n")
			c.Close()
		}
	}()
	cfg := isolated(t)
	cfg.Timeout = time.Second
	a := l.Addr().(*net.TCPAddr)
	refused(t, hostTarget(a.IP.String(), a.Port), cfg, diag.Unreachable, "PerSourcePenalties", "wait a minute")
	l.Close()
	if n := <-came; n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}

// occupy takes all turns at a server.
func occupy(t *testing.T, g *gates) (turns []*turn) {
	t.Helper()
	for range loginsAtOnce {
		turn, err := g.enter(t.Context(), "web1", time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		turns = append(turns, turn)
	}
	return turns
}

func TestLineThatMovesIsWaitedIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g gates
		turns := occupy(t, &g)
		var others []*turn
		go func() { // one answer every 8 s, each taken by another before us
			for _, turn := range turns {
				time.Sleep(8 * time.Second)
				turn.end(answered, nil)
			}
		}()
		var all sync.WaitGroup
		var mu sync.Mutex
		for range loginsAtOnce {
			all.Go(func() {
				turn, err := g.enter(t.Context(), "web1", 10*time.Second)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				others = append(others, turn)
				mu.Unlock()
			})
		}
		all.Wait()
		for _, turn := range others {
			turn.end(answered, nil)
		}
		if len(g.byServer) != 0 {
			t.Errorf("%d servers are remembered that there is nothing to know of", len(g.byServer))
		}
	})
}

func TestLineThatStandsIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g gates
		turns := occupy(t, &g)
		start := time.Now()
		_, err := g.enter(t.Context(), "web1", 10*time.Second)
		if took := time.Since(start); err == nil || diag.KindOf(err) != diag.Unreachable || took != 10*time.Second {
			t.Errorf("%v after %v", err, took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := g.enter(ctx, "web1", time.Minute); err == nil {
			t.Error("a caller who left got a turn")
		}
		if _, err := g.enter(t.Context(), "web2", time.Minute); err != nil {
			t.Errorf("another server: %v", err)
		}
		turns[0].end(unclear, nil)
		if _, err := g.enter(t.Context(), "web1", time.Minute); err != nil {
			t.Errorf("after one has ended: %v", err)
		}
	})
}

func TestServerKey(t *testing.T) {
	direct := func(host string, port int) *route { return &route{end: endpoint{host: host, port: port}} }
	for _, c := range []struct {
		name string
		a, b string
		same bool
	}{
		{"loopback", serverKey(direct("127.0.1.7", 22), "", ""), serverKey(direct("::1", 22), "", ""), true},
		{"ports", serverKey(direct("127.0.1.7", 22), "", ""), serverKey(direct("127.0.1.7", 23), "", ""), false},
		{"case", serverKey(direct("Web1", 22), "", ""), serverKey(direct("web1", 22), "", ""), true},
		{"hosts", serverKey(direct("web1", 22), "", ""), serverKey(direct("web2", 22), "", ""), false},
		{"behind", serverKey(direct("10.0.0.1", 22), "", ""), serverKey(direct("10.0.0.1", 22), "j:22", ""), false},
		{"commands", serverKey(&route{command: "ssh -W a:22 j"}, "", "ssh -W %h:%p j"), serverKey(&route{command: "ssh -W b:22 j"}, "", "ssh -W %h:%p j"), true},
	} {
		if (c.a == c.b) != c.same {
			t.Errorf("%s: %q and %q", c.name, c.a, c.b)
		}
	}
}
