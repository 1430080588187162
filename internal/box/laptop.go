package box

import (
	"context"
	"errors"
	"io"
	"strings"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/gitrepo"
	"github.com/bowline-sh/bowline/internal/recipe"
	"github.com/bowline-sh/bowline/internal/sshentry"
	"github.com/bowline-sh/bowline/target"
)

// Laptop is this machine's side of boxes.
type Laptop struct {
	Entries sshentry.Files
	// Program is the absolute path of bowline, for ssh; "" makes no entries for ssh, and
	// then no git remotes either.
	Program string
}

// Alias is the name of a box for ssh: NAME.TARGET. Names have no dots, so it is one box's.
func Alias(name, target string) string { return name + "." + target }

// projectURL is the box's repository for git.
func projectURL(alias string) string { return alias + ":/workspace/project" }

// Outside is what a box gets on this machine.
type Outside struct {
	Identity string // private key for ssh; "" leaves the choice to ssh
	Worktree string // of which it gets a remote; "" for none
	Branch   string // that is pushed first; "" means the current one
	Dotfiles Dotfiles
}

// Made is a box and what became of its outside.
type Made struct {
	Box
	Alias  string // "" without an entry
	Pushed string // branch that was pushed; "" for none
	Notes  []string
}

// Create makes a box with all that belongs to it on both sides, or nothing.
func (b *Boxes) Create(ctx context.Context, on string, spec Spec, o Outside) (Made, error) {
	var out Made
	err := b.On(ctx, Call{Target: on, Verb: "box.create", Box: spec.Name, Argv: spec.argv()}, func(ctx context.Context, s *Server) error {
		t, err := b.cfg.Target(on)
		if err != nil {
			return err
		}
		if o.Identity == "" {
			o.Identity = t.KeyFile
		}
		steps, err := b.outside(ctx, t, spec, o, &out)
		if err == nil {
			out.Box, err = s.Create(ctx, spec, steps...)
		}
		if err == nil && spec.Publish && t.Jump != "" {
			out.Notes = append(out.Notes, "the server is behind "+t.Jump+": 'ssh "+out.Alias+"' goes through the target all the same")
		}
		return err
	})
	return out, err
}

// outside returns the steps on this machine. What would be in their way is found now.
func (b *Boxes) outside(ctx context.Context, t target.Target, spec Spec, o Outside, out *Made) ([]Step, error) {
	list, err := o.Dotfiles.steps(out)
	l := b.cfg.Laptop
	if l.Program == "" || err != nil {
		return list, err
	}
	out.Alias = Alias(spec.Name, t.Name)
	list = append(list, l.entryStep(t, spec, o, out.Alias))
	repo, ok := gitrepo.Find(ctx, o.Worktree)
	if o.Worktree == "" || !ok {
		return list, nil
	}
	url := projectURL(out.Alias)
	was := repo.Remote(ctx, spec.Name)
	if was != "" && was != url {
		return nil, diag.New(diag.Conflict, "make box", "choose another name, or look at it: 'git remote -v'", "the repository has a remote %s already, with another address", spec.Name)
	}
	branch := o.Branch
	if branch == "" {
		branch = repo.Branch(ctx)
	}
	if o.Branch != "" && !repo.HasBranch(ctx, branch) {
		return nil, diag.New(diag.Usage, "make box", "see 'git branch'", "there is no branch %q with a commit", branch)
	}
	p := project{repo: repo, name: spec.Name, url: url, branch: branch, had: was != ""}
	return append(list, p.steps(ctx, out)...), nil
}

// entry makes ssh know a box. One that is published is reached by itself, but for a
// server behind another one, of whose ports nothing is known.
func (l Laptop) entry(ctx context.Context, t target.Target, bx Box, identity string) error {
	e := sshentry.Entry{Alias: Alias(bx.Name, t.Name), Host: t.Host, User: bx.User, Identity: identity}
	if bx.Port != 0 && t.Jump == "" {
		e.Port = bx.Port
	} else {
		e.Proxy = []string{l.Program, "box", "connect", "-t", t.Name, bx.Name}
	}
	return l.Entries.Put(ctx, e, bx.HostKey)
}

func (l Laptop) entryStep(t target.Target, spec Spec, o Outside, alias string) Step {
	return Step{
		Do:   func(ctx context.Context, _ *Server, bx Box) error { return l.entry(ctx, t, bx, o.Identity) },
		Back: func(ctx context.Context) error { return l.Entries.Remove(ctx, alias) },
	}
}

// project is a worktree and its box.
type project struct {
	repo         gitrepo.Repo
	name         string // of the remote, as of the box
	url          string
	branch       string // "" with a detached HEAD
	had, started bool   // the remote was there; the box has commits already
}

// projectText makes the repository of a box. Its arguments are the account, a branch, and
// name and address for commits. It says whether there were commits before: those of a
// volume that was kept. git init mends a repository whose making was broken off, and
// changes nothing of a whole one. Locks are left of a git that was killed with its
// container: nothing else runs on these volumes yet.
const projectText = `set -eu
export HOME="/home/$1"
cd /workspace/project
rm -f .git/config.lock .git/HEAD.lock "$HOME/.gitconfig.lock"
git init -q .
if git rev-parse -q --verify HEAD >/dev/null 2>&1; then echo started; elif [ -n "$2" ]; then git symbolic-ref HEAD "refs/heads/$2"; fi
git config receive.denyCurrentBranch updateInstead
[ -z "$3" ] || git config --global user.name "$3"
[ -z "$4" ] || git config --global user.email "$4"`

func (p *project) steps(ctx context.Context, out *Made) []Step {
	who, mail := p.repo.Setting(ctx, "user.name"), p.repo.Setting(ctx, "user.email")
	list := []Step{{Do: func(ctx context.Context, s *Server, b Box) error {
		said, err := s.ask(ctx, inside{b.ID, b.User}, script{"make the repository in the box", "the image needs git", projectText}, "", b.User, p.branch, who, mail)
		p.started = strings.Contains(said, "started")
		return err
	}}}
	if !p.had {
		list = append(list, Step{
			Do:   func(ctx context.Context, _ *Server, _ Box) error { return p.repo.AddRemote(ctx, p.name, p.url) },
			Back: func(ctx context.Context) error { return p.repo.RemoveRemote(ctx, p.name, p.url) },
		})
	}
	return append(list, Step{Do: func(ctx context.Context, _ *Server, _ Box) error { return p.first(ctx, out) }})
}

// first pushes the branch. A repository that was kept is left as it is.
func (p *project) first(ctx context.Context, out *Made) error {
	switch {
	case p.started:
		out.Notes = append(out.Notes, "the box has the repository that was kept; 'bowline box push' brings it up to date")
		return nil
	case p.branch == "" || !p.repo.HasBranch(ctx, p.branch):
		out.Notes = append(out.Notes, "nothing was pushed: there is no branch with a commit")
		return nil
	}
	if err := p.repo.Push(ctx, p.name, p.branch, false); err != nil {
		return diag.New(diag.Failure, "push to the box", "look for the reason: 'ssh "+strings.TrimSuffix(p.url, ":/workspace/project")+" true', after 'bowline box create --no-git'", "%w", err)
	}
	out.Pushed = p.branch
	return nil
}

// Remove takes a box away on both sides. worktree is where its remote may be, besides the
// one that it was made for; "" for none. Of a box that is gone from the server what is
// left here is taken away.
func (b *Boxes) Remove(ctx context.Context, on, name, worktree string, keepVolumes bool) error {
	return b.On(ctx, Call{Target: on, Verb: "box.rm", Box: name}, func(ctx context.Context, s *Server) error {
		t, err := b.cfg.Target(on)
		if err != nil {
			return err
		}
		alias := Alias(name, t.Name)
		ours := b.cfg.Laptop.Entries.Has(alias)
		bx, err := s.Get(ctx, name)
		if err == nil {
			err = s.Remove(ctx, name, keepVolumes)
		} else if ours && diag.KindOf(err) == diag.Usage {
			err = nil
		}
		if err != nil {
			return err
		}
		places := []string{worktree}
		if ours { // made here: its label names a place on this machine
			places = append(places, bx.Worktree)
		}
		err = b.cfg.Laptop.Entries.Remove(ctx, alias)
		for _, dir := range places {
			if repo, ok := gitrepo.Find(ctx, dir); dir != "" && ok {
				err = errors.Join(err, repo.RemoveRemote(ctx, name, projectURL(alias)))
			}
		}
		return err
	})
}

// Connect carries one SSH connection to a box, see [Server.Connect].
func (b *Boxes) Connect(ctx context.Context, on, name string, in io.Reader, out io.Writer) error {
	// ssh shares connections in a directory that may have gone with the last login; without
	// it ssh says so itself.
	_ = b.cfg.Laptop.Entries.Prepare()
	return b.On(ctx, Call{Target: on, Verb: "box.ssh", Box: name}, func(ctx context.Context, s *Server) error {
		return s.Connect(ctx, name, in, out)
	})
}

// Alias is the name of a box for ssh. ok is false if there is no entry.
func (b *Boxes) Alias(on, name string) (alias string, ok bool) {
	alias = Alias(name, on)
	return alias, b.cfg.Laptop.Entries.Has(alias)
}

// Rebuild gives a box a new container, see [Server.Rebuild].
func (b *Boxes) Rebuild(ctx context.Context, on, name string, c Change) (Box, error) {
	var out Box
	err := b.On(ctx, Call{Target: on, Verb: "box.rebuild", Box: name, Argv: c.argv()}, func(ctx context.Context, s *Server) error {
		var err error
		out, err = s.Rebuild(ctx, name, c)
		return err
	})
	return out, err
}

// Build makes an image, see [Server.BuildImage].
func (b *Boxes) Build(ctx context.Context, on, name string, r recipe.Build, said io.Writer) (Built, error) {
	var out Built
	err := b.On(ctx, Call{Target: on, Verb: "box.build", Argv: []string{name, "sha256:" + r.Sum()}}, func(ctx context.Context, s *Server) error {
		var err error
		out, err = s.BuildImage(ctx, name, r, said)
		return err
	})
	return out, err
}

// argv is what the record says of the image of a box: its name, or the digest of what it
// is built of.
func (s Spec) argv() []string {
	if s.Build != nil {
		return []string{"--build", "sha256:" + s.Build.Sum()}
	}
	return []string{"--image", s.Image}
}

func (c Change) argv() []string { return c.apply(Spec{}).argv() }

// State is the repository of a box.
type State struct {
	Branch  string // "" for none
	Head    string // commit; "" for none
	Changes int    // paths with changes that are not committed, new ones included
}

// stateText prints the state of the repository of an account.
const stateText = `export HOME="/home/$1"
cd /workspace/project && [ -e .git ] || exit 0
echo "branch $(git symbolic-ref -q --short HEAD)"
echo "head $(git rev-parse -q --verify HEAD)"
echo "changes $(git status --porcelain | wc -l)"`

// State looks at the repository of a box.
func (s *Server) State(ctx context.Context, b Box) (State, error) {
	said, err := s.ask(ctx, inside{b.ID, b.User}, script{"look at the repository in the box", "the image needs git", stateText}, "", b.User)
	var out State
	for line := range strings.Lines(said) {
		key, v, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch key {
		case "branch":
			out.Branch = v
		case "head":
			out.Head = v
		case "changes":
			out.Changes = atoi(v)
		}
	}
	return out, err
}

// atoi reads a number of a box; what is none is 0.
func atoi(s string) int {
	n := 0
	for _, r := range strings.TrimSpace(s) {
		if r < '0' || r > '9' || n > 1e6 {
			return n
		}
		n = n*10 + int(r-'0')
	}
	return n
}

// resetText drops changes of tracked files in a box.
const resetText = `export HOME="/home/$1"
cd /workspace/project && git reset -q --hard`

// checkoutText makes a branch the current one. git refuses where changes would be lost.
const checkoutText = `export HOME="/home/$1"
cd /workspace/project && { [ "$(git symbolic-ref -q --short HEAD)" = "$2" ] || git checkout -q "$2" --; }`

// Push sends the current branch of a worktree to its box, and makes it the current one
// there. Kind conflict: the box has what would be lost, and discard is not set. With
// discard, changes there that are not committed are dropped, and its branch is moved.
func (b *Boxes) Push(ctx context.Context, on, name, worktree string, discard bool) (branch string, err error) {
	err = b.On(ctx, Call{Target: on, Verb: "box.push", Box: name}, func(ctx context.Context, s *Server) error {
		p, bx, err := b.project(ctx, s, on, name, worktree)
		if err != nil {
			return err
		}
		branch = p.branch
		in := inside{bx.ID, bx.User}
		if discard {
			if _, err := s.ask(ctx, in, script{"drop the changes in the box", "", resetText}, "", bx.User); err != nil {
				return err
			}
		}
		if err := p.repo.Push(ctx, p.name, p.branch, discard); err != nil {
			return refused(err, name, on)
		}
		_, err = s.ask(ctx, in, script{"check out " + p.branch + " in the box", "commit or drop what is there: 'bowline box ssh " + name + "'", checkoutText}, "", bx.User, p.branch)
		return err
	})
	return branch, err
}

// Pull moves the current branch of a worktree forward to that of its box. The state is
// that of the box.
func (b *Boxes) Pull(ctx context.Context, on, name, worktree string) (commits string, state State, err error) {
	err = b.On(ctx, Call{Target: on, Verb: "box.pull", Box: name}, func(ctx context.Context, s *Server) error {
		p, bx, err := b.project(ctx, s, on, name, worktree)
		if err != nil {
			return err
		}
		if commits, err = p.repo.Pull(ctx, p.name, p.branch); err != nil {
			return refused(err, name, on)
		}
		state, err = s.State(ctx, bx)
		return err
	})
	return commits, state, err
}

// project finds both sides of a push or pull.
func (b *Boxes) project(ctx context.Context, s *Server, on, name, worktree string) (project, Box, error) {
	t, err := b.cfg.Target(on)
	if err != nil {
		return project{}, Box{}, err
	}
	bx, err := s.Get(ctx, name)
	if err != nil {
		return project{}, Box{}, err
	}
	repo, ok := gitrepo.Find(ctx, worktree)
	if worktree == "" || !ok {
		return project{}, Box{}, diag.New(diag.Usage, "find the repository", "go to the worktree of the box", "this directory is in no git worktree")
	}
	p := project{repo: repo, name: name, url: projectURL(Alias(name, t.Name)), branch: repo.Branch(ctx)}
	switch got := repo.Remote(ctx, name); {
	case p.branch == "":
		return p, bx, diag.New(diag.Usage, "find the branch", "choose one: 'git switch BRANCH'", "HEAD is detached")
	case got != p.url:
		return p, bx, diag.New(diag.Usage, "find the remote of the box", "add it: 'git remote add "+name+" "+p.url+"'", "this repository has no remote %s with the address %s", name, p.url)
	case bx.Status != "running":
		return p, bx, diag.New(diag.Refused, "reach the box", "start it: 'bowline box start -t "+on+" "+name+"'", "the box is %s", bx.Status)
	}
	return p, bx, nil
}

// refused says why a push or pull did nothing.
func refused(err error, name, on string) error {
	where := "-t " + on + " " + name
	switch {
	case errors.Is(err, gitrepo.ErrDirty):
		return diag.New(diag.Conflict, "push to the box", "look at them: 'bowline box exec "+where+" -- git status', then commit them there, or drop them: 'bowline box push "+where+" --discard'",
			"the box is dirty: its files have changes that are not committed; nothing was changed (pulling does not help)")
	case errors.Is(err, gitrepo.ErrDiverged):
		return diag.New(diag.Conflict, "meet the branch of the box", "bring them together: 'git pull --rebase "+name+" BRANCH', then 'bowline box push "+where+"'; or drop the box's: 'bowline box push "+where+" --discard'",
			"the box has diverged: it has commits that are not here; nothing was changed")
	}
	return err
}
