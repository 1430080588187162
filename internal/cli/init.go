package cli

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/target"
)

type initOptions struct {
	name string
	add  addOptions
}

const initHelp = `Set Bowline up: name a first target, check its host key, try a sandboxed command on
it, and make it the default. Every question has a flag; with all of them given
nothing is asked.

It ends well only with a target that works; otherwise it says what to mend.

Exit codes: 0 set up, 1 a check failed, 2 wrong usage, 10 unreachable, 11 host key not
accepted, 12 login refused.`

func newInitCommand(env *Env) *cobra.Command {
	var opts initOptions
	cmd := &cobra.Command{
		Use: "init", Short: "Set up Bowline with a first target", Long: initHelp, Args: args(cobra.NoArgs),
		Example: "  bowline init\n  bowline init --name web1 --host deploy@web1.example.com --fingerprint SHA256:...\n  bowline init --local",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runInit(cmd.Context(), env, opts)
		},
	}
	f := cmd.Flags()
	f.StringVar(&opts.name, "name", "", "name of the target")
	f.StringVar(&opts.add.host, "host", "", "[USER@]HOST[:PORT]")
	f.StringVar(&opts.add.key, "key", "", "private key file (default: ssh-agent and ssh_config)")
	f.StringVar(&opts.add.fingerprint, "fingerprint", "", "the host key's fingerprint as you know it, SHA256:...")
	f.StringVar(&opts.add.profile, "profile", "", "default profile for this target")
	f.StringVar(&opts.add.jump, "jump", "", "jump host: [USER@]HOST[:PORT]")
	local := f.Bool("local", false, "use this machine, without a remote target")
	cmd.PreRun = func(*cobra.Command, []string) {
		if *local {
			opts.name, opts.add.kind = bowline.LocalTarget, string(target.Local)
		}
	}
	return cmd
}

func runInit(ctx context.Context, env *Env, opts initOptions) error {
	if opts.add.kind != string(target.Local) {
		opts.add.kind = string(target.SSH)
		if err := env.answer(ctx, &opts.add.host, "Host to act on, as [USER@]HOST[:PORT]:", "--host"); err != nil {
			return err
		}
		if opts.name == "" {
			opts.name = suggestName(opts.add.host)
			if env.prompt() != nil {
				if err := env.answerOr(ctx, &opts.name, "Name for this target"); err != nil {
					return err
				}
			}
		}
	} else if runtime.GOOS != "linux" {
		return diag.New(diag.Usage, "init", "name a remote host: 'bowline init --host USER@HOST'", "commands can be confined on Linux only; this machine is %s", runtime.GOOS)
	}
	return env.withClient(ctx, func(c *bowline.Client) error { return setUp(ctx, env, c, opts) })
}

// setUp adds the target unless it is there, tests it, and makes it the default.
func setUp(ctx context.Context, env *Env, c *bowline.Client, opts initOptions) error {
	if opts.name != bowline.LocalTarget {
		if err := ensureTarget(ctx, env, c, opts); err != nil {
			return err
		}
	}
	report, err := c.TestTarget(ctx, opts.name, false)
	if err != nil {
		return err
	}
	if failure := env.printReport(report, false); failure != nil {
		env.note("not set up yet: %s does not work", opts.name)
		env.note("hint: mend what failed above, then run 'bowline init' again with the same answers")
		return failure
	}
	if err := c.SetDefaultTarget(ctx, opts.name); err != nil {
		return err
	}
	env.say("ready. Try: bowline run -- ls /etc")
	return nil
}

func ensureTarget(ctx context.Context, env *Env, c *bowline.Client, opts initOptions) error {
	t, err := opts.add.target([]string{opts.name})
	if err != nil {
		return diag.New(diag.Usage, "init", "see 'bowline init --help'", "%w", err)
	}
	known, err := c.Targets(ctx, "")
	if err != nil {
		return err
	}
	for _, k := range known {
		if k.Name == t.Name {
			if k.Host == t.Host && cmp.Or(k.Port, 22) == cmp.Or(t.Port, 22) && k.User == t.User {
				return nil
			}
			return diag.New(diag.Usage, "init", "choose another --name, or 'bowline target remove "+t.Name+"' first", "target %s exists with another address, %s", t.Name, addressOf(k.Target))
		}
	}
	key, err := c.AddTarget(ctx, t, opts.add.fingerprint, env.confirmHostKey(false))
	if err == nil {
		env.say("added %s; host key %s %s (%s)", t.Name, key.Type, key.Fingerprint, keyOrigin(key.Trust))
	}
	return err
}

// answer asks for a value that no flag gave.
func (env *Env) answer(ctx context.Context, to *string, question, flag string) error {
	if *to != "" {
		return nil
	}
	ask := env.prompt()
	if ask == nil {
		return diag.New(diag.Usage, "init", "add "+flag, "there is no terminal to ask on")
	}
	text, err := ask(ctx, question, true)
	*to = strings.TrimSpace(text)
	if err == nil && *to == "" {
		err = diag.New(diag.Usage, "init", "start again, or add "+flag, "no answer")
	}
	return err
}

// answerOr asks with the present value as default.
func (env *Env) answerOr(ctx context.Context, to *string, question string) error {
	text, err := env.prompt()(ctx, fmt.Sprintf("%s [%s]:", question, *to), true)
	*to = cmp.Or(strings.TrimSpace(text), *to)
	return err
}

// suggestName makes a target's name of the first label of its host.
func suggestName(address string) string {
	a, err := target.ParseAddress(address)
	if err != nil {
		return "host1"
	}
	name, _, _ := strings.Cut(a.Host, ".")
	if target.ValidName(a.Host) == nil && strings.Trim(a.Host, "0123456789.") == "" {
		name = a.Host // an IPv4 address
	}
	if target.ValidName(name) != nil || name == bowline.LocalTarget {
		return "host1"
	}
	return name
}
