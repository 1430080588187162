package box

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/bowline-sh/bowline/internal/testkit"
)

// commands are all of 'bowline box' with arguments that are whole. Those in here only are
// the ones that reach a server.
func commands(t *testing.T, l *laptop) map[string][]string {
	t.Helper()
	given := map[string][]string{
		"create": {"x", "--image", "i", "--authorized-keys", "key.pub"}, "exec": {"x", "--", "id"}, "info": {"x"}, "list": {}, "logs": {"x"}, "port": {"x", "80"},
		"prune": {}, "pull": {"x"}, "push": {"x"}, "rebuild": {"x", "--yes"}, "rm": {"x", "--yes"}, "setup": {}, "ssh": {"x"}, "start": {"x"}, "status": {"x"}, "stop": {"x"},
		"connect": {"x"},
		"build":   {"x"}, "cp": {"file", "x:file"},
	}
	l.write("key.pub", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl\n")
	help := l.bowline("box", "--help")
	_, list, _ := strings.Cut(help, "Available Commands:")
	list, _, _ = strings.Cut(list, "\n\n")
	out := map[string][]string{"connect": given["connect"]}
	for _, m := range regexp.MustCompile(`(?m)^  ([a-z]+) `).FindAllStringSubmatch(list, -1) {
		args, ok := given[m[1]]
		if !ok {
			t.Errorf("'bowline box %s' is not tested here", m[1])
		}
		out[m[1]] = args
	}
	if len(out) < 10 {
		t.Fatalf("the help lists %v", out)
	}
	return out
}

// TestCriterionEveryCommand: with a local target, no command of boxes does anything.
func TestCriterionEveryCommand(t *testing.T) {
	t.Parallel()
	l := stranger(t)
	for name, config := range map[string]string{
		"local":    "default_target = \"here\"\n[targets.here]\ntype = \"local\"\n",
		"loopback": "default_target = \"here\"\n[targets.here]\ntype = \"ssh\"\nhost = \"127.0.0.1\"\nuser = \"ann\"\n",
	} {
		l.config(config)
		for verb, args := range commands(t, l) {
			code := map[string]int{"exec": 126}[verb]
			if code == 0 {
				code = 12
			}
			t.Run(name+"/"+verb, func(t *testing.T) { l.fails(code, []string{remoteOnly}, append([]string{"box", verb}, args...)...) })
		}
	}
}

// TestCriterionNoSchemes: an address that names a socket of this machine, or Podman over
// TCP, is no target at all.
func TestCriterionNoSchemes(t *testing.T) {
	t.Parallel()
	l := stranger(t)
	for _, host := range []string{"unix:///run/podman/podman.sock", "tcp://dev.example.com:2375", "/run/podman/podman.sock", "ssh://ann@dev.example.com/run/podman/podman.sock"} {
		l.config("[targets.x]\ntype = \"ssh\"\nhost = \"" + host + "\"\n")
		if out, code := l.try(program, "box", "list", "-t", "x"); code != 2 || !strings.Contains(out, "host") {
			t.Errorf("%s: %d, %s", host, code, out)
		}
	}
	for _, kind := range []string{"unix", "tcp"} {
		l.config("[targets.x]\ntype = \"" + kind + "\"\nhost = \"dev.example.com\"\n")
		if out, code := l.try(program, "box", "list", "-t", "x"); code != 2 || !strings.Contains(out, kind) {
			t.Errorf("type %s: %d, %s", kind, code, out)
		}
	}
}

// TestCriterionNoPodmanHere: a laptop has ssh, git and a shell, and no Podman: a box is made
// and used all the same. DOCKER_HOST and CONTAINER_HOST of the laptop are not looked at.
func TestCriterionNoPodmanHere(t *testing.T) {
	t.Parallel()
	l := newLaptop(t)
	bin := filepath.Join(l.home, "bin")
	for _, name := range []string{"sh", "git", "hostname"} {
		path, err := exec.LookPath(name)
		if err == nil {
			err = os.Symlink(path, filepath.Join(bin, name))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	l.env = append(l.env, "PATH="+bin, "DOCKER_HOST=unix:///nonexistent", "CONTAINER_HOST=unix:///nonexistent")
	key, _ := testkit.ClientKey(t, l.home, "me")
	l.repository("src/p")
	l.bowline("box", "create", "a", "-t", "dev1", "--image", testkit.BoxImage, "--authorized-keys", key+".pub")
	if out := l.must("ssh", "a.dev1", "cat /workspace/project/file"); out != "one\n" {
		t.Errorf("%q", out)
	}
	l.bowline("box", "rebuild", "-t", "dev1", "a", "--yes")
	l.bowline("box", "rm", "-t", "dev1", "a", "--yes")
	if out, code := l.try("sh", "-c", "command -v podman"); code == 0 {
		t.Errorf("the laptop has %s", out)
	}
}

// TestCriterionInit: nothing is set up without a server that works.
func TestCriterionInit(t *testing.T) {
	t.Parallel()
	l := stranger(t)
	l.fails(2, []string{"--host"}, "init")
	if out, code := l.try(program, "init", "--name", "far", "--host", "ann@192.0.2.1:9", "--fingerprint", "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"); code == 0 {
		t.Errorf("%d, %s", code, out)
	}
	l.fails(12, []string{remoteOnly}, "box", "list")
}

// TestCriterionDocs: the pages and the help say that boxes are remote-only.
func TestCriterionDocs(t *testing.T) {
	for _, page := range []string{"README.md", "docs/boxes.md", "docs/remote-setup.md", "docs/security.md"} {
		b, err := os.ReadFile("../../" + page)
		if err != nil || !strings.Contains(string(b), "remote-only") {
			t.Errorf("%s does not say it: %v", page, err)
		}
	}
	if out := stranger(t).bowline("box", "--help"); !strings.Contains(out, "remote-only") {
		t.Errorf("%s", out)
	}
}

// TestFrozen: the switch of the target stops what changes boxes, and nothing else.
func TestFrozen(t *testing.T) {
	t.Parallel()
	l := newLaptop(t)
	key, _ := testkit.ClientKey(t, l.home, "me")
	l.bowline("box", "create", "a", "-t", "dev1", "--image", testkit.BoxImage, "--no-git", "--authorized-keys", key+".pub")
	layer := testkit.Dir(t)
	l.server.Inside(t, `mkdir "$0/u" "$0/w" && mount -t overlay overlay -o "lowerdir=/etc,upperdir=$0/u,workdir=$0/w" /etc && mkdir -p /etc/bowline && echo holidays >/etc/bowline/freeze`, layer)
	for verb, args := range map[string][]string{"stop": {"a"}, "rebuild": {"a", "--yes"}, "rm": {"a", "--yes"}, "port": {"a", "0:80"}} {
		l.fails(12, []string{"frozen", "holidays", "bowline unfreeze dev1"}, append([]string{"box", verb, "-t", "dev1"}, args...)...)
	}
	l.fails(126, []string{"frozen", "holidays"}, "box", "exec", "-t", "dev1", "a", "--", "true")
	if out := l.bowline("box", "list", "-t", "dev1"); !strings.Contains(out, "running") {
		t.Errorf("%s", out)
	}
}
