package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
)

func newBoxCommand(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use: "box", Short: "Development containers on a remote Podman, and only there", RunE: noCommand,
		Long: `A box is a container on the Podman of a target, for one git worktree: with its home and
/workspace on volumes of its own, limits, and no way to the server's sockets. Boxes are
remote-only, so that what runs in them, an AI agent too, is kept away from your machine.

NAME defaults to the box of the git worktree you stand in.`,
	}
	cmd.AddCommand(newBoxCreate(env), newBoxList(env), newBoxInfo(env), newBoxExec(env), newBoxMove(env, "start", "Start a stopped box", (*bowline.Client).StartBox),
		newBoxMove(env, "stop", "Stop a box; its volumes stay", (*bowline.Client).StopBox), newBoxRemove(env), newBoxConnect(env),
		newBoxSSH(env), newBoxPush(env), newBoxPull(env), newBoxRebuild(env), newBoxLogs(env), newBoxStatus(env), newBoxPrune(env), newBoxPort(env), newBoxSetup(env),
		newBoxBuild(env), newBoxCopy(env))
	addBoxCompletion(env, cmd)
	return cmd
}

type boxOptions struct {
	target  string
	spec    bowline.BoxSpec
	memory  string
	env     []string
	publish string
	key     string
	recipe  recipeFlags
}

func newBoxCreate(env *Env) *cobra.Command {
	var o boxOptions
	cmd := &cobra.Command{
		Use: "create [NAME]", Short: "Make a box for this worktree", Args: args(cobra.MaximumNArgs(1)),
		Long: `Make a box and start it. With it come

  a block "Host NAME.TARGET" in an ssh_config of Bowline's own, with a host key made for
  this box and pinned, so that ssh, scp, rsync, git and editors reach it by that name;
  ~/.ssh/config gets one Include line at its top, once, and is never edited otherwise
  with --build, an image of its own, of the worktree's Containerfile or devcontainer.json
  ('bowline box build --help'); with --dotfiles, your settings in its home
  a git remote NAME in the worktree, the current branch pushed to it and checked out in
  /workspace/project, and your user.name and user.email

If a step fails, all of it is taken back. A volume that was kept by 'bowline box rm
--keep-volumes' is used again, and stays whatever happens.`,
		Example: "  bowline box create -t dev1 --image registry.example.com/dev:1\n  bowline box create web -t dev1 --image localhost/dev --memory 8GiB\n  bowline box create -t dev1 --build --dotfiles ~/dotfiles",
	}
	f := cmd.Flags()
	addTargetFlag(cmd, env, &o.target)
	f.StringVar(&o.spec.Image, "image", "", "image, as Podman on the target knows it")
	f.StringVar(&o.spec.User, "user", "", "account inside (default dev)")
	f.StringVar(&o.memory, "memory", "", "limit, as in 8GiB (default 4GiB)")
	f.Float64Var(&o.spec.CPUs, "cpus", 0, "limit of processors (default none)")
	f.Int64Var(&o.spec.Pids, "pids", 0, "limit of processes (default 4096)")
	f.StringArrayVar(&o.env, "env", nil, "set NAME=VALUE in the box; may be repeated")
	f.StringVar(&o.key, "authorized-keys", "", "file of public keys that may log in (default ~/.ssh/id_*.pub and that of the target)")
	f.StringVar(&o.spec.Branch, "branch", "", "branch that is pushed first (default the current one)")
	f.StringVar(&o.publish, "publish", "none", "none, or server: sshd listens on a port of the server, for direct 'ssh -p'")
	f.BoolVar(&o.recipe.build, "build", false, "build the image, of what 'bowline box build' says")
	o.recipe.add(f)
	f.StringVar(&o.spec.Dotfiles, "dotfiles", "", "directory whose files that begin with a point go to the home (default $BOWLINE_DOTFILES)")
	f.BoolVar(&o.spec.Secrets, "dotfiles-secrets", false, "dotfiles that look like secrets too")
	f.BoolVar(&o.spec.NoGit, "no-git", false, "add no git remote, push nothing")
	cmd.RunE = func(cmd *cobra.Command, a []string) error {
		return env.withClient(cmd.Context(), func(c *bowline.Client) error { return env.createBox(cmd.Context(), c, o, a) })
	}
	return cmd
}

func (env *Env) createBox(ctx context.Context, c *bowline.Client, o boxOptions, a []string) error {
	spec := o.spec
	target, err := env.boxTarget(ctx, c, o.target)
	if err != nil {
		return err
	}
	spec.Target, spec.Owner, spec.Worktree = target, owner(), worktree(ctx)
	if len(a) > 0 {
		spec.Name = a[0]
	} else if spec.Worktree == "" {
		return diag.New(diag.Usage, "make box", "give a name: 'bowline box create NAME'", "this directory is in no git worktree")
	}
	if spec.Memory, err = memory(o.memory); err != nil {
		return err
	}
	if spec.Publish, err = published(o.publish); err != nil {
		return err
	}
	spec.Env = map[string]string{}
	for _, kv := range o.env {
		k, v, ok := strings.Cut(kv, "=")
		if !ok || k == "" {
			return diag.New(diag.Usage, "read --env", "write NAME=VALUE", "%q is no NAME=VALUE", kv)
		}
		spec.Env[k] = v
	}
	if spec.Keys, spec.Identity, err = loginKeys(ctx, c, target, o.key); err != nil {
		return err
	}
	if spec.Dotfiles == "" {
		spec.Dotfiles = env.Getenv("BOWLINE_DOTFILES")
	}
	if o.recipe.wanted() {
		r, err := o.recipe.read(env, spec.Worktree)
		if err != nil {
			return err
		}
		spec.Recipe = &r
	}
	spec.Progress = env.boxOutput()
	b, err := c.CreateBox(ctx, spec)
	if err != nil {
		return err
	}
	env.sayPorts(spec.Recipe, b.Target, b.Name)
	for _, n := range b.Notes {
		env.say("%s", n)
	}
	if b.Pushed != "" {
		env.say("pushed %s; 'git push %s' does it again", safe(b.Pushed), b.Name)
	}
	env.say("box %s runs on %s; go there with 'ssh %s'", b.Name, b.Target, b.Alias)
	fmt.Fprintln(env.Stdout, b.Name)
	return nil
}

// boxTarget resolves the target of boxes: one, by name.
func (env *Env) boxTarget(ctx context.Context, c *bowline.Client, given string) (string, error) {
	names, err := targetNames(ctx, c, cmp.Or(given, env.Getenv("BOWLINE_TARGET")))
	if err != nil {
		return "", err
	}
	if len(names) != 1 {
		return "", diag.New(diag.Usage, "choose a target", "name one with -t", "boxes are on one target, and %d match", len(names))
	}
	if names[0] != "" {
		return names[0], nil
	}
	list, err := c.Targets(ctx, "")
	for _, t := range list {
		if t.Default {
			return t.Name, err
		}
	}
	return bowline.LocalTarget, err // which is refused, with the reason
}

func owner() string {
	name, host := "unknown", "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if h, err := os.Hostname(); err == nil {
		host = h
	}
	return name + "@" + host
}

// worktree is the git worktree that we stand in, "" if none.
func worktree(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "git", "rev-parse", "--show-toplevel").Output()
	if err != nil {
		return "" // no git, or no worktree
	}
	return strings.TrimSuffix(string(out), "\n")
}

// maxKeys bounds authorized keys, in bytes.
const maxKeys = 64 << 10

// loginKeys returns what may log in to a box, and the private key for it where that is
// known: the one beside the file that is named.
func loginKeys(ctx context.Context, c *bowline.Client, target, file string) (public []byte, private string, err error) {
	if file != "" {
		public, err = publicKeys([]string{file})
		if p, ok := strings.CutSuffix(file, ".pub"); ok && err == nil {
			if _, serr := os.Stat(p); serr == nil {
				private, err = filepath.Abs(p)
			}
		}
		return public, private, err
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return nil, "", err
	}
	files, err := filepath.Glob(filepath.Join(home, ".ssh", "id_*.pub"))
	if err != nil {
		return nil, "", err
	}
	list, err := c.Targets(ctx, target)
	for _, t := range list {
		if _, serr := os.Stat(t.KeyFile + ".pub"); t.KeyFile != "" && serr == nil {
			files = append(files, t.KeyFile+".pub")
		}
	}
	if err == nil && len(files) == 0 {
		err = diag.New(diag.Usage, "read public keys", "write those of ssh-agent to a file: 'ssh-add -L > keys.pub', and add '--authorized-keys keys.pub'; or make one: 'ssh-keygen -t ed25519'", "there is no ~/.ssh/id_*.pub, so nobody could log in")
	}
	if err != nil {
		return nil, "", err
	}
	public, err = publicKeys(files)
	return public, "", err
}

func publicKeys(files []string) ([]byte, error) {
	var out []byte
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			return nil, diag.New(diag.Usage, "read public keys", "", "%w", err)
		}
		out = append(append(out, b...), '\n')
	}
	if len(out) > maxKeys {
		return nil, diag.New(diag.Usage, "read public keys", "", "more than %d bytes of keys", maxKeys)
	}
	return out, nil
}

// memory reads a size, as in 512MiB; "" is 0.
func memory(text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	var n float64
	var unit string
	if _, err := fmt.Sscanf(text, "%g%s", &n, &unit); err != nil || n <= 0 {
		return 0, diag.New(diag.Usage, "read --memory", "write it as 4GiB or 512MiB", "%q is no size", text)
	}
	scale, ok := map[string]float64{"MiB": 1 << 20, "M": 1 << 20, "m": 1 << 20, "GiB": 1 << 30, "G": 1 << 30, "g": 1 << 30}[unit]
	if !ok || n*scale > 1<<50 {
		return 0, diag.New(diag.Usage, "read --memory", "write it as 4GiB or 512MiB", "%q is no size", text)
	}
	return int64(n * scale), nil
}

type jsonBox struct {
	Name     string    `json:"name"`
	Target   string    `json:"target"`
	Status   string    `json:"status"`
	Image    string    `json:"image"`
	Owner    string    `json:"owner"`
	Worktree string    `json:"worktree,omitempty"`
	User     string    `json:"user"`
	ID       string    `json:"id"`
	Created  time.Time `json:"created"`
	Port     int       `json:"port,omitempty"` // of the server
	Userns   string    `json:"user_namespace,omitempty"`
}

func newJSONBox(b bowline.Box) jsonBox {
	return jsonBox{b.Name, b.Target, b.Status, b.Image, b.Owner, b.Worktree, b.User, b.ID, b.Created, b.Port, b.Userns}
}

// onBox runs f with the one box that is meant.
func (env *Env) onBox(ctx context.Context, target string, a []string, f func(c *bowline.Client, target, name string) error) error {
	return env.withClient(ctx, func(c *bowline.Client) error {
		on, err := env.boxTarget(ctx, c, target)
		if err != nil {
			return err
		}
		if len(a) > 0 {
			return f(c, on, a[0])
		}
		at := worktree(ctx)
		if at == "" {
			return diag.New(diag.Usage, "find box", "give its name, see 'bowline box list'", "this directory is in no git worktree")
		}
		return f(c, on, bowline.BoxName(owner(), at))
	})
}

func newBoxInfo(env *Env) *cobra.Command {
	var target string
	var asJSON bool
	cmd := &cobra.Command{Use: "info [NAME]", Short: "Show a box", Args: args(cobra.MaximumNArgs(1))}
	addTargetFlag(cmd, env, &target)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON document")
	cmd.RunE = func(cmd *cobra.Command, a []string) error {
		return env.onBox(cmd.Context(), target, a, func(c *bowline.Client, on, name string) error {
			b, err := c.Box(cmd.Context(), on, name)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(env.Stdout, map[string]any{"schema_version": schemaVersion, "box": newJSONBox(b)})
			}
			w := tabwriter.NewWriter(env.Stdout, 0, 4, 2, ' ', 0)
			for _, kv := range [][2]string{{"name", b.Name}, {"target", b.Target}, {"status", b.Status}, {"image", b.Image}, {"user", b.User}, {"user namespace", b.Userns}, {"ssh", alias(c, on, name)}, {"published", direct(cmd.Context(), c, b)}, {"owner", b.Owner}, {"worktree", b.Worktree}, {"created", b.Created.Local().Format(time.DateTime)}} {
				fmt.Fprintf(w, "%s\t%s\n", kv[0], safe(kv[1]))
			}
			return w.Flush()
		})
	}
	return cmd
}

func newBoxExec(env *Env) *cobra.Command {
	e := bowline.BoxExec{}
	var stdin bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use: "exec [flags] [NAME] -- COMMAND [ARG...]", Short: "Run a command in a box",
		Long: `Run a command in a running box, as its account, in /workspace/project. The exit code is
the command's own; 124 if the time was over and it was killed, 125 if Bowline itself
failed.`,
		Example: "  bowline box exec -- make test\n  bowline box exec -t dev1 web -- id",
	}
	addTargetFlag(cmd, env, &e.Target)
	cmd.Flags().StringVar(&e.User, "user", "", "account inside (default that of the box)")
	cmd.Flags().StringVar(&e.Dir, "cwd", "", "working directory inside")
	cmd.Flags().StringArrayVar(&e.Env, "env", nil, "set NAME=VALUE; may be repeated")
	cmd.Flags().BoolVar(&stdin, "stdin", false, "let the command read standard input")
	cmd.Flags().BoolVar(&e.TTY, "tty", false, "give the command a terminal, with standard input")
	cmd.Flags().DurationVar(&timeout, "timeout", 0, "kill the command after this time, as in 10m (default never)")
	cmd.RunE = func(cmd *cobra.Command, a []string) error {
		at := cmd.ArgsLenAtDash()
		if at < 0 || at > 1 || at == len(a) {
			err := diag.New(diag.Usage, "run in box", "type it after '--': 'bowline box exec NAME -- id'", "the command is missing")
			return &commandExit{runCode(err), err}
		}
		e.Argv, e.Stdout, e.Stderr = a[at:], env.Stdout, env.Stderr
		if stdin || e.TTY {
			e.Stdin = env.Stdin
		}
		ctx := cmd.Context()
		if timeout > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, timeout)
			defer cancel()
		}
		var code int
		err := env.onBox(ctx, e.Target, a[:at], func(c *bowline.Client, on, name string) error {
			var err error
			e.Target, e.Box = on, name
			code, err = env.execBox(ctx, c, e)
			return err
		})
		if diag.KindOf(err) == diag.Timeout {
			return &commandExit{codeTimeout, err}
		}
		if err != nil {
			return &commandExit{runCode(err), err}
		}
		if code != 0 {
			return &commandExit{code: code}
		}
		return nil
	}
	return cmd
}

func newBoxMove(env *Env, verb, short string, do func(*bowline.Client, context.Context, string, string) error) *cobra.Command {
	var target string
	cmd := &cobra.Command{Use: verb + " [NAME]", Short: short, Args: args(cobra.MaximumNArgs(1))}
	addTargetFlag(cmd, env, &target)
	cmd.RunE = func(cmd *cobra.Command, a []string) error {
		return env.onBox(cmd.Context(), target, a, func(c *bowline.Client, on, name string) error {
			if err := do(c, cmd.Context(), on, name); err != nil {
				return err
			}
			env.say("%s: %s", name, map[string]string{"start": "running", "stop": "stopped"}[verb])
			return nil
		})
	}
	return cmd
}

func newBoxRemove(env *Env) *cobra.Command {
	var target string
	var keep, yes bool
	cmd := &cobra.Command{Use: "rm [NAME]", Aliases: []string{"remove"}, Short: "Remove a box, its volumes, its ssh entry and git remote", Args: args(cobra.MaximumNArgs(1))}
	addTargetFlag(cmd, env, &target)
	cmd.Flags().BoolVar(&keep, "keep-volumes", false, "keep its home and /workspace for a box of the same name")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	cmd.RunE = func(cmd *cobra.Command, a []string) error {
		return env.onBox(cmd.Context(), target, a, func(c *bowline.Client, on, name string) error {
			if !yes {
				ok, err := env.confirm(cmd.Context(), "Remove box "+name+" on "+on+"?", "--yes")
				if err == nil && !ok {
					err = errors.New("it was not removed")
				}
				if err != nil {
					return err
				}
			}
			return c.RemoveBox(cmd.Context(), on, name, worktree(cmd.Context()), keep)
		})
	}
	return cmd
}

// newBoxConnect is the ProxyCommand of the entries in ssh_config.
func newBoxConnect(env *Env) *cobra.Command {
	var target string
	cmd := &cobra.Command{Use: "connect NAME", Short: "Carry one SSH connection to a box", Hidden: true, Args: args(cobra.ExactArgs(1))}
	addTargetFlag(cmd, env, &target)
	cmd.RunE = func(cmd *cobra.Command, a []string) error {
		return env.onBox(cmd.Context(), target, a, func(c *bowline.Client, on, name string) error {
			return c.ConnectBox(cmd.Context(), on, name, env.Stdin, env.Stdout)
		})
	}
	return cmd
}
