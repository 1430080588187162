package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
)

func newKeysCommand(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use: "keys", Short: "List, make, rotate and retire SSH keys", RunE: noCommand,
		Long: `The keys that log in to targets. A key older than 90 days should be rotated:
'bowline keys rotate -t SELECTOR' gives each target a new one, and takes the old one
out only after the new one has logged in.`,
	}
	cmd.AddCommand(newKeysList(env), newKeysCreate(env), newKeysRotate(env), newKeysRetire(env))
	return cmd
}

const keysListHelp = `List the keys that targets use, with their age. A key that Bowline made says when; of
another, the age is that of its file, and the key may be older (shown as ">"). Targets
that name no key file would be offered what ssh-agent and ssh_config have: those keys
are listed as offered. Nothing is connected to but ssh-agent.`

func newKeysList(env *Env) *cobra.Command {
	var selector string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List keys with their age and their targets", Long: keysListHelp, Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return env.withClient(cmd.Context(), func(c *bowline.Client) error {
				list, err := c.Keys(cmd.Context(), selector)
				if err != nil {
					return err
				}
				return env.showKeys(list, asJSON)
			})
		},
	}
	cmd.Flags().StringVarP(&selector, "target", "t", "", "of these targets (default: all)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON document")
	_ = cmd.RegisterFlagCompletionFunc("target", completeTargets(env)) // the flag was just added
	return cmd
}

type jsonKey struct {
	File        string     `json:"file,omitempty"`
	Type        string     `json:"type,omitempty"`
	Fingerprint string     `json:"fingerprint,omitempty"`
	Comment     string     `json:"comment,omitempty"`
	Encrypted   bool       `json:"encrypted"`
	Agent       bool       `json:"agent"` // only ssh-agent holds the private half
	Since       *time.Time `json:"since,omitempty"`
	AgeFrom     string     `json:"age_from,omitempty"` // "made", or "file": then it may be older
	Old         bool       `json:"old"`
	Targets     []string   `json:"targets"`
	Offered     []string   `json:"offered,omitempty"`
	Problem     string     `json:"problem,omitempty"`
}

func newJSONKey(k bowline.Key) jsonKey {
	j := jsonKey{File: k.File, Type: k.Type, Fingerprint: k.Fingerprint, Comment: k.Comment, Encrypted: k.Encrypted, Agent: k.Agent,
		AgeFrom: k.AgeFrom, Old: k.Old, Targets: nonNil(k.Targets), Offered: k.Offered, Problem: k.Problem}
	if !k.Since.IsZero() {
		j.Since = &k.Since
	}
	return j
}

func (env *Env) showKeys(list []bowline.Key, asJSON bool) error {
	if asJSON {
		docs := make([]jsonKey, len(list))
		for i, k := range list {
			docs[i] = newJSONKey(k)
		}
		return printJSON(env.Stdout, map[string]any{"schema_version": schemaVersion, "keys": docs})
	}
	w := tabwriter.NewWriter(env.Stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "FILE\tTYPE\tFINGERPRINT\tAGE\tTARGETS")
	for _, k := range list {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", safe(keyPlace(k)), safe(k.Type), safe(k.Fingerprint), keyAge(k, time.Now()), safe(keyUsers(k)))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, k := range list {
		if k.Problem != "" {
			env.note("%s", k.Problem)
		}
		if k.Old {
			env.note("%s is older than 90 days", keyPlace(k))
			if len(k.Targets) > 0 {
				env.note("hint: rotate it with 'bowline keys rotate -t %s'", strings.Join(k.Targets, ","))
			}
		}
	}
	return nil
}

func keyPlace(k bowline.Key) string {
	switch {
	case k.File == "" && k.Fingerprint == "":
		return "(unknown)"
	case k.File == "":
		return "(ssh-agent) " + k.Comment
	case k.Agent:
		return k.File + " (in ssh-agent)"
	}
	return k.File
}

// keyAge is an age in days, with a mark where the key may be older.
func keyAge(k bowline.Key, now time.Time) string {
	if k.Since.IsZero() {
		return "unknown"
	}
	days := int(now.Sub(k.Since) / (24 * time.Hour))
	text := fmt.Sprintf("%dd", max(days, 0))
	if k.AgeFrom == bowline.KeyAgeFile {
		text = ">" + text
	}
	if k.Old {
		text += " OLD"
	}
	return text
}

func keyUsers(k bowline.Key) string {
	users := k.Targets
	for _, name := range k.Offered {
		users = append(users[:len(users):len(users)], "("+name+")")
	}
	return abridged(users)
}

const keysCreateHelp = `Make an ed25519 key in OpenSSH's format, readable by you alone, with its public half in
NAME.pub. NAME without a slash is a file in the directory keys beside config.toml;
with one it is a path. An existing file is never replaced.

With --passphrase you are asked for one, on a terminal; there is no way to give it on
the command line. 'ssh-add FILE' then unlocks the key for a session.`

func newKeysCreate(env *Env) *cobra.Command {
	var passphrase, asJSON bool
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Make an ed25519 key", Long: keysCreateHelp, Args: args(cobra.ExactArgs(1)),
		Example: "  bowline keys create deploy\n  bowline keys create --passphrase ~/.ssh/id_web",
		RunE: func(cmd *cobra.Command, a []string) error {
			return env.withClient(cmd.Context(), func(c *bowline.Client) error {
				k, err := c.CreateKey(cmd.Context(), a[0], passphrase)
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(env.Stdout, map[string]any{"schema_version": schemaVersion, "key": newJSONKey(k)})
				}
				fmt.Fprintf(env.Stdout, "%s %s\n", safe(k.File), k.Fingerprint)
				env.say("give it to a target with 'bowline keys rotate -t TARGET --new-key %s'", a[0])
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&passphrase, "passphrase", false, "ask for a passphrase")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON document")
	return cmd
}

// keysFleet are the flags of the verbs that work on targets.
type keysFleet struct {
	bowline.FleetOptions
	target string
	json   bool
}

func (o *keysFleet) flags(cmd *cobra.Command, env *Env, what string) {
	f := cmd.Flags()
	f.StringVarP(&o.target, "target", "t", "", what)
	f.IntVar(&o.Fanout, "fanout", 64, "work on so many targets at a time")
	f.StringVar(&o.Waves, "wave", "", "sizes of waves, as in 1,10%,100%; a failure ends the fleet after its wave")
	f.StringVar(&o.MaxFailures, "max-failures", "", "stop when more targets have failed, as 3 or 10%")
	f.StringVar(&o.Order, "order", "", "order of targets: name or random (default: that of the configuration)")
	f.BoolVar(&o.json, "json", false, "print one JSON document a target, as it ends")
	_ = cmd.RegisterFlagCompletionFunc("target", completeTargets(env)) // the flag was just added
}

const keysRotateHelp = `Give targets new keys. For each: the new key's public half is added to
~/.ssh/authorized_keys of the account, with the options of the line of the key in use;
a new connection logs in with the new key and nothing else; key_file in the
configuration is set to it; and only then the old line is taken out, after which a
last login is made. Whatever fails, the key in use still works, and what was added is
taken back. A rotation that was broken off (kill, power, a link that dropped) goes on
when the same command is given again.

Without --new-key each target gets a key of its own, in the directory keys beside
config.toml. It has a passphrase where the old one has, or where only ssh-agent holds
the old one; you are asked for it once, on a terminal. --new-key FILE.pub takes a key
whose private half is in ssh-agent; the old key stays in the agent, as only its owner
can take it out ('ssh-add -d FILE').

The old line stays with --keep-old, and where another target logs in to the same
account with the old key. Rotation is refused where the key in use has no line in
~/.ssh/authorized_keys (AuthorizedKeysFile of sshd, AuthorizedKeysCommand,
certificates), and where that file is a symbolic link or not the account's own.

Exit codes: 0 every target has a new key, 1 failure (of several targets: of any), 2
wrong usage, 10 unreachable, 11 host key not trusted, 12 the new key was not accepted,
or rotation was refused, 13 conflict.`

func newKeysRotate(env *Env) *cobra.Command {
	var opts keysFleet
	var req bowline.KeyRotation
	var passphrase, none bool
	cmd := &cobra.Command{
		Use: "rotate -t SELECTOR", Short: "Give targets new keys, proven before the old ones go", Long: keysRotateHelp, Args: args(cobra.NoArgs),
		Example: "  bowline keys rotate -t web1\n  bowline keys rotate -t env=prod --wave 1,10%,100%\n  bowline keys rotate -t web1 --new-key deploy --keep-old",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if opts.target == "" {
				return diag.New(diag.Usage, "rotate keys", "as in 'bowline keys rotate -t web1'", "name the targets with -t")
			}
			switch {
			case passphrase && none:
				return diag.New(diag.Usage, "rotate keys", "", "--passphrase and --no-passphrase contradict each other")
			case passphrase:
				req.Passphrase = bowline.PassphraseAsk
			case none:
				req.Passphrase = bowline.PassphraseNone
			}
			return runKeysRotate(cmd.Context(), env, opts, req)
		},
	}
	opts.flags(cmd, env, "targets whose keys are rotated")
	f := cmd.Flags()
	f.StringVar(&req.NewKey, "new-key", "", "use this key for all targets: a file, or a name from 'bowline keys create'")
	f.BoolVar(&req.KeepOld, "keep-old", false, "leave the old line on the targets")
	f.BoolVar(&passphrase, "passphrase", false, "ask for a passphrase for the new keys")
	f.BoolVar(&none, "no-passphrase", false, "make keys without passphrase, also where the old one has one")
	return cmd
}

type jsonRotated struct {
	SchemaVersion int           `json:"schema_version"`
	Target        string        `json:"target"`
	Class         bowline.Class `json:"class"`
	OldKey        string        `json:"old_key,omitempty"`
	NewKey        string        `json:"new_key,omitempty"`
	NewFile       string        `json:"new_file,omitempty"`
	Resumed       bool          `json:"resumed"`
	KeptOld       bool          `json:"kept_old"`
	Notes         []string      `json:"notes,omitempty"`
	AuditID       string        `json:"audit_id"`
	Error         *jsonError    `json:"error,omitempty"`
}

func runKeysRotate(ctx context.Context, env *Env, opts keysFleet, req bowline.KeyRotation) error {
	if env.verbose {
		req.Progress = func(target, step string) { env.note("%s: %s", target, step) }
	}
	return env.onKeys(ctx, opts, func(c *bowline.Client, names []string, end func(target string, err error, doc any, text string)) (bowline.FleetReport, error) {
		return c.RotateKeys(ctx, names, req, opts.FleetOptions, func(r bowline.RotatedKey) {
			text := fmt.Sprintf("new key %s in %s", r.New, r.NewFile)
			if r.Resumed {
				text += ", finished what was broken off"
			}
			for _, n := range r.Notes {
				text += "; " + n
			}
			end(r.Target, r.Err, jsonRotated{schemaVersion, r.Target, r.Class, r.Old, r.New, r.NewFile, r.Resumed, r.KeptOld, r.Notes, r.AuditID, newJSONError(r.Err)}, skippedOr(r.Class, text))
		})
	})
}

const keysRetireHelp = `Take a key out of ~/.ssh/authorized_keys of targets. KEY is its file, a name from
'bowline keys create', or its fingerprint as 'bowline keys list' shows it. The key file
on this machine stays.

It is refused where the key is in use: it has just logged in, or the configuration
names it for a target of the same account; and where no key but a password logged in.
After it is gone a new connection must log in, or the line is put back.

Exit codes: 0 the key is in none of the accounts, 1 failure (of several targets: of
any), 2 wrong usage, 10 unreachable, 11 host key not trusted, 12 refused, 13 conflict.`

func newKeysRetire(env *Env) *cobra.Command {
	var opts keysFleet
	cmd := &cobra.Command{
		Use: "retire KEY", Short: "Take an old key out of the accounts of targets", Long: keysRetireHelp, Args: args(cobra.ExactArgs(1)),
		Example: "  bowline keys retire ~/.ssh/id_rsa -t env=prod\n  bowline keys retire SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU",
		RunE: func(cmd *cobra.Command, a []string) error {
			ctx := cmd.Context()
			return env.onKeys(ctx, opts, func(c *bowline.Client, names []string, end func(string, error, any, string)) (bowline.FleetReport, error) {
				return c.RetireKey(ctx, a[0], names, opts.FleetOptions, func(r bowline.RetiredKey) {
					text := "the key was not there"
					if r.Lines > 0 {
						text = "took out " + plural(r.Lines, "line")
					}
					end(r.Target, r.Err, map[string]any{"schema_version": schemaVersion, "target": r.Target, "class": r.Class, "key": r.Key, "lines": r.Lines,
						"audit_id": r.AuditID, "error": newJSONError(r.Err)}, skippedOr(r.Class, text))
				})
			})
		},
	}
	opts.flags(cmd, env, "targets (default: all of type ssh)")
	return cmd
}

func skippedOr(class bowline.Class, text string) string {
	if class == bowline.ClassSkipped {
		return "skipped"
	}
	return text
}

// onKeys does work on the targets of opts and shows what came of each.
func (env *Env) onKeys(ctx context.Context, opts keysFleet, work func(c *bowline.Client, names []string, end func(target string, err error, doc any, text string)) (bowline.FleetReport, error)) error {
	return env.withClient(ctx, func(c *bowline.Client) error {
		names, err := c.SSHTargets(opts.target)
		if err != nil {
			return err
		}
		var failed, shown error
		report, err := work(c, names, func(target string, err error, doc any, text string) {
			switch {
			case opts.json:
				shown = errors.Join(shown, printJSON(env.Stdout, doc))
			case err != nil && len(names) > 1:
				env.printError(fmt.Errorf("%s: %w", target, err))
			case err == nil:
				fmt.Fprintf(env.Stdout, "%s: %s\n", safe(target), safe(text))
			}
			failed = err
		})
		switch {
		case err != nil || shown != nil:
			return errors.Join(err, shown)
		case len(names) == 1 && failed != nil:
			return failed
		case len(names) > 1 && !opts.json:
			env.showEnded(report)
		}
		if !report.OK() {
			return &commandExit{code: 1}
		}
		return nil
	})
}
