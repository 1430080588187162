//go:build unix

package testkit

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// startTimeout bounds the wait for sshd to listen. It takes 0.3 s on an idle
// machine; the rest is for loaded ones.
const startTimeout = 30 * time.Second

// Server is an OpenSSH server on loopback that accepts ClientKeyFile for User.
// It runs until the test ends. Its fields do not change.
type Server struct {
	Addr string // "127.0.0.1:40022"
	Host string // "127.0.0.1"
	Port int
	User string // account that ClientKeyFile opens

	HostPublicKey      ssh.PublicKey // the first host key
	HostKeyFingerprint string        // of HostPublicKey, "SHA256:..."
	HostKeys           []ssh.PublicKey
	HostKeyFiles       []string // private host keys, 0600

	ClientKeyFile   string        // private key, 0600; its public half lies beside it as .pub
	ClientPublicKey ssh.PublicKey // ed25519
	AuthorizedKeys  string        // path; tests may write more keys to it

	PID int // of the listening sshd

	sshd        string
	bind        [2]string // see Bind; empty for none
	hideCgroup2 bool      // see PodmanHost
	config      string    // path
	log         *logBuffer
	stop        func()
}

// Stop kills the server and all its sessions, as an sshd that was stopped for good.
// What sessions started lives on, as it would; it is killed when the test ends.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	others := stopNamed(s.PID, "sshd")
	t.Cleanup(func() {
		for _, pid := range others {
			_ = syscall.Kill(pid, syscall.SIGKILL) // most have ended
		}
	})
	s.stop()
}

// Start starts it again after Stop, with the same address and keys.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	if !s.launch(t) {
		t.Fatalf("sshd's port was taken meanwhile; it said:\n%s", s.Log())
	}
}

// KnownHostsLine returns the line that pins the first host key, without a
// newline.
func (s *Server) KnownHostsLine() string {
	return knownhosts.Line([]string{s.Addr}, s.HostPublicKey)
}

// KnownHostsFile writes lines to a new known_hosts file and returns its path.
// Without lines it holds KnownHostsLine.
func (s *Server) KnownHostsFile(t testing.TB, lines ...string) string {
	t.Helper()
	if len(lines) == 0 {
		lines = []string{s.KnownHostsLine()}
	}
	return WriteFile(t, "known_hosts", strings.Join(lines, "\n")+"\n", 0o600)
}

// Log returns what sshd has logged so far.
func (s *Server) Log() string { return s.log.String() }

// Sessions returns the sshd processes that serve connections now: every
// descendant of the listening sshd that is sshd itself.
func (s *Server) Sessions(t testing.TB) []int {
	t.Helper()
	var pids []int
	for _, pid := range descendants(s.PID) {
		comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		if err == nil && strings.HasPrefix(string(comm), "sshd") {
			pids = append(pids, pid)
		}
	}
	return pids
}

// SignalSessions sends sig to every process that Sessions returns and fails
// the test if there is none.
func (s *Server) SignalSessions(t testing.TB, sig syscall.Signal) {
	t.Helper()
	pids := s.Sessions(t)
	if len(pids) == 0 {
		t.Fatalf("sshd at %s has no session to signal", s.Addr)
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, sig); err != nil && err != syscall.ESRCH {
			t.Fatalf("signal sshd session %d: %v", pid, err)
		}
	}
}

// SSHDOption changes a server before it starts.
type SSHDOption func(*sshdConfig)

type sshdConfig struct {
	hideCgroup2 bool
	listen      string
	login       string
	lines       []string
	hostKeys    []string // types
	hostKeyPath []string // given files, instead of new ones
	hostCA      *CA
	principals  []string
	certOpts    []CertOption
	userCA      *CA
	authorized  []ssh.PublicKey
	subsystem   string
	bind        [2]string // what is mounted, and where
}

// ConfigLines puts lines of sshd_config before the server's own; sshd takes
// the first value it reads.
func ConfigLines(lines ...string) SSHDOption {
	return func(c *sshdConfig) { c.lines = append(c.lines, lines...) }
}

// Subsystem replaces the line that offers SFTP; "" offers none.
func Subsystem(line string) SSHDOption { return func(c *sshdConfig) { c.subsystem = line } }

// LoginUser makes the server accept the client key for the account name
// instead of the account that runs the test. It needs root.
func LoginUser(name string) SSHDOption { return func(c *sshdConfig) { c.login = name } }

// Listen makes the server listen on host, as in "::1", instead of 127.0.0.1.
func Listen(host string) SSHDOption { return func(c *sshdConfig) { c.listen = host } }

// Bind gives the server a mount namespace of its own in which dir stands at, a directory
// that exists: several servers on one machine then have different files in one place. It
// needs root.
func Bind(dir, at string) SSHDOption {
	return func(c *sshdConfig) { c.bind = [2]string{dir, at} }
}

// HostKeyTypes gives the server one new host key of each type: "ed25519",
// "rsa", "ecdsa". The default is ed25519 alone.
func HostKeyTypes(types ...string) SSHDOption {
	return func(c *sshdConfig) { c.hostKeys = types }
}

// HostKeyFile gives the server an existing private host key.
func HostKeyFile(paths ...string) SSHDOption {
	return func(c *sshdConfig) { c.hostKeyPath = append(c.hostKeyPath, paths...) }
}

// HostCertificate makes the server present a certificate for its first host
// key, signed by ca for principals.
func HostCertificate(ca *CA, principals []string, opts ...CertOption) SSHDOption {
	return func(c *sshdConfig) { c.hostCA, c.principals, c.certOpts = ca, principals, opts }
}

// TrustUserCA makes the server accept user certificates signed by ca, besides
// the client key.
func TrustUserCA(ca *CA) SSHDOption { return func(c *sshdConfig) { c.userCA = ca } }

// Authorize makes the server accept more client keys.
func Authorize(keys ...ssh.PublicKey) SSHDOption {
	return func(c *sshdConfig) { c.authorized = append(c.authorized, keys...) }
}

// SSHD starts a real OpenSSH server on a free loopback port. As root it logs in
// to root or to LoginUser; otherwise to the account that runs the test. The
// server, its sessions and its files go when the test ends; its log is shown if
// the test failed.
func SSHD(t testing.TB, opts ...SSHDOption) *Server {
	t.Helper()
	cfg := sshdConfig{subsystem: "Subsystem sftp internal-sftp", listen: "127.0.0.1", login: currentUser(t), hostKeys: []string{"ed25519"}}
	for _, opt := range opts {
		opt(&cfg)
	}
	if os.Geteuid() == 0 {
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			t.Fatalf("make sshd's privilege separation directory: %v", err)
		}
	}
	dir := Dir(t)
	s := &Server{Host: cfg.listen, User: cfg.login, sshd: Tool(t, "sshd"), bind: cfg.bind, hideCgroup2: cfg.hideCgroup2, log: &logBuffer{}}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("sshd at %s said:\n%s", s.Addr, s.Log())
		}
	})
	s.ClientKeyFile, s.ClientPublicKey = ClientKey(t, dir, "client")
	text := writeServerFiles(t, s, &cfg, dir)
	for range 10 { // another process may take the free port first
		if startSSHD(t, s, dir, text) {
			return s
		}
	}
	t.Fatalf("sshd found no free port; it said:\n%s", s.Log())
	return nil
}

// writeServerFiles makes keys and authorized_keys and returns the text of
// sshd_config without its port.
func writeServerFiles(t testing.TB, s *Server, cfg *sshdConfig, dir string) string {
	t.Helper()
	// Tests dial in parallel; the drops of MaxStartups are asked for by the tests
	// that want them. Of this option alone sshd takes the last value.
	lines := append([]string{"MaxStartups 200"}, cfg.lines...)
	for i, typ := range cfg.hostKeys {
		if len(cfg.hostKeyPath) > 0 {
			break
		}
		path := filepath.Join(dir, fmt.Sprintf("host_%d_%s", i, typ))
		NewKey(t, path, typ)
		s.HostKeyFiles = append(s.HostKeyFiles, path)
	}
	s.HostKeyFiles = append(s.HostKeyFiles, cfg.hostKeyPath...)
	for _, path := range s.HostKeyFiles {
		s.HostKeys = append(s.HostKeys, publicKeyOf(t, path))
		lines = append(lines, "HostKey "+path)
	}
	s.HostPublicKey = s.HostKeys[0]
	s.HostKeyFingerprint = ssh.FingerprintSHA256(s.HostPublicKey)
	if cfg.hostCA != nil {
		path := filepath.Join(dir, "host-cert.pub")
		cfg.hostCA.signHost(t, path, s.HostPublicKey, cfg.principals, cfg.certOpts)
		lines = append(lines, "HostCertificate "+path)
	}
	if cfg.userCA != nil {
		path := filepath.Join(dir, "user_ca.pub")
		writeFile(t, path, ssh.MarshalAuthorizedKey(cfg.userCA.PublicKey), 0o644)
		lines = append(lines, "TrustedUserCAKeys "+path)
	}
	s.AuthorizedKeys = filepath.Join(dir, "authorized_keys")
	var keys []byte
	for _, k := range append([]ssh.PublicKey{s.ClientPublicKey}, cfg.authorized...) {
		keys = append(keys, ssh.MarshalAuthorizedKey(k)...)
	}
	writeFile(t, s.AuthorizedKeys, keys, 0o644)
	return strings.Join(append(lines,
		"ListenAddress "+cfg.listen,
		"AuthorizedKeysFile "+s.AuthorizedKeys,
		"UsePAM no",
		"StrictModes no",
		"PidFile none",
		"PermitRootLogin prohibit-password",
		"PasswordAuthentication no",
		"KbdInteractiveAuthentication no",
		"UseDNS no",
		"PrintMotd no",
		"LogLevel VERBOSE",
		cfg.subsystem,
	), "\n") + "\n"
}

// startSSHD starts sshd on a port that is free now and reports whether it
// listens; false means that the port was taken meanwhile.
func startSSHD(t testing.TB, s *Server, dir, text string) bool {
	t.Helper()
	s.Port = FreePort(t, s.Host)
	s.Addr = net.JoinHostPort(s.Host, strconv.Itoa(s.Port))
	s.config = filepath.Join(dir, "sshd_config")
	// Port before ListenAddress: sshd applies it to the addresses after it.
	writeFile(t, s.config, []byte("Port "+strconv.Itoa(s.Port)+"\n"+text), 0o600)
	return s.launch(t)
}

func (s *Server) launch(t testing.TB) bool {
	t.Helper()
	argv := []string{s.sshd, "-D", "-e", "-f", s.config}
	if s.bind[0] != "" { // each execs the next: the process stays the one that is started here
		const script = `mount --bind "$1" "$2" && shift 2 && exec "$@"`
		argv = append([]string{"unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", s.bind[0], s.bind[1]}, argv...)
	}
	if s.hideCgroup2 {
		argv = append([]string{"unshare", "--mount", "sh", "-c", hideCgroup2, "sh"}, argv...)
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start sshd: %v", err)
	}
	s.PID = cmd.Process.Pid
	listening := make(chan bool, 1)
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		s.log.copyFrom(stderr, func(line string) {
			if strings.Contains(line, "Server listening on") {
				trySend(listening, true)
			}
		})
		trySend(listening, false)
	}()
	s.stop = sync.OnceFunc(func() {
		killTree(cmd.Process.Pid)
		<-drained
		_ = cmd.Wait() // killed: its status says nothing
	})
	timer := time.NewTimer(startTimeout)
	defer timer.Stop()
	select {
	case ok := <-listening:
		if ok {
			t.Cleanup(s.stop)
			return true
		}
		s.stop()
		if strings.Contains(s.Log(), "Address already in use") {
			return false
		}
	case <-timer.C:
		s.stop()
	}
	t.Fatalf("sshd did not start; it said:\n%s", s.Log())
	return false
}

func trySend(c chan bool, v bool) {
	select {
	case c <- v:
	default:
	}
}

// FreePort returns a TCP port of host that nothing listens on now.
func FreePort(t testing.TB, host string) int {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatalf("find a free port of %s: %v", host, err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// ClientKey writes a new ed25519 key pair name and name.pub into dir.
func ClientKey(t testing.TB, dir, name string) (path string, pub ssh.PublicKey) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(dir, name)
	writeKeyPair(t, path, private)
	pub, err = ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return path, pub
}

func currentUser(t testing.TB) string {
	t.Helper()
	u, err := user.Current()
	if err != nil {
		t.Fatalf("name of the account that runs the test: %v", err)
	}
	return u.Username
}

// logBuffer collects lines; it may be read while it is written.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) copyFrom(r io.Reader, each func(line string)) {
	sc := bufio.NewScanner(r)
	for sc.Scan() {
		b.mu.Lock()
		b.buf.WriteString(sc.Text() + "\n")
		b.mu.Unlock()
		each(sc.Text())
	}
	_, _ = io.Copy(io.Discard, r) // after an over-long line: keep sshd writing
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
