//go:build unix

package testkit

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// BoxImage is an image for boxes that every [PodmanHost] has: a shell, the usual
// tools, git and sshd of this machine.
const BoxImage = "localhost/bowline-test-box:1"

// PodmanHost starts an sshd whose account has a Podman of its own: storage, networks
// and sockets below a directory of the test, and [BoxImage]. It needs root. Containers
// and what they mount go when the test ends.
//
// The sessions see no cgroup v2: where a host has both kinds, crun refuses to run, and
// limits of v1 are what can be tested.
func PodmanHost(t testing.TB, opts ...SSHDOption) *Server {
	t.Helper()
	Root(t)
	Tool(t, "podman")
	dir := Dir(t)
	env := podmanFiles(t, dir)
	if out, err := podmanCommand(env, "podman image exists "+BoxImage+" || tar -C "+boxRoot(t)+" -cf - . | podman import -q - "+BoxImage).CombinedOutput(); err != nil {
		t.Fatalf("import the image: %v\n%s", err, out)
	}
	s := SSHD(t, append(opts, withoutCgroup2, ConfigLines("SetEnv HOME="+dir+"/home "+strings.Join(env, " ")))...)
	t.Cleanup(func() {
		// Where sshd mounts: network namespaces that cannot be seen leave their bridges.
		cmd := exec.Command("nsenter", "--mount=/proc/"+strconv.Itoa(s.PID)+"/ns/mnt", "sh", "-c", cleanPodman, dir)
		cmd.Env = append(os.Environ(), env...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("clean up Podman: %v\n%s", err, out)
		}
		endMonitors(t, dir)
	})
	return s
}

// Inside runs a shell text where a [PodmanHost] mounts, which nobody else sees; $0 is its
// argument.
func (s *Server) Inside(t testing.TB, text, arg string) {
	t.Helper()
	if out, err := exec.Command("nsenter", "--mount=/proc/"+strconv.Itoa(s.PID)+"/ns/mnt", "sh", "-c", text, arg).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", text, err, out)
	}
}

// cleanPodman takes away all that is in a Podman, whose directory is its name.
const cleanPodman = `podman rm --all --force --time 0 >/dev/null 2>&1
podman volume rm --all --force >/dev/null 2>&1
podman network prune --force >/dev/null 2>&1
umount -R "$0/root/overlay" 2>/dev/null
:`

// endMonitors ends the monitors of commands in containers, which wait five minutes for
// somebody to ask how their command ended, and then make the storage again. They name the
// directory of the test.
func endMonitors(t testing.TB, dir string) {
	procs, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Error(err)
	}
	for _, file := range procs {
		line, err := os.ReadFile(file) // it may have ended
		pid, perr := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err == nil && perr == nil && strings.Contains(string(line), "conmon\x00") && strings.Contains(string(line), dir+"/root\x00") {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

func withoutCgroup2(c *sshdConfig) { c.hideCgroup2 = true }

// hideCgroup2 runs its arguments where no cgroup v2 is mounted.
const hideCgroup2 = `umount /sys/fs/cgroup/unified 2>/dev/null; exec "$@"`

// podmanFiles writes the configuration of a Podman that shares nothing with the
// machine's own, and returns the environment that selects it.
func podmanFiles(t testing.TB, dir string) []string {
	t.Helper()
	for _, d := range []string{"root", "run", "home", "tmp", "networks"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	writeFile(t, dir+"/storage.conf", []byte("[storage]\ndriver = \"overlay\"\ngraphroot = \""+dir+"/root\"\nrunroot = \""+dir+"/run\"\n"), 0o644)
	writeFile(t, dir+"/containers.conf", []byte("[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=4096:4096\"]\n[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"none\"\ntmp_dir = \""+dir+"/tmp\"\n[network]\nnetwork_config_dir = \""+dir+"/networks\"\n"), 0o644)
	return []string{"CONTAINERS_CONF=" + dir + "/containers.conf", "CONTAINERS_STORAGE_CONF=" + dir + "/storage.conf", "XDG_RUNTIME_DIR=" + dir + "/tmp"}
}

func podmanCommand(env []string, line string) *exec.Cmd {
	cmd := exec.Command("unshare", "--mount", "sh", "-c", hideCgroup2, "sh", "sh", "-c", line)
	cmd.Env = append(os.Environ(), env...)
	return cmd
}

// boxTools are what the image has of this machine, with their libraries.
var boxTools = []string{
	"sh", "bash", "dash", "cat", "ls", "id", "env", "mkdir", "chown", "chmod", "rm", "cp", "mv", "ln", "touch", "sleep", "true", "false", "echo", "test", "tee", "tar", "head", "tail",
	"grep", "sed", "stat", "find", "wc", "hostname", "uname", "whoami", "tty", "stty", "useradd", "usermod", "groupadd", "getent", "sshd", "ssh-keygen", "git", "git-receive-pack", "git-upload-pack", "kill", "dd", "sort", "pwd", "seq", "install", "sha256sum",
}

// boxRoot makes the tree of the image once a machine.
func boxRoot(t testing.TB) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(cache, "bowline-test", "box-3")
	if _, err := os.Stat(root + "/etc/passwd"); err == nil {
		return root
	}
	script := `set -eu
new=$(mktemp -d "$1.XXXXXX")
cd "$new"
mkdir -p usr/bin usr/sbin usr/lib etc/ssh tmp run/sshd var/empty root proc sys dev workspace home var/tmp
ln -s usr/bin bin; ln -s usr/sbin sbin; ln -s usr/lib lib; [ ! -d /usr/lib64 ] || { mkdir -p usr/lib64; ln -s usr/lib64 lib64; }
chmod 1777 tmp var/tmp; chmod 700 root
shift
for tool; do
	path=$(PATH="$PATH:/usr/sbin:/sbin" command -v "$tool") || continue
	case $path in /*) ;; *) path=/usr/bin/$tool ;; esac
	real=$(readlink -f "$path")
	cp -L "$real" "usr/bin/$tool"
	for lib in $(ldd "$real" 2>/dev/null | grep -o '/[^ ]*'); do
		to=".$(readlink -f "$(dirname "$lib")")"
		mkdir -p "$to"; [ -e "$to/$(basename "$lib")" ] || cp -L "$lib" "$to/"
	done
done
ln -s ../bin/sshd usr/sbin/sshd
for lib in libnss_files.so.2 libnss_compat.so.2; do f=$(find /usr/lib /lib -name $lib 2>/dev/null | head -1); [ -z "$f" ] || { mkdir -p ".$(dirname "$f")"; cp -L "$f" ".$f"; }; done
[ ! -d /usr/lib/git-core ] || cp -a /usr/lib/git-core usr/lib/
mkdir -p usr/share/git-core/templates etc/pam.d
echo 'root:x:0:0:root:/root:/bin/sh
sshd:x:100:65534::/run/sshd:/bin/false
nobody:x:65534:65534:nobody:/:/bin/false' >etc/group
cp etc/group etc/passwd
printf 'root:x:0:\nnogroup:x:65534:\n' >etc/group
printf 'root:*:19000:0:99999:7:::\nsshd:!:19000::::::\n' >etc/shadow
printf '/bin/sh\n/bin/bash\n' >etc/shells
: >etc/login.defs
chmod 755 .
mv -T "$new" "$0.done" 2>/dev/null || rm -rf "$new"
`
	args := append([]string{"-c", script, root, root}, boxTools...)
	if err := os.MkdirAll(filepath.Dir(root), 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("sh", args...).CombinedOutput(); err != nil {
		t.Fatalf("make the image's tree: %v\n%s", err, out)
	}
	if err := os.Rename(root+".done", root); err != nil {
		t.Fatal(err)
	}
	return root
}
