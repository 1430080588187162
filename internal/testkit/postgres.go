//go:build unix

package testkit

import (
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Postgres is a PostgreSQL server of its own, on a port of its own, that ends with the
// test. As root it runs as the account postgres, which Debian's package makes.
type Postgres struct {
	t    testing.TB
	bin  string // directory of initdb and pg_ctl
	dir  string
	port int
	cred *syscall.Credential
}

// StartPostgres makes a cluster and starts its server. Its superuser is "bowline", with
// the password "sesame".
func StartPostgres(t testing.TB) *Postgres {
	t.Helper()
	p := &Postgres{t: t, bin: postgresBin(t), dir: Dir(t)}
	if os.Geteuid() == 0 {
		p.cred = credentialOf(t, "postgres")
		if err := os.Chown(p.dir, int(p.cred.Uid), int(p.cred.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	pw := filepath.Join(p.dir, "pw")
	writeFile(t, pw, []byte("sesame\n"), 0o644)
	p.run("initdb", "-D", p.data(), "-U", "bowline", "-A", "scram-sha-256", "--pwfile="+pw, "-E", "UTF8", "--no-locale", "--no-sync")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.port = l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	p.Start()
	t.Cleanup(func() {
		if p.alive() {
			p.Stop("immediate")
		}
	})
	return p
}

// postgresBin is where the newest server's programs are: Debian keeps them out of PATH.
func postgresBin(t testing.TB) string {
	t.Helper()
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil {
		t.Fatal(err)
	}
	if len(found) > 0 {
		slices.Sort(found)
		return filepath.Dir(found[len(found)-1])
	}
	return filepath.Dir(Tool(t, "initdb"))
}

func (p *Postgres) data() string { return filepath.Join(p.dir, "data") }

func (p *Postgres) run(program string, args ...string) {
	p.t.Helper()
	cmd := exec.Command(filepath.Join(p.bin, program), args...)
	cmd.Dir = p.dir
	if p.cred != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.cred}
	}
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := os.CreateTemp(p.t.TempDir(), "out")
	if err != nil {
		p.t.Fatal(err)
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out // a file: the server would keep a pipe open
	if err := cmd.Run(); err != nil {
		text, _ := os.ReadFile(out.Name())
		p.t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, text)
	}
}

// Start starts the server and waits until it answers.
func (p *Postgres) Start() {
	p.t.Helper()
	p.run("pg_ctl", "-D", p.data(), "-w", "-t", "60", "-l", filepath.Join(p.dir, "log"), "-o",
		"-p "+strconv.Itoa(p.port)+" -k "+p.dir+" -c listen_addresses=127.0.0.1 -c fsync=off -c max_connections=200", "start")
}

// Stop ends the server: "fast" disconnects everybody in order, "immediate" is as a crash.
func (p *Postgres) Stop(mode string) {
	p.t.Helper()
	p.run("pg_ctl", "-D", p.data(), "-w", "-t", "60", "-m", mode, "stop")
}

// Restart stops and starts the server.
func (p *Postgres) Restart(mode string) {
	p.t.Helper()
	p.Stop(mode)
	p.Start()
}

// Kill kills the server and all its processes, as the kernel would.
func (p *Postgres) Kill() {
	p.t.Helper()
	pid := p.pid()
	all := append(descendants(pid), pid)
	for _, q := range all {
		_ = syscall.Kill(q, syscall.SIGKILL) // it may have ended
	}
	for _, q := range all {
		for alive(q) {
			time.Sleep(time.Millisecond)
		}
	}
	// Where the first process of a container reaps slowly, the server's number still
	// looks taken, and a new one would believe its lock files.
	for _, name := range []string{filepath.Join(p.data(), "postmaster.pid"), filepath.Join(p.dir, ".s.PGSQL."+strconv.Itoa(p.port)+".lock")} {
		if err := os.Remove(name); err != nil {
			p.t.Fatal(err)
		}
	}
}

func (p *Postgres) pid() int {
	b, err := os.ReadFile(filepath.Join(p.data(), "postmaster.pid"))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.SplitN(string(b), "\n", 2)[0])
	if err != nil {
		p.t.Fatal(err)
	}
	return pid
}

func (p *Postgres) alive() bool {
	pid := p.pid()
	return pid != 0 && alive(pid)
}

// DSN is the address of a database of the server, with user and password.
func (p *Postgres) DSN(database string) string {
	return "postgres://bowline:sesame@127.0.0.1:" + strconv.Itoa(p.port) + "/" + database + "?sslmode=disable"
}

// NewDatabase makes an empty database and returns its address.
func (p *Postgres) NewDatabase(name string) string {
	p.t.Helper()
	cmd := exec.Command(filepath.Join(p.bin, "createdb"), "-h", "127.0.0.1", "-p", strconv.Itoa(p.port), "-U", "bowline", name)
	cmd.Env = append(os.Environ(), "PGPASSWORD=sesame")
	if out, err := cmd.CombinedOutput(); err != nil {
		p.t.Fatalf("createdb: %v: %s", err, out)
	}
	return p.DSN(name)
}

func credentialOf(t testing.TB, name string) *syscall.Credential {
	t.Helper()
	u, err := user.Lookup(name)
	if err != nil {
		t.Fatalf("this test needs PostgreSQL: %v; install the package postgresql", err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}
