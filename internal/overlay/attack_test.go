//go:build linux

package overlay

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/testkit"
)

// TestAttacks runs scripts that try to get out. Each prints what it achieved, which
// must be nothing.
func TestAttacks(t *testing.T) {
	root(t)
	python := realPython(t)
	dir := playground(t)
	shell(t, dir, "echo safe > host; chmod 644 host")
	block := "mknod b b 254 0 && head -c 16 b >/dev/null"
	for name, script := range map[string]string{
		"own root":         `echo bad > /proc/self/root` + dir + `/host; true`,
		"init root":        `for p in 1 2 3; do ls /proc/$p/root` + `/.bowline-no 2>/dev/null; echo bad > /proc/$p/root` + dir + `/host; done 2>/dev/null; true`,
		"descriptors":      `for f in 3 4 5 6 7 8 9 10; do test -e /proc/self/fd/$f && readlink /proc/self/fd/$f | grep -v "/proc/" && echo OUT; done; true`,
		"bind mount":       `/run/.bowline/real/none 2>/dev/null; ` + python + ` -c 'import ctypes as c; l=c.CDLL(None,use_errno=True); print("OUT") if l.mount(b"/",b"/mnt",None,4096,None)==0 else None; print("OUT") if l.umount2(b"/proc/sys",2)==0 else None'`,
		"setns":            `for n in /proc/1/ns/mnt /proc/self/ns/mnt; do nsenter --mount=$n true 2>/dev/null && echo OUT; done; true`,
		"user namespace":   `unshare -Ur true 2>/dev/null && echo OUT; unshare -m true 2>/dev/null && echo OUT; true`,
		"block device":     `cd ` + dir + `; ` + block + ` && echo OUT; cd /dev && ` + block + ` && echo OUT; cd /dev/shm && ` + block + ` && echo OUT; true`,
		"core pattern":     `(echo '|/tmp/x' > /proc/sys/kernel/core_pattern) 2>/dev/null && echo OUT; true`,
		"sysrq":            `(echo h > /proc/sysrq-trigger) 2>/dev/null && echo OUT; true`,
		"release agent":    `for f in $(find /sys/fs/cgroup -maxdepth 2 -name release_agent); do (echo /x > $f) 2>/dev/null && echo OUT; done; true`,
		"sys":              `for f in /sys/kernel/uevent_helper /sys/kernel/mm/transparent_hugepage/enabled; do test -e $f && (cat $f > $f) 2>/dev/null && echo OUT; done; true`,
		"kernel memory":    `head -c 1 /proc/kcore 2>/dev/null | grep -q . && echo OUT; true`,
		"modules":          `test -e /dev/mem && echo OUT; test -e /dev/vda && echo OUT; true`,
		"chmod null":       `chmod 600 /dev/null 2>/dev/null && echo OUT; chown 7 /dev/null 2>/dev/null && echo OUT; true`,
		"host name":        `hostname bowline-evil 2>/dev/null; true`,
		"stub is replaced": `rm -f /run/.bowline/defer /run/.bowline/stub 2>/dev/null; mv /run/.bowline /run/x 2>/dev/null; test -S /run/.bowline/defer || echo OUT`,
		"chroot":           python + ` -c 'import os; os.mkdir("/tmp/cr"); os.chroot("/tmp/cr"); [os.chdir("..") for i in range(64)]; os.chroot("."); open("` + dir + `/host","w").write("bad")'; true`,
		"by handle": python + ` -c '
import ctypes as c,os,struct
l=c.CDLL(None,use_errno=True)
b=c.create_string_buffer(136); struct.pack_into("Ii",b,0,8,1); struct.pack_into("I",b,8,2)
for p in ("/dev/null","/","/etc/hosts","/dev/shm"):
    f=os.open(p,os.O_RDONLY)
    if l.open_by_handle_at(f,b,0)>=0 or c.get_errno()!=1: print("OUT",p,c.get_errno())
'`,
		"tiocsti": python + ` -c '
import fcntl,os,pty
m,s=os.openpty()
try: fcntl.ioctl(s,0x5412,b"x"); print("OUT")
except OSError as e: assert e.errno==1,e
'`,
	} {
		t.Run(name, func(t *testing.T) {
			d := must(t, script)
			if strings.Contains(d.out.String(), "OUT") || d.Exit != 0 {
				t.Errorf("exit %d, output %q, stderr %q", d.Exit, d.out.String(), d.errs.String())
			}
			if b, err := os.ReadFile(dir + "/host"); err != nil || string(b) != "safe\n" {
				t.Errorf("host file: %q, %v", b, err)
			}
			if st, err := os.Stat("/dev/null"); err != nil || st.Mode().Perm() != 0o666 {
				t.Errorf("/dev/null: %v, %v", st.Mode(), err)
			}
		})
	}
}

// realPython returns an interpreter that is not a shim.
func realPython(t *testing.T) string {
	t.Helper()
	for _, p := range []string{"/usr/bin/python3", testkit.Tool(t, "python3")} {
		out, err := exec.Command(p, "-c", "import sys; print(sys.executable)").Output()
		if err == nil {
			return strings.TrimSpace(string(out))
		}
	}
	t.Fatal("this test needs python3")
	return ""
}

// TestHostSockets shows that no path in the view leads to a socket of the host.
func TestHostSockets(t *testing.T) {
	root(t)
	python := realPython(t)
	for _, dir := range []string{testkit.Dir(t), playground(t), runDir(t)} {
		path := dir + "/socket"
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		script := python + ` -c '
import socket
s=socket.socket(socket.AF_UNIX)
try: s.connect("` + path + `"); print("OUT")
except OSError as e: print(e.errno)
'; test -S ` + path + ` && echo seen`
		d := must(t, script, func(r *Request) { r.HostNet = true })
		if d.out.String() != strconv.Itoa(int(unix.ECONNREFUSED))+"\nseen\n" {
			t.Errorf("%s: %q %q", path, d.out.String(), d.errs.String())
		}
	}
}

func runDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/run", "bowline-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// TestHostProcesses shows that a script sees and kills only its own.
func TestHostProcesses(t *testing.T) {
	root(t)
	victim := exec.Command("sleep", "600")
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = victim.Process.Kill(); _ = victim.Wait() }()
	pid := strconv.Itoa(victim.Process.Pid)
	d := must(t, `/bin/kill -9 `+pid+`; kill -9 `+pid+` 2>/dev/null; for i in 1 2 3; do kill -TERM $i; kill -SEGV $i; kill -QUIT $i; done 2>/dev/null
		sleep 100 & /bin/kill -9 $!; wait $!; echo $?; ls /proc | grep -c '^[0-9]'`)
	if err := victim.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("the process of the host: %v", err)
	}
	if d.summary() != "run /bin/kill -9 "+pid+"\n" || !strings.HasPrefix(d.out.String(), "137\n") {
		t.Errorf("%q, output %q, stderr %q", d.summary(), d.out.String(), d.errs.String())
	}
}

func TestForkBomb(t *testing.T) {
	root(t)
	d := must(t, `b() { b | b & }; b; sleep 100`, func(r *Request) { r.Timeout = time.Second })
	if !d.TimedOut || d.Signal != "SIGKILL" {
		t.Errorf("timed out %v, signal %q, exit %d", d.TimedOut, d.Signal, d.Exit)
	}
}

func TestHugeFile(t *testing.T) {
	root(t)
	dir := playground(t)
	noVolatile := func(r *Request) { r.Volatile = []string{}; r.MaxBytes = 64 << 20 }
	if _, err := try(t, `truncate -s 10G `+dir+`/huge`, noVolatile); diag.KindOf(err) != diag.Refused {
		t.Errorf("a sparse file of 10 GiB: %v", err)
	}
	if _, err := try(t, `for i in 1 2 3; do truncate -s 30M `+dir+`/$i; echo $i >> `+dir+`/$i; done`, noVolatile); diag.KindOf(err) != diag.Refused {
		t.Errorf("more than the limit in several sparse files: %v", err)
	}
	// What the script did without space is not what it would do, also if it hides it.
	for _, script := range []string{`yes > F 2>/dev/null; true`, `yes > F 2>/dev/null; sleep 0.2; rm F`, `i=0; while : > G$i; do i=$((i+1)); done 2>/dev/null; true`} {
		script = strings.ReplaceAll(strings.ReplaceAll(script, "F", dir+"/full"), "G", dir+"/g")
		if d, err := try(t, script, noVolatile); diag.KindOf(err) != diag.Refused {
			t.Errorf("%s: %v\n%.300s", script, err, d.summary())
		}
	}
	unmounted(t)
}

// TestCgroup bounds the processes where the kernel has no pid_max of its own for a
// dry run, and leaves no cgroup behind.
func TestCgroup(t *testing.T) {
	root(t)
	dir, err := newCgroup(cgroupParents, 40)
	if err != nil || dir == "" {
		t.Fatalf("cgroup %q, %v", dir, err)
	}
	req, d := request(t, `for i in $(seq 100); do sleep 5 & done 2>/dev/null; echo done`)
	req.Timeout = 3 * time.Second
	if err := check(&req); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		_, err := runIn(t.Context(), req, dir)
		done <- err
	}()
	most := 0
	for running := true; running; {
		select {
		case err = <-done:
			running = false
		default:
			if b, err := os.ReadFile(dir + "/pids.current"); err == nil {
				n, _ := strconv.Atoi(strings.TrimSpace(string(b)))
				most = max(most, n)
			}
			runtime.Gosched()
		}
	}
	if err != nil || most < 20 || most > 40 || strings.Contains(d.out.String(), "done") {
		t.Errorf("%d processes at a time, %v, output %q", most, err, d.out.String())
	}
	if err := removeCgroup(dir); err != nil {
		t.Error(err)
	}
	// One that a killed run left goes with the next.
	dead := exec.Command("true")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	left := filepath.Dir(dir) + "/" + cgroupPrefix + strconv.Itoa(dead.Process.Pid) + "-x"
	if err := os.Mkdir(left, 0o755); err != nil {
		t.Fatal(err)
	}
	sweepCgroups(filepath.Dir(dir))
	if _, err := os.Stat(left); !os.IsNotExist(err) {
		t.Errorf("%s is left: %v", left, err)
	}
	if dir, err := newCgroup([]string{"/proc", t.TempDir()}, 40); dir != "" || err != nil {
		t.Errorf("a cgroup in no hierarchy: %q, %v", dir, err)
	}
}

// TestUserLimits: an ordinary account has a bound on its processes, too.
func TestUserLimits(t *testing.T) {
	root(t)
	out, _ := asUser(t, `awk '/^Max processes/ {print $3}' /proc/self/limits`)
	if n, err := strconv.Atoi(strings.Fields(out + " x")[0]); err != nil || n > pidMax {
		t.Errorf("processes of an ordinary account: %q", out)
	}
}

// TestNotText refuses what a plan cannot say, instead of changing it.
func TestNotText(t *testing.T) {
	root(t)
	for name, script := range map[string]string{
		"argument":  `systemctl restart "$(printf 'a\377b')"`,
		"variable":  `X=$(printf 'a\377b') systemctl restart x`,
		"directory": `mkdir /srv/$(printf 'a\377b'); cd /srv/*b; systemctl restart x`,
	} {
		_, err := try(t, script+"; echo x > /etc/bowline-x")
		if diag.KindOf(err) != diag.Refused || !strings.Contains(err.Error(), `\xff`) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// It reaches reading commands as it is.
	log := fake(t)
	must(t, `systemctl is-active "$(printf 'a\377b')"`)
	if b, err := os.ReadFile(log); err != nil || string(b) != "is-active a\xffb\n" {
		t.Errorf("%q, %v", b, err)
	}
}

// marked are processes whose command line holds mark.
func marked(t *testing.T, mark string) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil && strings.Contains(string(b), mark) && !strings.Contains(f, "/"+strconv.Itoa(os.Getpid())+"/") {
			out = append(out, f+" "+strings.ReplaceAll(string(b), "\x00", " "))
		}
	}
	return out
}

// children are the process IDs of those that a process started.
func children(t *testing.T, pid int) []string {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/[0-9]*/children", pid))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, strings.Fields(string(b))...)
	}
	return out
}

// await waits until ok, which must come to be.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not so after 20 s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// TestEnds shows that nothing is left whatever ends a dry run.
func TestEnds(t *testing.T) {
	root(t)
	script := func(mark string) string {
		return `setsid sh -c 'trap "" TERM HUP INT; sleep ` + mark + `' & nohup sleep ` + mark + ` & echo started; sleep ` + mark
	}
	t.Run("timeout", func(t *testing.T) {
		d := must(t, `echo x > /etc/bowline-x; `+script("654321"), func(r *Request) { r.Timeout = 500 * time.Millisecond })
		if !d.TimedOut || d.summary() != "create /etc/bowline-x\n" {
			t.Errorf("timed out %v, %q", d.TimedOut, d.summary())
		}
		if left := marked(t, "sleep\x00654321"); len(left) > 0 {
			t.Errorf("left: %q", left)
		}
	})
	t.Run("cancel", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		req, _ := request(t, script("654322"))
		req.Stdout = writeFunc(func(b []byte) (int, error) { cancel(); return len(b), nil })
		_, err := Run(ctx, req)
		if diag.KindOf(err) != diag.Canceled {
			t.Errorf("error %v", err)
		}
		await(t, "processes are gone", func() bool { return len(marked(t, "sleep\x00654322")) == 0 })
		unmounted(t)
	})
	t.Run("kill", func(t *testing.T) {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		scratch := t.TempDir()
		cmd := exec.Command(self, "run", scratch, script("654323"))
		r, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Read(make([]byte, 8)); err != nil {
			t.Fatal(err)
		}
		if len(marked(t, "sleep\x00654323")) == 0 {
			t.Error("the script does not run")
		}
		stages := children(t, cmd.Process.Pid)
		if len(stages) != 1 {
			t.Errorf("children of the caller: %q", stages)
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // killed
		await(t, "processes are gone", func() bool {
			_, err := os.Stat("/proc/" + stages[0])
			return len(marked(t, "sleep\x00654323")) == 0 && os.IsNotExist(err)
		})
		unmounted(t)
	})
}

type writeFunc func([]byte) (int, error)

func (f writeFunc) Write(b []byte) (int, error) { return f(b) }

// TestTwo runs two dry runs at once, which do not see each other.
func TestTwo(t *testing.T) {
	root(t)
	dir := playground(t)
	results := make(chan *dry, 2)
	for _, name := range []string{"one", "two"} {
		go func() {
			d, err := try(t, `cd `+dir+`; echo `+name+` > f; systemctl restart `+name+`; cat f; ls`, func(r *Request) { r.Volatile = []string{} })
			if err != nil {
				t.Error(err)
			}
			results <- d
		}()
	}
	for range 2 {
		d := <-results
		if len(d.Ops) != 2 || !strings.HasSuffix(d.out.String(), "\nf\n") {
			t.Errorf("%q %q", d.summary(), d.out.String())
		}
	}
}

// TestForgedPleas talks to the stage past the stubs: no reading command can be made
// to run another program of the host, or one under the rule of another.
func TestForgedPleas(t *testing.T) {
	root(t)
	log := fake(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := playground(t)
	evil := dir + "/systemctl"
	if err := os.WriteFile(evil, []byte("#!/bin/sh\ntouch "+dir+"/out\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	const program = "/usr/local/bin/systemctl"
	d := must(t, strings.Join([]string{
		self + " forge " + evil + " " + evil + " systemctl status",
		self + " forge " + evil + " " + program + " systemctl start one",
		self + " forge /x/ip " + program + " ip start show",
		self + " forge " + program + " " + program + " reboot is-active x",
		self + " forge /bin/sh /bin/sh systemctl status",
		self + " forge ../../bin/sh '' systemctl status",
		`printf garbage | ` + realPython(t) + ` -c 'import socket; s=socket.socket(socket.AF_UNIX); s.connect("` + sockPath + `"); s.send(b"\xff"*100)'`,
		"true",
	}, "\n"))
	if d.Exit != 0 {
		t.Errorf("exit %d: %s", d.Exit, d.errs.String())
	}
	if _, err := os.Stat(dir + "/out"); err == nil {
		t.Error("a program of the script's choice ran on the host")
	}
	if b, err := os.ReadFile(log); err != nil || string(b) != "is-active x\n" {
		t.Errorf("calls on the host: %q, %v", b, err)
	}
	want := "run systemctl start one\nrun " + program + " start show\n"
	if d.summary() != want {
		t.Errorf("got %q, want %q", d.summary(), want)
	}
}

// TestMovedMount refuses what a plan cannot say.
func TestMovedMount(t *testing.T) {
	root(t)
	dir := playground(t)
	if err := os.MkdirAll(dir+"/a/b", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("below", dir+"/a/b", "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Unmount(dir+"/a/b", unix.MNT_DETACH) }()
	none := func(r *Request) { r.Volatile = []string{} }
	if d, err := try(t, `mv `+dir+`/a `+dir+`/c`, none); err == nil {
		t.Errorf("a renamed mount was planned: %q", d.summary())
	} else if diag.KindOf(err) != diag.Refused {
		t.Error(err)
	}
	d := must(t, `echo x > `+dir+`/a/b/f; echo y > `+dir+`/a/g; rmdir `+dir+`/a/b 2>/dev/null || echo busy`, none)
	if d.summary() != "create "+dir+"/a/b/f\ncreate "+dir+"/a/g\n" || d.out.String() != "busy\n" {
		t.Errorf("%q, %q", d.summary(), d.out.String())
	}
}

// TestFileMount writes a file that is a mount of its own, as container hosts have.
func TestFileMount(t *testing.T) {
	root(t)
	dir := playground(t)
	shell(t, dir, `echo inner > source; echo outer > target; chmod 640 source`)
	if err := unix.Mount(dir+"/source", dir+"/target", "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Unmount(dir+"/target", unix.MNT_DETACH) }()
	d := must(t, `cat `+dir+`/target; echo more >> `+dir+`/target; stat -c %a `+dir+`/target`, func(r *Request) { r.Volatile = []string{} })
	if d.summary() != "modify "+dir+"/target in place\n" || d.out.String() != "inner\n640\n" {
		t.Errorf("%q, %q, %q", d.summary(), d.out.String(), d.errs.String())
	}
	if b, _ := os.ReadFile(dir + "/source"); string(b) != "inner\n" {
		t.Errorf("host: %q", b)
	}
}

// TestRefusedMount shows that there is no partial view.
func TestRefusedMount(t *testing.T) {
	root(t)
	dir := playground(t)
	if err := os.Mkdir(dir+"/p", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("proc", dir+"/p", "proc", 0, ""); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Unmount(dir+"/p", unix.MNT_DETACH) }()
	_, err := try(t, "true", func(r *Request) { r.Volatile = []string{} })
	if diag.KindOf(err) != diag.Sandbox || !strings.Contains(err.Error(), dir+"/p (proc)") {
		t.Errorf("error %v", err)
	}
}

func TestNotFound(t *testing.T) {
	root(t)
	for _, f := range []func(*Request){
		func(r *Request) { r.Argv = []string{"bowline-no-such-program"} },
		func(r *Request) { r.Dir = "/no/such/directory" },
		func(r *Request) { r.Argv = []string{"/etc/passwd"} },
	} {
		if _, err := try(t, "true", f); diag.KindOf(err) != diag.NotFound {
			t.Errorf("error %v", err)
		}
	}
}

// TestCopiedMount has a file system that the kernel cannot overlay: an overlay on an
// overlay, which is as deep as they go.
func TestCopiedMount(t *testing.T) {
	root(t)
	dir := playground(t)
	shell(t, dir, `mkdir -p low up1 w1 up2 w2 one two low/d low/gone; echo a > low/a; echo d > low/d/d; ln -s a low/s; chmod 640 low/a`)
	if err := unix.Mount("overlay", dir+"/one", "overlay", 0, "lowerdir="+dir+"/low,upperdir="+dir+"/up1,workdir="+dir+"/w1"); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Unmount(dir+"/one", unix.MNT_DETACH) }()
	if err := unix.Mount("overlay", dir+"/two", "overlay", 0, "lowerdir="+dir+"/one,upperdir="+dir+"/up2,workdir="+dir+"/w2"); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Unmount(dir+"/two", unix.MNT_DETACH) }()
	two := dir + "/two"
	d := must(t, `cd `+two+`; echo m >> a; rm -r gone; mv d e; echo n > n`, func(r *Request) { r.Volatile = []string{} })
	want := "delete T/gone\ndelete T/d/d\ndelete T/d\nmodify T/a\ncreate T/e\ncreate T/e/d\ncreate T/n\n"
	if got := strings.ReplaceAll(d.summary(), two, "T"); got != want {
		t.Errorf("got %q, want %q; labels %q", got, want, d.Labels)
	}
}

// TestVolatilePlan keeps what a service needs to start, and not what it wrote.
func TestVolatilePlan(t *testing.T) {
	root(t)
	d := must(t, `mkdir -p /var/log/bowline-t/sub /tmp/bowline-t; chmod 750 /var/log/bowline-t; echo x > /var/log/bowline-t/log; echo x > /tmp/bowline-t/y
echo x >> /var/log/dpkg.log; rm -f /run/x; ln /tmp/bowline-t/y /etc/bowline-y 2>/dev/null; rm -rf /var/log/apt`)
	got := d.summary()
	for _, want := range []string{"create /var/log/bowline-t\n", "create /var/log/bowline-t/sub\n", "create /etc/bowline-y\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in %q", want, got)
		}
	}
	for _, not := range []string{"/log\n", "/tmp", "dpkg.log"} {
		if strings.Contains(got, not) {
			t.Errorf("%q in %q", not, got)
		}
	}
}
