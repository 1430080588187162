package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/target"
)

func newTargetCommand(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "target",
		Aliases: []string{"remote"},
		Short:   "Add, list, test and trust targets",
		Long: `A target is a named host and account on which Bowline may act, with its pinned
host key. Targets are kept in config.toml; 'bowline config path' says where.`,
		RunE: noCommand,
	}
	cmd.AddCommand(newTargetAdd(env), newTargetList(env), newTargetShow(env), newTargetTest(env), newRequireSignature(env),
		newTargetTrust(env), newTargetRemove(env), newTargetDefault(env))
	return cmd
}

type addOptions struct {
	host, user, key, fingerprint, profile, become, jump, kind, token string
	port                                                             int
	labels                                                           []string
	yes, makeDefault                                                 bool
}

const addHelp = `Add a target. Bowline connects once to fetch the host key, shows its type and
fingerprint, and asks whether it is the right one; --fingerprint answers instead.
Get the fingerprint from the host itself or its administrator:

  ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub

HOST may be an alias of your ssh_config. An IPv6 address with a port is written
[2001:db8::1]:22. Nothing is stored unless the key is accepted.

Exit codes: 0 added, 2 wrong usage, 10 unreachable, 11 host key not accepted.`

func newTargetAdd(env *Env) *cobra.Command {
	var opts addOptions
	cmd := &cobra.Command{
		Use:     "add NAME [USER@]HOST[:PORT]",
		Short:   "Add a target after checking its host key",
		Long:    addHelp,
		Example: "  bowline target add web1 deploy@web1.example.com\n  bowline target add db1 root@[2001:db8::1]:2222 --fingerprint SHA256:... --label env=prod",
		Args:    args(cobra.RangeArgs(1, 2)),
		RunE: func(cmd *cobra.Command, a []string) error {
			return runTargetAdd(cmd.Context(), env, opts, a)
		},
	}
	f := cmd.Flags()
	f.StringVar(&opts.host, "host", "", "host, instead of the second argument")
	f.StringVarP(&opts.user, "user", "u", "", "login, instead of USER@")
	f.IntVar(&opts.port, "port", 0, "port, instead of :PORT")
	f.StringVar(&opts.key, "key", "", "private key file (default: ssh-agent and ssh_config)")
	f.StringVar(&opts.fingerprint, "fingerprint", "", "the host key's fingerprint as you know it, SHA256:...")
	f.StringVar(&opts.profile, "profile", "", "default profile for this target")
	f.StringVar(&opts.become, "become", "", "how to become root for plans: sudo")
	f.StringVar(&opts.jump, "jump", "", "jump host: [USER@]HOST[:PORT] or a target")
	f.StringArrayVar(&opts.labels, "label", nil, "KEY=VALUE for selectors; may be repeated")
	f.StringVar(&opts.kind, "type", "ssh", "ssh, local or https")
	f.StringVar(&opts.token, "token-file", "", "of type https: file that holds the token")
	f.BoolVarP(&opts.yes, "yes", "y", false, "ask nothing; needs --fingerprint, unless the key is known already")
	f.BoolVar(&opts.makeDefault, "default", false, "make it the default target")
	return cmd
}

// target builds the value the flags and arguments describe.
func (o addOptions) target(a []string) (target.Target, error) {
	t := target.Target{Name: a[0], Kind: target.Kind(o.kind), KeyFile: o.key, Profile: o.profile, Become: o.become, Jump: o.jump, TokenFile: o.token}
	if t.Kind == target.Local {
		return t, t.Validate()
	}
	address := o.host
	if len(a) == 2 {
		if address != "" {
			return t, errors.New("the host is given twice, as an argument and with --host")
		}
		address = a[1]
	}
	parsed, err := target.ParseAddress(address)
	if err != nil {
		return t, err
	}
	t.Host, t.User, t.Port = parsed.Host, cmp.Or(o.user, parsed.User), cmp.Or(o.port, parsed.Port)
	if o.user != "" && parsed.User != "" && o.user != parsed.User {
		return t, fmt.Errorf("the login is given twice, as %q and as %q", parsed.User, o.user)
	}
	if o.port != 0 && parsed.Port != 0 && o.port != parsed.Port {
		return t, fmt.Errorf("the port is given twice, as %d and as %d", parsed.Port, o.port)
	}
	if o.port < 0 {
		return t, fmt.Errorf("port %d: use 1 to 65535", o.port)
	}
	for _, l := range o.labels {
		k, v, err := target.ParseLabel(l)
		if err != nil {
			return t, err
		}
		if t.Labels == nil {
			t.Labels = map[string]string{}
		}
		t.Labels[k] = v
	}
	return t, t.Validate()
}

func runTargetAdd(ctx context.Context, env *Env, opts addOptions, a []string) error {
	t, err := opts.target(a)
	if err != nil {
		return diag.New(diag.Usage, "add target", "see 'bowline target add --help'", "%w", err)
	}
	return env.withClient(ctx, func(c *bowline.Client) error {
		if t.Profile != "" {
			if _, err := c.Profile(ctx, t.Profile); err != nil {
				return err
			}
		}
		key, err := c.AddTarget(ctx, t, opts.fingerprint, env.confirmHostKey(opts.yes))
		if err != nil {
			return err
		}
		if key.Fingerprint != "" {
			env.say("host key %s %s (%s)", key.Type, key.Fingerprint, keyOrigin(key.Trust))
		}
		env.say("added %s; try it with 'bowline target test %s'", t.Name, t.Name)
		if opts.makeDefault {
			return c.SetDefaultTarget(ctx, t.Name)
		}
		return nil
	})
}

func keyOrigin(trust string) string {
	switch trust {
	case "known":
		return "pinned before"
	case "certified":
		return "vouched for by a certificate authority you trust"
	default:
		return "pinned now"
	}
}

// say tells a person what was done.
func (env *Env) say(format string, args ...any) {
	if !env.quiet {
		env.note(format, args...)
	}
}

// confirmHostKey asks a person; with yes, or without a terminal, it is nil, and
// an unknown key is an error that names --fingerprint.
func (env *Env) confirmHostKey(yes bool) bowline.ConfirmHostKey {
	if yes || env.prompt() == nil {
		return nil
	}
	return func(ctx context.Context, t target.Target, key bowline.HostKey) (bool, error) {
		fmt.Fprintf(env.Stderr, "The host key of %s is not known yet.\n  %s\n  %s\n", safe(t.Host), safe(key.Type), env.strong(safe(key.Fingerprint)))
		fmt.Fprintf(env.Stderr, "Compare it with what the host says: ssh-keygen -lf /etc/ssh/ssh_host_%s_key.pub\n", keyFileWord(key.Type))
		return env.confirm(ctx, "Is this the right fingerprint?", "--fingerprint "+key.Fingerprint)
	}
}

func (env *Env) strong(s string) string { return env.colour(bold, s) }

func keyFileWord(keyType string) string {
	switch {
	case strings.Contains(keyType, "ed25519"):
		return "ed25519"
	case strings.Contains(keyType, "ecdsa"):
		return "ecdsa"
	default:
		return "rsa"
	}
}

// jsonTarget is a target as JSON.
type jsonTarget struct {
	Name    string            `json:"name"`
	Type    string            `json:"type"`
	Host    string            `json:"host,omitempty"`
	User    string            `json:"user,omitempty"`
	Port    int               `json:"port,omitempty"`
	KeyFile string            `json:"key_file,omitempty"`
	Profile string            `json:"profile,omitempty"`
	Become  string            `json:"become,omitempty"`
	Jump    string            `json:"jump,omitempty"`
	Labels  map[string]string `json:"labels,omitempty"`
	Enabled bool              `json:"enabled"`
	Refused string            `json:"refused,omitempty"`
	Default bool              `json:"default"`
	Source  string            `json:"source,omitempty"`
	Frozen  *bowline.Frozen   `json:"frozen,omitempty"` // from this client
	Box     *jsonBoxDefaults  `json:"box,omitempty"`
}

// jsonBoxDefaults is what boxes are made with, as JSON; what is not set is left out.
type jsonBoxDefaults struct {
	Image    string            `json:"image,omitempty"`
	Memory   int64             `json:"memory,omitempty"` // bytes
	CPUs     float64           `json:"cpus,omitempty"`
	Pids     int64             `json:"pids,omitempty"`
	Publish  bool              `json:"publish,omitempty"`
	Dotfiles string            `json:"dotfiles,omitempty"`
	Env      map[string]string `json:"env,omitempty"`
}

func newJSONTarget(t bowline.TargetInfo) jsonTarget {
	doc := jsonTarget{Name: t.Name, Type: string(t.Kind), Host: t.Host, User: t.User, Port: t.Port, KeyFile: t.KeyFile, Profile: t.Profile,
		Become: t.Become, Jump: t.Jump, Labels: t.Labels, Enabled: !t.Disabled, Refused: t.Refused, Default: t.Default, Source: t.Source, Frozen: t.Frozen}
	if t.Box != nil {
		doc.Box = (*jsonBoxDefaults)(t.Box)
	}
	return doc
}

// boxDefaultsText says what boxes are made with, as a person would read it.
func boxDefaultsText(b *bowline.BoxDefaults) string {
	if b == nil {
		return ""
	}
	var out []string
	add := func(set bool, format string, v any) {
		if set {
			out = append(out, fmt.Sprintf(format, v))
		}
	}
	add(b.Image != "", "image %s", b.Image)
	add(b.Memory != 0, "memory %s", sizeText(b.Memory))
	add(b.CPUs != 0, "%g processors", b.CPUs)
	add(b.Pids != 0, "%d processes", b.Pids)
	add(b.Publish, "%s", "published")
	add(b.Dotfiles != "", "dotfiles %s", b.Dotfiles)
	for _, k := range slices.Sorted(maps.Keys(b.Env)) {
		out = append(out, k+"="+b.Env[k])
	}
	return strings.Join(out, ", ")
}

func newTargetList(env *Env) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list [SELECTOR]", Aliases: []string{"ls"}, Short: "List targets",
		Args: args(cobra.MaximumNArgs(1)), ValidArgsFunction: completeTargets(env),
		RunE: func(cmd *cobra.Command, a []string) error {
			selector := ""
			if len(a) == 1 {
				selector = a[0]
			}
			return runTargetList(cmd.Context(), env, selector, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON document")
	return cmd
}

func runTargetList(ctx context.Context, env *Env, selector string, asJSON bool) error {
	return env.withClient(ctx, func(c *bowline.Client) error {
		list, err := c.Targets(ctx, selector)
		if err != nil {
			return err
		}
		if asJSON {
			docs := make([]jsonTarget, len(list))
			for i, t := range list {
				docs[i] = newJSONTarget(t)
			}
			return printJSON(env.Stdout, map[string]any{"schema_version": schemaVersion, "targets": docs})
		}
		w := tabwriter.NewWriter(env.Stdout, 0, 4, 2, ' ', 0)
		fmt.Fprintln(w, "NAME\tTYPE\tADDRESS\tPROFILE\tLABELS\tNOTE")
		for _, t := range list {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", t.Name, t.Kind, addressOf(t.Target), cmp.Or(t.Profile, "-"), labelText(t.Labels), noteOf(t))
		}
		return w.Flush()
	})
}

func addressOf(t target.Target) string {
	if t.Kind == target.Local {
		return "this machine"
	}
	return target.Address{User: t.User, Host: t.Host, Port: t.Port}.String()
}

func labelText(labels map[string]string) string {
	var out []string
	for _, k := range sortedKeys(labels) {
		out = append(out, k+"="+labels[k])
	}
	return cmp.Or(strings.Join(out, ","), "-")
}

func noteOf(t bowline.TargetInfo) string {
	switch {
	case t.Disabled:
		return "disabled"
	case t.Refused != "":
		return "not allowed"
	case t.Frozen != nil && t.Default:
		return "default, " + safe(t.Frozen.String())
	case t.Frozen != nil:
		return safe(t.Frozen.String())
	case t.Default:
		return "default"
	}
	return ""
}

func newTargetShow(env *Env) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "show NAME", Short: "Show one target", Args: args(cobra.ExactArgs(1)), ValidArgsFunction: completeTargets(env),
		RunE: func(cmd *cobra.Command, a []string) error {
			return env.withClient(cmd.Context(), func(c *bowline.Client) error {
				list, err := findTargets(cmd.Context(), c, a[0])
				if err != nil {
					return err
				}
				for _, t := range list {
					if err := env.showTarget(t, asJSON); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON document")
	return cmd
}

// findTargets is Targets, but also finds a target that may not be used by its name.
func findTargets(ctx context.Context, c *bowline.Client, selector string) ([]bowline.TargetInfo, error) {
	if !plainName(selector) {
		return c.Targets(ctx, selector)
	}
	all, err := c.Targets(ctx, "")
	for _, t := range all {
		if t.Name == selector {
			return []bowline.TargetInfo{t}, err
		}
	}
	if err == nil {
		err = diag.New(diag.Usage, "show target", "see 'bowline target list'", "there is no target %q", selector)
	}
	return nil, err
}

func (env *Env) showTarget(t bowline.TargetInfo, asJSON bool) error {
	if asJSON {
		return printJSON(env.Stdout, struct {
			SchemaVersion int `json:"schema_version"`
			jsonTarget
		}{schemaVersion, newJSONTarget(t)})
	}
	w := tabwriter.NewWriter(env.Stdout, 0, 4, 2, ' ', 0)
	frozen := ""
	if t.Frozen != nil {
		frozen = t.Frozen.String()
	}
	for _, row := range [][2]string{
		{"name", t.Name}, {"type", string(t.Kind)}, {"address", addressOf(t.Target)}, {"key file", t.KeyFile}, {"profile", t.Profile},
		{"become", t.Become}, {"jump", t.Jump}, {"labels", labelText(t.Labels)}, {"boxes", boxDefaultsText(t.Box)}, {"refused", t.Refused}, {"state", frozen}, {"defined in", t.Source},
	} {
		if row[1] != "" && row[1] != "-" {
			fmt.Fprintf(w, "%s\t%s\n", row[0], safe(row[1]))
		}
	}
	return w.Flush()
}

func newTargetTest(env *Env) *cobra.Command {
	var asJSON, attack, boxes bool
	cmd := &cobra.Command{
		Use: "test SELECTOR", Short: "Connect, and report what a target can do",
		Long: `Connect to targets and report connect time, host key, login, kernel, bubblewrap, and
whether a sandboxed command works, one line each, with the remedy where one fails. For
boxes it reports Podman, its socket, and as whom it runs; a target that has none fails the
test with --boxes only.

Exit codes: 0 all passed, 1 a check failed, 10 unreachable, 11 untrusted, 12 login refused.`,
		Args: args(cobra.ExactArgs(1)), ValidArgsFunction: completeTargets(env),
		RunE: func(cmd *cobra.Command, a []string) error {
			return env.withClient(cmd.Context(), func(c *bowline.Client) error {
				return testTargets(cmd.Context(), env, c, a[0], testing{attack, boxes, asJSON})
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON document a target")
	cmd.Flags().BoolVar(&attack, "attack", false, "also try to break out of the sandbox")
	cmd.Flags().BoolVar(&boxes, "boxes", false, "fail where there can be no boxes")
	return cmd
}

// testing is how targets are tested.
type testing struct{ attack, boxes, asJSON bool }

func testTargets(ctx context.Context, env *Env, c *bowline.Client, selector string, how testing) error {
	names, err := targetNames(ctx, c, selector)
	if err != nil {
		return err
	}
	var failure error
	for _, name := range names {
		report, err := c.TestTarget(ctx, name, how.attack)
		if err == nil {
			report = testBoxes(ctx, c, report, how.boxes)
			err = env.printReport(report, how.asJSON)
		}
		if err != nil && failure == nil {
			failure = err
		}
	}
	return failure
}

// testBoxes adds what boxes find, unless the target cannot be reached. Where there can be
// none it is a failure only if it must not be.
func testBoxes(ctx context.Context, c *bowline.Client, r bowline.TestReport, must bool) bowline.TestReport {
	if len(r.Checks) == 0 || !r.Checks[0].OK {
		return r
	}
	check := c.TestBoxes(ctx, r.Target)
	if !check.OK && !must {
		check = bowline.Check{Name: check.Name, OK: true, Detail: "no boxes here; why: 'bowline target test --boxes " + r.Target + "', to change it: 'bowline box setup -t " + r.Target + "'"}
	}
	r.Checks = append(r.Checks, check)
	return r
}

// jsonCheck is one line of a report as JSON.
type jsonCheck struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
	Hint   string `json:"hint,omitempty"`
}

// printReport shows a report and returns an error if a check failed.
func (env *Env) printReport(r bowline.TestReport, asJSON bool) error {
	if asJSON {
		checks := make([]jsonCheck, len(r.Checks))
		for i, c := range r.Checks {
			checks[i] = jsonCheck{c.Name, c.OK, c.Detail, c.Hint}
		}
		doc := map[string]any{"schema_version": schemaVersion, "target": r.Target, "ok": r.OK(), "checks": checks}
		if err := printJSON(env.Stdout, doc); err != nil {
			return err
		}
	} else {
		env.printChecks(r.Target, r.Checks)
	}
	if r.OK() {
		return nil
	}
	return &commandExit{code: max(codeOf(r), 1)}
}

// codeOf is the exit code of the first failed check's kind.
func codeOf(r bowline.TestReport) int {
	for _, c := range r.Checks {
		if !c.OK {
			return exitCode[c.Kind]
		}
	}
	return 0
}

func (env *Env) printChecks(title string, checks []bowline.Check) {
	width := 10
	for _, c := range checks {
		width = max(width, len(c.Name))
	}
	fmt.Fprintln(env.Stdout, env.strong(safe(title)))
	for _, c := range checks {
		mark := env.colour(green, "ok  ")
		if !c.OK {
			mark = env.colour(red, "FAIL")
		}
		fmt.Fprintf(env.Stdout, "  %s  %-*s  %s\n", mark, width, c.Name, safe(c.Detail))
		if !c.OK && c.Hint != "" {
			fmt.Fprintf(env.Stdout, "        %-*s  %s\n", width, "", "hint: "+safe(c.Hint))
		}
	}
}

func newTargetTrust(env *Env) *cobra.Command {
	var fingerprint string
	cmd := &cobra.Command{
		Use: "trust NAME", Short: "Pin the host key a target has now",
		Long: `Fetch a target's host key and pin it, after you confirmed its fingerprint or gave it
with --fingerprint. A key that differs from the pinned one is accepted only with
the exact --fingerprint.

Exit codes: 0 pinned, 2 wrong usage, 10 unreachable, 11 not accepted.`,
		Args: args(cobra.ExactArgs(1)), ValidArgsFunction: completeTargets(env),
		RunE: func(cmd *cobra.Command, a []string) error {
			return env.withClient(cmd.Context(), func(c *bowline.Client) error {
				key, err := c.TrustTarget(cmd.Context(), a[0], fingerprint, env.confirmHostKey(false))
				if err == nil {
					env.say("host key %s %s (%s)", key.Type, key.Fingerprint, keyOrigin(key.Trust))
				}
				return err
			})
		},
	}
	cmd.Flags().StringVar(&fingerprint, "fingerprint", "", "the fingerprint as you know it, SHA256:...")
	return cmd
}

func newTargetRemove(env *Env) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use: "remove NAME", Aliases: []string{"rm"}, Short: "Forget a target",
		Long: `Take a target out of config.toml. Its host key stays pinned, so that a host that
comes back must still be the same one.`,
		Args: args(cobra.ExactArgs(1)), ValidArgsFunction: completeTargets(env),
		RunE: func(cmd *cobra.Command, a []string) error {
			return env.withClient(cmd.Context(), func(c *bowline.Client) error {
				if !yes {
					ok, err := env.confirm(cmd.Context(), "Remove target "+a[0]+"?", "--yes")
					if err == nil && !ok {
						err = errors.New("nothing was removed")
					}
					if err != nil {
						return err
					}
				}
				if err := c.RemoveTarget(cmd.Context(), a[0]); err != nil {
					return err
				}
				env.say("removed %s", a[0])
				return nil
			})
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

func newTargetDefault(env *Env) *cobra.Command {
	return &cobra.Command{
		Use: "default NAME", Short: "Make a target the one that is used if none is named",
		Args: args(cobra.ExactArgs(1)), ValidArgsFunction: completeTargets(env),
		RunE: func(cmd *cobra.Command, a []string) error {
			return env.withClient(cmd.Context(), func(c *bowline.Client) error {
				if err := c.SetDefaultTarget(cmd.Context(), a[0]); err != nil {
					return err
				}
				env.say("default target is now %s", a[0])
				return nil
			})
		},
	}
}
