package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/bowline-sh/bowline"
)

func newConfigCommand(env *Env) *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "Show and check the configuration", RunE: noCommand,
		Long: `The configuration is one file, config.toml. Its fields are described in
docs/design.md, section 4. Unknown keys are errors.`}
	cmd.AddCommand(&cobra.Command{
		Use: "path", Short: "Print where config.toml is", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			paths, err := bowline.Paths(bowline.Config{})
			if err == nil {
				_, err = fmt.Fprintln(env.Stdout, paths.Config)
			}
			return err
		},
	}, &cobra.Command{
		Use: "check", Short: "Say whether config.toml can be used", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return env.withClient(cmd.Context(), func(c *bowline.Client) error {
				list, err := c.Targets(cmd.Context(), "")
				if err != nil {
					return err
				}
				paths := c.Paths()
				fmt.Fprintf(env.Stdout, "%s can be used: %d targets\n", safe(paths.Config), len(list))
				return nil
			})
		},
	}, newConfigShow(env), newConfigImport(env))
	return cmd
}

func newConfigShow(env *Env) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "show", Short: "Print the configuration as it was understood", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return env.withClient(cmd.Context(), func(c *bowline.Client) error {
				list, err := c.Targets(cmd.Context(), "")
				if err != nil {
					return err
				}
				p := c.Paths()
				if asJSON {
					docs := make([]jsonTarget, len(list))
					for i, t := range list {
						docs[i] = newJSONTarget(t)
					}
					return printJSON(env.Stdout, map[string]any{"schema_version": schemaVersion, "config": p.Config, "profiles": p.Profiles,
						"known_hosts": p.KnownHosts, "audit": p.Audit, "targets": docs})
				}
				for _, row := range [][2]string{{"config", p.Config}, {"profiles", p.Profiles}, {"known_hosts", p.KnownHosts}, {"audit log", p.Audit}} {
					fmt.Fprintf(env.Stdout, "%-12s %s\n", row[0], safe(row[1]))
				}
				fmt.Fprintln(env.Stdout)
				return runTargetList(cmd.Context(), env, "", false)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON document")
	return cmd
}
