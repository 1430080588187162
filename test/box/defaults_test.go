package box

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/bowline-sh/bowline/internal/testkit"
)

// TestDefaults: a box is made as [targets.dev1.box] says, where no flag says otherwise.
func TestDefaults(t *testing.T) {
	t.Parallel()
	l := newLaptop(t)
	key, _ := testkit.ClientKey(t, l.home, "me")
	l.write("dots/.fromtable", "x\n")
	l.append(".config/bowline/config.toml", "[targets.dev1.box]\nimage = \""+testkit.BoxImage+"\"\nmemory = \"256MiB\"\ncpus = 0.5\npids = 99\ndotfiles = \"~/dots\"\nenv = { FROM = \"table\", BOTH = \"table\" }\n")
	if out := l.bowline("target", "show", "dev1"); !strings.Contains(out, "image "+testkit.BoxImage+", memory 256.0 MiB, 0.5 processors, 99 processes, dotfiles "+filepath.Join(l.home, "dots")+", BOTH=table, FROM=table\n") {
		t.Errorf("%s", out)
	}
	l.bowline("box", "create", "a", "-t", "dev1", "--no-git", "--authorized-keys", key+".pub", "--pids", "88", "--env", "BOTH=flag")
	if got := l.onServer("podman inspect --format '{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.PidsLimit}} {{.ImageName}}' bowline-a"); got != "268435456 500000000 88 "+testkit.BoxImage+"\n" {
		t.Errorf("%q", got)
	}
	if got := l.bowline("box", "exec", "-t", "dev1", "a", "--", "sh", "-c", "echo $FROM $BOTH; cat ~/.fromtable"); got != "table flag\nx\n" {
		t.Errorf("%q", got)
	}
	l.fails(2, []string{"the server has no image localhost/nosuchimage", "podman pull localhost/nosuchimage"}, "box", "create", "b", "-t", "dev1", "--no-git", "--authorized-keys", key+".pub", "--image", "localhost/nosuchimage")
}

// TestSeveralServers: which target boxes are on, and what is said where that one has none.
func TestSeveralServers(t *testing.T) {
	t.Parallel()
	l := stranger(t)
	const two = "[targets.dev1]\nhost = \"192.0.2.1\"\n[targets.dev2]\nhost = \"192.0.2.2\"\n[targets.far]\ntype = \"https\"\nhost = \"h\"\n"
	l.config(two)
	l.fails(12, []string{remoteOnly, "no target was named", "dev1, dev2; choose one: '-t dev1'"}, "box", "list")
	l.fails(12, []string{remoteOnly, "of type https", "dev1, dev2"}, "box", "list", "-t", "far")
	l.fails(2, []string{`no target "dev3"`, "dev1, dev2"}, "box", "list", "-t", "dev3")
	l.fails(2, []string{"boxes are on one target", "matches 2"}, "box", "list", "-t", "dev*")
	l.config("default_target = \"far\"\n" + two)
	l.fails(12, []string{remoteOnly, "named by default_target", "dev1, dev2"}, "box", "list")
	l.env = append(l.env, "BOWLINE_TARGET=dev3")
	l.fails(2, []string{`no target "dev3"`, "named by $BOWLINE_TARGET"}, "box", "list")
	l.fails(12, []string{"of type https"}, "box", "list", "-t", "far")
	if out := l.bowline("audit", "list"); !strings.Contains(out, "far") {
		t.Errorf("a refusal is not on record: %s", out)
	}
}
