//go:build linux

package overlay

import (
	"bytes"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bowline-sh/bowline/change"
	"github.com/bowline-sh/bowline/internal/testkit"
	"github.com/bowline-sh/bowline/plan"
)

// fake puts a program that logs its calls over the host's directory of local
// programs, in a mount that only this test's thread of mounts sees the end of.
func fake(t *testing.T) (log string) {
	t.Helper()
	dir := playground(t)
	log = dir + "/log"
	const program = "/usr/local/bin/systemctl"
	if _, err := os.Lstat(program); err == nil {
		t.Fatalf("%s is in the way of this test", program)
	}
	text := "#!/bin/sh\necho \"$*\" >> " + log + "\ncase $1 in is-active) echo active; exit 3;; esac\n"
	if err := os.WriteFile(program, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(program) })
	return log
}

func TestDeferredOrder(t *testing.T) {
	root(t)
	log := fake(t)
	const script = `systemctl stop a; echo 1 > /etc/bowline-1
/usr/local/bin/systemctl start 'two words' ''
sh -c 'systemctl restart b'; echo 2 > /etc/bowline-2
echo c d | xargs -n 1 systemctl enable --now
perl -e 'system("systemctl","mask","e")'
cd /usr/bin && ./systemctl daemon-reload
echo '* * * * * true' | SSH_CLIENT=x FOO=bar crontab -
systemctl is-active ssh; echo "code $?"
setpriv --reuid 65534 --regid 65534 --clear-groups systemctl reload f
env -i /usr/bin/systemctl --no-pager -q disable g
reboot; /sbin/shutdown -h now; service nginx restart; service nginx status >/dev/null 2>&1`
	d := must(t, script, func(r *Request) { r.Dir = "/srv" })
	want := `run systemctl stop a
create /etc/bowline-1
run systemctl start two words ` + `
run systemctl restart b
create /etc/bowline-2
run systemctl enable --now c
run systemctl enable --now d
run systemctl mask e
run ./systemctl daemon-reload
run crontab -
run systemctl reload f
run /usr/bin/systemctl --no-pager -q disable g
run reboot
run /sbin/shutdown -h now
run service nginx restart
`
	if _, err := os.Stat("/usr/bin/crontab"); err != nil {
		want = strings.Replace(want, "run crontab -\n", "", 1)
	}
	if diff := cmp.Diff(want, d.summary()); diff != "" {
		t.Errorf("-want +got:\n%s\nstderr: %s", diff, d.errs.String())
	}
	if d.out.String() != "active\ncode 3\n" {
		t.Errorf("the read answered %q", d.out.String())
	}
	if !slices.ContainsFunc(d.Warnings, func(w string) bool { return strings.Contains(w, "is-active") }) {
		t.Errorf("no warning of the read in %q", d.Warnings)
	}
	called, err := os.ReadFile(log)
	if err != nil || strings.TrimSpace(string(called)) != "is-active ssh" {
		t.Errorf("calls before apply: %q, %v", called, err)
	}
	commands := map[string]*plan.Command{}
	for _, op := range d.Ops {
		if op.Command != nil {
			commands[strings.Join(op.Command.Argv, " ")] = op.Command
		}
	}
	if c := commands["systemctl start two words "]; c == nil || !slices.Equal(c.Argv, []string{"systemctl", "start", "two words", ""}) || c.Cwd != "/srv" ||
		!slices.Equal(c.Undo, []string{"systemctl", "stop", "two words", ""}) || c.Path != "/usr/local/bin/systemctl" {
		t.Errorf("start: %+v", c)
	}
	if c := commands["./systemctl daemon-reload"]; c == nil || c.Path != "/usr/bin/systemctl" || c.Cwd != "/usr/bin" {
		t.Errorf("daemon-reload: %+v", c)
	}
	if c := commands["systemctl reload f"]; c == nil || c.UID != 65534 || c.GID != 65534 || len(c.Groups) != 0 {
		t.Errorf("reload: %+v", c)
	}
	if c := commands["/usr/bin/systemctl --no-pager -q disable g"]; c == nil || len(c.Env) != 0 {
		t.Errorf("disable: %+v", c)
	}
	if c := commands["crontab -"]; c != nil {
		if !bytes.Equal(d.blobs[c.Stdin], []byte("* * * * * true\n")) || !slices.Contains(c.Env, "FOO=bar") || slices.ContainsFunc(c.Env, func(e string) bool { return strings.HasPrefix(e, "SSH_") }) {
			t.Errorf("crontab: %+v", c)
		}
	}
}

// TestStubStaysOut moves, copies, changes and removes a stub.
func TestStubStaysOut(t *testing.T) {
	root(t)
	d := must(t, `cp -a /usr/bin/systemctl /etc/bowline-copy; mv /usr/bin/loginctl /usr/bin/loginctl.real; chmod 700 /usr/bin/hostnamectl
touch /usr/bin/timedatectl; ln /usr/sbin/service /etc/bowline-link; cat /usr/bin/systemctl > /etc/bowline-text; rm /usr/sbin/sysctl`)
	for _, b := range d.blobs {
		if bytes.Contains(b, []byte(stubMark)) {
			t.Errorf("a stub is in the sink: %q", b)
		}
	}
	want := "delete /usr/sbin/sysctl\ndelete /usr/bin/loginctl\ncreate /etc/bowline-copy\ncreate /etc/bowline-text\n" +
		"metadata /usr/bin/hostnamectl\ncreate /usr/bin/loginctl.real\ncreate /etc/bowline-link = /usr/sbin/service\n"
	if diff := cmp.Diff(want, d.summary()); diff != "" {
		t.Errorf("-want +got:\n%s\nstderr: %s", diff, d.errs.String())
	}
	base, err := digest("/usr/bin/systemctl", make([]byte, chunk))
	if err != nil {
		t.Fatal(err)
	}
	for _, op := range d.Ops {
		if c := op.Change; c != nil && c.Path == "/etc/bowline-copy" && c.After.SHA256 != base.sum {
			t.Errorf("copy of systemctl: %+v", c.After)
		}
	}
}

// TestPackage installs and purges a package with maintainer scripts on the real
// system files.
func TestPackage(t *testing.T) {
	root(t)
	dir := testkit.Dir(t)
	shell(t, dir, `set -e; mkdir -p p/DEBIAN p/usr/bin p/etc; cd p
printf 'Package: bowline-hello\nVersion: 1\nArchitecture: all\nMaintainer: x <x@x>\nDescription: x\n' > DEBIAN/control
printf '#!/bin/sh\nset -e\nsystemctl daemon-reload\nadduser --version >/dev/null 2>&1 || true\n/bin/systemctl enable hello.service\ndeb-systemd-invoke start hello.service || true\n' > DEBIAN/postinst
printf '#!/bin/sh\nsystemctl stop hello.service\n' > DEBIAN/prerm; chmod 755 DEBIAN/p*; echo /etc/hello.conf > DEBIAN/conffiles
echo hi > etc/hello.conf; echo '#!/bin/sh' > usr/bin/bowline-hello; chmod 755 usr/bin/bowline-hello; cd ..; dpkg-deb --build p hello.deb`)
	status := hostState(t)
	// The package lies in /tmp, which the view shows.
	d := must(t, `dpkg -i `+dir+`/hello.deb && /usr/bin/bowline-hello && useradd -m bowline-new && echo ok`)
	if d.Exit != 0 {
		t.Fatalf("exit %d: %s%s", d.Exit, d.out.String(), d.errs.String())
	}
	got := d.summary()
	for _, want := range []string{
		"create /etc/hello.conf\n", "create /usr/bin/bowline-hello\n", "modify /var/lib/dpkg/status\n", "run systemctl daemon-reload\n",
		"run /bin/systemctl enable hello.service\n", "modify /etc/passwd\n", "modify /etc/shadow\n", "create /home/bowline-new\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s\n%s%s", want, got, d.out.String(), d.errs.String())
		}
	}
	d = must(t, `dpkg -i `+dir+`/hello.deb >/dev/null && dpkg -P bowline-hello`)
	for _, op := range d.Ops {
		if c := op.Change; c != nil && c.Kind() == change.Create && strings.Contains(string(c.Path), "hello") && d.Exit != 0 {
			t.Errorf("left: %s", c.Path)
		}
	}
	if hostState(t) != status {
		t.Error("the host was changed")
	}
}

// TestApt installs a package of the distribution, where its mirror answers.
func TestApt(t *testing.T) {
	root(t)
	if err := exec.Command("apt-get", "install", "-y", "--download-only", "hello").Run(); err != nil {
		testkit.LeftOut(t, "no package mirror answers: "+err.Error())
	}
	status := hostState(t)
	d := must(t, `DEBIAN_FRONTEND=noninteractive apt-get install -y hello >/dev/null && hello`, func(r *Request) { r.HostNet = true })
	if !strings.Contains(d.summary(), "create /usr/bin/hello\n") || d.Exit != 0 {
		t.Errorf("exit %d\n%s%s", d.Exit, d.summary(), d.errs.String())
	}
	t.Logf("%d operations, %+v", len(d.Ops), d.Stats)
	if hostState(t) != status {
		t.Error("the host was changed")
	}
}

// hostState is a digest of the system files that packages and accounts change.
func hostState(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("sh", "-c", `cd / && find etc usr/bin usr/sbin usr/local/bin var/lib/dpkg home -xdev -not -path '*/overlay-test*' -printf '%p %y %m %U %G %s %l %C@\n' | sort | sha256sum; cat /etc/passwd /etc/shadow /var/lib/dpkg/status | sha256sum`).Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// TestInput passes what the script sees: arguments, environment, directory, input,
// umask and standard streams.
func TestInput(t *testing.T) {
	root(t)
	d, err := try(t, "", func(r *Request) {
		r.Argv = []string{"sh", "-c", `printf '%s|' "$0" "$@"; pwd; env | sort; cat; umask; id -u; ls /proc/self/fd; echo err >&2`, "name", "a b", "", "\xff\n"}
		r.Dir, r.Env, r.Stdin = "/usr", []string{"PATH=/bin", "X=\xfe"}, strings.NewReader("input")
	})
	if err != nil {
		t.Fatal(err)
	}
	want := "name|a b||\xff\n|/usr\nPATH=/bin\nPWD=/usr\nX=\xfe\ninput0022\n0\n0\n1\n2\n3\n"
	if d.out.String() != want || d.errs.String() != "err\n" {
		t.Errorf("%q, want %q; %q", d.out.String(), want, d.errs.String())
	}
}
