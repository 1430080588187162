package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"

	"github.com/aymanbagabas/go-udiff"
	"github.com/spf13/cobra"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/mcpclient"
)

const mcpInstallHelp = `Enter 'bowline mcp serve' into the lists of MCP clients: with the absolute path of this
program, since clients with windows have no PATH, and with SSH_AUTH_SOCK and the places
of Bowline's files where they are set. Other entries, their order, comments and
indentation stay byte for byte; --dry-run shows the change. Without --client all clients
are meant whose file or directory exists here. Calling it again changes nothing.

Clients: %s.

Exit codes: 0 entered or unchanged, 2 wrong usage or a file that cannot be edited, 14 that
is so for some of several clients.`

const mcpUninstallHelp = `Take the entry that 'bowline mcp install' made out of the lists of MCP clients. All else
stays byte for byte. Without --client all clients are looked at.

Exit codes: 0 removed or not there, 2 wrong usage or a file that cannot be edited, 14 that
is so for some of several clients.`

// mcpInstallOptions are the flags of install, uninstall and config.
type mcpInstallOptions struct {
	mcpOptions
	clients []string
	name    string
	file    string
	dryRun  bool
	asJSON  bool
}

// mcpPlace is this machine and its user.
func (env *Env) mcpPlace() (mcpclient.Place, error) {
	home, err := os.UserHomeDir()
	if err != nil {
		return mcpclient.Place{}, diag.New(diag.Usage, "find MCP clients", "set HOME, or name a file with --config-path", "%w", err)
	}
	return mcpclient.Place{OS: runtime.GOOS, Home: home, Getenv: env.Getenv}, nil
}

func clientNames() []string {
	var out []string
	for _, c := range mcpclient.Clients(mcpclient.Place{Getenv: func(string) string { return "" }}) {
		out = append(out, c.Name)
	}
	return out
}

func newMCPInstall(env *Env) *cobra.Command {
	var o mcpInstallOptions
	cmd := &cobra.Command{
		Use: "install", Short: "Enter this program into the lists of MCP clients", Args: args(cobra.NoArgs),
		Long:    fmt.Sprintf(mcpInstallHelp, strings.Join(clientNames(), ", ")),
		Example: "  bowline mcp install --dry-run\n  bowline mcp install --client claude-code -t env=staging -p diagnostics",
		RunE:    func(cmd *cobra.Command, _ []string) error { return env.installMCP(cmd.Context(), o) },
	}
	addServeFlags(cmd, env, &o)
	addInstallFlags(cmd, &o)
	return cmd
}

func newMCPUninstall(env *Env) *cobra.Command {
	var o mcpInstallOptions
	cmd := &cobra.Command{
		Use: "uninstall", Short: "Take the entry out again", Args: args(cobra.NoArgs), Long: mcpUninstallHelp,
		RunE: func(cmd *cobra.Command, _ []string) error { return env.enterMCP(cmd.Context(), o, nil) },
	}
	addInstallFlags(cmd, &o)
	return cmd
}

func newMCPConfig(env *Env) *cobra.Command {
	var o mcpInstallOptions
	cmd := &cobra.Command{
		Use: "config", Short: "Print the entry for a client, to be pasted", Args: args(cobra.NoArgs),
		Long: `Print what 'bowline mcp install' would write into an empty file: without --client in
the form that most clients read.`,
		Example: "  bowline mcp config -t web1\n  bowline mcp config --client codex",
		RunE:    func(cmd *cobra.Command, _ []string) error { return env.printMCPConfig(cmd.Context(), o) },
	}
	addServeFlags(cmd, env, &o)
	addClientFlags(cmd, &o)
	return cmd
}

// addServeFlags adds those that become arguments of 'mcp serve'.
func addServeFlags(cmd *cobra.Command, env *Env, o *mcpInstallOptions) {
	f := cmd.Flags()
	f.StringVarP(&o.selector, "target", "t", "", "serve these targets only (default: all)")
	f.StringArrayVarP(&o.profiles, "profile", "p", nil, "offer this profile; may be repeated")
	f.StringArrayVar(&o.roots, "root", nil, "allow copies from and to this local directory; may be repeated")
	_ = cmd.RegisterFlagCompletionFunc("target", completeTargets(env))
	completeProfiles(cmd, env)
}

func addClientFlags(cmd *cobra.Command, o *mcpInstallOptions) {
	f := cmd.Flags()
	f.StringSliceVar(&o.clients, "client", nil, "client, or all; may be repeated")
	f.StringVar(&o.name, "name", "bowline", "what the client calls the server")
	_ = cmd.RegisterFlagCompletionFunc("client", cobra.FixedCompletions(append(clientNames(), "all"), cobra.ShellCompDirectiveNoFileComp))
}

func addInstallFlags(cmd *cobra.Command, o *mcpInstallOptions) {
	addClientFlags(cmd, o)
	f := cmd.Flags()
	f.StringVar(&o.file, "config-path", "", "file of the client, if it is not in its usual place; takes one --client")
	f.BoolVar(&o.dryRun, "dry-run", false, "show the change as a diff, and write nothing")
	f.BoolVar(&o.asJSON, "json", false, "print one JSON document")
}

func (env *Env) installMCP(ctx context.Context, o mcpInstallOptions) error {
	e, err := env.mcpEntry(ctx, o.mcpOptions)
	if err != nil {
		return err
	}
	return env.enterMCP(ctx, o, &e)
}

func (env *Env) printMCPConfig(ctx context.Context, o mcpInstallOptions) error {
	e, err := env.mcpEntry(ctx, o.mcpOptions)
	if err != nil {
		return err
	}
	client := mcpclient.Other()
	if len(o.clients) > 0 {
		list, err := env.chooseClients(o)
		if err != nil {
			return err
		}
		if len(list) != 1 {
			return diag.New(diag.Usage, "print entry", "call it once for each client", "name one client")
		}
		client = list[0]
		env.say("for %s: %s", client.Title, client.File)
	}
	if err := validServerName(o.name); err != nil {
		return err
	}
	out, _, err := client.Edit(nil, o.name, &e)
	if err != nil {
		return diag.New(diag.Usage, "print entry", "", "%w", err)
	}
	_, err = env.Stdout.Write(out)
	return err
}

// mcpEntry is the server as a client starts it: from anywhere, without our environment.
func (env *Env) mcpEntry(ctx context.Context, o mcpOptions) (mcpclient.Entry, error) {
	program, err := programPath()
	if err != nil {
		return mcpclient.Entry{}, diag.New(diag.Failure, "find this program", "", "%w", err)
	}
	e := mcpclient.Entry{Command: program, Args: []string{"mcp", "serve"}, Env: env.mcpEnv()}
	roots, err := absoluteDirs(o.roots)
	if err != nil {
		return e, err
	}
	if o.selector != "" {
		e.Args = append(e.Args, "-t", o.selector)
	}
	err = env.withClient(ctx, func(c *bowline.Client) error {
		if o.selector != "" {
			if _, err := c.Targets(ctx, o.selector); err != nil {
				return err
			}
		}
		for _, p := range o.profiles {
			if strings.ContainsRune(p, filepath.Separator) {
				if p, err = filepath.Abs(p); err != nil {
					return err
				}
			}
			if _, err := c.Profile(ctx, p); err != nil {
				return err
			}
			e.Args = append(e.Args, "-p", p)
		}
		return nil
	})
	for _, r := range roots {
		e.Args = append(e.Args, "--root", r)
	}
	return e, err
}

// mcpEnv is what a client with windows does not inherit.
func (env *Env) mcpEnv() map[string]string {
	out := map[string]string{}
	for _, name := range []string{"SSH_AUTH_SOCK", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR", "BOWLINE_PERSIST"} {
		v := env.Getenv(name)
		if v == "" || name == "XDG_RUNTIME_DIR" && v == fmt.Sprintf("/run/user/%d", os.Getuid()) { // every login has that one
			continue
		}
		out[name] = v
	}
	if strings.HasPrefix(out["SSH_AUTH_SOCK"], os.TempDir()) {
		env.say("SSH_AUTH_SOCK is %s, which changes with every login: run this again then, or use an agent with a fixed socket", out["SSH_AUTH_SOCK"])
	}
	return out
}

// programPath is this program as it was called, if that is a path to it: a link in a
// directory such as /usr/local/bin outlives an upgrade, what it leads to may not.
func programPath() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	called, err := exec.LookPath(os.Args[0])
	if err == nil {
		called, err = filepath.Abs(called)
	}
	if err != nil {
		return self, nil
	}
	a, aerr := os.Stat(self)
	b, berr := os.Stat(called)
	if aerr == nil && berr == nil && os.SameFile(a, b) {
		return called, nil
	}
	return self, nil
}

var serverName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

func validServerName(name string) error {
	if !serverName.MatchString(name) {
		return diag.New(diag.Usage, "read --name", "use up to 64 letters, digits, '_' and '-'", "%q cannot be the name of a server", name)
	}
	return nil
}

// chooseClients returns those that --client means.
func (env *Env) chooseClients(o mcpInstallOptions) ([]mcpclient.Client, error) {
	place, err := env.mcpPlace()
	if err != nil {
		return nil, err
	}
	all := mcpclient.Clients(place)
	var out []mcpclient.Client
	for _, name := range o.clients {
		if name == "all" {
			out = nil
			break
		}
		c, ok := mcpclient.Find(all, name)
		if !ok {
			return nil, diag.New(diag.Usage, "find MCP client", "for any other, paste what 'bowline mcp config' prints", "there is no client %q; known are %s", name, strings.Join(clientNames(), ", "))
		}
		out = append(out, c)
	}
	if o.file != "" {
		if len(out) != 1 {
			return nil, diag.New(diag.Usage, "read --config-path", "add one --client, which says how the file is written", "--config-path is the file of one client")
		}
		out[0].File = o.file
	}
	if out != nil {
		return out, nil
	}
	for _, c := range all {
		if present(c) {
			out = append(out, c)
		}
	}
	if len(out) == 0 {
		return nil, diag.New(diag.Usage, "find MCP clients", "name one with --client, or paste what 'bowline mcp config' prints", "none is found here; known are %s", strings.Join(clientNames(), ", "))
	}
	return out, nil
}

func present(c mcpclient.Client) bool {
	for _, path := range append([]string{c.File}, c.Signs...) {
		if _, err := os.Stat(path); err == nil {
			return true
		}
	}
	return false
}

// entered is what became of one client's list.
type entered struct {
	client mcpclient.Client
	did    string // installed, updated, unchanged, removed, none
	diff   string
	err    error
}

// enterMCP puts e into the lists, or takes it out if it is nil.
func (env *Env) enterMCP(ctx context.Context, o mcpInstallOptions, e *mcpclient.Entry) error {
	if err := validServerName(o.name); err != nil {
		return err
	}
	clients, err := env.chooseClients(o)
	if err != nil {
		return err
	}
	var list []entered
	for _, c := range clients {
		if err := ctx.Err(); err != nil {
			return err
		}
		list = append(list, enterOne(c, o, e))
	}
	if o.asJSON {
		err = env.enteredJSON(list, o.dryRun)
	} else {
		env.sayEntered(list, o)
	}
	return errors.Join(err, failedToEnter(list, o.asJSON))
}

func enterOne(c mcpclient.Client, o mcpInstallOptions, e *mcpclient.Entry) entered {
	out := entered{client: c}
	f, err := readOwned(c.File)
	var text []byte
	var had, changed bool
	if err == nil {
		text, changed, err = c.Edit(f.data, o.name, e)
	}
	if err == nil {
		_, had, err = c.Edit(f.data, o.name, nil)
	}
	switch {
	case err != nil:
		out.err = diag.New(diag.Usage, "edit "+c.File, "correct the file, or change it by hand with what 'bowline mcp config --client "+c.Name+"' prints", "%w; it was not touched", err)
		return out
	case !changed && e == nil:
		out.did = "none"
		return out
	case !changed:
		out.did = "unchanged"
		return out
	case e == nil:
		out.did = "removed"
	case had:
		out.did = "updated"
	default:
		out.did = "installed"
	}
	out.diff = udiff.Unified(c.File, c.File, string(f.data), string(text))
	if o.dryRun {
		return out
	}
	if err := f.write(text); err != nil {
		out.err = diag.New(diag.Failure, "write "+c.File, "", "%w", err)
	}
	return out
}

func (env *Env) sayEntered(list []entered, o mcpInstallOptions) {
	changed, found := false, false
	for _, r := range list {
		changed = changed || r.diff != "" && r.err == nil
		found = found || r.did != "none"
		switch {
		case r.err != nil && len(list) > 1:
			env.note("%s: %v", r.client.Name, r.err)
			env.hint(r.err)
		case r.err != nil:
		case r.did == "none" && len(o.clients) == 0:
		case o.dryRun && r.diff != "":
			env.text(env.Stdout, []byte(r.diff), false)
		case r.did == "none":
			fmt.Fprintf(env.Stdout, "%s: has no server %s\n", r.client.Name, o.name)
		default:
			fmt.Fprintf(env.Stdout, "%s: %s, %s\n", r.client.Name, r.did, safe(r.client.File))
		}
	}
	if !found && len(o.clients) == 0 {
		env.say("no client here has a server %s", o.name)
	}
	if changed && !o.dryRun {
		env.say("clients read their lists when they start: restart those that run")
	}
}

// failedToEnter is the error of those that failed; in a list they have been named.
func failedToEnter(list []entered, named bool) error {
	bad := 0
	var first error
	for _, r := range list {
		if r.err != nil {
			bad++
			first = cmp.Or(first, r.err)
		}
	}
	if bad == len(list) && (len(list) == 1 || named) {
		return first
	}
	return partly(bad, "edit lists of MCP clients", "%d of %d were not touched", len(list))
}

func (env *Env) enteredJSON(list []entered, dryRun bool) error {
	type doc struct {
		Client string     `json:"client"`
		File   string     `json:"file"`
		Did    string     `json:"did,omitempty"` // installed, updated, unchanged, removed, none
		Diff   string     `json:"diff,omitempty"`
		Error  *jsonError `json:"error,omitempty"`
	}
	docs := []doc{}
	for _, r := range list {
		if !dryRun {
			r.diff = "" // it shows lines around, which may hold what others need not see
		}
		docs = append(docs, doc{r.client.Name, r.client.File, r.did, r.diff, newJSONError(r.err)})
	}
	return printJSON(env.Stdout, map[string]any{"schema_version": schemaVersion, "dry_run": dryRun, "clients": docs})
}
