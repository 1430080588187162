package cli

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
)

// filterKeys are what boxes are chosen by.
var filterKeys = map[string]func(bowline.Box) string{
	"name":     func(b bowline.Box) string { return b.Name },
	"state":    func(b bowline.Box) string { return b.Status },
	"worktree": func(b bowline.Box) string { return b.Worktree },
	"image":    func(b bowline.Box) string { return b.Image },
	"owner":    func(b bowline.Box) string { return b.Owner },
}

// boxFilters are KEY=VALUE: those of one key are alternatives, keys must all match.
type boxFilters map[string][]string

func newBoxFilters(list []string) (boxFilters, error) {
	out := boxFilters{}
	for _, f := range list {
		key, value, ok := strings.Cut(f, "=")
		if _, known := filterKeys[key]; !ok || !known {
			return nil, diag.New(diag.Usage, "read --filter", "write name=, state=, worktree=, image= or owner=", "%q is no filter", f)
		}
		if _, err := path.Match(value, ""); err != nil {
			return nil, diag.New(diag.Usage, "read --filter", "", "%q: %w", f, err)
		}
		out[key] = append(out[key], value)
	}
	return out, nil
}

// match reports whether all keys have a value that fits; * and ? stand for letters.
func (f boxFilters) match(b bowline.Box) bool {
	for key, values := range f {
		got := filterKeys[key](b)
		if !slices.ContainsFunc(values, func(v string) bool {
			ok, err := path.Match(v, got)
			return v == got || ok && err == nil
		}) {
			return false
		}
	}
	return true
}

type boxListOptions struct {
	target  string
	json    bool
	all     bool
	filters []string
}

func newBoxList(env *Env) *cobra.Command {
	var o boxListOptions
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the boxes of a target, newest first", Args: args(cobra.NoArgs),
		Long: `List your boxes on a target, newest first; those of other people and machines too with --all.
The box of the worktree you stand in has an arrow before its name.

--filter KEY=VALUE chooses by name, state, worktree, image or owner; * and ? in a value stand
for letters, but not for '/'. Values of one key are alternatives; several keys must all fit.`,
		Example: "  bowline box list -t dev1\n  bowline box ls --all --filter state=exited --filter 'owner=ann@*'",
	}
	addTargetFlag(cmd, env, &o.target)
	cmd.Flags().BoolVar(&o.json, "json", false, "print one JSON document")
	cmd.Flags().BoolVarP(&o.all, "all", "a", false, "those of all owners")
	cmd.Flags().StringArrayVar(&o.filters, "filter", nil, "KEY=VALUE; may be repeated")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		filters, err := newBoxFilters(o.filters)
		if err != nil {
			return err
		}
		return env.withClient(cmd.Context(), func(c *bowline.Client) error {
			name, err := env.boxTarget(cmd.Context(), c, o.target)
			if err != nil {
				return err
			}
			list, err := c.Boxes(cmd.Context(), name)
			if err != nil {
				return err
			}
			me, all := owner(), len(list)
			list = slices.DeleteFunc(list, func(b bowline.Box) bool { return !o.all && b.Owner != me })
			if others := all - len(list); others > 0 {
				env.say("%s of others not shown; '--all' shows them", boxesText(others))
			}
			list = slices.DeleteFunc(list, func(b bowline.Box) bool { return !filters.match(b) })
			return env.showBoxes(list, worktree(cmd.Context()), o.json)
		})
	}
	return cmd
}

// showBoxes prints a list. here is the worktree that we stand in.
func (env *Env) showBoxes(list []bowline.Box, here string, asJSON bool) error {
	if asJSON {
		docs := []jsonBox{}
		for _, b := range list {
			docs = append(docs, newJSONBox(b))
		}
		return printJSON(env.Stdout, map[string]any{"schema_version": schemaVersion, "boxes": docs})
	}
	me := owner()
	w := tabwriter.NewWriter(env.Stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "  NAME\tSTATUS\tIMAGE\tOWNER\tCREATED")
	for _, b := range list {
		mark := " "
		if here != "" && b.Worktree == here && b.Owner == me {
			mark = "→"
		}
		fmt.Fprintf(w, "%s %s\t%s\t%s\t%s\t%s\n", mark, safe(b.Name), safe(b.Status), safe(b.Image), safe(b.Owner), b.Created.Local().Format(time.DateTime))
	}
	return w.Flush()
}

// completeBoxes offers names of boxes on the target that -t says, that are in a
// state that will do. It asks the server, and what cannot be reached in a moment offers nothing.
func completeBoxes(env *Env, state func(status string) bool) completer {
	return func(cmd *cobra.Command, a []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		const none = cobra.ShellCompDirectiveNoFileComp
		if len(a) > 0 {
			return nil, none
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completeFor)
		defer cancel()
		c, err := bowline.Open(ctx, bowline.Config{Surface: "cli"})
		if err != nil {
			return nil, none
		}
		defer c.Close()
		given, _ := cmd.Flags().GetString("target") // "" if there is no such flag
		on, err := env.boxTarget(ctx, c, given)
		if err != nil {
			return nil, none
		}
		list, err := c.Boxes(ctx, on)
		if err != nil {
			return nil, none
		}
		var out []cobra.Completion
		for _, b := range list {
			if state(b.Status) {
				out = append(out, cobra.CompletionWithDesc(b.Name, b.Status+", "+b.Image))
			}
		}
		return out, none
	}
}

// completeFor is how long a shell waits for names of boxes.
const completeFor = 5 * time.Second

// addBoxCompletion completes the names of boxes of all commands that take one, by the state
// that they need.
func addBoxCompletion(env *Env, cmd *cobra.Command) {
	running := func(s string) bool { return s == "running" }
	stopped := func(s string) bool { return s != "running" }
	anyState := func(string) bool { return true }
	states := map[string]func(string) bool{
		"start": stopped, "stop": running, "exec": running, "ssh": running, "push": running, "pull": running,
		"info": anyState, "rm": anyState, "rebuild": anyState, "logs": anyState, "status": anyState,
	}
	for _, sub := range cmd.Commands() {
		if state, ok := states[sub.Name()]; ok {
			sub.ValidArgsFunction = completeBoxes(env, state)
		}
	}
}

func boxesText(n int) string {
	if n == 1 {
		return "1 box"
	}
	return fmt.Sprintf("%d boxes", n)
}
