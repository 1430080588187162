package cli

import (
	"github.com/spf13/cobra"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
)

// completer completes positional arguments or flag values.
type completer = cobra.CompletionFunc

// completeTargets offers target names. What cannot be read offers nothing.
func completeTargets(env *Env) completer {
	return func(cmd *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		c, err := bowline.Open(cmd.Context(), bowline.Config{Surface: "cli"})
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		defer c.Close()
		list, err := c.Targets(cmd.Context(), "")
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		out := make([]cobra.Completion, len(list))
		for i, t := range list {
			out[i] = cobra.CompletionWithDesc(t.Name, addressOf(t.Target))
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	}
}

func profileNames(env *Env) completer {
	return func(cmd *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		c, err := bowline.Open(cmd.Context(), bowline.Config{Surface: "cli"})
		if err != nil {
			return nil, cobra.ShellCompDirectiveDefault
		}
		defer c.Close()
		list, err := c.Profiles(cmd.Context())
		if err != nil {
			return nil, cobra.ShellCompDirectiveDefault
		}
		var out []cobra.Completion
		for _, p := range list {
			if p.Err == nil {
				out = append(out, cobra.CompletionWithDesc(p.Profile.Name, p.Profile.Description))
			}
		}
		return out, cobra.ShellCompDirectiveDefault
	}
}

func completeProfiles(cmd *cobra.Command, env *Env) {
	_ = cmd.RegisterFlagCompletionFunc("profile", profileNames(env)) // the flag was just added
}

func newCompletionCommand(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish",
		Short: "Print a completion script for a shell",
		Long: `Print a script that completes commands, flags, and the names of targets and
profiles. For this shell only:

  source <(bowline completion bash)
  source <(bowline completion zsh)
  bowline completion fish | source

For good, write it to where your shell looks, such as
/etc/bash_completion.d/bowline or ~/.config/fish/completions/bowline.fish.`,
		ValidArgs: []cobra.Completion{"bash", "zsh", "fish"},
		Args:      args(cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs)),
		RunE: func(cmd *cobra.Command, a []string) error {
			switch a[0] {
			case "bash":
				return cmd.Root().GenBashCompletionV2(env.Stdout, true)
			case "zsh":
				return cmd.Root().GenZshCompletion(env.Stdout)
			case "fish":
				return cmd.Root().GenFishCompletion(env.Stdout, true)
			}
			return diag.New(diag.Usage, "", "", "unknown shell %q", a[0])
		},
	}
}
