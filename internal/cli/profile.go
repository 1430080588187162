package cli

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/profile"
	"github.com/bowline-sh/bowline/profile/profilefile"
)

func newProfileCommand(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "profile",
		Short: "List, show, check and explain profiles",
		Long: `A profile is a named confinement: what a command may see, which commands are
allowed, and how much they may use. The mounts are the boundary; the list of
commands is a convenience.

Your own profiles are files NAME.toml or NAME.json in the directory profiles beside
config.toml; start from 'bowline profile show readonly --source'.`,
		RunE: noCommand,
	}
	cmd.AddCommand(newProfileList(env), newProfileShow(env), newProfileCheck(env), newProfileExplain(env))
	return cmd
}

// jsonProfile is a profile as JSON, in the words of the profile files.
type jsonProfile struct {
	Name            string            `json:"name"`
	Origin          string            `json:"origin"`
	Description     string            `json:"description,omitempty"`
	AllowedCommands []string          `json:"allowed_commands"`
	Binds           []jsonBind        `json:"binds"`
	TmpfsPaths      []string          `json:"tmpfs_paths"`
	Hide            []string          `json:"hide"`
	DefaultHidden   []string          `json:"default_hidden"`
	Environment     map[string]string `json:"environment"`
	ClearEnv        bool              `json:"clear_env"`
	Cwd             string            `json:"cwd,omitempty"`
	NetworkIsolated bool              `json:"network_isolation"`
	UserNamespace   bool              `json:"user_namespace_isolation"`
	HostProc        bool              `json:"host_proc"`
	UnixSockets     bool              `json:"unix_sockets"`
	AdditionalArgs  []string          `json:"additional_args"`
	Limits          jsonLimits        `json:"limits"`
	Defer           []jsonDeferral    `json:"defer"`
	DeferDefaults   bool              `json:"defer_defaults"`
	Volatile        []string          `json:"volatile"`
	Warnings        []string          `json:"warnings"`
	Error           string            `json:"error,omitempty"`
}

type jsonBind struct {
	Source   string `json:"source"`
	Target   string `json:"target"`
	ReadOnly bool   `json:"read_only"`
}

// jsonDeferral has the names of a profile file.
type jsonDeferral struct {
	Programs   []string          `json:"programs"`
	Reads      []string          `json:"reads,omitempty"`
	ReadFlags  []string          `json:"read_flags,omitempty"`
	DeferFlags []string          `json:"defer_flags,omitempty"`
	DeferWith  []string          `json:"defer_with,omitempty"`
	ValueFlags []string          `json:"value_flags,omitempty"`
	WordFlags  bool              `json:"word_flags,omitempty"`
	Undo       map[string]string `json:"undo,omitempty"`
	UndoWord   int               `json:"undo_word,omitempty"`
	Answer     int               `json:"answer,omitempty"`
	Stdin      bool              `json:"stdin,omitempty"`
	Local      bool              `json:"local,omitempty"`
}

type jsonLimits struct {
	Memory     int64   `json:"memory"`
	Processes  int     `json:"processes"`
	CPUSeconds int     `json:"cpu_seconds"`
	OpenFiles  int     `json:"open_files"`
	Output     int64   `json:"output"`
	Wall       float64 `json:"wall"` // seconds
}

func newJSONProfile(info bowline.ProfileInfo) jsonProfile {
	p := info.Profile
	doc := jsonProfile{
		Name: p.Name, Origin: info.Origin, Description: p.Description, AllowedCommands: nonNil(p.AllowedCommands), TmpfsPaths: nonNil(p.TmpfsPaths),
		Hide: nonNil(p.Hide), DefaultHidden: profile.DefaultHidden(), Environment: p.Environment, ClearEnv: p.ClearEnv, Cwd: p.Cwd,
		NetworkIsolated: p.NetworkIsolation, UserNamespace: p.UserNamespaceIsolation, HostProc: p.HostProc, UnixSockets: p.UnixSockets,
		AdditionalArgs: nonNil(p.AdditionalArgs), Warnings: nonNil(p.Warnings()), Binds: []jsonBind{},
		Defer: []jsonDeferral{}, DeferDefaults: !p.DryRun.NoDefaults, Volatile: nonNil(p.DryRun.Volatile),
		Limits: jsonLimits{p.Limits.Memory, p.Limits.Processes, p.Limits.CPUSeconds, p.Limits.OpenFiles,
			cmp.Or(p.Limits.Output, profile.DefaultOutput), cmp.Or(p.Limits.Wall, profile.DefaultWall).Seconds()},
	}
	for _, b := range p.Binds {
		doc.Binds = append(doc.Binds, jsonBind{b.Source, b.Target, b.ReadOnly})
	}
	for _, d := range p.DryRun.Defer {
		doc.Defer = append(doc.Defer, jsonDeferral(d))
	}
	if info.Err != nil {
		doc.Error = info.Err.Error()
	}
	return doc
}

func nonNil[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

func newProfileList(env *Env) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List profiles", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return env.withClient(cmd.Context(), func(c *bowline.Client) error {
				list, err := c.Profiles(cmd.Context())
				if err != nil {
					return err
				}
				return env.listProfiles(list, asJSON)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON document")
	return cmd
}

func (env *Env) listProfiles(list []bowline.ProfileInfo, asJSON bool) error {
	if asJSON {
		docs := make([]jsonProfile, len(list))
		for i, p := range list {
			docs[i] = newJSONProfile(p)
		}
		return printJSON(env.Stdout, map[string]any{"schema_version": schemaVersion, "profiles": docs})
	}
	w := tabwriter.NewWriter(env.Stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tORIGIN\tDESCRIPTION")
	for _, p := range list {
		text := p.Profile.Description
		if p.Err != nil {
			text = "CANNOT BE USED: " + p.Err.Error()
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", p.Profile.Name, safe(p.Origin), safe(text))
	}
	return w.Flush()
}

func newProfileShow(env *Env) *cobra.Command {
	var asJSON, source bool
	cmd := &cobra.Command{
		Use: "show NAME", Short: "Show one profile", Args: args(cobra.ExactArgs(1)), ValidArgsFunction: profileNames(env),
		RunE: func(cmd *cobra.Command, a []string) error {
			if source {
				return env.profileSource(a[0])
			}
			return env.withClient(cmd.Context(), func(c *bowline.Client) error {
				info, err := c.Profile(cmd.Context(), a[0])
				if err != nil {
					return err
				}
				return env.showProfile(info, asJSON)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON document")
	cmd.Flags().BoolVar(&source, "source", false, "print the text of a built-in profile, as a start for your own")
	return cmd
}

func (env *Env) profileSource(name string) error {
	text, err := profilefile.BuiltinSource(name)
	if err != nil {
		return diag.New(diag.Usage, "show profile", "see 'bowline profile list'", "%w", err)
	}
	_, err = env.Stdout.Write(text)
	return err
}

func (env *Env) showProfile(info bowline.ProfileInfo, asJSON bool) error {
	if asJSON {
		return printJSON(env.Stdout, struct {
			SchemaVersion int `json:"schema_version"`
			jsonProfile
		}{schemaVersion, newJSONProfile(info)})
	}
	p := info.Profile
	w := tabwriter.NewWriter(env.Stdout, 0, 4, 2, ' ', 0)
	row := func(k, v string) {
		if v != "" {
			fmt.Fprintf(w, "%s\t%s\n", k, safe(v))
		}
	}
	row("name", p.Name)
	row("origin", info.Origin)
	row("description", p.Description)
	row("commands", cmp.Or(strings.Join(p.AllowedCommands, " "), "any that the mounts offer"))
	for i, b := range p.Binds {
		row(first(i, "visible"), bindText(b))
	}
	row("private", strings.Join(p.TmpfsPaths, " "))
	row("hidden", strings.Join(append(p.Hide, "and the usual secrets, see --json"), " "))
	row("network", map[bool]string{true: "none", false: "the host's"}[p.NetworkIsolation])
	row("processes", map[bool]string{true: "those of the host are listed", false: "its own only"}[p.HostProc])
	for i, k := range sortedKeys(p.Environment) {
		row(first(i, "environment"), k+"="+p.Environment[k])
	}
	row("limits", limitText(p.Limits))
	for i, d := range p.DryRun.Defer {
		row(first(i, "plans defer"), strings.Join(d.Programs, " "))
	}
	row("plans ignore", strings.Join(p.DryRun.Volatile, " "))
	for i, x := range p.Warnings() {
		row(first(i, "WARNING"), x)
	}
	return w.Flush()
}

func first(i int, label string) string {
	if i == 0 {
		return label
	}
	return " "
}

func bindText(b profile.Bind) string {
	text := b.Target
	if b.Source != b.Target {
		text += " (from " + b.Source + ")"
	}
	if !b.ReadOnly {
		text += " WRITABLE"
	}
	return text
}

func limitText(l profile.Limits) string {
	out := []string{
		fmt.Sprintf("time %s", cmp.Or(l.Wall, profile.DefaultWall)),
		fmt.Sprintf("output %s a stream", byteText(cmp.Or(l.Output, profile.DefaultOutput))),
	}
	if l.Memory > 0 {
		out = append(out, "memory "+byteText(l.Memory))
	}
	for _, n := range []struct {
		what string
		n    int
	}{{"processes", l.Processes}, {"CPU seconds", l.CPUSeconds}, {"open files", l.OpenFiles}} {
		if n.n > 0 {
			out = append(out, fmt.Sprintf("%d %s", n.n, n.what))
		}
	}
	return strings.Join(out, ", ")
}

func byteText(n int64) string {
	for _, u := range []struct {
		size int64
		name string
	}{{1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
		if n >= u.size && n%u.size == 0 {
			return fmt.Sprintf("%d %s", n/u.size, u.name)
		}
	}
	return fmt.Sprintf("%d bytes", n)
}

func newProfileCheck(env *Env) *cobra.Command {
	return &cobra.Command{
		Use: "check FILE", Short: "Say whether a profile file can be used, and what weakens it", Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			return env.withClient(cmd.Context(), func(c *bowline.Client) error {
				name := a[0]
				if !strings.Contains(name, "/") {
					name = "./" + name // a file, never a name
				}
				info, err := c.Profile(cmd.Context(), name)
				if err != nil {
					return err
				}
				fmt.Fprintf(env.Stdout, "profile %s can be used\n", info.Profile.Name)
				for _, w := range info.Profile.Warnings() {
					fmt.Fprintf(env.Stdout, "warning: %s\n", safe(w))
				}
				return nil
			})
		},
	}
}

const explainHelp = `Say what would become of a command under a profile, and why: the verdict of its
allow-list, what weakens its confinement, and the exact bubblewrap command. Nothing
runs. Masks of secrets are shown for the files of this machine; a target masks
those it has.

Exit codes: 0 it would be allowed, 2 wrong usage, 12 it would be refused.`

func newProfileExplain(env *Env) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "explain NAME [-- COMMAND ARG...]", Short: "Say what would happen to a command under a profile, and why", Long: explainHelp,
		Example: "  bowline profile explain readonly -- journalctl -u nginx", Args: args(cobra.MinimumNArgs(1)), ValidArgsFunction: profileNames(env),
		RunE: func(cmd *cobra.Command, a []string) error {
			return runExplain(cmd.Context(), env, a[0], a[1:], asJSON)
		},
	}
	cmd.Flags().SetInterspersed(false)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON document")
	return cmd
}

func runExplain(ctx context.Context, env *Env, name string, argv []string, asJSON bool) error {
	if len(argv) > 0 && argv[0] == "--" {
		argv = argv[1:]
	}
	return env.withClient(ctx, func(c *bowline.Client) error {
		ex, err := c.ExplainProfile(ctx, name, argv)
		if err != nil {
			return err
		}
		if asJSON {
			err = printJSON(env.Stdout, map[string]any{"schema_version": schemaVersion, "profile": ex.Profile, "origin": ex.Origin, "argv": utf8Args(nonNil(argv)),
				"allowed": ex.Allowed, "reason": ex.Reason, "warnings": nonNil(ex.Warnings), "bwrap": ex.Line})
		} else {
			env.explain(ex, len(argv) > 0)
		}
		if err == nil && len(argv) > 0 && !ex.Allowed {
			return &commandExit{code: exitCode[diag.Refused]}
		}
		return err
	})
}

func (env *Env) explain(ex bowline.Explanation, command bool) {
	fmt.Fprintf(env.Stdout, "profile %s (%s)\n", ex.Profile, safe(ex.Origin))
	for _, w := range ex.Warnings {
		fmt.Fprintf(env.Stdout, "warning: %s\n", safe(w))
	}
	if !command {
		fmt.Fprintln(env.Stdout, "name a command after '--' to see what would become of it")
		return
	}
	verdict := env.colour(green, "allowed")
	if !ex.Allowed {
		verdict = env.colour(red, "refused")
	}
	fmt.Fprintf(env.Stdout, "%s: %s\n\n%s\n", verdict, safe(ex.Reason), safe(ex.Line))
}
