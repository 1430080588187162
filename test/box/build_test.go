package box

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/bowline-sh/bowline/internal/testkit"
)

// images are all that the server has, layers included.
func (l *laptop) images() string {
	l.t.Helper()
	return l.onServer("podman images --all --quiet --no-trunc | sort")
}

// onServer runs a line there, as a person who looks would.
func (l *laptop) onServer(line string) string {
	l.t.Helper()
	return l.must("ssh", l.sshArgs(line)...)
}

// sshArgs are those of ssh for a line on the server.
func (l *laptop) sshArgs(line string) []string {
	s := l.server
	return []string{"-F", "none", "-i", s.ClientKeyFile, "-p", fmt.Sprint(s.Port), "-o", "UserKnownHostsFile=" + s.KnownHostsFile(l.t), "-o", "LogLevel=ERROR", s.User + "@" + s.Host, line}
}

// TestBuild builds images of what a worktree has, and boxes of them.
func TestBuild(t *testing.T) {
	t.Parallel()
	l := newLaptop(t)
	key, _ := testkit.ClientKey(t, l.home, "me")
	l.repository("src/p")
	before := l.images()

	t.Run("fails", func(t *testing.T) {
		l.write("src/p/Containerfile", "FROM "+testkit.BoxImage+"\nRUN echo one >/one\nRUN echo 'it is \033]0;broken' >&2; exit 3\n")
		l.fails(1, []string{"STEP 3/", "it is ^[]0;broken", "exit status 3"}, "box", "build", "-t", "dev1")
		l.fails(1, []string{"exit status 3"}, "box", "create", "web", "-t", "dev1", "--build", "--authorized-keys", key+".pub")
		if got := l.images(); got != before {
			t.Errorf("left: %q, before %q", got, before)
		}
		if out := l.bowline("box", "list", "-t", "dev1"); strings.Contains(out, "web") {
			t.Errorf("%q", out)
		}
	})
	t.Run("broken off", func(t *testing.T) {
		l.write("src/p/Containerfile", "FROM "+testkit.BoxImage+"\nRUN echo two >/two\nRUN echo sleeping; sleep 3\nRUN echo never >/three\n")
		cmd := exec.CommandContext(t.Context(), program, "box", "create", "web", "-t", "dev1", "--build", "--authorized-keys", key+".pub")
		cmd.Env, cmd.Dir = l.env, l.dir
		said, err := cmd.StderrPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(said)
		for lines.Scan() && lines.Text() != "sleeping" {
		}
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		var rest strings.Builder
		for lines.Scan() {
			rest.WriteString(lines.Text() + "\n")
		}
		if err := cmd.Wait(); err == nil {
			t.Error("a build that was broken off succeeded")
		}
		if got := l.images(); got != before {
			t.Errorf("left: %q, before %q; %s", got, before, &rest)
		}
		if out := l.onServer("podman ps -aq --external"); out != "" {
			t.Errorf("left: %q; %s", out, &rest)
		}
	})
	t.Run("context", func(t *testing.T) {
		l.write("outside", "secret\n")
		l.write("src/p/kept", "kept\n")
		l.write("src/p/left.log", "left\n")
		l.write("src/p/.dockerignore", "*.log\n.git\n")
		l.must("ln", "-sfn", "../../outside", "link")
		l.must("ln", "-sfn", "kept", "inside")
		l.write("src/p/Containerfile", "FROM "+testkit.BoxImage+"\nARG X\nCOPY . /context\nRUN ls -A /context; cat /context/kept; [ -L /context/inside ] && cat /context/inside\n")
		out := l.bowline("box", "build", "localhost/mine:1", "-t", "dev1")
		for _, want := range []string{"kept\nkept\nkept\n", "links out of the context: link\n", "localhost/mine:1\n", "built of "} {
			if !strings.Contains(out, want) {
				t.Errorf("no %q in %s", want, out)
			}
		}
		for _, not := range []string{"left.log\n", "secret"} {
			if strings.Contains(out, not) {
				t.Errorf("%q in %s", not, out)
			}
		}
	})
	t.Run("devcontainer", func(t *testing.T) {
		l.write("src/p/.devcontainer/Dockerfile", "ARG BASE\nFROM $BASE AS one\nRUN echo one >/stage\nFROM one AS two\nRUN echo two >/stage\n")
		l.write("src/p/.devcontainer/devcontainer.json", `{
	// what we use
	"build": {"dockerfile": "Dockerfile", "context": "..", "args": {"BASE": "`+testkit.BoxImage+`"}, "target": "one", "cacheFrom": "x"},
	"features": {"ghcr.io/devcontainers/features/go:1": {}},
	"remoteUser": "coder", "containerEnv": {"MODE": "dev", "TOKEN": "${localEnv:TOKEN}"},
	"mounts": ["source=cache,target=/cache,type=volume", "source=/etc,target=/host,type=bind"],
	"postCreateCommand": {"a": "echo $MODE >/cache/made; cat file", "b": ["sh", "-c", "id -un; pwd"]},
	"forwardPorts": [3000], "runArgs": ["--privileged"],
}`)
		out := l.bowline("box", "create", "web", "-t", "dev1", "--devcontainer", "--authorized-keys", key+".pub")
		for _, want := range []string{"build.cacheFrom is left out", "features/go:1 is left out", "TOKEN is left out", "type=bind is left out", "runArgs is left out", "box port -t dev1 web 3000", "one\n", "coder\n/workspace/project\n"} {
			if !strings.Contains(out, want) {
				t.Errorf("no %q in %s", want, out)
			}
		}
		if out := l.must("ssh", "web.dev1", "id -un; cat /stage /cache/made"); out != "coder\none\ndev\n" {
			t.Errorf("%q", out)
		}
		l.write("src/p/.devcontainer/Dockerfile", "ARG BASE\nFROM $BASE AS one\nRUN echo again >/stage\n")
		l.bowline("box", "exec", "-t", "dev1", "web", "--", "sh", "-c", "echo mine >>/cache/made")
		l.bowline("box", "rebuild", "-t", "dev1", "web", "--yes", "--devcontainer")
		if out := l.must("ssh", "web.dev1", "cat /stage /cache/made"); out != "again\ndev\n" { // postCreate wrote it anew
			t.Errorf("%q", out)
		}
		if got := l.onServer("podman images -q --filter label=sh.bowline.box=web"); strings.Count(got, "\n") != 1 {
			t.Errorf("the image before is left: %q", got)
		}
	})
	l.bowline("box", "rm", "-t", "dev1", "web", "--yes")
	l.onServer("podman rmi localhost/mine:1 >/dev/null")
	if got := l.images(); got != before {
		t.Errorf("left: %q, before %q", got, before)
	}
	if out := l.onServer("podman volume ls -q"); out != "" {
		t.Errorf("left: %q", out)
	}
}
