package bowline

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/box/setup"
)

// BoxSetup is what makes a server ready for boxes.
type BoxSetup struct {
	Target   string        // "" means the default target
	User     string        // account that uses Podman; "" means that of the target
	Rootless bool          // its own Podman, not the system's
	Timeout  time.Duration // of the dry run
}

// BoxSetupScript is the shell script that PlanBoxSetup plans.
func BoxSetupScript() []byte { return slices.Clone(setup.Script) }

// PlanBoxSetup plans the set-up of a server as Plan does. Targets that are this machine are
// refused.
func (c *Client) PlanBoxSetup(ctx context.Context, o BoxSetup) (s Session, err error) {
	t, err := c.parts.Boxes.Remote(o.Target)
	if err != nil {
		return Session{}, err
	}
	if o.User == "" {
		o.User = t.User
	}
	if o.User == "" {
		return Session{}, diag.New(diag.Usage, "plan the set-up of "+t.Name, "name it: '--user NAME'", "the configuration does not say with which account to log in there")
	}
	switch {
	case !setup.ValidUser(o.User):
		return Session{}, diag.New(diag.Usage, "plan the set-up of "+t.Name, "name an account of the server: '--user NAME'", "%.50q is no name of an account", o.User)
	case o.Rootless && o.User == "root":
		return Session{}, diag.New(diag.Usage, "plan the set-up of "+t.Name, "name the one that is to run Podman: '--rootless --user NAME'", "root is not an account for rootless Podman")
	}
	dir, err := os.MkdirTemp("", "bowline-setup-")
	if err != nil {
		return Session{}, err
	}
	defer os.RemoveAll(dir) // a copy of what we have
	profile := filepath.Join(dir, "box-setup.toml")
	if err := os.WriteFile(profile, setup.Profile, 0o600); err != nil {
		return Session{}, err
	}
	argv := []string{"--user", o.User}
	if o.Rootless {
		argv = append(argv, "--rootless")
	}
	return c.Plan(ctx, PlanRequest{
		Target: t.Name, AsRoot: t.User != "root", Profile: profile, Name: "box-setup", Note: "make " + t.Name + " ready for boxes",
		Script: setup.Script, File: "setup-server.sh", Argv: argv, Timeout: o.Timeout,
	})
}

// TestBoxes says which Podman boxes find on a target, or with steps to try why there can be
// none.
func (c *Client) TestBoxes(ctx context.Context, target string) Check {
	of, err := c.parts.Boxes.Check(ctx, target)
	if err != nil {
		return Check{Name: "podman", Detail: err.Error(), Hint: diag.HintOf(err), Kind: diag.KindOf(err)}
	}
	who := "as root"
	if of.Rootless {
		who = "as the account (rootless)"
	}
	return Check{Name: "podman", OK: true, Detail: "Podman " + of.Version + " " + who + ", socket " + of.Socket}
}
