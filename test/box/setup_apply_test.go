package box

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/bowline-sh/bowline/internal/testkit"
)

// standIn takes the place of what changes a system: it logs how it was called, with what
// input, and does of it what the script looks at afterwards.
const standIn = `#!/bin/sh
name=${0##*/}
case "$name $*" in
"systemctl is-"*) [ -e STATE/enabled ]; exit ;;
esac
{ echo "$name $*"; sed 's/^/input: /'; } >>STATE/log
case "$name $*" in
"apt-get install "*)
	for p in podman slirp4netns; do printf '#!/bin/sh\n' >"${0%/*}/$p"; chmod 755 "${0%/*}/$p"; done ;;
"systemd-tmpfiles "*) mkdir -p /run/podman; chgrp podman /run/podman ;;
"systemctl enable --now "*) : >STATE/enabled; : >/run/podman/podman.sock; chgrp podman /run/podman/podman.sock ;;
"systemctl disable --now "*) rm -f STATE/enabled /run/podman/podman.sock ;;
esac
`

// setupHost is a server with an /etc and a /run of its own and no Podman, whose package
// tools and services are stand-ins that log to a file.
func setupHost(t *testing.T) (l *laptop, etc, log string) {
	t.Helper()
	testkit.Root(t)
	home := testkit.Dir(t)
	etc, bin, far, run := testkit.Dir(t), testkit.Dir(t), testkit.Dir(t), testkit.Dir(t)
	l = &laptop{t: t, home: home, dir: home, env: append(stranger(t).env, "HOME="+home)}
	l.must("sh", "-c", `cp -a /etc/. "$0"`, etc)
	l.server = testkit.SSHD(t, testkit.Bind(etc, "/etc"), testkit.ConfigLines("SetEnv HOME="+far))
	l.addTarget()
	for _, name := range []string{"apt-get", "systemctl", "systemd-tmpfiles"} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte(strings.ReplaceAll(standIn, "STATE", far)), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	l.server.Inside(t, `mount --bind "$0" /usr/local/sbin && : >"$0/none" && for p in podman slirp4netns; do mount --bind "$0/none" "/usr/bin/$p"; done`, bin)
	l.server.Inside(t, `mkdir "$0/u" "$0/w" && mount -t overlay overlay -o "lowerdir=/run,upperdir=$0/u,workdir=$0/w" /run`, run)
	return l, etc, filepath.Join(far, "log")
}

// tree is all that stands in a directory, as text: kinds, modes, owners and content.
func (l *laptop) tree(dir string) string {
	l.t.Helper()
	return l.must("sh", "-c", `cd "$0" && find . ! -name '.bowline*' -printf '%p %y %m %u:%g %l\n' | sort && find . -type f -exec sha256sum {} + | sort -k 2`, dir)
}

// TestSetupApplied: the plan of the set-up is applied on a host, where each command runs
// once and in its place; then there is nothing to do; and it is taken back.
func TestSetupApplied(t *testing.T) {
	t.Parallel()
	l, etc, log := setupHost(t)
	before := l.tree(etc)
	who := testkit.User(t)
	setup := func() string { return l.bowline("box", "setup", "-t", "dev1", "--user", who) }

	out := setup()
	m := regexp.MustCompile(`'bowline apply ([^']+)'`).FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("%s", out)
	}
	if got := l.tree(etc); got != before {
		t.Errorf("the plan changed the host")
	}
	l.fails(12, nil, "apply", m[1])
	l.bowline("approve", m[1], "--yes")
	l.bowline("apply", m[1])
	const ran = "apt-get update\napt-get install -y --no-install-recommends podman slirp4netns\nsystemctl daemon-reload\nsystemd-tmpfiles --create /etc/tmpfiles.d/bowline-podman.conf\n" +
		"systemctl enable --now podman.socket\nsystemctl restart podman.socket\n"
	l.logged(log, ran)
	for name, want := range map[string]string{
		"systemd/system/podman.socket.d/bowline.conf": "# Boxes of Bowline: the group podman may use the socket.\n[Socket]\nSocketMode=0660\nSocketGroup=podman\n",
		"tmpfiles.d/bowline-podman.conf":              "# Boxes of Bowline: the group podman may reach the socket.\nd /run/podman 0750 root podman -\n",
	} {
		b, err := os.ReadFile(filepath.Join(etc, name))
		info, serr := os.Stat(filepath.Join(etc, name))
		if err != nil || serr != nil || string(b) != want || info.Mode() != 0o644 {
			t.Errorf("%s: %q, %v, %v", name, b, err, serr)
		}
	}
	if b, err := os.ReadFile(filepath.Join(etc, "group")); err != nil || !regexp.MustCompile(`(?m)^podman:x:\d+:`+who+`$`).Match(b) {
		t.Errorf("%v: %s", err, b)
	}

	applied := l.tree(etc)
	if out := setup(); !strings.Contains(out, "there is nothing to do; see what boxes find") || strings.Contains(out, "bowline apply") {
		t.Errorf("again: %s", out)
	}
	l.logged(log, ran)
	if got := l.tree(etc); got != applied {
		t.Errorf("the second run changed the host")
	}

	l.bowline("rollback", m[1], "--yes")
	l.logged(log, ran+"systemctl restart podman.socket\nsystemctl disable --now podman.socket\nsystemctl daemon-reload\n")
	if got := l.tree(etc); got != before {
		t.Errorf("after the rollback: %s", got)
	}
}

// logged compares what stand-ins were called with.
func (l *laptop) logged(file, want string) {
	l.t.Helper()
	if b, err := os.ReadFile(file); err != nil || string(b) != want {
		l.t.Errorf("ran %q, want %q; %v", b, want, err)
	}
}
