package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
)

// alias is the name of a box for ssh, and says if ssh does not know it here.
func alias(c *bowline.Client, on, name string) string {
	if a, ok := c.BoxAlias(on, name); ok {
		return a
	}
	return "not set up on this machine"
}

// execBox runs a command in a box, with this terminal if it is asked for.
func (env *Env) execBox(ctx context.Context, c *bowline.Client, e bowline.BoxExec) (int, error) {
	if !e.TTY {
		return c.ExecBox(ctx, e)
	}
	if !env.Terminal(env.Stdin) || !env.Terminal(env.Stdout) {
		return 0, diag.New(diag.Usage, "give the command a terminal", "leave --tty away", "standard input and output are not both one")
	}
	state, err := term.MakeRaw(int(env.Stdin.Fd()))
	if err != nil {
		return 0, err
	}
	defer term.Restore(int(env.Stdin.Fd()), state)
	sizes, stop := terminalSizes(env.Stdin)
	defer stop()
	e.Sizes = sizes
	if name := env.Getenv("TERM"); name != "" {
		e.Env = append(e.Env, "TERM="+name)
	}
	return c.ExecBox(ctx, e)
}

func sizeOf(f *os.File) bowline.TerminalSize {
	w, h, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return bowline.TerminalSize{Columns: 80, Rows: 24}
	}
	return bowline.TerminalSize{Columns: uint(w), Rows: uint(h)}
}

// sshFailed is the exit code of ssh for its own errors.
const sshFailed = 255

func newBoxSSH(env *Env) *cobra.Command {
	var target string
	cmd := &cobra.Command{
		Use: "ssh [NAME] [-- COMMAND [ARG...]]", Short: "Log in to a box with ssh, in /workspace/project",
		Long: `Run the system's ssh with the name of the box, NAME.TARGET, in /workspace/project. The exit
code is that of ssh.`,
		Example: "  bowline box ssh\n  bowline box ssh web -- make test",
	}
	addTargetFlag(cmd, env, &target)
	cmd.RunE = func(cmd *cobra.Command, a []string) error {
		at := cmd.ArgsLenAtDash()
		if at < 0 {
			at = len(a)
		}
		if at > 1 {
			return usageError(cmd, errors.New("one box, and what to run there after '--'"))
		}
		return env.onBox(cmd.Context(), target, a[:at], func(c *bowline.Client, on, name string) error {
			return env.sshBox(cmd.Context(), c, on, name, a[at:])
		})
	}
	return cmd
}

func (env *Env) sshBox(ctx context.Context, c *bowline.Client, on, name string, argv []string) error {
	alias, ok := c.BoxAlias(on, name)
	if !ok {
		if _, err := c.Box(ctx, on, name); err != nil {
			return err
		}
		return diag.New(diag.Usage, "log in to "+name, "'bowline box exec -t "+on+" "+name+" -- COMMAND' works from here", "the box was made on another machine, and ssh does not know it here")
	}
	line := `cd /workspace/project 2>/dev/null; exec "${SHELL:-/bin/sh}" -l`
	if len(argv) > 0 {
		line = "cd /workspace/project && exec " + shellWords(argv)
	}
	args := []string{alias, line}
	if env.Terminal(env.Stdin) {
		args = append([]string{"-t"}, args...)
	}
	cmd := exec.CommandContext(ctx, "ssh", args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = env.Stdin, env.Stdout, env.Stderr
	err := cmd.Run()
	if cmd.ProcessState == nil {
		return diag.New(diag.Failure, "run ssh", "install OpenSSH's client", "%w", err)
	}
	code := cmd.ProcessState.ExitCode()
	if code == sshFailed {
		// ssh shows nothing of its ProxyCommand where connections are shared: say it here.
		b, err := c.Box(ctx, on, name)
		if err == nil && b.Status != "running" {
			err = diag.New(diag.Refused, "log in to "+name, "start it: 'bowline box start -t "+on+" "+name+"'", "the box is %s", b.Status)
		}
		return &commandExit{code, err}
	}
	if code != 0 {
		return &commandExit{code: code}
	}
	return nil
}

// shellWords quotes an argument vector for a POSIX shell.
func shellWords(argv []string) string {
	words := make([]string, len(argv))
	for i, a := range argv {
		words[i] = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
	}
	return strings.Join(words, " ")
}

func newBoxPush(env *Env) *cobra.Command {
	var target string
	var discard bool
	cmd := &cobra.Command{
		Use: "push [NAME]", Short: "Push the current branch to its box", Args: args(cobra.MaximumNArgs(1)),
		Long: `Push the current branch of this worktree to its box and check it out there. A box whose
files have changes that are not committed (dirty), or that has commits which are not here
(diverged), is left as it is, with exit code 13; with --discard both are dropped.`,
	}
	addTargetFlag(cmd, env, &target)
	cmd.Flags().BoolVar(&discard, "discard", false, "drop changes and commits of the box that are not here")
	cmd.RunE = func(cmd *cobra.Command, a []string) error {
		return env.onBox(cmd.Context(), target, a, func(c *bowline.Client, on, name string) error {
			branch, err := c.PushBox(cmd.Context(), on, name, worktree(cmd.Context()), discard)
			if err == nil {
				env.say("%s: has %s as it is here", name, safe(branch))
			}
			return err
		})
	}
	return cmd
}

func newBoxPull(env *Env) *cobra.Command {
	var target string
	cmd := &cobra.Command{
		Use: "pull [NAME]", Short: "Move the current branch forward to that of its box", Args: args(cobra.MaximumNArgs(1)),
		Long: `Fetch the current branch from its box and move it forward. If both sides have commits that
the other has not, nothing is changed, with exit code 13. Changes in the box that are not
committed do not come along, and are said.`,
	}
	addTargetFlag(cmd, env, &target)
	cmd.RunE = func(cmd *cobra.Command, a []string) error {
		return env.onBox(cmd.Context(), target, a, func(c *bowline.Client, on, name string) error {
			commits, state, err := c.PullBox(cmd.Context(), on, name, worktree(cmd.Context()))
			if err != nil {
				return err
			}
			env.say("%s: %s new commits", name, safe(commits))
			if state.Changes > 0 {
				env.say("the box has %d changed files that are not committed; they did not come along", state.Changes)
			}
			return nil
		})
	}
	return cmd
}

func newBoxRebuild(env *Env) *cobra.Command {
	var target, image string
	var yes bool
	var recipe recipeFlags
	cmd := &cobra.Command{
		Use: "rebuild [NAME]", Short: "Give a box a new container, with its data kept", Args: args(cobra.MaximumNArgs(1)),
		Long: `Make a new container for a box from its image as it now is, and remove the old one when the
new one is ready. The home, /workspace, the host key and the limits stay; what else was
changed in the container goes, and what runs in it ends. If it fails, the old one runs on.

With --build, --devcontainer or --file the box is made of what the worktree says now: image,
variables, volumes and postCreateCommand; see 'bowline box build'.`,
	}
	addTargetFlag(cmd, env, &target)
	cmd.Flags().StringVar(&image, "image", "", "another image")
	cmd.Flags().BoolVar(&recipe.build, "build", false, "build the image anew, of what 'bowline box build' says")
	recipe.add(cmd.Flags())
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	cmd.RunE = func(cmd *cobra.Command, a []string) error {
		return env.onBox(cmd.Context(), target, a, func(c *bowline.Client, on, name string) error {
			if !yes {
				ok, err := env.confirm(cmd.Context(), "Rebuild box "+name+" on "+on+"? What runs in it ends.", "--yes")
				if err == nil && !ok {
					err = errors.New("it was not rebuilt")
				}
				if err != nil {
					return err
				}
			}
			re := bowline.BoxRebuild{Target: on, Name: name, Image: image, Progress: env.boxOutput()}
			if recipe.wanted() {
				r, err := env.recipeOf(cmd.Context(), c, recipe, re)
				if err != nil {
					return err
				}
				re.Recipe = &r
			}
			b, err := c.RebuildBox(cmd.Context(), re)
			if err == nil {
				env.sayPorts(re.Recipe, on, name)
				env.say("%s: %s, from %s", name, safe(b.Status), safe(b.Image))
			}
			return err
		})
	}
	return cmd
}

func newBoxLogs(env *Env) *cobra.Command {
	var target, tail string
	var follow bool
	cmd := &cobra.Command{Use: "logs [NAME]", Short: "Show what the first process of a box printed", Args: args(cobra.MaximumNArgs(1))}
	addTargetFlag(cmd, env, &target)
	cmd.Flags().StringVar(&tail, "tail", "all", "number of lines")
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on until the box ends")
	cmd.RunE = func(cmd *cobra.Command, a []string) error {
		return env.onBox(cmd.Context(), target, a, func(c *bowline.Client, on, name string) error {
			return c.BoxLogs(cmd.Context(), on, name, tail, follow, env.Stdout, env.Stderr)
		})
	}
	return cmd
}

func newBoxStatus(env *Env) *cobra.Command {
	var target string
	var asJSON bool
	cmd := &cobra.Command{Use: "status [NAME]", Short: "Show a box and the state of its repository", Args: args(cobra.MaximumNArgs(1))}
	addTargetFlag(cmd, env, &target)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON document")
	cmd.RunE = func(cmd *cobra.Command, a []string) error {
		return env.onBox(cmd.Context(), target, a, func(c *bowline.Client, on, name string) error {
			b, state, err := c.BoxStatus(cmd.Context(), on, name)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(env.Stdout, map[string]any{"schema_version": schemaVersion, "box": newJSONBox(b), "ssh": alias(c, on, name), "branch": state.Branch, "head": state.Head, "changes": state.Changes})
			}
			w := tabwriter.NewWriter(env.Stdout, 0, 4, 2, ' ', 0)
			for _, kv := range [][2]string{{"name", b.Name}, {"target", b.Target}, {"status", b.Status}, {"ssh", alias(c, on, name)}, {"branch", state.Branch}, {"head", state.Head}, {"changes", fmt.Sprintf("%d not committed", state.Changes)}} {
				fmt.Fprintf(w, "%s\t%s\n", kv[0], safe(kv[1]))
			}
			return w.Flush()
		})
	}
	return cmd
}

func newBoxPrune(env *Env) *cobra.Command {
	var target string
	var volumes, yes bool
	var age time.Duration
	cmd := &cobra.Command{
		Use: "prune", Short: "Remove what belongs to no box", Args: args(cobra.NoArgs),
		Long: `List what you made on a target that belongs to no box, and remove it after a question:
containers that a create or rebuild left when it was broken off, and with --volumes the
volumes whose box is gone. Those may have been kept by 'bowline box rm --keep-volumes'.`,
	}
	addTargetFlag(cmd, env, &target)
	cmd.Flags().BoolVar(&volumes, "volumes", false, "volumes too, with the data in them")
	cmd.Flags().DurationVar(&age, "older-than", 10*time.Minute, "leave what is younger: it may be in the making")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return env.withClient(cmd.Context(), func(c *bowline.Client) error {
			on, err := env.boxTarget(cmd.Context(), c, target)
			if err != nil {
				return err
			}
			all, err := c.BoxOrphans(cmd.Context(), on, owner(), time.Now().Add(-age))
			if err != nil {
				return err
			}
			var list []bowline.BoxOrphan
			for _, o := range all {
				fmt.Fprintf(env.Stdout, "%s\t%s\tof box %s\t%s\n", o.Kind, safe(o.Name), safe(o.Box), o.Created.Local().Format(time.DateTime))
				if o.Kind == "container" || volumes {
					list = append(list, o)
				}
			}
			if len(list) < len(all) {
				env.say("volumes stay; '--volumes' removes them")
			}
			if len(list) == 0 {
				return nil
			}
			if !yes {
				ok, err := env.confirm(cmd.Context(), fmt.Sprintf("Remove these %d?", len(list)), "--yes")
				if err != nil || !ok {
					return err
				}
			}
			return c.PruneBoxes(cmd.Context(), on, list)
		})
	}
	return cmd
}
