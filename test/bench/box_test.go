package bench

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bowline-sh/bowline/internal/testkit"
)

// boxWorld is a server with Podman, bowline and podman --remote that reach it, and one
// running box.
type boxWorld struct {
	b      *testing.B
	env    []string
	remote []string // argv prefix of podman --remote
	keys   string
	n      int
}

func newBoxWorld(b *testing.B) *boxWorld {
	b.Helper()
	testkit.Tool(b, "podman")
	s, home := testkit.PodmanHost(b), testkit.Dir(b)
	w := &boxWorld{b: b, keys: s.ClientKeyFile + ".pub"}
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); name != "HOME" && name != "SSH_AUTH_SOCK" && !strings.HasPrefix(name, "XDG_") && !strings.HasPrefix(name, "BOWLINE_") {
			w.env = append(w.env, kv)
		}
	}
	w.env = append(w.env, "HOME="+home, "XDG_RUNTIME_DIR="+home)
	b.Cleanup(func() {
		cmd := exec.Command("../../bin/bowline", "link", "close", "--all")
		cmd.Env = w.env
		mustRun(b, cmd)
	})
	w.bowline("target", "add", "dev1", fmt.Sprintf("%s@%s:%d", s.User, s.Host, s.Port), "--key", s.ClientKeyFile, "--fingerprint", s.HostKeyFingerprint)
	f, err := os.OpenFile(filepath.Join(home, ".config/bowline/config.toml"), os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteString("allow_loopback = true\n")
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		b.Fatal(err)
	}
	w.bowline("box", "create", "a", "-t", "dev1", "--image", testkit.BoxImage, "--no-git", "--authorized-keys", w.keys)
	// A service that stays, as a socket unit would give the peer.
	socket := testkit.Dir(b) + "/s"
	service := exec.CommandContext(b.Context(), "ssh", "-F", "none", "-o", "UserKnownHostsFile="+s.KnownHostsFile(b), "-i", s.ClientKeyFile, "-p", fmt.Sprint(s.Port), s.User+"@"+s.Host,
		"podman system service --time 0 unix://"+socket+" >/dev/null 2>&1 & until [ -S "+socket+" ]; do sleep 0.05; done; echo up; cat; kill $!")
	in, err := service.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := service.StdoutPipe()
	if err == nil {
		err = service.Start()
	}
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		in.Close()
		_ = service.Wait() // its status says nothing
	})
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		b.Fatal(err)
	}
	w.remote = []string{"--remote", "--url", fmt.Sprintf("ssh://%s@%s:%d%s", s.User, s.Host, s.Port, socket), "--identity", s.ClientKeyFile}
	return w
}

func (w *boxWorld) run(program string, args ...string) {
	cmd := exec.Command(program, args...)
	cmd.Env = w.env
	mustRun(w.b, cmd)
}

func (w *boxWorld) bowline(args ...string) { w.run("../../bin/bowline", args...) }

func (w *boxWorld) podman(args ...string) {
	w.run("podman", append(w.remote[:len(w.remote):len(w.remote)], args...)...)
}

// BenchmarkBoxExec: a command in a box over a kept link, against podman --remote exec.
func BenchmarkBoxExec(b *testing.B) {
	w := newBoxWorld(b)
	compareRounds(b, 20, func() { w.bowline("box", "exec", "-t", "dev1", "a", "--", "true") }, func() { w.podman("exec", "bowline-a", "true") })
}

// BenchmarkBoxCreate: a box until ssh can log in to it, with its account, keys and limits,
// against a container that runs and nothing more. Removing them is not measured.
func BenchmarkBoxCreate(b *testing.B) {
	w := newBoxWorld(b)
	var ours, theirs []string
	compareRounds(b, 8, func() {
		w.n++
		ours = append(ours, fmt.Sprintf("x%d", w.n))
		w.bowline("box", "create", ours[len(ours)-1], "-t", "dev1", "--image", testkit.BoxImage, "--no-git", "--authorized-keys", w.keys)
	}, func() {
		w.n++
		theirs = append(theirs, fmt.Sprintf("y%d", w.n))
		w.podman("run", "--detach", "--name", theirs[len(theirs)-1], testkit.BoxImage, "sleep", "3600")
	})
	for _, name := range ours {
		w.bowline("box", "rm", "-t", "dev1", name, "--yes")
	}
	for _, name := range theirs {
		w.podman("rm", "--force", "--time", "0", name)
	}
}
