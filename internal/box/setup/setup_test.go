package setup_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/bowline-sh/bowline/internal/box/setup"
)

// place is a root for the script, with stand-ins for what changes a system: they log how
// they were called.
type place struct {
	t         *testing.T
	root, bin string
}

// standIn answers and logs: what is installed, groups and ids are files below the root.
const standIn = `#!/bin/sh
name=${0##*/}
case "$name $*" in
"id -u") echo 0; exit ;;
"id -u "*) echo 1000; exit ;;
"id -nG "*) cat "$STATE/groups"; exit ;;
"getent group podman") [ -e "$STATE/group" ]; exit ;;
"getent passwd ann") echo "ann:x:1000:1000:Ann:/home/ann:/bin/sh"; exit ;;
"systemctl is-"*) [ -e "$STATE/enabled" ]; exit ;;
"stat -c %G "*) cat "$STATE/owners"; exit ;;
esac
echo "$name $*" >>"$STATE/log"
case "$name $*" in
"groupadd "*) : >"$STATE/group" ;;
"usermod "*) echo ann podman >"$STATE/groups" ;;
"apt-get install "* | "dnf install "*)
	for p in podman slirp4netns newuidmap; do cp "$0" "${0%/*}/$p"; done ;;
"systemctl enable --now podman.socket") : >"$STATE/enabled"; printf 'podman\npodman\n' >"$STATE/owners" ;;
esac
`

func newPlace(t *testing.T, release string) place {
	t.Helper()
	dir := t.TempDir()
	p := place{t, filepath.Join(dir, "root"), filepath.Join(dir, "bin")}
	for _, d := range []string{p.root + "/etc", p.bin} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	p.write("/etc/os-release", release)
	p.write("/groups", "ann")
	for _, name := range []string{"id", "getent", "groupadd", "usermod", "apt-get", "dnf", "systemctl", "systemd-tmpfiles", "loginctl", "stat"} {
		if err := os.WriteFile(filepath.Join(p.bin, name), []byte(standIn), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"cat", "mkdir", "dirname", "chmod", "grep", "sed", "cp", "uname"} {
		path, err := exec.LookPath(name)
		if err == nil {
			err = os.Symlink(path, filepath.Join(p.bin, name))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func (p place) write(name, text string) {
	p.t.Helper()
	if err := os.WriteFile(p.root+name, []byte(text), 0o644); err != nil {
		p.t.Fatal(err)
	}
}

// run runs the script under a shell; the answer is what it did to the system.
func (p place) run(shell string, args ...string) (log, out string, err error) {
	p.t.Helper()
	path, err := exec.LookPath(shell)
	if err != nil {
		p.t.Fatal(err)
	}
	if err := os.RemoveAll(p.root + "/log"); err != nil {
		p.t.Fatal(err)
	}
	cmd := exec.CommandContext(p.t.Context(), path, append([]string{"setup-server.sh"}, args...)...)
	cmd.Env = []string{"PATH=" + p.bin, "BOWLINE_SETUP_ROOT=" + p.root, "STATE=" + p.root}
	b, err := cmd.CombinedOutput()
	calls, lerr := os.ReadFile(p.root + "/log")
	if lerr != nil && !os.IsNotExist(lerr) {
		p.t.Fatal(lerr)
	}
	return string(calls), string(b), err
}

const sockets = "systemctl daemon-reload\nsystemd-tmpfiles --create /etc/tmpfiles.d/bowline-podman.conf\nsystemctl enable --now podman.socket\n"

// TestFamilies: each kind of system, twice: the second time there is nothing to do.
func TestFamilies(t *testing.T) {
	for _, tt := range []struct{ name, shell, release, install string }{
		{"debian", "dash", "ID=debian\n", "apt-get update\napt-get install -y --no-install-recommends podman slirp4netns\n"},
		{"ubuntu", "bash", "NAME=x\nID=ubuntu\nID_LIKE=debian\n", "apt-get update\napt-get install -y --no-install-recommends podman slirp4netns\n"},
		{"mint", "dash", "ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", "apt-get update\napt-get install -y --no-install-recommends podman slirp4netns\n"},
		{"fedora", "dash", "ID=fedora\n", "dnf install -y podman slirp4netns\n"},
		{"rocky", "bash", "ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n", "dnf install -y podman slirp4netns\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPlace(t, tt.release)
			log, out, err := p.run(tt.shell, "--user", "ann")
			if want := "groupadd --system podman\nusermod -aG podman ann\n" + tt.install + sockets + "systemctl restart podman.socket\n"; err != nil || log != want {
				t.Fatalf("%v: %q, want %q\n%s", err, log, want, out)
			}
			for name, want := range map[string]string{
				"/etc/systemd/system/podman.socket.d/bowline.conf": "SocketMode=0660\nSocketGroup=podman\n",
				"/etc/tmpfiles.d/bowline-podman.conf":              "d /run/podman 0750 root podman -\n",
			} {
				if b, err := os.ReadFile(p.root + name); err != nil || !strings.HasSuffix(string(b), want) || strings.Contains(string(b), "\t") {
					t.Errorf("%s: %q, %v", name, b, err)
				}
			}
			log, out, err = p.run(tt.shell, "--user", "ann")
			if err != nil || log != "" || strings.Contains(out, "wrote") || !strings.Contains(out, "nothing to do") {
				t.Errorf("again: %v: %q\n%s", err, log, out)
			}
			p.write("/owners", "root\nroot") // as after a start of the system without the rule of tmpfiles.d
			if log, out, err = p.run(tt.shell, "--user", "ann"); err != nil || log != sockets {
				t.Errorf("closed again: %v: %q\n%s", err, log, out)
			}
		})
	}
}

// TestRootless leaves the system's socket and groups alone.
func TestRootless(t *testing.T) {
	p := newPlace(t, "ID=debian\n")
	if log, out, err := p.run("dash", "--rootless", "--user", "ann"); err == nil || log != "" || !strings.Contains(out, "usermod --add-subuids") {
		t.Errorf("without ids: %v, %q, %s", err, log, out)
	}
	p.write("/etc/subuid", "ann:100000:65536\n")
	p.write("/etc/subgid", "ann:100000:65536\n")
	log, out, err := p.run("dash", "--rootless", "--user", "ann")
	if want := "apt-get update\napt-get install -y --no-install-recommends podman slirp4netns uidmap\nloginctl enable-linger ann\nsystemctl --user --machine=ann@.host enable --now podman.socket\n"; err != nil || log != want {
		t.Errorf("%v: %q, want %q\n%s", err, log, want, out)
	}
	for _, name := range []string{"/var/lib/systemd/linger/ann", "/home/ann/.config/systemd/user/sockets.target.wants/podman.socket"} {
		if err := os.MkdirAll(filepath.Dir(p.root+name), 0o755); err != nil {
			t.Fatal(err)
		}
		p.write(name, "")
	}
	if log, _, err := p.run("dash", "--rootless", "--user", "ann"); err != nil || !strings.Contains(log, "enable --now") {
		t.Errorf("without its socket: %v, %q", err, log)
	}
	at := p.root + "/run/user/1000/podman"
	if err := os.MkdirAll(at, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mknod(at+"/podman.sock", syscall.S_IFSOCK|0o600, 0); err != nil {
		t.Fatal(err)
	}
	if log, out, err := p.run("dash", "--rootless", "--user", "ann"); err != nil || log != "" || !strings.Contains(out, "nothing to do") {
		t.Errorf("again: %v, %q, %s", err, log, out)
	}
	if _, err := os.Stat(p.root + "/etc/tmpfiles.d"); err == nil {
		t.Error("it wrote for the system")
	}
}

// TestRefused: nothing is done where it is not known what to do.
func TestRefused(t *testing.T) {
	for _, tt := range []struct {
		release string
		args    []string
		want    string
	}{
		{"ID=alpine\n", nil, "this is alpine"},
		{"ID=debian\n", []string{"--user", "-x"}, "no name of an account"},
		{"ID=debian\n", []string{"--user", "a;b"}, "no name of an account"},
		{"ID=debian\n", []string{"--user"}, "needs a name"},
		{"ID=debian\n", []string{"--rootless"}, "--rootless needs --user"},
		{"ID=debian\n", []string{"--nonsense"}, "no option"},
	} {
		if log, out, err := newPlace(t, tt.release).run("dash", tt.args...); err == nil || log != "" || !strings.Contains(out, tt.want) {
			t.Errorf("%q %q: %v, %q, %q", tt.release, tt.args, err, log, out)
		}
	}
}

// TestOneFile: what is embedded is scripts/setup-server.sh, and what --print prints.
func TestOneFile(t *testing.T) {
	b, err := os.ReadFile("../../../scripts/setup-server.sh")
	if err != nil || string(b) != string(setup.Script) {
		t.Errorf("scripts/setup-server.sh is another file: %v", err)
	}
	if _, out, err := newPlace(t, "").run("dash", "--print"); err != nil || out != string(setup.Script) {
		t.Errorf("--print: %v\n%s", err, out)
	}
}
