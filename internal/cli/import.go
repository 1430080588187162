package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/target"
)

const importHelp = `Read a configuration file of an earlier system and add its targets to config.toml:

  Shannot              config.toml, with [executor.NAME] or [remotes.NAME]
  L8s                  config.yaml, with connections
  the remote executor  config.yml, with vms

Which one it is is seen from what it holds. Targets that exist are never changed. What
does not come along is said line by line: passwords and tokens, settings that weaken
the check of host keys, keys that nobody knows. Machines that were disabled, or not
allowed, come as disabled targets. No host key is trusted: 'bowline target trust NAME'
asks for each.

Exit codes: 0 read (whatever was left out), 1 failure, 2 the file cannot be read; then
nothing was written.`

func newConfigImport(env *Env) *cobra.Command {
	var dryRun, asJSON bool
	cmd := &cobra.Command{
		Use: "import FILE", Short: "Add the targets of an earlier system's file", Long: importHelp, Args: args(cobra.ExactArgs(1)),
		Example: "  bowline config import --dry-run ~/.config/shannot/config.toml\n  bowline config import ~/.config/l8s/config.yaml",
		RunE: func(cmd *cobra.Command, a []string) error {
			return runImport(cmd.Context(), env, a[0], dryRun, asJSON)
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "change nothing, only say what would be")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON document")
	return cmd
}

// maxImport is one more byte than a file may have.
const maxImport = 1<<20 + 1

func readImport(name string) ([]byte, error) {
	f, err := os.Open(name)
	var data []byte
	if err == nil {
		defer f.Close()
		var info os.FileInfo
		if info, err = f.Stat(); err == nil && !info.Mode().IsRegular() {
			err = fmt.Errorf("%s: not a regular file", name)
		}
		if err == nil {
			data, err = io.ReadAll(io.LimitReader(f, maxImport))
		}
	}
	if err != nil {
		return nil, diag.New(diag.Usage, "import configuration", "", "%w", err)
	}
	return data, nil
}

type jsonImported struct {
	Name     string            `json:"name"`
	Status   string            `json:"status"` // imported, would_import, exists
	Line     int               `json:"line"`
	Type     string            `json:"type"`
	Host     string            `json:"host,omitempty"`
	User     string            `json:"user,omitempty"`
	Port     int               `json:"port,omitempty"`
	KeyFile  string            `json:"key_file,omitempty"`
	Profile  string            `json:"profile,omitempty"`
	Labels   map[string]string `json:"labels,omitempty"`
	Disabled bool              `json:"disabled"`
}

type jsonImportNote struct {
	Line int    `json:"line"`
	Key  string `json:"key,omitempty"`
	Text string `json:"text"`
}

func importStatus(t bowline.ImportedTarget, dryRun bool) string {
	switch {
	case t.Exists:
		return "exists"
	case dryRun:
		return "would_import"
	}
	return "imported"
}

func runImport(ctx context.Context, env *Env, name string, dryRun, asJSON bool) error {
	data, err := readImport(name)
	if err != nil {
		return err
	}
	return env.withClient(ctx, func(c *bowline.Client) error {
		res, err := c.ImportConfig(ctx, bowline.ImportRequest{Data: data, DryRun: dryRun})
		if err != nil {
			return err
		}
		if asJSON {
			return env.importJSON(res, dryRun)
		}
		return env.showImport(res, name, dryRun)
	})
}

func (env *Env) importJSON(res bowline.ImportResult, dryRun bool) error {
	targets, notes := []jsonImported{}, []jsonImportNote{}
	for _, t := range res.Targets {
		targets = append(targets, jsonImported{Name: t.Name, Status: importStatus(t, dryRun), Line: t.Line, Type: string(t.Kind), Host: t.Host, User: t.User,
			Port: t.Port, KeyFile: t.KeyFile, Profile: t.Profile, Labels: t.Labels, Disabled: t.Disabled})
	}
	for _, n := range res.Notes {
		notes = append(notes, jsonImportNote(n))
	}
	return printJSON(env.Stdout, map[string]any{"schema_version": schemaVersion, "system": res.System, "targets": targets, "stored": res.Stored,
		"default": res.Default, "notes": notes, "omitted_notes": res.Omitted})
}

func (env *Env) showImport(res bowline.ImportResult, name string, dryRun bool) error {
	w := tabwriter.NewWriter(env.Stdout, 0, 4, 2, ' ', 0)
	for _, t := range res.Targets {
		status := map[string]string{"exists": "exists already, not touched", "would_import": "would be imported", "imported": "imported"}[importStatus(t, dryRun)]
		if t.Disabled {
			status += ", disabled"
		}
		where := string(t.Kind)
		if t.Kind == target.SSH {
			where = target.Address{User: t.User, Host: t.Host, Port: t.Port}.String()
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", safe(t.Name), safe(where), status)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, n := range res.Notes {
		place := safe(name)
		if n.Line > 0 {
			place = fmt.Sprintf("%s:%d: %s", safe(name), n.Line, safe(n.Key))
		}
		fmt.Fprintf(env.Stdout, "%s: %s\n", place, safe(n.Text))
	}
	if res.Omitted > 0 {
		fmt.Fprintf(env.Stdout, "and %d notes more\n", res.Omitted)
	}
	switch {
	case dryRun:
		env.say("nothing was changed")
	case res.Stored > 0:
		env.say("%s stored; host keys do not come along: 'bowline target trust NAME' for each", plural(res.Stored, "target"))
	}
	if res.Default != "" {
		env.say("the default was %s; for that type 'bowline target default %s'", res.Default, res.Default)
	}
	return nil
}
