package cli

import (
	"cmp"
	"context"
	"errors"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/bowline-sh/bowline"
)

const doctorHelp = `Check everything that a run depends on, on this machine and on the targets of
SELECTOR, one line each, with the remedy where one fails. Without SELECTOR, targets
are left alone but for this machine's own sandbox.

With --attack, also try to break out of the sandbox in every way Bowline knows, and
say what held. A sandbox that holds is not changed by that, nor is the target.

Exit codes: 0 all is well, 1 something is not, 10 unreachable, 11 untrusted.`

func newDoctorCommand(env *Env) *cobra.Command {
	var asJSON, attack bool
	cmd := &cobra.Command{
		Use: "doctor [SELECTOR]", Short: "Find what is wrong, and say how to mend it", Long: doctorHelp,
		Args: args(cobra.MaximumNArgs(1)), ValidArgsFunction: completeTargets(env),
		RunE: func(cmd *cobra.Command, a []string) error {
			selector := ""
			if len(a) == 1 {
				selector = a[0]
			} else if runtime.GOOS == "linux" {
				selector = bowline.LocalTarget
			}
			return runDoctor(cmd.Context(), env, selector, attack, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON document a machine")
	cmd.Flags().BoolVar(&attack, "attack", false, "try to break out of the sandbox")
	return cmd
}

func runDoctor(ctx context.Context, env *Env, selector string, attack, asJSON bool) error {
	return env.withClient(ctx, func(c *bowline.Client) error {
		here := env.printReport(c.Diagnose(ctx), asJSON)
		if selector == "" {
			return here
		}
		there := testTargets(ctx, env, c, selector, testing{attack: attack, asJSON: asJSON})
		if here == nil || there == nil {
			return cmp.Or(here, there)
		}
		// The code of a target that cannot be reached says more than that of a check here.
		if e, ok := errors.AsType[*commandExit](there); !ok || e.code != 1 {
			return there
		}
		return here
	})
}
