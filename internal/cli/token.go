package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
)

func newTokenCommand(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use: "token", Short: "Let programs and people in at 'bowline serve'", RunE: noCommand,
		Long: `Tokens are shown once and stored as a hash. Each has scopes, and may be bound to targets
and profiles:

  read     see targets, sessions, plans and the audit log
  run      run commands in the sandbox
  plan     propose changes
  approve  approve and reject
  apply    apply what was approved, roll back; copy files, use boxes
  admin    make tokens, freeze targets, and all of the above
  host     be the link of a target of kind https to this machine: what an SSH login is

One token never holds both plan and approve, unless --both says so.`,
	}
	cmd.AddCommand(newTokenCreate(env), newTokenList(env), newTokenRevoke(env))
	return cmd
}

func newTokenCreate(env *Env) *cobra.Command {
	var req bowline.TokenRequest
	var expires string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "create --name NAME --scope SCOPES", Short: "Make a token and print it, once", Args: args(cobra.NoArgs),
		Example: "  bowline token create --name ann --scope read,approve,apply\n  bowline token create --name ci --scope read,plan --targets env=prod --expires 7d",
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if req.Expires, err = parseDays(expires); err != nil {
				return diag.New(diag.Usage, "create token", "as in --expires 12h or --expires 30d", "%w", err)
			}
			return env.withClient(cmd.Context(), func(c *bowline.Client) error { return env.createToken(cmd.Context(), c, req, asJSON) })
		},
	}
	f := cmd.Flags()
	f.StringVar(&req.Name, "name", "", "what it is for")
	f.StringVar(&req.Scopes, "scope", "", "scopes, joined by commas")
	f.StringVar(&req.User, "user", "", "who acts with it; default is you")
	f.StringVar(&req.Targets, "targets", "", "selector of the targets it may name; default all")
	f.StringArrayVarP(&req.Profiles, "profile", "p", nil, "profile it may use; may be repeated; default all")
	f.StringVar(&expires, "expires", "30d", "how long it lives, a year at most")
	f.BoolVar(&req.Both, "both", false, "let one token propose and approve")
	f.BoolVar(&asJSON, "json", false, "print one JSON document")
	return cmd
}

// parseDays reads a duration of hours and less, or days as in "30d".
func parseDays(text string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return 0, fmt.Errorf("%q is no number of days", text)
		}
		return time.Duration(n) * 24 * time.Hour, nil
	}
	return time.ParseDuration(text)
}

func (env *Env) createToken(ctx context.Context, c *bowline.Client, req bowline.TokenRequest, asJSON bool) error {
	t, secret, err := c.CreateToken(ctx, req)
	if err != nil {
		return err
	}
	if asJSON {
		doc := newJSONToken(t)
		doc.SchemaVersion, doc.Secret = schemaVersion, secret
		return printJSON(env.Stdout, doc)
	}
	fmt.Fprintln(env.Stdout, secret)
	env.note("token %s (%s) of %s, until %s; it is not shown again", t.ID, t.Scopes, t.User, t.Expires.Local().Format(time.DateTime))
	return nil
}

type jsonToken struct {
	SchemaVersion int        `json:"schema_version,omitempty"`
	ID            string     `json:"id"`
	Name          string     `json:"name"`
	User          string     `json:"user"`
	Scopes        string     `json:"scopes"`
	Targets       string     `json:"targets,omitempty"`
	Profiles      []string   `json:"profiles,omitempty"`
	Maker         string     `json:"maker"`
	Created       time.Time  `json:"created"`
	Expires       time.Time  `json:"expires"`
	Revoked       *time.Time `json:"revoked,omitempty"`
	Used          *time.Time `json:"used,omitempty"`
	Secret        string     `json:"secret,omitempty"`
}

func newJSONToken(t bowline.Token) jsonToken {
	doc := jsonToken{ID: t.ID, Name: t.Name, User: t.User, Scopes: t.Scopes.String(), Targets: t.Targets, Profiles: t.Profiles, Maker: t.Maker, Created: t.Created, Expires: t.Expires}
	if !t.Revoked.IsZero() {
		doc.Revoked = &t.Revoked
	}
	if !t.Used.IsZero() {
		doc.Used = &t.Used
	}
	return doc
}

func newTokenList(env *Env) *cobra.Command {
	var asJSON, all bool
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List tokens, newest first", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return env.withClient(cmd.Context(), func(c *bowline.Client) error {
				list, err := c.Tokens(cmd.Context())
				if err != nil {
					return err
				}
				return env.listTokens(list, all, asJSON)
			})
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "also those that expired or were revoked")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON document")
	return cmd
}

func (env *Env) listTokens(list []bowline.Token, all, asJSON bool) error {
	docs := []jsonToken{}
	w := tabwriter.NewWriter(env.Stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tNAME\tUSER\tSCOPES\tTARGETS\tEXPIRES\tUSED")
	for _, t := range list {
		state := t.Expires.Local().Format(time.DateTime)
		if !t.Revoked.IsZero() {
			state = "revoked"
		} else if t.Expires.Before(time.Now()) {
			state = "expired"
		}
		if !all && (state == "revoked" || state == "expired") {
			continue
		}
		used := "never"
		if !t.Used.IsZero() {
			used = t.Used.Local().Format(time.DateTime)
		}
		targets := "all"
		if t.Targets != "" {
			targets = t.Targets
		}
		docs = append(docs, newJSONToken(t))
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", t.ID, safe(t.Name), safe(t.User), t.Scopes, safe(targets), state, used)
	}
	if asJSON {
		return printJSON(env.Stdout, map[string]any{"schema_version": schemaVersion, "tokens": docs})
	}
	return w.Flush()
}

func newTokenRevoke(env *Env) *cobra.Command {
	return &cobra.Command{
		Use: "revoke ID...", Short: "End tokens at once, for every process that serves", Args: args(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, ids []string) error {
			return env.withClient(cmd.Context(), func(c *bowline.Client) error {
				for _, id := range ids {
					if err := c.RevokeToken(cmd.Context(), id); err != nil {
						return err
					}
					env.note("token %s is revoked", safe(id))
				}
				return nil
			})
		},
	}
}
