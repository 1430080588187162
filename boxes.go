package bowline

import (
	"context"
	"io"
	"time"

	"github.com/bowline-sh/bowline/internal/box"
)

// Box is a development container on the Podman of a target.
type Box struct {
	Name     string
	Target   string
	ID       string // of the container
	Image    string
	Owner    string // "user@machine" that made it
	Worktree string // on that machine
	Repo     string
	User     string // account inside
	HostKey  string // of its sshd, as in known_hosts; only from CreateBox
	Status   string // "running", "exited", ...
	Created  time.Time
	Port     int      // of the server, where sshd of the box listens; 0 for none
	Userns   string   // user namespace that it is in: "rootless" or "none"; only from Box
	Alias    string   // name for ssh, "" without an entry; from CreateBox
	Pushed   string   // branch that was pushed; only from CreateBox
	Notes    []string // what a person should know; only from CreateBox
}

// BoxSpec is a box to be made. Image or Recipe is required.
type BoxSpec struct {
	Target   string // "" means the default target
	Name     string // "" means that of the worktree
	Image    string
	Owner    string // "user@machine"
	Worktree string
	Repo     string
	User     string // account inside; default "dev"
	Keys     []byte // authorized_keys of the account
	Env      map[string]string
	Memory   int64 // bytes; default 4 GiB
	CPUs     float64
	Pids     int64 // default 4096
	Publish  bool  // sshd of the box listens on a port of the server, on all its addresses

	Identity string // private key for ssh; default that of the target
	Branch   string // that is pushed first; default the current one of Worktree
	NoGit    bool   // no remote in Worktree and no push

	Recipe   *BoxRecipe // image, account, variables, volumes and commands, where those above say nothing
	Dotfiles string     // directory whose files that begin with a point go to the home; "" for none
	Secrets  bool       // dotfiles that look like secrets too
	Progress io.Writer  // hears what a build and commands print, hostile text; optional
}

// CreateBox makes a box and starts it. With an error nothing of it is left on the
// target, unless the kind is partial. Targets that are this machine are refused.
func (c *Client) CreateBox(ctx context.Context, s BoxSpec) (Box, error) {
	if s.Name == "" {
		s.Name = box.NameFor(s.Owner, s.Worktree)
	}
	outside := box.Outside{Identity: s.Identity, Worktree: s.Worktree, Branch: s.Branch, Dotfiles: box.Dotfiles{Dir: s.Dotfiles, Secrets: s.Secrets}}
	if s.NoGit {
		outside.Worktree = ""
	}
	spec := box.Spec{
		Name: s.Name, Image: s.Image, Owner: s.Owner, Worktree: s.Worktree, Repo: s.Repo, User: s.User, Keys: s.Keys, Env: s.Env, Memory: s.Memory, CPUs: s.CPUs, Pids: s.Pids, Publish: s.Publish, Said: s.Progress,
	}
	if s.Recipe != nil {
		spec = spec.With(*s.Recipe)
	}
	made, err := c.parts.Boxes.Create(ctx, s.Target, spec, outside)
	out := boxOf(s.Target, made.Box)
	out.Alias, out.Pushed, out.Notes = made.Alias, made.Pushed, made.Notes
	return out, err
}

// Boxes lists the boxes of a target, newest first.
func (c *Client) Boxes(ctx context.Context, target string) ([]Box, error) {
	out := []Box{}
	err := c.boxes(ctx, box.Call{Target: target, Verb: "box.list"}, func(ctx context.Context, on *box.Server) error {
		list, err := on.List(ctx)
		for _, b := range list {
			out = append(out, boxOf(target, b))
		}
		return err
	})
	return out, err
}

// BoxExec is a command in a box.
type BoxExec struct {
	Target, Box    string
	Argv           []string
	User           string // default the account of the box
	Dir            string // default /workspace/project
	Env            []string
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	TTY            bool
	Sizes          <-chan TerminalSize // of the terminal, with TTY; optional
}

// TerminalSize is that of a terminal.
type TerminalSize = box.Size

// ExecBox runs a command in a box and returns its exit code. When ctx ends, the command is
// killed there; kind timeout if it was a deadline.
func (c *Client) ExecBox(ctx context.Context, e BoxExec) (code int, err error) {
	err = c.boxes(ctx, box.Call{Target: e.Target, Verb: "box.exec", Box: e.Box, Argv: e.Argv}, func(ctx context.Context, on *box.Server) error {
		code, err = on.Exec(ctx, e.Box, box.ExecRequest{Argv: e.Argv, User: e.User, Dir: e.Dir, Env: e.Env, Stdin: e.Stdin, Stdout: e.Stdout, Stderr: e.Stderr, TTY: e.TTY, Sizes: e.Sizes})
		return err
	})
	return code, err
}

// StartBox starts a stopped box.
func (c *Client) StartBox(ctx context.Context, target, name string) error {
	return c.boxes(ctx, box.Call{Target: target, Verb: "box.start", Box: name}, func(ctx context.Context, on *box.Server) error { return on.Start(ctx, name) })
}

// StopBox stops a box; its volumes stay.
func (c *Client) StopBox(ctx context.Context, target, name string) error {
	return c.boxes(ctx, box.Call{Target: target, Verb: "box.stop", Box: name}, func(ctx context.Context, on *box.Server) error { return on.Stop(ctx, name) })
}

// RemoveBox takes a box away, with its volumes unless keep, its entry for ssh, and the
// remote of the repository of worktree, which may be "".
func (c *Client) RemoveBox(ctx context.Context, target, name, worktree string, keep bool) error {
	return c.parts.Boxes.Remove(ctx, target, name, worktree, keep)
}

// BoxRebuild is what a rebuild changes. With neither Image nor Recipe the box gets its
// image as that now is.
type BoxRebuild struct {
	Target, Name string
	Image        string
	Recipe       *BoxRecipe
	Progress     io.Writer // hears what a build and commands print, hostile text; optional
}

// RebuildBox gives a box a new container; volumes, host key and limits stay. The old one
// runs until the new one is ready, and goes on if that fails.
func (c *Client) RebuildBox(ctx context.Context, r BoxRebuild) (Box, error) {
	b, err := c.parts.Boxes.Rebuild(ctx, r.Target, r.Name, box.Change{Image: r.Image, Recipe: r.Recipe, Said: r.Progress})
	return boxOf(r.Target, b), err
}

// PushBox sends the current branch of a worktree to its box. Kind conflict: the box is
// dirty or has diverged, and nothing was changed. With discard what stands in the way
// there is dropped.
func (c *Client) PushBox(ctx context.Context, target, name, worktree string, discard bool) (branch string, err error) {
	return c.parts.Boxes.Push(ctx, target, name, worktree, discard)
}

// BoxState is the repository of a box.
type BoxState = box.State

// PullBox moves the current branch of a worktree forward to that of its box. commits is
// how many came.
func (c *Client) PullBox(ctx context.Context, target, name, worktree string) (commits string, state BoxState, err error) {
	return c.parts.Boxes.Pull(ctx, target, name, worktree)
}

// BoxStatus returns a box and the state of its repository, which is empty unless the box
// runs.
func (c *Client) BoxStatus(ctx context.Context, target, name string) (Box, BoxState, error) {
	var out Box
	var state BoxState
	err := c.boxes(ctx, box.Call{Target: target, Verb: "box.info", Box: name}, func(ctx context.Context, on *box.Server) error {
		b, err := on.Get(ctx, name)
		out = boxOf(target, b)
		if err == nil && b.Status == "running" {
			state, err = on.State(ctx, b)
		}
		return err
	})
	return out, state, err
}

// BoxOrphan is what belongs to no box.
type BoxOrphan = box.Orphan

// BoxOrphans lists what of an owner belongs to no box and was made before a time.
func (c *Client) BoxOrphans(ctx context.Context, target, owner string, before time.Time) ([]BoxOrphan, error) {
	var out []BoxOrphan
	err := c.boxes(ctx, box.Call{Target: target, Verb: "box.orphans"}, func(ctx context.Context, on *box.Server) (err error) {
		out, err = on.Orphans(ctx, owner, before)
		return err
	})
	return out, err
}

// PruneBoxes removes orphans.
func (c *Client) PruneBoxes(ctx context.Context, target string, list []BoxOrphan) error {
	var names []string
	for _, o := range list {
		names = append(names, o.Kind+" "+o.Name)
	}
	return c.boxes(ctx, box.Call{Target: target, Verb: "box.prune", Argv: names}, func(ctx context.Context, on *box.Server) error { return on.Prune(ctx, list) })
}

// BoxLogs writes the last lines that the first process of a box printed; tail is their
// number, or "all". With follow it goes on until ctx or the box ends.
func (c *Client) BoxLogs(ctx context.Context, target, name, tail string, follow bool, out, errs io.Writer) error {
	return c.boxes(ctx, box.Call{Target: target, Verb: "box.logs", Box: name}, func(ctx context.Context, on *box.Server) error {
		return on.Logs(ctx, name, tail, follow, out, errs)
	})
}

func (c *Client) boxes(ctx context.Context, call box.Call, f func(context.Context, *box.Server) error) error {
	return c.parts.Boxes.On(ctx, call, f)
}

func boxOf(target string, b box.Box) Box {
	return Box{
		Name: b.Name, Target: target, ID: b.ID, Image: b.Image, Owner: b.Owner, Worktree: b.Worktree, Repo: b.Repo, User: b.User, HostKey: b.HostKey, Status: b.Status, Created: b.Created, Port: b.Port,
	}
}

// BoxName is the name of the box of a worktree of an owner, "user@machine".
func BoxName(owner, worktree string) string { return box.NameFor(owner, worktree) }

// NormalizeBoxName makes a name for a box of any text.
func NormalizeBoxName(text string) string { return box.Normalize(text) }

// Box returns one box of a target. Kind usage: there is none.
func (c *Client) Box(ctx context.Context, target, name string) (Box, error) {
	var out Box
	err := c.boxes(ctx, box.Call{Target: target, Verb: "box.info", Box: name}, func(ctx context.Context, on *box.Server) error {
		b, err := on.Get(ctx, name)
		out = boxOf(target, b)
		if err == nil {
			out.Userns, err = on.Userns(ctx)
		}
		return err
	})
	return out, err
}

// ConnectBox serves one SSH connection to a box over in and out, as a ProxyCommand of
// ssh does. It returns when the connection ends.
func (c *Client) ConnectBox(ctx context.Context, target, name string, in io.Reader, out io.Writer) error {
	return c.parts.Boxes.Connect(ctx, target, name, in, out)
}

// BoxAlias is the name of a box for ssh. ok is false if ssh does not know it here.
func (c *Client) BoxAlias(target, name string) (alias string, ok bool) {
	return c.parts.Boxes.Alias(target, name)
}

// BoxPort is a port of a box that is forwarded to this machine.
type BoxPort = box.Port

// BoxForwarding is what ForwardBox tells; both are required.
type BoxForwarding = box.Forwarding

// ForwardBox takes connections on this machine's loopback and hands them on to ports of a
// box until ctx ends, which is no error. Kind conflict: a port here is taken. Kind lost:
// the box stopped, or the link dropped.
func (c *Client) ForwardBox(ctx context.Context, target, name string, ports []BoxPort, tell BoxForwarding) error {
	return c.parts.Boxes.Forward(ctx, target, name, ports, tell)
}
