//go:build linux

package circle

import (
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/plan"
)

// attacks are scripts that try to reach the host past the plan. Each prints OUT for
// whatever it achieved.
var attacks = map[string]string{
	"own root":       `echo bad > /proc/self/root` + play + `/a; echo bad > /proc/$$/cwd/b; for p in 1 2 $PPID; do echo bad > /proc/$p/root` + play + `/conf; done 2>/dev/null; true`,
	"mounts":         `mount -t tmpfs x /mnt; /bin/mount --bind /etc /mnt; python3 -c 'import ctypes as c; l=c.CDLL(None); print("OUT") if l.mount(b"x",b"/mnt",b"tmpfs",0,None)==0 else None'`,
	"namespaces":     `for n in /proc/1/ns/mnt /proc/self/ns/mnt /proc/$PPID/ns/mnt; do nsenter --mount=$n sh -c 'echo OUT; echo bad > ` + play + `/a' 2>/dev/null; done; unshare -m sh -c 'echo OUT' 2>/dev/null; unshare -Ur sh -c 'echo OUT' 2>/dev/null; true`,
	"chroot":         `mkdir /tmp/c; python3 -c 'import os; os.chroot("/tmp/c"); [os.chdir("..") for i in range(99)]; os.chroot("."); print("OUT") if os.path.exists("/run/bowline-secret") else open("` + play + `/a","w").write("bad")'`,
	"kernel":         `for f in /proc/sys/kernel/core_pattern /proc/sysrq-trigger /sys/kernel/uevent_helper $(find /sys/fs/cgroup -maxdepth 2 -name release_agent); do test -e $f && (cat $f > $f) 2>/dev/null && echo OUT $f; done; true`,
	"devices":        `mknod disk b 254 0 && head -c 1 disk 2>/dev/null && echo OUT; mknod /dev/shm/mem c 1 1 && head -c 1 /dev/shm/mem 2>/dev/null && echo OUT; rm -f disk`,
	"socket":         `python3 -c 'import socket; s=socket.socket(socket.AF_UNIX); s.connect("/run/host.sock"); print("OUT")' 2>/dev/null; python3 -c 'import socket; s=socket.socket(socket.AF_UNIX); s.connect("` + play + `/host.sock"); print("OUT")' 2>/dev/null; true`,
	"session files":  `echo bad >> /root/.ssh/authorized_keys; for d in /root/.local/share/bowline/sessions/.new-*; do echo bad > $d/layer/x; rm -rf $d; done; test -e /run/.bowline/stub; true`,
	"processes":      `for p in $(ls /proc | grep '^[0-9]'); do test $p = $$ || test $p = 1 || kill -9 $p; done; kill -9 -1; true`,
	"links out":      `ln -s /etc/passwd evil; echo bad >> evil; ln -s / slash; echo bad > slash/newfile; mkdir -p x2; ln -s ../../../../../../etc x2/up; echo bad > x2/up/motd`,
	"names":          `mkdir -p "$(printf '..\n')" '...' '. .' "$(printf '\033]0;owned\007')"; echo x > "$(printf '..\n/..x')"; echo y > "$(printf '\033]0;owned\007/\033[2J')"; echo z > "$(printf 'a\n1 delete "/etc"')"; ln -s '../../../../etc/shadow' "$(printf 'l\r\n')"`,
	"deferred names": `systemctl restart "$(printf 'x\033[2J\n2 run rm')" '; rm -rf /' '$(touch /run/owned)' '` + "`touch /run/owned`" + `'; echo x > done`,
	"own stub":       `cp /usr/bin/systemctl mine; ./mine restart x; mv /usr/bin/systemctl /usr/bin/old; ln -s /bin/true /usr/bin/systemctl; systemctl restart y; rm /usr/bin/systemctl; mv /usr/bin/old /usr/bin/systemctl; rm mine`,
}

// TestAttacks: whatever a script tries in the dry run, the host is unharmed, and the
// plan is the truth: applied it does what it lists, and goes back.
func TestAttacks(t *testing.T) {
	pristine := newWorld(t, seed)
	many(t, attacks, func(t *testing.T, h *host, script string) {
		h.in(t, newWorld(t, seed))
		for _, p := range []string{"/run/host.sock", play + "/host.sock"} {
			l, err := net.Listen("unix", h.root(p))
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
		}
		h.must(t, "touch -h -d 2001-02-03 "+play+"/host.sock "+play)
		before := h.nodes(t)
		s := h.plan(t, "cd "+play+"\n"+script)
		still(t, h.world, before, pristine)
		if strings.Contains(string(s.Plan.Stdout), "OUT") {
			t.Errorf("it got out: %q", s.Plan.Stdout)
		}
		h.approve(t, s)
		h.apply(t, s)
		planned := map[string]bool{}
		for _, op := range s.Plan.Ops {
			if op.Change != nil {
				planned[string(op.Change.Path)] = true
			}
		}
		for p, n := range h.nodes(t) {
			was, ok := before[p]
			if !ok {
				was, ok = pristine.at(t)(p)
			}
			if (!ok || was.what != n.what) && !planned[p] && !beside(p) {
				t.Errorf("%q is not in the plan and was %q, is %q", p, was.what, n.what)
			}
		}
		if _, err := os.Lstat(h.root("/run/owned")); err == nil {
			t.Error("an argument was run")
		}
		h.rollback(t, s)
		still(t, h.world, before, pristine)
	})
}

// TestTooMuch: a fork bomb, a huge file and an endless one end in a refusal or at the
// deadline, and leave nothing.
func TestTooMuch(t *testing.T) {
	many(t, map[string]string{
		"fork bomb":   `b() { b | b & }; b; sleep 100`,
		"endless":     `cat /dev/zero > zero & sleep 100`,
		"sparse file": `truncate -s 10G huge`,
		"sparse end":  `printf x | dd of=huge bs=1 seek=10737418240 2>/dev/null`,
	}, func(t *testing.T, h *host, script string) {
		h.in(t, newWorld(t, seed))
		before := picture(t, h.world)
		began := time.Now()
		s, err := h.client.Plan(t.Context(), bowline.PlanRequest{Target: "web1", Script: []byte("cd " + play + "\n" + script), File: "s", Timeout: 3 * time.Second})
		if k := diag.KindOf(err); k != diag.Timeout && k != diag.Refused {
			t.Errorf("plan: %s, %v (%s)\n%s", s.ID, err, k, describe(s.Plan))
		}
		if d := time.Since(began); d > 20*time.Second {
			t.Errorf("it took %s", d)
		}
		unchanged(t, h.world, before)
		await(t, "nothing is left running", func() bool { return len(h.processes()) == 0 })
	})
}

// TestSwappedDirectory: a directory that was swapped for a link to another after the
// plan leads nothing out of its place, whoever owns it.
func TestSwappedDirectory(t *testing.T) {
	many(t, map[string]string{
		"link out":     `mv d /opt/d; ln -s /opt/d d`,
		"link to etc":  `mv d d.old; ln -s /etc d`,
		"link up":      `mv d d.old; ln -s .. d`,
		"deeper":       `mv d/e /opt/e; ln -s /opt/e d/e`,
		"bind mount":   `mkdir /opt/e; mount --bind /opt/e d/e`,
		"other device": `mount -t tmpfs x d/e`,
	}, func(t *testing.T, h *host, swap string) {
		h.in(t, newWorld(t, seed))
		s := h.plan(t, "cd "+play+"; echo x >> d/e/mid; echo passwd > d/e/passwd; mkdir d/e/cron.d; echo evil > d/e/cron.d/x; rm d/e/f/deep; systemctl restart x")
		h.approve(t, s)
		h.must(t, "cd "+play+"; "+swap)
		before := picture(t, h.world)
		_, err := h.client.Apply(t.Context(), s.ID, bowline.ApplyOptions{})
		if diag.KindOf(err) != diag.Conflict {
			t.Errorf("apply: %v (%s)", err, diag.KindOf(err))
		}
		unchanged(t, h.world, before)
		if c := h.calls(t); len(c) > 0 {
			t.Errorf("it ran %q", c)
		}
		h.is(t, s.ID, plan.Approved)
	})
}
