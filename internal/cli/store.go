package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
)

const storeHelp = `The store holds sessions, decisions, tokens and the record of work. It is a file of this
machine, or a PostgreSQL database that several machines share: 'store' in config.toml or
--store says which, as sqlite:PATH or postgres://USER@HOST/NAME. A password is best kept
out of both, in PGPASSFILE.`

type storeOptions struct {
	store  string
	asJSON bool
}

func newStoreCommand(env *Env) *cobra.Command {
	cmd := &cobra.Command{Use: "store", Short: "Back up, restore, migrate and copy the store", Long: storeHelp, RunE: noCommand}
	cmd.AddCommand(newStoreBackup(env), newStoreRestore(env), newStoreMigrate(env), newStoreCopy(env))
	return cmd
}

func (o *storeOptions) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.store, "store", "", "sqlite:PATH or postgres://USER@HOST/NAME; default from config.toml")
	o.jsonFlag(cmd)
}

func (o *storeOptions) jsonFlag(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&o.asJSON, "json", false, "print one JSON document")
}

func newStoreBackup(env *Env) *cobra.Command {
	var o storeOptions
	cmd := &cobra.Command{
		Use: "backup FILE", Short: "Write the store to one file",
		Long: `Write everything that the store keeps, as it is at one moment, to a new FILE that only
you can read. Servers go on meanwhile. The file states its SHA-256. The audit log is not
in it: it is files of its own.`,
		Example: "  bowline store backup bowline-2026-11-21.jsonl",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			return env.withStore(cmd.Context(), o.store, func(c *bowline.Client) error {
				done, err := backup(cmd.Context(), c, a[0])
				if err != nil {
					return err
				}
				return env.storeDone("backup", done, o.asJSON)
			})
		},
	}
	o.flags(cmd)
	return cmd
}

// backup writes beside the file and renames: under its name it is whole.
func backup(ctx context.Context, c *bowline.Client, name string) (done bowline.StoreSummary, err error) {
	if _, err := os.Lstat(name); err == nil {
		return done, diag.New(diag.Usage, "back up store", "name a new file", "%s is there already", name)
	}
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-") // 0600
	if err != nil {
		return done, diag.New(diag.Usage, "back up store", "name a file in a directory that exists and that you can write to", "%w", err)
	}
	done, err = c.BackupStore(ctx, f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Link(f.Name(), name) // unlike rename, over nothing that came meanwhile
	}
	return done, errors.Join(err, os.Remove(f.Name()))
}

func newStoreRestore(env *Env) *cobra.Command {
	var o storeOptions
	cmd := &cobra.Command{
		Use: "restore FILE", Short: "Fill an empty store from a backup",
		Long: `Fill the store from a backup, of whatever kind either is. The store must be empty, and
the backup must have the SHA-256 that it states; else nothing is written.

Exit codes: 0 restored, 11 the backup is not as it was written, 13 the store is not empty.`,
		Example: "  bowline store restore --store postgres://bowline@db1/bowline bowline-2026-11-21.jsonl",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			f, err := os.Open(a[0])
			if err != nil {
				return diag.New(diag.Usage, "restore store", "", "%w", err)
			}
			defer f.Close()
			return env.withStore(cmd.Context(), o.store, func(c *bowline.Client) error {
				done, err := c.RestoreStore(cmd.Context(), f)
				if err != nil {
					return err
				}
				return env.storeDone("restored", done, o.asJSON)
			})
		},
	}
	o.flags(cmd)
	return cmd
}

func newStoreMigrate(env *Env) *cobra.Command {
	var o storeOptions
	cmd := &cobra.Command{
		Use: "migrate", Short: "Bring the store to the version of this program",
		Long: `Bring the tables of the store to the version of this program, and say which that is. Every
command that needs the store does the same; this one is for doing it before the servers
of a new version start. A store that a newer program made is refused and left alone.`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return env.withStore(cmd.Context(), o.store, func(c *bowline.Client) error {
				v, err := c.StoreVersion(cmd.Context())
				if err != nil {
					return err
				}
				if o.asJSON {
					return printJSON(env.Stdout, map[string]any{"schema_version": 1, "version": v})
				}
				_, err = fmt.Fprintf(env.Stdout, "version %d\n", v)
				return err
			})
		},
	}
	o.flags(cmd)
	return cmd
}

func newStoreCopy(env *Env) *cobra.Command {
	var o storeOptions
	cmd := &cobra.Command{
		Use: "copy FROM TO", Short: "Copy one store into an empty one",
		Long: `Copy everything from one store into another, which must be empty: from the file of one
machine to the database of a team, for example. Stop what uses FROM before, or it goes
on without what is changed there afterwards.`,
		Example: "  bowline store copy sqlite:$HOME/.local/state/bowline/bowline.db postgres://bowline@db1/bowline",
		Args:    args(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, a []string) error {
			return env.withStore(cmd.Context(), "", func(c *bowline.Client) error {
				done, err := c.CopyStore(cmd.Context(), a[0], a[1])
				if err != nil {
					return err
				}
				return env.storeDone("copied", done, o.asJSON)
			})
		},
	}
	o.jsonFlag(cmd)
	return cmd
}

func (env *Env) withStore(ctx context.Context, store string, f func(*bowline.Client) error) error {
	c, err := bowline.Open(ctx, bowline.Config{Surface: "cli", Store: store})
	if err != nil {
		return err
	}
	return errors.Join(f(c), c.Close())
}

func (env *Env) storeDone(what string, done bowline.StoreSummary, asJSON bool) error {
	if asJSON {
		return printJSON(env.Stdout, map[string]any{"schema_version": 1, "rows": done.Rows, "digest": done.Digest})
	}
	_, err := fmt.Fprintf(env.Stdout, "%s %d rows, %s\n", what, done.Rows, done.Digest)
	return err
}
