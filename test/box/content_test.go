package box

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bowline-sh/bowline/internal/testkit"
)

// TestDotfiles copies what begins with a point, and no secrets, into a home; and pushes
// another branch than the current one.
func TestDotfiles(t *testing.T) {
	t.Parallel()
	l := newLaptop(t)
	key, _ := testkit.ClientKey(t, l.home, "me")
	for name, text := range map[string]string{
		".bashrc": "alias x=y\n", ".config/app/a b": "nested\n", "README": "no\n", ".vimrc~": "no\n", ".git/config": "no\n", ".netrc": "secret\n", ".gitconfig": "[alias]\n\tco = checkout\n",
		".ssh/id_ed25519": "secret\n", ".ssh/config": "Host x\n", ".ssh/authorized_keys": "no\n", ".config/key": "-----BEGIN OPENSSH PRIVATE KEY-----\n",
	} {
		l.write("dots/"+name, text)
	}
	l.write("outside", "outside\n")
	l.must("ln", "-s", "app", "dots/.config/link")
	l.must("ln", "-s", "../outside", "dots/.out")
	l.must("chmod", "0754", "dots/.bashrc")
	l.repository("src/p")
	l.must("git", "branch", "other")
	l.write("src/p/file", "two\n")
	l.commit("two")

	l.fails(2, []string{"read dotfiles", "--dotfiles DIR"}, "box", "create", "web", "-t", "dev1", "--image", testkit.BoxImage, "--authorized-keys", key+".pub", "--dotfiles", "none")
	out := l.bowline("box", "create", "web", "-t", "dev1", "--image", testkit.BoxImage, "--authorized-keys", key+".pub", "--dotfiles", filepath.Join(l.home, "dots"), "--branch", "other")
	for _, want := range []string{"stay here: .config/key, .netrc, .ssh/authorized_keys, .ssh/id_ed25519\n", "lead out", ".out", "pushed other"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in %s", want, out)
		}
	}
	got := l.must("ssh", "web.dev1", "find . -name .git -prune -o -type f -print -o -type l -print | sort; stat -c '%a %U' .bashrc; cat .config/link/a\\ b; git config --global alias.co; git config --global user.email; cat /workspace/project/file; git -C /workspace/project branch")
	want := "./.bashrc\n./.config/app/a b\n./.config/link\n./.gitconfig\n./.ssh/authorized_keys\n./.ssh/config\n754 dev\nnested\ncheckout\nann@example.com\none\n* other\n"
	if got != want {
		t.Errorf("%q, want %q", got, want)
	}
	t.Run("list", func(t *testing.T) { l.lists(t, key) })
	t.Run("completion", func(t *testing.T) {
		complete := func(args ...string) string {
			out, _ := l.try(program, append(append([]string{"__complete", "box"}, args...), "")...)
			names, _, _ := strings.Cut(out, "\n:")
			return names
		}
		if out := complete("stop", "-t", "dev1"); !strings.HasPrefix(out, "web\trunning") || strings.Contains(out, "second") {
			t.Errorf("stop: %q", out)
		}
		if out := complete("start", "-t", "dev1"); !strings.Contains(out, "second\texited") || strings.Contains(out, "web") {
			t.Errorf("start: %q", out)
		}
		if out := complete("info", "-t", "dev1"); !strings.Contains(out, "web") || !strings.Contains(out, "second") {
			t.Errorf("info: %q", out)
		}
	})
}

// lists makes a second box and stops it, and chooses among the two.
func (l *laptop) lists(t *testing.T, key string) {
	l.bowline("box", "create", "second", "-t", "dev1", "--image", testkit.BoxImage, "--authorized-keys", key+".pub", "--no-git")
	l.bowline("box", "stop", "-t", "dev1", "second")
	l.onServer("podman create -q --name bowline-foreign --label sh.bowline.box=foreign --label sh.bowline.owner=eve@there " + testkit.BoxImage + " true")
	names := func(args ...string) string {
		t.Helper()
		out, code := l.try(program, append([]string{"-q", "box", "ls", "-t", "dev1", "--json"}, args...)...)
		var doc struct {
			Boxes []struct{ Name string }
		}
		if err := json.Unmarshal([]byte(out), &doc); err != nil || code != 0 {
			t.Fatalf("%v, %d: %s", err, code, out)
		}
		list := []string{}
		for _, b := range doc.Boxes {
			list = append(list, b.Name)
		}
		return strings.Join(list, " ")
	}
	for _, c := range []struct{ args, want string }{
		{"", "second web"},
		{"--all", "foreign second web"},
		{"--filter state=running", "web"},
		{"--filter state=running --filter state=exited", "second web"},
		{"--filter name=se*", "second"},
		{"--filter name=se* --filter state=running", ""},
		{"--all --filter owner=eve@*", "foreign"},
		{"--filter image=" + testkit.BoxImage, "second web"},
		{"--filter worktree=" + l.dir, "second web"},
		{"--filter worktree=/none", ""},
	} {
		if got := names(strings.Fields(c.args)...); got != c.want {
			t.Errorf("%s: %q, want %q", c.args, got, c.want)
		}
	}
	if out := l.bowline("box", "ls", "-t", "dev1"); !strings.Contains(out, "1 box of others") || !strings.Contains(out, "→ web") {
		t.Errorf("%q", out)
	}
	l.fails(2, []string{"is no filter", "state="}, "box", "ls", "-t", "dev1", "--filter", "colour=red")
}
