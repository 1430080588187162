package cli

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime/debug"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/target"
)

func newLinkCommand(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use: "link", Short: "See and close the links that are kept open", RunE: noCommand,
		Long: `Links to targets stay open in a background process of yours for ten minutes after their
last use, so that the next command need not connect again. It decides nothing: every
command checks and records for itself. link.persist in the configuration says how long,
or "off".`,
	}
	cmd.AddCommand(newLinkList(env), newLinkClose(env), newLinkServe(env))
	return cmd
}

func newLinkList(env *Env) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List open links", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return env.withClient(cmd.Context(), func(c *bowline.Client) error {
				links, pid, err := c.Links(cmd.Context())
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(env.Stdout, map[string]any{"schema_version": schemaVersion, "pid": pid, "links": nonNil(links)})
				}
				w := tabwriter.NewWriter(env.Stdout, 0, 4, 2, ' ', 0)
				fmt.Fprintln(w, "TARGET\tADDRESS\tLOGIN\tSINCE\tLAST USED\tIN USE")
				for _, l := range links {
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\n", safe(l.Target), safe(l.Address), safe(l.Login), l.Since.Local().Format(time.TimeOnly), l.Used.Local().Format(time.TimeOnly), l.Busy)
				}
				return w.Flush()
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON document")
	return cmd
}

func newLinkClose(env *Env) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use: "close [SELECTOR]", Short: "Close links when their last use ends", Args: args(cobra.MaximumNArgs(1)), ValidArgsFunction: completeTargets(env),
		RunE: func(cmd *cobra.Command, a []string) error {
			if all == (len(a) == 1) {
				return diag.New(diag.Usage, "close links", "as in 'bowline link close web1' or 'bowline link close --all'", "name targets, or give --all")
			}
			return env.withClient(cmd.Context(), func(c *bowline.Client) error {
				if all {
					return c.CloseAllLinks(cmd.Context())
				}
				list, err := c.Targets(cmd.Context(), a[0])
				if err != nil {
					return err
				}
				var targets []target.Target
				for _, t := range list {
					targets = append(targets, t.Target)
				}
				return c.CloseLinks(cmd.Context(), targets)
			})
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "close all, and end the background process")
	return cmd
}

// newLinkServe is the background process; nobody types it.
func newLinkServe(env *Env) *cobra.Command {
	return &cobra.Command{
		Use: "serve", Hidden: true, Short: "Keep links open for other invocations", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			debug.SetGCPercent(50) // it mostly waits: its memory matters more than its time
			c, err := bowline.Open(cmd.Context(), bowline.Config{Surface: "cli", DialAttempts: 3, Build: env.build()})
			if err != nil {
				return err
			}
			defer c.Close()
			return c.ServeLinks(cmd.Context())
		},
	}
}

// build names this program: another version, or another file, is another build.
func (env *Env) build() string {
	exe, err := os.Executable()
	if err != nil {
		return env.Version
	}
	info, err := os.Stat(exe)
	if err != nil {
		return env.Version
	}
	return fmt.Sprintf("%s %s %d %d", env.Version, exe, info.Size(), info.ModTime().UnixNano())
}

// spawnLinks starts the background process, in a session of its own, without our
// terminal and streams. nil where no links are to be kept.
func (env *Env) spawnLinks() func() error {
	if env.Getenv("BOWLINE_PERSIST") == "off" {
		return nil
	}
	return func() error {
		exe, err := os.Executable()
		if err != nil {
			return err
		}
		cmd := exec.CommandContext(context.Background(), exe, "link", "serve")
		cmd.Dir = "/"
		detach(cmd)
		if err := cmd.Start(); err != nil {
			return err
		}
		return cmd.Process.Release()
	}
}
