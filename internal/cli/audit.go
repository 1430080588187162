package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/neutral"
)

func newAuditCommand(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "List, follow, verify and export the audit log",
		Long: `Every action is recorded twice: the intent, on disk before anything happens, and
the outcome. If the intent cannot be written, nothing is done. The entries form a
hash chain; 'bowline audit verify' finds any edit, drop, reorder or truncation.
Secrets are masked.`,
		RunE: noCommand,
	}
	cmd.AddCommand(newAuditList(env), newAuditShow(env), newAuditTail(env), newAuditVerify(env), newAuditExport(env))
	return cmd
}

type auditOptions struct {
	since, until               string
	verb, target, user, status string
	event, id                  string
	limit                      int
	asJSON, oldestFirst        bool
}

func (o *auditOptions) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.since, "since", "", "from this time on: RFC 3339, a date, or an age such as 2h or 7d")
	f.StringVar(&o.until, "until", "", "before this time")
	f.StringVar(&o.verb, "verb", "", "only this verb, as in run or target.add")
	f.StringVarP(&o.target, "target", "t", "", "only this target")
	f.StringVar(&o.user, "user", "", "only what this login did")
	f.StringVar(&o.status, "status", "", "only outcomes with this status: ok, failed, refused or error")
	f.StringVar(&o.id, "id", "", "only the action with this id")
}

// now is for ages; the only clock of this package.
func (o auditOptions) query(now time.Time) (bowline.AuditQuery, error) {
	since, err := parseTime(o.since, now)
	if err != nil {
		return bowline.AuditQuery{}, diag.New(diag.Usage, "read --since", "", "%w", err)
	}
	until, err := parseTime(o.until, now)
	if err != nil {
		return bowline.AuditQuery{}, diag.New(diag.Usage, "read --until", "", "%w", err)
	}
	switch o.status {
	case "", "ok", "failed", "refused", "error":
	default:
		return bowline.AuditQuery{}, diag.New(diag.Usage, "read --status", "", "%q: use ok, failed, refused or error", o.status)
	}
	if o.limit < 0 {
		return bowline.AuditQuery{}, diag.New(diag.Usage, "read --limit", "", "%d: must not be negative", o.limit)
	}
	return bowline.AuditQuery{Since: since, Until: until, Verb: o.verb, Target: o.target, User: o.user, Status: o.status, Event: o.event,
		ID: o.id, Limit: o.limit, OldestFirst: o.oldestFirst}, nil
}

// parseTime reads a time, or an age counted back from now.
func parseTime(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return t, nil
		}
	}
	age := s
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.Atoi(days); err == nil && n >= 0 && n < 100000 {
			return now.AddDate(0, 0, -n), nil
		}
	}
	d, err := time.ParseDuration(age)
	if err != nil || d < 0 {
		return time.Time{}, fmt.Errorf("%q is not a time; write it as 2026-11-21, 2026-11-21T10:00:00Z, 2h or 7d", s)
	}
	return now.Add(-d), nil
}

func newAuditList(env *Env) *cobra.Command {
	var opts auditOptions
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List entries, newest first", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			q, err := opts.query(time.Now())
			if err != nil {
				return err
			}
			return env.withClient(cmd.Context(), func(c *bowline.Client) error {
				return listAudit(cmd.Context(), env, c, q, opts.asJSON)
			})
		},
	}
	opts.flags(cmd)
	cmd.Flags().IntVar(&opts.limit, "limit", 20, "at most this many; 0 for all")
	cmd.Flags().BoolVar(&opts.oldestFirst, "oldest-first", false, "oldest first")
	cmd.Flags().BoolVar(&opts.asJSON, "json", false, "print one JSON document")
	return cmd
}

// jsonEntry is an entry as JSON.
type jsonEntry struct {
	Seq        uint64    `json:"seq"`
	Time       time.Time `json:"time"`
	ID         string    `json:"id"`
	Event      string    `json:"event"`
	Verb       string    `json:"verb"`
	User       string    `json:"user"`
	Surface    string    `json:"surface"`
	Client     string    `json:"client,omitempty"`
	Session    string    `json:"session,omitempty"`
	Target     string    `json:"target,omitempty"`
	Address    string    `json:"address,omitempty"`
	Login      string    `json:"login,omitempty"`
	HostKey    string    `json:"host_key,omitempty"`
	Profile    string    `json:"profile,omitempty"`
	Argv       []string  `json:"argv,omitempty"`
	Text       string    `json:"text,omitempty"`
	Status     string    `json:"status,omitempty"`
	Kind       diag.Kind `json:"kind,omitempty"`
	ExitCode   *int      `json:"exit_code,omitempty"`
	DurationMS int64     `json:"duration_ms,omitempty"`
	Error      string    `json:"error,omitempty"`
}

func newJSONEntry(e bowline.AuditEntry) jsonEntry {
	return jsonEntry{Seq: e.Seq, Time: e.Time, ID: e.ID, Event: e.Event, Verb: e.Verb, User: e.User, Surface: e.Surface, Client: e.Client, Session: e.Session, Target: e.Target,
		Address: e.Address, Login: e.Login, HostKey: e.HostKey, Profile: e.Profile, Argv: e.Argv, Text: e.Text, Status: e.Status, Kind: e.Kind,
		ExitCode: e.Exit, DurationMS: e.Elapsed.Milliseconds(), Error: e.Error}
}

func listAudit(ctx context.Context, env *Env, c *bowline.Client, q bowline.AuditQuery, asJSON bool) error {
	docs := []jsonEntry{}
	w := tabwriter.NewWriter(env.Stdout, 0, 4, 2, ' ', 0)
	if !asJSON {
		fmt.Fprintln(w, "SEQ\tTIME\tEVENT\tVERB\tTARGET\tWHAT")
	}
	var damaged error
	for e, err := range c.Audit(ctx, q) {
		if err != nil {
			damaged = diag.New(diag.Failure, "read audit log", "see 'bowline audit verify'", "%w", err)
			continue
		}
		if asJSON {
			docs = append(docs, newJSONEntry(e))
			continue
		}
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%s\n", e.Seq, e.Time.Local().Format(time.DateTime), e.Event, safe(e.Verb), safe(orDash(e.Target)), safe(what(e)))
	}
	if asJSON {
		return errors.Join(printJSON(env.Stdout, map[string]any{"schema_version": schemaVersion, "entries": docs}), damaged)
	}
	return errors.Join(w.Flush(), damaged)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// what sums an entry up in a few words.
func what(e bowline.AuditEntry) string {
	var out []string
	switch {
	case e.Event == "intent" && len(e.Argv) > 0:
		out = append(out, quoteArgs(e.Argv))
	case e.Status != "":
		out = append(out, e.Status)
		if e.Exit != nil && *e.Exit != 0 {
			out = append(out, fmt.Sprintf("exit code %d", *e.Exit))
		}
		if e.Error != "" {
			out = append(out, e.Error)
		}
	}
	if e.Text != "" {
		out = append(out, e.Text)
	}
	if e.Session != "" && e.Event == "intent" {
		out = append(out, e.Session)
	}
	text := strings.Join(out, ": ")
	if runes := []rune(text); len(runes) > 100 {
		text = string(runes[:100]) + "..."
	}
	return text
}

// quoteArgs shows an argument vector so that its parts can be told apart.
func quoteArgs(argv []string) string {
	out := make([]string, len(argv))
	for i, a := range argv {
		out[i] = a
		if a == "" || strings.ContainsAny(a, " \t\n'\"\\$`;&|<>*?") {
			out[i] = strconv.Quote(a)
		}
	}
	return strings.Join(out, " ")
}

func newAuditShow(env *Env) *cobra.Command {
	return &cobra.Command{
		Use: "show ID", Short: "Show the stored entries of one action", Args: args(cobra.ExactArgs(1)),
		Long: `Print the stored lines of one action, byte for byte: intent, notes and outcome. The
last member of each, "hash", is the SHA-256 of the line before it.`,
		RunE: func(cmd *cobra.Command, a []string) error {
			return env.withClient(cmd.Context(), func(c *bowline.Client) error {
				found := false
				for e, err := range c.Audit(cmd.Context(), bowline.AuditQuery{ID: a[0], OldestFirst: true}) {
					if err != nil {
						return diag.New(diag.Failure, "read audit log", "see 'bowline audit verify'", "%w", err)
					}
					found = true
					if _, err := fmt.Fprintf(env.Stdout, "%s\n", e.Raw); err != nil {
						return err
					}
				}
				if !found {
					return diag.New(diag.Usage, "show audit entry", "see 'bowline audit list'", "there is no action with the id %q", a[0])
				}
				return nil
			})
		},
	}
}

func newAuditTail(env *Env) *cobra.Command {
	var n int
	var follow, asJSON bool
	cmd := &cobra.Command{
		Use: "tail", Short: "Show the last entries, and with -f those that come", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if n < 0 {
				return diag.New(diag.Usage, "read -n", "", "%d: must not be negative", n)
			}
			return env.withClient(cmd.Context(), func(c *bowline.Client) error {
				err := c.TailAudit(cmd.Context(), n, follow, func(e bowline.AuditEntry) error {
					if asJSON {
						return printJSON(env.Stdout, struct {
							SchemaVersion int `json:"schema_version"`
							jsonEntry
						}{schemaVersion, newJSONEntry(e)})
					}
					_, err := fmt.Fprintf(env.Stdout, "%d  %s  %-7s  %s  %s  %s\n", e.Seq, e.Time.Local().Format(time.DateTime), e.Event, safe(e.Verb), safe(orDash(e.Target)), safe(what(e)))
					return err
				})
				if follow && errors.Is(err, context.Canceled) {
					return nil // Ctrl-C is how following ends
				}
				return err
			})
		},
	}
	cmd.Flags().IntVarP(&n, "lines", "n", 10, "how many")
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with new entries until Ctrl-C")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON document an entry")
	return cmd
}

func newAuditVerify(env *Env) *cobra.Command {
	var asJSON, all bool
	var selector string
	cmd := &cobra.Command{
		Use: "verify", Short: "Check the whole log, and name the first bad entry", Args: args(cobra.NoArgs),
		Long: `Check every entry, the hash chain, and the head that is kept apart from the log.

With --all, check the logs of all machines that share the store: their copies there, what
the machines have signed about each other's, and this machine's log against both.

With -t, ask targets too: each plan and apply leaves there, signed, where the log of the
machine stood. A log that was cut with all its copies is found by a target. One that sends
what nobody signed, or cannot be asked, is named; it says nothing about the logs.

Exit codes: 0 intact, 1 not intact, or it could not be read, 14 intact as far as it was
seen, but some target lied or could not be asked.`,
		Example: "  bowline audit verify\n  bowline audit verify --all -t env=prod",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return env.withClient(cmd.Context(), func(c *bowline.Client) error {
				names, err := selectedNames(cmd.Context(), c, selector)
				if err != nil {
					return err
				}
				if all {
					return env.verifyAll(cmd.Context(), c, names, asJSON)
				}
				return env.verifyOne(cmd.Context(), c, names, asJSON)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON document")
	cmd.Flags().BoolVar(&all, "all", false, "the logs of all machines that share the store")
	cmd.Flags().StringVarP(&selector, "target", "t", "", "ask these targets what they hold of the logs")
	return cmd
}

// selectedNames are the targets that a selector means, none for "".
func selectedNames(ctx context.Context, c *bowline.Client, selector string) ([]string, error) {
	if selector == "" {
		return nil, nil
	}
	list, err := c.Targets(ctx, selector)
	names := make([]string, len(list))
	for i, t := range list {
		names[i] = t.Name
	}
	return names, err
}

// verifyOne checks the log of this machine, and what targets hold of it.
func (env *Env) verifyOne(ctx context.Context, c *bowline.Client, targets []string, asJSON bool) error {
	// What vouches is read before what it vouches for.
	held, problems, err := c.VerifyAuditOn(ctx, targets)
	if err != nil {
		return err
	}
	r, err := c.VerifyAudit(ctx)
	if err != nil {
		return err
	}
	if len(problems) > 0 && r.OK {
		r.OK, r.Problem = false, strings.Join(problems, "; ")
	}
	if err := env.showVerdict(r, held, asJSON); err != nil {
		return err
	}
	return unsound(held)
}

// jsonHeld is what one target bears witness to as JSON.
type jsonHeld struct {
	Target  string   `json:"target"`
	Holds   int      `json:"holds"`
	Against int      `json:"against"`
	Bad     int      `json:"bad"`
	Unknown []string `json:"unknown"`
	Error   string   `json:"error,omitempty"`
}

func jsonHeldOf(list []bowline.AuditTarget) []jsonHeld {
	out := []jsonHeld{}
	for _, t := range list {
		x := jsonHeld{Target: t.Target, Holds: t.Holds, Against: t.Against, Bad: t.Bad, Unknown: nonNil(t.Unknown)}
		if t.Err != nil {
			x.Error = t.Err.Error()
		}
		out = append(out, x)
	}
	return out
}

// showHeld prints a line for each target.
func (env *Env) showHeld(list []bowline.AuditTarget) {
	for _, t := range list {
		var words []string
		switch {
		case t.Err != nil:
			words = append(words, "could not be asked: "+t.Err.Error())
		case t.Holds+t.Against+t.Bad+len(t.Unknown) == 0:
			words = append(words, "holds nothing")
		default:
			words = append(words, fmt.Sprintf("heads that hold: %d", t.Holds))
		}
		if t.Against > 0 {
			words = append(words, fmt.Sprintf("that show something missing: %d", t.Against))
		}
		if t.Bad > 0 {
			words = append(words, fmt.Sprintf("forged: %d, do not trust this target", t.Bad))
		}
		for _, u := range t.Unknown {
			words = append(words, "one of a log not known here, "+u)
		}
		fmt.Fprintf(env.Stdout, "%s: %s\n", safe(t.Target), neutral.Text(strings.Join(words, "; ")))
	}
}

// unsound is the error for targets that lied or could not be asked.
func unsound(list []bowline.AuditTarget) error {
	var names []string
	for _, t := range list {
		if !t.Sound() {
			names = append(names, t.Target)
		}
	}
	if len(names) == 0 {
		return nil
	}
	return diag.New(diag.Partial, "verify audit logs", "see 'bowline doctor "+names[0]+"'", "the logs are intact as far as was seen, but these targets bear no witness: %s", strings.Join(names, ", "))
}

// jsonChain is the log of one machine as JSON.
type jsonChain struct {
	ID      string `json:"id"`
	Host    string `json:"host"`
	Entries uint64 `json:"entries"`
	Signers int    `json:"signers"`
}

func (env *Env) verifyAll(ctx context.Context, c *bowline.Client, targets []string, asJSON bool) error {
	r, err := c.VerifyAuditAll(ctx, targets...)
	if err != nil {
		return err
	}
	if asJSON {
		chains := []jsonChain{}
		for _, x := range r.Chains {
			chains = append(chains, jsonChain(x))
		}
		err = printJSON(env.Stdout, map[string]any{"schema_version": 1, "ok": r.OK, "chains": chains, "statements": r.Statements, "targets": jsonHeldOf(r.Targets), "problems": append([]string{}, r.Problems...)})
	} else {
		for _, x := range r.Chains {
			fmt.Fprintf(env.Stdout, "%s  %s: %d entries, vouched for by %d machines\n", x.ID, neutral.Text(x.Host), x.Entries, x.Signers)
		}
		env.showHeld(r.Targets)
		for _, p := range r.Problems {
			fmt.Fprintf(env.Stdout, "%s\n", neutral.Text(p))
		}
		_, err = fmt.Fprintf(env.Stdout, "%d statements hold\n", r.Statements)
		if len(r.Chains) == 0 {
			env.note("no server shares this store so far; 'bowline audit verify' checks this machine's log")
		}
	}
	if err == nil && !r.OK {
		err = diag.New(diag.Failure, "verify audit logs", "keep what each place has before anything else is written: 'bowline audit export', 'bowline store backup FILE'", "they are not intact")
	}
	if err == nil {
		err = unsound(r.Targets)
	}
	return err
}

func (env *Env) showVerdict(r bowline.AuditReport, held []bowline.AuditTarget, asJSON bool) error {
	if asJSON {
		err := printJSON(env.Stdout, map[string]any{"schema_version": schemaVersion, "ok": r.OK, "entries": r.Entries, "segments": r.Segments,
			"last": r.Last, "problem": r.Problem, "notes": nonNil(r.Notes), "targets": jsonHeldOf(held)})
		if err == nil && !r.OK {
			err = &commandExit{code: 1}
		}
		return err
	}
	for _, n := range r.Notes {
		env.note("%s", n)
	}
	env.showHeld(held)
	if !r.OK {
		return diag.New(diag.Failure, "verify audit log", "keep a copy of the log before anything else writes to it, then compare with an export or a backup",
			"NOT INTACT after %d good entries: %s", r.Entries, r.Problem)
	}
	_, err := fmt.Fprintf(env.Stdout, "intact: %d entries, head %s\n", r.Entries, r.Last)
	return err
}

func newAuditExport(env *Env) *cobra.Command {
	var opts auditOptions
	var format, output string
	cmd := &cobra.Command{
		Use: "export", Short: "Write entries to a file or standard output", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			opts.oldestFirst = true
			q, err := opts.query(time.Now())
			if err != nil {
				return err
			}
			return env.withClient(cmd.Context(), func(c *bowline.Client) error {
				if output == "" || output == "-" {
					return c.ExportAudit(cmd.Context(), env.Stdout, q, format)
				}
				return exportFile(output, func(w io.Writer) error { return c.ExportAudit(cmd.Context(), w, q, format) })
			})
		},
	}
	opts.flags(cmd)
	cmd.Flags().StringVar(&format, "format", "jsonl", "jsonl (the stored lines) or csv")
	cmd.Flags().StringVarP(&output, "output", "o", "", "write to this new file")
	return cmd
}

// exportFile writes a file that must not exist: an export is evidence.
func exportFile(name string, write func(io.Writer) error) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return diag.New(diag.Usage, "export audit log", "choose a file that does not exist", "%w", err)
	}
	err = errors.Join(write(f), f.Sync(), f.Close())
	if err != nil {
		err = errors.Join(err, os.Remove(name))
	}
	return err
}
