package bowline

import (
	"context"
	"errors"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/caller"
	"github.com/bowline-sh/bowline/internal/inventory"
	"github.com/bowline-sh/bowline/internal/policy"
	"github.com/bowline-sh/bowline/internal/transport/ssh"
	"github.com/bowline-sh/bowline/target"
)

// TargetInfo is a target as configured.
type TargetInfo struct {
	target.Target
	Default bool         // used by calls that name no target
	Source  string       // "file:line" of its definition; "" for the built-in local
	Refused string       // why calls are refused (disabled, not in allowed_targets); "" if they are not
	Frozen  *Frozen      // on this client, see [Client.Freeze]; nil if it is not
	Box     *BoxDefaults // [targets.NAME.box]; nil if there is none
}

// Targets lists the targets that selector matches, in the order of the
// configuration; "" lists all, disabled ones too, other selectors only those that
// may be used.
func (c *Client) Targets(ctx context.Context, selector string) ([]TargetInfo, error) {
	matched, err := c.parts.Targets(), error(nil)
	if selector != "" {
		matched, err = c.parts.Select(selector)
	}
	out := make([]TargetInfo, 0, len(matched))
	for _, t := range matched {
		out = append(out, c.targetInfo(t))
	}
	return out, errors.Join(err, ctx.Err())
}

func (c *Client) targetInfo(t target.Target) TargetInfo {
	info := TargetInfo{Target: t.Clone(), Default: c.parts.DefaultTarget() == t.Name, Source: c.parts.SourceOf(t.Name)}
	if b, ok := c.parts.BoxDefaults(t.Name); ok {
		info.Box = &b
	}
	if err := c.parts.Accept(t.Name); err != nil {
		info.Refused = err.Error()
	}
	if f, ok := c.FrozenHere(t.Name); ok {
		info.Frozen = &f
	}
	return info
}

// HostKey is what a host offered to prove itself, and what was known of it.
type HostKey struct {
	Type        string // as in "ssh-ed25519"
	Fingerprint string // "SHA256:..."
	Authority   string // fingerprint of the authority that certified it, or ""
	Trust       string // before the call: known, certified, unknown, changed, revoked, rejected
	Pinned      []string
}

func hostKey(k ssh.HostKey) HostKey {
	out := HostKey{Type: k.Type, Fingerprint: k.Fingerprint, Authority: k.Authority, Trust: string(k.Trust)}
	for _, p := range k.Pins {
		out.Pinned = append(out.Pinned, p.Fingerprint)
	}
	return out
}

// ConfirmHostKey asks a person whether key belongs to the host of t.
type ConfirmHostKey func(ctx context.Context, t target.Target, key HostKey) (bool, error)

func confirm(f ConfirmHostKey) inventory.Confirm {
	if f == nil {
		return nil
	}
	return func(ctx context.Context, t target.Target, key ssh.HostKey) (bool, error) {
		return f(ctx, t, hostKey(key))
	}
}

// AddTarget pins the host key of a new target and stores it in config.toml. An
// unknown key must have the given fingerprint or be confirmed; with neither, the
// error is of kind untrusted and holds the fingerprint. No login is attempted.
// With an error the configuration is as before.
func (c *Client) AddTarget(ctx context.Context, t target.Target, fingerprint string, ask ConfirmHostKey) (HostKey, error) {
	key, err := c.parts.Inventory.Add(ctx, t, fingerprint, confirm(ask))
	return hostKey(key), err
}

// TrustTarget pins the host key that a configured target offers now. A key that
// differs from the pinned one takes the exact fingerprint.
func (c *Client) TrustTarget(ctx context.Context, name, fingerprint string, ask ConfirmHostKey) (HostKey, error) {
	key, err := c.parts.Inventory.Trust(ctx, name, fingerprint, confirm(ask))
	return hostKey(key), err
}

// RemoveTarget deletes a target from config.toml. Its host key stays pinned.
func (c *Client) RemoveTarget(ctx context.Context, name string) error {
	return c.parts.Inventory.Remove(ctx, name)
}

// SetDefaultTarget makes name the target of calls that name none.
func (c *Client) SetDefaultTarget(ctx context.Context, name string) error {
	return c.parts.Inventory.SetDefault(ctx, name)
}

// Check is one line of a test or diagnosis.
type Check struct {
	Name   string
	OK     bool
	Detail string    // what was found, in one line
	Hint   string    // the remedy, if not OK
	Kind   diag.Kind // of the failure, where known; "" if OK
}

// TestReport is the result of TestTarget.
type TestReport struct {
	Target string
	Checks []Check
}

// OK reports whether every check passed.
func (r TestReport) OK() bool {
	for _, c := range r.Checks {
		if !c.OK {
			return false
		}
	}
	return true
}

// TestTarget connects to a target, reports what it finds, and runs one sandboxed
// command there. With attacks it also tries to break out of the sandbox in every
// way Bowline knows; nothing is changed on the target if the sandbox holds. A
// check that fails is in the report; an error means that nothing was tested.
func (c *Client) TestTarget(ctx context.Context, name string, attacks bool) (TestReport, error) {
	t, err := c.parts.Resolve(name)
	if err != nil {
		return TestReport{Target: name}, err
	}
	if err := caller.Permit(ctx, policy.Run, t.Name); err != nil {
		return TestReport{Target: t.Name}, diag.New(diag.Denied, "test target "+t.Name, "use another token, or have one made with 'bowline token create'", "%w", err)
	}
	p, err := c.parts.ProfileFor(t)
	if err != nil {
		return TestReport{Target: t.Name}, err
	}
	checks, err := c.parts.Tester.Test(ctx, t, p, attacks)
	report := TestReport{Target: t.Name}
	for _, ch := range checks {
		report.Checks = append(report.Checks, Check(ch))
	}
	return report, err
}
