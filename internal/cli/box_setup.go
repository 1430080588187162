package cli

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/bowline-sh/bowline"
)

func newBoxSetup(env *Env) *cobra.Command {
	var o bowline.BoxSetup
	var target string
	var asPrint, asJSON bool
	cmd := &cobra.Command{
		Use: "setup", Short: "Plan what makes a server ready for boxes", Args: args(cobra.NoArgs),
		Long: `Plan, as a reviewed change, what a server needs for boxes: Podman installed, its socket
enabled, a group podman that may use it, and that this lasts across reboots. On Debian,
Ubuntu, Fedora and their kin; what is there already is not planned again. Nothing changes
before 'bowline apply'.

Who may use the system's socket is root on the server. With --rootless the account runs
its own Podman instead, which needs no such trust.`,
		Example: "  bowline box setup -t dev1\n  bowline box setup -t dev1 --rootless\n  bowline box setup --print",
	}
	addTargetFlag(cmd, env, &target)
	f := cmd.Flags()
	f.BoolVar(&asPrint, "print", false, "print the script and plan nothing")
	f.BoolVar(&o.Rootless, "rootless", false, "the account's own Podman, not the system's")
	f.StringVar(&o.User, "user", "", "account that uses Podman (default that of the target)")
	f.DurationVar(&o.Timeout, "timeout", 5*time.Minute, "of the dry run")
	f.BoolVar(&asJSON, "json", false, "print one JSON document")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if asPrint {
			_, err := env.Stdout.Write(bowline.BoxSetupScript())
			return err
		}
		return env.withClient(cmd.Context(), func(c *bowline.Client) error { return env.setupBoxes(cmd.Context(), c, o, target, asJSON) })
	}
	return cmd
}

func (env *Env) setupBoxes(ctx context.Context, c *bowline.Client, o bowline.BoxSetup, target string, asJSON bool) error {
	var err error
	if o.Target, err = env.boxTarget(ctx, c, target); err != nil {
		return err
	}
	s, err := c.PlanBoxSetup(ctx, o)
	if err != nil {
		return err
	}
	if s.Plan.Exit != 0 {
		err = &commandExit{1, errors.New("the script failed in the dry run; see what it said above")}
	}
	if asJSON {
		return errors.Join(printJSON(env.Stdout, newJSONSession(s, true)), err)
	}
	env.showSession(ctx, c, s)
	if err == nil && len(s.Plan.Ops) == 0 {
		env.say("there is nothing to do; see what boxes find: 'bowline target test --boxes %s'", s.Target)
	}
	if err == nil && len(s.Plan.Ops) > 0 {
		env.say("read the diff with 'bowline diff %s', then 'bowline approve %s' and 'bowline apply %s'; after that 'bowline target test --boxes %s'", s.ID, s.ID, s.ID, s.Target)
	}
	return err
}
