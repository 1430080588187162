//go:build linux

package circle

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bowline-sh/bowline/internal/testkit"
)

// stock is where worlds are kept, on a tmpfs of this test binary.
const stock = "/media"

// play is a directory of a world on a plain tmpfs.
const play = "/srv/play"

// world is a throwaway host.
type world struct {
	dir  string // holds upper and the mount point
	pid  int    // of the process that holds its mount namespace
	born time.Time
}

// root leads to p as the world sees it.
func (w *world) root(p string) string { return fmt.Sprintf("/proc/%d/root%s", w.pid, p) }

func (w *world) upper() string { return filepath.Join(w.dir, "upper") }

var worlds atomic.Int64

// preparation makes of the machine's root what every world begins with. It has no
// policy against starting services, and a service manager that only keeps account.
const preparation = `set -e
rm -f /usr/sbin/policy-rc.d
mkdir -p /run/systemd/system /run/calls /srv/play /root/.cache/bowline /root/.local/share/bowline/sessions
chmod 700 /root/.cache/bowline /root/.local/share/bowline
cat > /run/systemctl <<'SYSTEMCTL'
#!/bin/sh
case $0 in */runlevel) echo N 5; exit 0;; esac
case " $* " in "  ") exit 0;; *" is-"*) echo inactive; exit 3;; *" show "*|*" list-"*|*" status "*|*" cat "*) exit 0;; esac
test ! -p /run/gate || read line < /run/gate
test ! -x /run/hook || /run/hook "$@" || exit 9
n=$(ls /run/calls | wc -l); d=/run/calls/$(printf %03d $n); mkdir $d
tr '\0' '\n' < /proc/$$/cmdline | tail -n +2 > $d/argv
cat /proc/$$/environ > $d/env; pwd -P > $d/cwd; cat > $d/stdin
case "$*" in *fails*) exit 5;; esac
SYSTEMCTL
chmod 755 /run/systemctl
cp --remove-destination /run/systemctl /usr/bin/systemctl
for f in / /usr/bin/systemctl /root /root/.cache /root/.cache/bowline /root/.local /root/.local/share /root/.local/share/bowline /root/.local/share/bowline/sessions /srv /usr/sbin /usr/bin; do touch -d '2002-02-02' $f; done
cd /srv/play
`

// newWorld makes a world and runs seed in its play directory. Two worlds of the
// same seed are alike in everything: their times are set.
func newWorld(t testing.TB, seed string) *world {
	t.Helper()
	testkit.Root(t)
	w := &world{dir: fmt.Sprintf("%s/w%d", stock, worlds.Add(1)), born: time.Now()}
	for _, d := range []string{"", "/upper", "/work", "/root"} {
		if err := os.Mkdir(w.dir+d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("/proc/self/exe", "world", w.dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
	var said bytes.Buffer
	cmd.Stderr = &said
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.pid = cmd.Process.Pid
	t.Cleanup(func() {
		w.end(t)
		stdin.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("world: %v\n%s", err, said.String())
		}
		if err := os.RemoveAll(w.dir); err != nil {
			t.Errorf("remove world: %v", err)
		}
	})
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
		t.Fatalf("world: %q, %v\n%s", line, err, said.String())
	}
	w.must(t, preparation+seed+"\nfind /srv/play -exec touch -h -d 2001-02-03 {} +\n")
	return w
}

// end kills what still runs in the world, and waits until it is gone.
func (w *world) end(t testing.TB) {
	deadline := time.Now().Add(20 * time.Second)
	for {
		pids := w.processes()
		if len(pids) == 0 {
			return
		}
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
		}
		if time.Now().After(deadline) {
			t.Errorf("processes %v of a world cannot be killed", pids)
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// processes are those of the world but the one that holds it.
func (w *world) processes() (pids []int) {
	home, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", w.pid))
	if err != nil {
		return nil
	}
	links, _ := filepath.Glob("/proc/[0-9]*/ns/mnt") // the pattern is right
	for _, l := range links {
		pid, _ := strconv.Atoi(strings.Split(l, "/")[2])
		if ns, err := os.Readlink(l); err == nil && ns == home && pid != w.pid {
			pids = append(pids, pid)
		}
	}
	return pids
}

// command runs argv in the world, with nothing of our environment.
func (w *world) command(argv ...string) *exec.Cmd {
	ns := fmt.Sprintf("/proc/%d", w.pid)
	cmd := exec.Command("/usr/bin/nsenter", append([]string{"--mount=" + ns + "/ns/mnt", "--root=" + ns + "/root", "--wd=" + ns + "/root"}, argv...)...)
	cmd.Env = []string{"HOME=/root", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}
	return cmd
}

func (w *world) must(t testing.TB, script string) string {
	t.Helper()
	out, err := w.command("/bin/sh", "-c", script).CombinedOutput()
	if err != nil {
		t.Fatalf("in the world, %q: %v\n%s", script, err, out)
	}
	return string(out)
}

// holdWorld lays the root of a world, makes it its own, and stays until its
// standard input ends.
func holdWorld(args []string) int {
	if err := layWorld(args[0]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}

func layWorld(dir string) error {
	root := dir + "/root"
	opts := fmt.Sprintf("lowerdir=/,upperdir=%[1]s/upper,workdir=%[1]s/work,redirect_dir=on,index=on,metacopy=off,xino=auto", dir)
	if err := unix.Mount("overlay", root, "overlay", 0, opts); err != nil {
		return fmt.Errorf("overlay over /: %w", err)
	}
	if err := os.MkdirAll(root+play, 0o755); err != nil {
		return err
	}
	for _, d := range []string{"/proc", "/sys", "/dev"} {
		if err := unix.Mount(d, root+d, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("bind %s: %w", d, err)
		}
	}
	for d, mode := range map[string]string{"/tmp": "1777", "/run": "0755", play: "0755"} {
		if err := unix.Mount("world", root+d, "tmpfs", 0, "mode="+mode); err != nil {
			return fmt.Errorf("tmpfs on %s: %w", d, err)
		}
	}
	return errors.Join(os.Chdir(root), unix.PivotRoot(".", "."), unix.Unmount(".", unix.MNT_DETACH), os.Chdir("/"))
}
