package integration

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/internal/testkit"
)

// campaign picks the size of a test: the whole, which takes minutes, or a part of it
// that stands for the rest.
func campaign(whole, part int) int {
	if os.Getenv("BOWLINE_FLEET") == "full" {
		return whole
	}
	return part
}

// troubled is a fleet of n loopback addresses of one sshd with its default limits, a
// twentieth of which is in trouble. want holds the names by class.
type troubled struct {
	n      int
	server *testkit.Server
	config strings.Builder
	known  strings.Builder
	want   map[bowline.Class][]string
}

// The troubles, in turn.
const (
	deadHost = iota
	hangingHost
	refusingHost
	changedHost
	troubles
)

func newTroubled(t *testing.T, n int) *troubled {
	t.Helper()
	f := &troubled{n: n, want: map[bowline.Class][]string{}}
	// The home is empty: start-up files may take turns at something (pyenv does).
	f.server = testkit.SSHD(t, testkit.Listen("0.0.0.0"), testkit.ConfigLines("SetEnv HOME="+testkit.Dir(t), "MaxStartups 10:30:100", "MaxSessions 10"))
	dir := testkit.Dir(t)
	stranger, strangerKey := testkit.ClientKey(t, dir, "stranger")
	dead, hanging := testkit.FreePort(t, "127.0.0.1"), hangingPort(t)
	bad := max(n/20, troubles)
	for i := range n {
		port, key, hostKey, class := f.server.Port, f.server.ClientKeyFile, f.server.HostPublicKey, bowline.ClassOK
		if i%(n/bad) == 0 && i/(n/bad) < bad {
			switch i / (n / bad) % troubles {
			case deadHost:
				port, class = dead, bowline.ClassUnreachable
			case hangingHost:
				port, class = hanging, bowline.ClassUnreachable
			case refusingHost:
				key, class = stranger, bowline.ClassRefused
			case changedHost:
				hostKey, class = strangerKey, bowline.ClassUntrusted
			}
		}
		f.add(fmt.Sprintf("h%03d", i), net.JoinHostPort(fmt.Sprintf("127.0.%d.%d", 1+i/250, 1+i%250), fmt.Sprint(port)), key, hostKey, class)
	}
	return f
}

func (f *troubled) add(name, address, key string, hostKey ssh.PublicKey, class bowline.Class) {
	host, port, _ := net.SplitHostPort(address)
	fmt.Fprintf(&f.config, "[targets.%s]\ntype = \"ssh\"\nhost = %q\nport = %s\nuser = %q\nkey_file = %q\n", name, host, port, f.server.User, key)
	fmt.Fprintln(&f.known, knownhosts.Line([]string{address}, hostKey))
	f.want[class] = append(f.want[class], name)
}

// hangingPort accepts connections on all loopback addresses, and says nothing.
func hangingPort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	var conns []net.Conn
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns = append(conns, c)
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
		for _, c := range conns {
			c.Close()
		}
	})
	return l.Addr().(*net.TCPAddr).Port
}

func (f *troubled) open(t *testing.T) *bowline.Client {
	t.Helper()
	t.Setenv("SSH_AUTH_SOCK", "")
	dir := t.TempDir()
	for name, text := range map[string]string{"config.toml": f.config.String(), "known_hosts": f.known.String()} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := bowline.Open(t.Context(), bowline.Config{ConfigDir: dir, StateDir: filepath.Join(dir, "state"), RuntimeDir: dir, DialAttempts: 3})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// TestTroubledFleet: hosts that are dead, hang, refuse the key or have another host key
// are counted by their class with their names; all others work, none is dropped by an
// sshd with default limits, and none of them waits for those in trouble.
func TestTroubledFleet(t *testing.T) {
	f := newTroubled(t, campaign(500, 60))
	c := f.open(t)
	var names []string
	for _, list := range f.want {
		names = append(names, list...)
	}
	slices.Sort(names)
	started := time.Now()
	var lastOK time.Duration
	var mu sync.Mutex
	report, err := c.RunFleet(t.Context(), names, bowline.RunRequest{Argv: []string{"echo", "here"}, Timeout: time.Minute}, bowline.FleetOptions{},
		func(string) {}, func(r bowline.FleetResult) {
			mu.Lock()
			defer mu.Unlock()
			if r.Class == bowline.ClassOK {
				lastOK = time.Since(started)
				if string(r.Stdout) != "here\n" {
					t.Errorf("%s: %q", r.Target, r.Stdout)
				}
			}
			if !slices.Contains(f.want[r.Class], r.Target) {
				t.Errorf("%s is %s: %v", r.Target, r.Class, r.Err)
			}
		})
	if err != nil {
		t.Fatal(err)
	}
	all := time.Since(started)
	for class, want := range f.want {
		if got := report.Classes[class]; !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", class, got, want)
		}
	}
	if log := f.server.Log(); strings.Contains(log, "MaxStartups") {
		t.Error("sshd dropped connections")
	}
	t.Logf("%d hosts, %d in trouble: the others were done after %v, all after %v", f.n, f.n-len(f.want[bowline.ClassOK]), lastOK.Round(10*time.Millisecond), all.Round(10*time.Millisecond))
	// The hanging ones take their deadline of 15 s, eight at a time at one address.
	hanging := max(f.n/20/troubles, 1)
	if limit := time.Duration(f.n)*200*time.Millisecond + time.Duration(1+hanging/8)*15*time.Second; all > limit {
		t.Errorf("took %v, more than %v", all, limit)
	}
	if f.n <= 64 && lastOK >= all-3*time.Second {
		t.Errorf("hosts that work were done after %v of %v: they waited for those in trouble", lastOK, all)
	}
}
