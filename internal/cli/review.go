package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/tui"
)

func newReviewCommand(env *Env) *cobra.Command {
	return &cobra.Command{
		Use: "review [ID]", Short: "Read, decide, apply and take back sessions on a full screen", Args: args(cobra.MaximumNArgs(1)), ValidArgsFunction: completeSessions(env),
		Long: `Show all sessions, those that wait for a person first, or the session ID: its risks
with the lines that show them, its operations with their diffs, and the commands that
apply would run. Approve all of it or what you select, reject, apply and watch, confirm,
roll back, and compare the target with what a session left. Press ? for the keys.

It needs a terminal of at least 80 by 24. Where there is none, use 'bowline session',
'bowline diff', 'bowline approve' and 'bowline apply'.

Exit codes: 0 left by the person, 1 failure, 2 no terminal.`,
		Example: "  bowline review\n  bowline review 20261121-fix-a3f2",
		RunE: func(cmd *cobra.Command, a []string) error {
			if len(a) == 0 {
				return runReview(cmd.Context(), env, "")
			}
			err := env.withClient(cmd.Context(), func(c *bowline.Client) error {
				if f, err := c.Fleet(cmd.Context(), a[0]); err == nil {
					return notOne(f)
				}
				return nil // what else is wrong with it the screen says
			})
			if err != nil {
				return err
			}
			return runReview(cmd.Context(), env, a[0])
		},
	}
}

func runReview(ctx context.Context, env *Env, id string) error {
	if !env.Terminal(env.Stdin) || !env.Terminal(env.Stdout) || env.Getenv("TERM") == "dumb" {
		hint := "see 'bowline session list', 'bowline session show ID' and 'bowline diff ID', then 'bowline approve ID' and 'bowline apply ID'"
		return diag.New(diag.Usage, "review", hint, "this needs a terminal that can move the cursor, and there is none")
	}
	return tui.Run(ctx, tui.Config{
		In: env.Stdin, Out: env.Stdout, Colour: env.Getenv("NO_COLOR") == "", Session: id,
		Client: bowline.Config{Surface: "tui", DialAttempts: 3},
	})
}
