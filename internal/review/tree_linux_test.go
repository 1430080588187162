package review

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/bowline-sh/bowline/change"
	"github.com/bowline-sh/bowline/internal/testkit"
	"github.com/bowline-sh/bowline/plan"
)

// These tests take changes that real tools make: each case runs a shell script in
// a mount namespace where /etc, /var, /home and others are a tree of its own, and
// compares that tree before and after. They need root, and: passwd, sudo, cron,
// openssh-client, openssl, libcap2-bin, acl, nftables, iptables, ufw, logrotate,
// ca-certificates, systemd and dpkg.

// bound are the directories that a script sees its own tree at.
const bound = "etc var home root opt srv boot usr/local"

// prepare makes a tree of what the tools need, from this machine and a fixed
// account.
const prepare = `
umask 022
for d in ` + bound + `; do mkdir -p "$R/$d"; done
cd /etc
for f in pam.d security ssh ssl/openssl.cnf login.defs default nsswitch.conf ld.so.conf ld.so.conf.d ld.so.cache skel \
	systemd ca-certificates.conf ufw profile profile.d bash.bashrc cron.d crontab sudoers sudoers.d nftables.conf \
	passwd group shadow gshadow subuid subgid sysctl.d modules-load.d modprobe.d udev hosts logrotate.conf apt alternatives/ip*tables*; do
	[ ! -e $f ] || cp -a --parents $f "$R/etc"
done
rm -f "$R/etc/ssh"/ssh_host_* "$R/etc/ssh/moduli"
cd "$R"
chmod 700 root
mkdir -p etc/ssl/certs var/log var/tmp var/spool/cron/crontabs var/lib/dpkg/info var/lib/dpkg/updates var/lib/dpkg/triggers var/mail usr/local/bin \
	usr/local/share/ca-certificates home/alice root/.ssh
chgrp crontab var/spool/cron/crontabs
chmod 1730 var/spool/cron/crontabs
: > var/lib/dpkg/status
sed -i '/^alice:/d' etc/passwd etc/shadow etc/group etc/gshadow
sed -i 's/^\(sudo:[^:]*:[^:]*\):.*/\1:/' etc/group
useradd -P "$R" -M -u 4001 -U -s /bin/bash alice
grep -q ^docker: etc/group || groupadd -P "$R" docker
chown 4001:4001 home/alice
for f in hosts resolv.conf environment fstab; do [ -e etc/$f ] || : > etc/$f; done
`

// enter binds the tree over the machine's directories and runs $1 there.
const enter = `
cd /
for d in ` + bound + `; do mount --bind "$R/$d" "/$d"; done
exec sh -euc "umask 022; $1"
`

// templateDir is where template has its tree, once it is called.
var templateDir string

var template = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "bowline-review-")
	if err != nil {
		return "", err
	}
	templateDir = dir
	if out, err := shell(dir, "sh", "-euc", prepare); err != nil {
		return dir, fmt.Errorf("%w: %s", err, out)
	}
	return dir, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if templateDir != "" {
		os.RemoveAll(templateDir)
	}
	os.Exit(code)
}

func shell(root string, argv ...string) (string, error) {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin", "LC_ALL=C", "HOME=/root", "R=" + root, "DEBIAN_FRONTEND=noninteractive"}
	cmd.Dir = "/"
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// changed runs setup and then do, and returns what do changed as a plan.
func changed(t *testing.T, setup, do string) (plan.Plan, map[string][]byte) {
	t.Helper()
	testkit.Root(t)
	for _, tool := range []string{"unshare", "useradd", "visudo", "crontab", "ssh-keygen", "openssl", "setcap", "setfacl", "nft", "iptables-save", "ufw", "logrotate", "update-ca-certificates", "systemctl", "dpkg-deb"} {
		testkit.Tool(t, tool)
	}
	from, err := template()
	if err != nil {
		t.Fatal(err)
	}
	root := testkit.Dir(t)
	if out, err := shell(root, "cp", "-a", from+"/.", root); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	contents := map[string][]byte{}
	run := func(script string) {
		if out, err := shell(root, "unshare", "-mn", "sh", "-euc", enter, "sh", script); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	if setup != "" {
		run(setup)
	}
	before := scan(t, root, contents)
	run(do)
	after := scan(t, root, contents)
	var cs change.Changeset
	for p := range unionKeys(before, after) {
		if b, a := before[p], after[p]; !b.Same(a) {
			cs = append(cs, change.Change{Path: change.Path(p), Before: b, After: a})
		}
	}
	change.Sort(cs)
	p := plan.Plan{Version: plan.Version, Session: "20261121-test-abcd", Mode: plan.Root, Created: time.Now()}
	for i := range cs {
		p.Ops = append(p.Ops, plan.Operation{Change: &cs[i]})
	}
	if err := p.Valid(); err != nil {
		t.Fatal(err)
	}
	return p, contents
}

func scan(t *testing.T, root string, contents map[string][]byte) map[string]change.State {
	t.Helper()
	out := map[string]change.State{}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == root {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		out[strings.TrimPrefix(p, root)] = stateOf(t, p, info, contents)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// stateOf keeps contents within the bounds of a real dry run: text of at most
// 256 KiB.
func stateOf(t *testing.T, p string, info fs.FileInfo, contents map[string][]byte) change.State {
	t.Helper()
	st := info.Sys().(*syscall.Stat_t)
	s := change.State{Mode: st.Mode & 0o7777, UID: st.Uid, GID: st.Gid}
	switch st.Mode & syscall.S_IFMT {
	case syscall.S_IFDIR:
		s.Type = change.Dir
	case syscall.S_IFLNK:
		target, err := os.Readlink(p)
		if err != nil {
			t.Fatal(err)
		}
		s.Type, s.Target, s.Mode = change.Symlink, change.Path(target), 0
	case syscall.S_IFBLK, syscall.S_IFCHR:
		s.Type = change.Block
		if st.Mode&syscall.S_IFMT == syscall.S_IFCHR {
			s.Type = change.Char
		}
		s.Major, s.Minor = unix.Major(st.Rdev), unix.Minor(st.Rdev)
	case syscall.S_IFIFO:
		s.Type = change.Fifo
	default:
		b, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(b)
		s.Type, s.Size, s.SHA256 = change.File, int64(len(b)), hex.EncodeToString(sum[:])
		if len(b) <= 256<<10 && utf8.Valid(b) {
			contents[s.SHA256] = b
		}
	}
	s.Xattrs = xattrsOf(p)
	return s
}

func xattrsOf(p string) map[string][]byte {
	var out map[string][]byte
	for _, name := range []string{capsAttr, accessACLAttr, defaultACLAttr} {
		b := make([]byte, 4096)
		if n, err := unix.Lgetxattr(p, name, b); err == nil {
			if out == nil {
				out = map[string][]byte{}
			}
			out[name] = b[:n]
		}
	}
	return out
}
