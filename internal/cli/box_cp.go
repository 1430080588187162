package cli

import (
	"context"
	"slices"

	"github.com/spf13/cobra"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
)

func newBoxCopy(env *Env) *cobra.Command {
	var target string
	var opts copyOptions
	cmd := &cobra.Command{
		Use: "cp [flags] SRC... DST", Short: "Copy files to and from boxes, verified",
		Long: `Copy files between this machine and a box, or between two boxes of one target, and verify
every one, as 'bowline cp' does it with targets. A path in a box is written BOX:PATH; it is
absolute or starts from the home of the box's account, whose the files become. Symbolic links
are copied as links, and no name from a box leads out of the directory it is copied to.

See 'bowline cp --help' for paths, outcomes and exit codes.`,
		Example: "  bowline box cp notes.md web:\n  bowline box cp -r web:/workspace/project/dist ./dist\n  bowline box cp -t dev1 web:dump.sql api:dump.sql",
		Args:    args(cobra.MinimumNArgs(2)),
	}
	addTargetFlag(cmd, env, &target)
	opts.add(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, a []string) error {
		req, err := opts.request(env, a)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(append(req.Sources, req.Dest), func(l bowline.CopyLocation) bool { return l.Target != "" }) {
			return diag.New(diag.Usage, "copy", "write BOX:PATH for the side that is a box; 'bowline box list' shows them", "neither side is a box")
		}
		return env.withClient(cmd.Context(), func(c *bowline.Client) error {
			on, err := env.boxTarget(cmd.Context(), c, target)
			if err != nil {
				return err
			}
			return env.copyFiles(cmd.Context(), opts, req, func(ctx context.Context, req bowline.CopyRequest) (bowline.CopyResult, error) {
				return c.CopyBox(ctx, on, req)
			})
		})
	}
	return cmd
}
