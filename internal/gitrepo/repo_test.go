package gitrepo

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// git runs git for a test.
func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=Ann O'Doe", "-c", "user.email=ann@example.com"}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %q: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func commit(t *testing.T, dir, text string) {
	t.Helper()
	write(t, dir, text)
	git(t, dir, "add", ".")
	git(t, dir, "commit", "-q", "-m", text)
}

func write(t *testing.T, dir, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// pair is a worktree on a branch with an odd name, and what a box has.
func pair(t *testing.T) (r Repo, box string) {
	t.Helper()
	t.Setenv("GIT_CONFIG_GLOBAL", "/dev/null")
	r, box = Repo{t.TempDir()}, t.TempDir()
	git(t, r.Dir, "init", "-q", "-b", branch)
	commit(t, r.Dir, "one")
	git(t, box, "init", "-q", "-b", branch)
	git(t, box, "config", "receive.denyCurrentBranch", "updateInstead")
	if err := r.AddRemote(t.Context(), "box", box); err != nil {
		t.Fatal(err)
	}
	if err := r.Push(t.Context(), "box", branch, false); err != nil {
		t.Fatal(err)
	}
	return r, box
}

const branch = "fix/$(id);x"

func TestPushAndPull(t *testing.T) {
	r, box := pair(t)
	if got, err := os.ReadFile(filepath.Join(box, "file")); err != nil || string(got) != "one" {
		t.Errorf("%q, %v", got, err)
	}
	commit(t, box, "two")
	if n, err := r.Pull(t.Context(), "box", branch); err != nil || n != "1" {
		t.Errorf("%q, %v", n, err)
	}
	if got := git(t, r.Dir, "log", "--format=%s"); got != "two\none" {
		t.Errorf("%q", got)
	}
	if n, err := r.Pull(t.Context(), "box", branch); err != nil || n != "0" {
		t.Errorf("nothing new: %q, %v", n, err)
	}
}

func TestDirtyIsNotDiverged(t *testing.T) {
	r, box := pair(t)
	commit(t, r.Dir, "two")
	for _, staged := range []bool{false, true} {
		write(t, box, "mine")
		if staged {
			git(t, box, "add", "file")
		}
		if err := r.Push(t.Context(), "box", branch, false); !errors.Is(err, ErrDirty) || errors.Is(err, ErrDiverged) {
			t.Errorf("staged %v: %v", staged, err)
		}
	}
	if got, err := os.ReadFile(filepath.Join(box, "file")); err != nil || string(got) != "mine" {
		t.Errorf("lost: %q, %v", got, err)
	}
}

func TestUntrackedInTheWay(t *testing.T) {
	r, box := pair(t)
	if err := os.WriteFile(filepath.Join(box, "new"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(r.Dir, "new"), []byte("other"), 0o600); err != nil {
		t.Fatal(err)
	}
	git(t, r.Dir, "add", ".")
	git(t, r.Dir, "commit", "-q", "-m", "new")
	if err := r.Push(t.Context(), "box", branch, false); !errors.Is(err, ErrDirty) {
		t.Errorf("%v", err)
	}
}

func TestDivergedIsNotDirty(t *testing.T) {
	r, box := pair(t)
	commit(t, box, "theirs")
	commit(t, r.Dir, "ours")
	if err := r.Push(t.Context(), "box", branch, false); !errors.Is(err, ErrDiverged) || errors.Is(err, ErrDirty) {
		t.Errorf("%v", err)
	}
	if _, err := r.Pull(t.Context(), "box", branch); !errors.Is(err, ErrDiverged) {
		t.Errorf("%v", err)
	}
	// Known there, not fast-forward here.
	if err := r.Push(t.Context(), "box", branch, false); !errors.Is(err, ErrDiverged) {
		t.Errorf("%v", err)
	}
	if got := git(t, box, "log", "-1", "--format=%s"); got != "theirs" {
		t.Errorf("%q", got)
	}
	if err := r.Push(t.Context(), "box", branch, true); err != nil {
		t.Errorf("with force: %v", err)
	}
}

func TestRemotes(t *testing.T) {
	r, box := pair(t)
	if err := r.AddRemote(t.Context(), "box", "other"); err == nil {
		t.Error("a second remote of that name")
	}
	if err := r.RemoveRemote(t.Context(), "box", "other"); err != nil || r.Remote(t.Context(), "box") != box {
		t.Errorf("one with another URL went: %v", err)
	}
	if err := r.RemoveRemote(t.Context(), "box", box); err != nil || r.Remote(t.Context(), "box") != "" {
		t.Errorf("it stayed: %v", err)
	}
}

func TestFind(t *testing.T) {
	r, _ := pair(t)
	deep := filepath.Join(r.Dir, "a/b")
	if err := os.MkdirAll(deep, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GIT_DIR", "/nonexistent") // as in a hook
	if got, ok := Find(t.Context(), deep); !ok || got.Branch(t.Context()) != branch || !got.HasBranch(t.Context(), branch) || got.HasBranch(t.Context(), "none") {
		t.Errorf("%v, %v", got, ok)
	}
	if _, ok := Find(t.Context(), t.TempDir()); ok {
		t.Error("a worktree where there is none")
	}
	if _, ok := Find(t.Context(), "/nonexistent"); ok {
		t.Error("a worktree in no directory")
	}
}
