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
}

// BoxSpec is a box to be made. Image is required.
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
}

// CreateBox makes a box and starts it. With an error nothing of it is left on the
// target, unless the kind is partial. Targets that are this machine are refused.
func (c *Client) CreateBox(ctx context.Context, s BoxSpec) (Box, error) {
	if s.Name == "" {
		s.Name = box.NameFor(s.Owner, s.Worktree)
	}
	var out Box
	err := c.boxes(ctx, box.Call{Target: s.Target, Verb: "box.create", Box: s.Name}, func(ctx context.Context, on *box.Server) error {
		b, err := on.Create(ctx, box.Spec{
			Name: s.Name, Image: s.Image, Owner: s.Owner, Worktree: s.Worktree, Repo: s.Repo, User: s.User, Keys: s.Keys, Env: s.Env, Memory: s.Memory, CPUs: s.CPUs, Pids: s.Pids,
		})
		out = boxOf(s.Target, b)
		return err
	})
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
}

// ExecBox runs a command in a box and returns its exit code.
func (c *Client) ExecBox(ctx context.Context, e BoxExec) (code int, err error) {
	err = c.boxes(ctx, box.Call{Target: e.Target, Verb: "box.exec", Box: e.Box, Argv: e.Argv}, func(ctx context.Context, on *box.Server) error {
		code, err = on.Exec(ctx, e.Box, box.ExecRequest{Argv: e.Argv, User: e.User, Dir: e.Dir, Env: e.Env, Stdin: e.Stdin, Stdout: e.Stdout, Stderr: e.Stderr, TTY: e.TTY})
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

// RemoveBox takes a box away, with its volumes unless keep.
func (c *Client) RemoveBox(ctx context.Context, target, name string, keep bool) error {
	return c.boxes(ctx, box.Call{Target: target, Verb: "box.rm", Box: name}, func(ctx context.Context, on *box.Server) error { return on.Remove(ctx, name, keep) })
}

func (c *Client) boxes(ctx context.Context, call box.Call, f func(context.Context, *box.Server) error) error {
	return c.parts.Boxes.On(ctx, call, f)
}

func boxOf(target string, b box.Box) Box {
	return Box{
		Name: b.Name, Target: target, ID: b.ID, Image: b.Image, Owner: b.Owner, Worktree: b.Worktree, Repo: b.Repo, User: b.User, HostKey: b.HostKey, Status: b.Status, Created: b.Created,
	}
}

// BoxName is the name of the box of a worktree of an owner, "user@machine".
func BoxName(owner, worktree string) string { return box.NameFor(owner, worktree) }

// Box returns one box of a target. Kind usage: there is none.
func (c *Client) Box(ctx context.Context, target, name string) (Box, error) {
	var out Box
	err := c.boxes(ctx, box.Call{Target: target, Verb: "box.info", Box: name}, func(ctx context.Context, on *box.Server) error {
		b, err := on.Get(ctx, name)
		out = boxOf(target, b)
		return err
	})
	return out, err
}

// ConnectBox serves one SSH connection to a box over in and out, as a ProxyCommand of
// ssh does. It returns when the connection ends.
func (c *Client) ConnectBox(ctx context.Context, target, name string, in io.Reader, out io.Writer) error {
	return c.boxes(ctx, box.Call{Target: target, Verb: "box.ssh", Box: name}, func(ctx context.Context, on *box.Server) error {
		return on.Connect(ctx, name, in, out)
	})
}
