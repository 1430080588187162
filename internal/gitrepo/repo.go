// Package gitrepo works on a git repository of this machine with the program git, which
// reads the person's own configuration. Argument vectors only; git asks no questions.
//
// It pushes and fetches fast-forward only, unless it is told to discard. It never resets,
// and never touches files of the worktree but by a fast-forward merge.
package gitrepo

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/bowline-sh/bowline/diag"
)

// Repo is the worktree at a directory.
type Repo struct{ Dir string }

// ErrDirty and ErrDiverged are what a push or pull may be refused for.
var (
	ErrDirty    = errors.New("files there have changes that are not committed")
	ErrDiverged = errors.New("both sides have commits that the other has not")
)

// pipeGrace is how long git's own children may hold its output after it ended.
const pipeGrace = 2 * time.Second

// run returns what git printed. An error holds what it said.
func (r Repo) run(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", r.Dir}, args...)...)
	cmd.Env = environment(os.Environ())
	cmd.WaitDelay = pipeGrace
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	err := cmd.Run()
	if err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		return out.String(), diag.New(diag.Failure, "git "+args[0], "", "%w: %s", err, strings.TrimSpace(said.String()))
	}
	return out.String(), nil
}

// environment is that of git: messages as this package reads them, no questions, and no
// repository but the one that is named.
func environment(env []string) []string {
	var out []string
	for _, kv := range env {
		name, _, _ := strings.Cut(kv, "=")
		switch name {
		case "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_NAMESPACE", "GIT_PREFIX", "LC_ALL", "LANGUAGE":
		default:
			out = append(out, kv)
		}
	}
	return append(out, "GIT_TERMINAL_PROMPT=0", "LC_ALL=C")
}

// Find returns the worktree that dir is in. ok is false if there is none, or no git.
func Find(ctx context.Context, dir string) (r Repo, ok bool) {
	top, err := (Repo{dir}).run(ctx, "rev-parse", "--show-toplevel")
	return Repo{strings.TrimSuffix(top, "\n")}, err == nil
}

// Branch is the current one; "" with a detached HEAD.
func (r Repo) Branch(ctx context.Context) string {
	out, err := r.run(ctx, "symbolic-ref", "--quiet", "--short", "HEAD")
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(out, "\n")
}

// HasBranch reports whether a branch has a commit.
func (r Repo) HasBranch(ctx context.Context, branch string) bool {
	_, err := r.run(ctx, "rev-parse", "--quiet", "--verify", "refs/heads/"+branch+"^{commit}")
	return err == nil
}

// Setting is a value of git's configuration, "" if it is not set.
func (r Repo) Setting(ctx context.Context, key string) string {
	out, err := r.run(ctx, "config", "--get", key)
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(out, "\n")
}

// Remote is the URL of a remote as it is configured, "" if there is none.
func (r Repo) Remote(ctx context.Context, name string) string {
	return r.Setting(ctx, "remote."+name+".url")
}

// AddRemote adds one.
func (r Repo) AddRemote(ctx context.Context, name, url string) error {
	_, err := r.run(ctx, "remote", "add", name, url)
	return err
}

// RemoveRemote removes a remote that has this URL, and no other.
func (r Repo) RemoveRemote(ctx context.Context, name, url string) error {
	if r.Remote(ctx, name) != url {
		return nil
	}
	_, err := r.run(ctx, "remote", "remove", name)
	return err
}

// Push sends a branch to the branch of that name. With force what only the remote has is
// no longer on its branch.
func (r Repo) Push(ctx context.Context, remote, branch string, force bool) error {
	ref := "refs/heads/" + branch
	args := []string{"push", "--porcelain", "--no-follow-tags", "--recurse-submodules=no"}
	if force {
		args = append(args, "--force")
	}
	out, err := r.run(ctx, append(args, remote, ref+":"+ref)...)
	if err == nil {
		return nil
	}
	return errors.Join(rejection(out+err.Error()), err)
}

// rejection reads why a push was refused: transport.c and builtin/receive-pack.c of git.
// It returns nil for other reasons.
func rejection(said string) error {
	for _, dirty := range []string{"Working directory has unstaged changes", "Working directory has staged changes", "Could not update working tree to new HEAD"} {
		if strings.Contains(said, dirty) {
			return ErrDirty
		}
	}
	for _, diverged := range []string{"[rejected] (non-fast-forward)", "[rejected] (fetch first)"} {
		if strings.Contains(said, diverged) {
			return ErrDiverged
		}
	}
	return nil
}

// Pull fetches the branch of a remote and moves the current branch forward to it. commits
// is how many came.
func (r Repo) Pull(ctx context.Context, remote, branch string) (commits string, err error) {
	if _, err := r.run(ctx, "fetch", "--no-tags", "--recurse-submodules=no", remote, "refs/heads/"+branch); err != nil {
		return "", err
	}
	count, err := r.run(ctx, "rev-list", "--count", "HEAD..FETCH_HEAD")
	if err != nil {
		return "", err
	}
	theirs, err := r.run(ctx, "rev-list", "--count", "FETCH_HEAD..HEAD")
	if err != nil {
		return "", err
	}
	count, theirs = strings.TrimSpace(count), strings.TrimSpace(theirs)
	if count != "0" && theirs != "0" {
		return "", ErrDiverged
	}
	_, err = r.run(ctx, "merge", "--ff-only", "--no-edit", "FETCH_HEAD")
	return count, err
}
