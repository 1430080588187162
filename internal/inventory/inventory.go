// Package inventory manages the targets of a configuration: adding one with its
// host key, trusting a key, testing, removing. It decides when a host key may be
// pinned; nothing else in Bowline writes known_hosts.
//
// A key is pinned only if a person confirmed its fingerprint, or the caller gave
// the same fingerprint beforehand. A key that contradicts an earlier pin is
// never accepted on the way: it takes [Inventory.Trust] with the fingerprint.
package inventory

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/audit"
	"github.com/bowline-sh/bowline/internal/transport/ssh"
	"github.com/bowline-sh/bowline/target"
)

// Recorder is the audit log as this package needs it; see executor.Recorder.
type Recorder interface {
	Begin(ctx context.Context, in audit.Intent) (id string, err error)
	End(ctx context.Context, id string, out audit.Outcome) error
}

// Editor changes the configuration file, atomically and for good.
type Editor interface {
	AddTarget(ctx context.Context, t target.Target) error
	AddTargets(ctx context.Context, list []target.Target) error // all or none
	RemoveTarget(ctx context.Context, name string) error
	UpdateTarget(ctx context.Context, t target.Target) error
	SetDefault(ctx context.Context, name string) error
}

// Config is what an Inventory is made of; every field is required.
type Config struct {
	Find       func(name string) (target.Target, bool) // as configured, disabled ones too
	Editor     Editor
	Scan       func(ctx context.Context, t target.Target) (ssh.HostKey, error)
	KnownHosts string // our own file
	Recorder   Recorder
	// Certificate returns the fingerprint of what a target of kind https shows.
	Certificate func(ctx context.Context, t target.Target) (string, error)
}

// Inventory manages targets. Methods may be called concurrently.
type Inventory struct{ cfg Config }

// New returns an Inventory. It does no I/O.
func New(cfg Config) *Inventory {
	if cfg.Find == nil || cfg.Editor == nil || cfg.Scan == nil || cfg.KnownHosts == "" || cfg.Recorder == nil || cfg.Certificate == nil {
		panic("inventory: Config is incomplete")
	}
	return &Inventory{cfg: cfg}
}

// Confirm asks a person whether key is the host's; nil means nobody can be asked.
type Confirm func(ctx context.Context, t target.Target, key ssh.HostKey) (bool, error)

// Add scans t's host key, has it confirmed, pins it and stores the target.
// fingerprint, if not "", is the one the caller expects, and takes the place of
// confirm. Without an error both files are on disk; with one, the configuration
// is unchanged, but the key may be pinned already.
func (inv *Inventory) Add(ctx context.Context, t target.Target, fingerprint string, confirm Confirm) (ssh.HostKey, error) {
	op := "add target " + t.Name
	if err := t.Validate(); err != nil {
		return ssh.HostKey{}, diag.New(diag.Usage, op, "", "%w", err)
	}
	if t.Kind == target.HTTPS && t.TokenFile == "" {
		return ssh.HostKey{}, diag.New(diag.Usage, op, "put what 'bowline token create --name NAME --scope host' printed there into a file of mode 0600, and add --token-file FILE", "a target of type https needs a token")
	}
	if _, ok := inv.cfg.Find(t.Name); ok {
		return ssh.HostKey{}, diag.New(diag.Usage, op, "choose another name, or 'bowline target remove "+t.Name+"' first", "a target of this name already exists")
	}
	var key ssh.HostKey
	err := inv.recorded(ctx, intent("target.add", t.Name, describe(t)), func() (out audit.Outcome, err error) {
		switch t.Kind {
		case target.SSH:
			key, err = inv.pin(ctx, t, fingerprint, confirm, false)
		case target.HTTPS:
			key, err = inv.certificate(ctx, t, fingerprint, confirm, false)
			t.Fingerprint = key.Fingerprint
		}
		if err != nil {
			return outcome(t, key), err
		}
		return outcome(t, key), inv.cfg.Editor.AddTarget(ctx, t)
	})
	return key, err
}

// Import stores targets that came from elsewhere, all or none. No host key is pinned.
func (inv *Inventory) Import(ctx context.Context, list []target.Target, from string) error {
	return inv.recorded(ctx, intent("config.import", "", fmt.Sprintf("%d targets of %s", len(list), from)), func() (audit.Outcome, error) {
		return audit.Outcome{}, inv.cfg.Editor.AddTargets(ctx, list)
	})
}

// Trust pins the host key a known target offers now. A changed key takes the
// exact fingerprint; confirm is not asked for it. Older pins of this host are
// taken out of our file; those in other files are not ours to edit, and stop the
// call.
func (inv *Inventory) Trust(ctx context.Context, name, fingerprint string, confirm Confirm) (ssh.HostKey, error) {
	t, ok := inv.cfg.Find(name)
	if !ok {
		return ssh.HostKey{}, diag.New(diag.Usage, "trust "+name, "see 'bowline target list'", "there is no target %q", name)
	}
	if t.Kind == target.Local {
		return ssh.HostKey{}, diag.New(diag.Usage, "trust "+name, "", "a target of type %s has no SSH host key", t.Kind)
	}
	var key ssh.HostKey
	err := inv.recorded(ctx, intent("target.trust", name, fingerprint), func() (out audit.Outcome, err error) {
		if t.Kind == target.HTTPS {
			if key, err = inv.certificate(ctx, t, fingerprint, confirm, true); err == nil {
				t.Fingerprint = key.Fingerprint
				err = inv.cfg.Editor.UpdateTarget(ctx, t)
			}
			return outcome(t, key), err
		}
		key, err = inv.pin(ctx, t, fingerprint, confirm, true)
		return outcome(t, key), err
	})
	return key, err
}

// Remove deletes a target from the configuration. Its host key stays pinned: a
// host that comes back must still be the same one.
func (inv *Inventory) Remove(ctx context.Context, name string) error {
	return inv.recorded(ctx, intent("target.remove", name, ""), func() (audit.Outcome, error) {
		return audit.Outcome{}, inv.cfg.Editor.RemoveTarget(ctx, name)
	})
}

// SetDefault makes name the target of calls that name none.
func (inv *Inventory) SetDefault(ctx context.Context, name string) error {
	return inv.recorded(ctx, intent("target.default", name, ""), func() (audit.Outcome, error) {
		return audit.Outcome{}, inv.cfg.Editor.SetDefault(ctx, name)
	})
}

func (inv *Inventory) recorded(ctx context.Context, in audit.Intent, act func() (audit.Outcome, error)) error {
	id, err := inv.cfg.Recorder.Begin(ctx, in)
	if err != nil {
		return err
	}
	out, err := act()
	out.Err = err
	return errors.Join(err, inv.cfg.Recorder.End(context.WithoutCancel(ctx), id, out))
}

func outcome(t target.Target, key ssh.HostKey) audit.Outcome {
	return audit.Outcome{Subject: audit.Subject{Address: target.Address{Host: t.Host, Port: t.Port}.String(), Login: t.User, HostKey: key.Fingerprint}}
}

func intent(verb, name, text string) audit.Intent {
	return audit.Intent{Subject: audit.Subject{Verb: verb, Target: name}, Text: text}
}

func describe(t target.Target) string {
	if t.Kind != target.SSH {
		return string(t.Kind)
	}
	return target.Address{User: t.User, Host: t.Host, Port: t.Port}.String()
}

// pin scans, decides and writes. replace allows a changed key, by fingerprint.
func (inv *Inventory) pin(ctx context.Context, t target.Target, fingerprint string, confirm Confirm, replace bool) (ssh.HostKey, error) {
	if err := validFingerprint(fingerprint); err != nil {
		return ssh.HostKey{}, err
	}
	key, err := inv.cfg.Scan(ctx, t)
	if err != nil {
		return key, err
	}
	if err := decide(ctx, t, key, fingerprint, confirm, replace); err != nil {
		return key, err
	}
	switch key.Trust {
	case ssh.Known, ssh.Certified:
		return key, nil
	case ssh.Changed:
		return key, inv.replacePins(ctx, t, key)
	default:
		return key, appendPin(ctx, inv.cfg.KnownHosts, key.Line)
	}
}

// certificate looks at the certificate of a target of kind https and decides as pin does;
// its pin stands in the configuration.
func (inv *Inventory) certificate(ctx context.Context, t target.Target, fingerprint string, confirm Confirm, replace bool) (ssh.HostKey, error) {
	if err := validFingerprint(fingerprint); err != nil {
		return ssh.HostKey{}, err
	}
	found, err := inv.cfg.Certificate(ctx, t)
	if err != nil {
		return ssh.HostKey{}, err
	}
	key := ssh.HostKey{Type: "x509", Fingerprint: found, Trust: ssh.Unknown}
	switch t.Fingerprint {
	case "":
	case found:
		key.Trust = ssh.Known
	default:
		key.Trust, key.Pins = ssh.Changed, []ssh.Pin{{Fingerprint: t.Fingerprint, File: "config.toml"}}
	}
	return key, decide(ctx, t, key, fingerprint, confirm, replace)
}

// decide returns nil if key may be trusted for t.
func decide(ctx context.Context, t target.Target, key ssh.HostKey, fingerprint string, confirm Confirm, replace bool) error {
	op := "check host key of " + t.Name
	if fingerprint != "" && fingerprint != key.Fingerprint {
		return diag.New(diag.Untrusted, op, "ask the administrator of the host for its fingerprint ('ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub' there)",
			"the host offers %s %s, not the expected %s; nothing was written", key.Type, key.Fingerprint, fingerprint)
	}
	switch key.Trust {
	case ssh.Known, ssh.Certified:
		return nil
	case ssh.Unknown:
		if fingerprint != "" {
			return nil
		}
	case ssh.Changed:
		if replace && fingerprint != "" {
			return nil
		}
		return changedError(op, t, key)
	default:
		return diag.New(diag.Untrusted, op, "", "the host key %s %s is refused: %s", key.Type, key.Fingerprint, key.Problem)
	}
	if confirm == nil {
		return diag.New(diag.Untrusted, op, "compare it with what the host's administrator says, then add --fingerprint "+key.Fingerprint,
			"the host key %s %s is not known; nothing was written", key.Type, key.Fingerprint)
	}
	ok, err := confirm(ctx, t, key)
	if err == nil && !ok {
		err = diag.New(diag.Untrusted, op, "", "the host key was not confirmed; nothing was written")
	}
	return err
}

func changedError(op string, t target.Target, key ssh.HostKey) error {
	var pins []string
	for _, p := range key.Pins {
		pins = append(pins, fmt.Sprintf("%s (%s:%d)", p.Fingerprint, p.File, p.Line))
	}
	return diag.New(diag.Untrusted, op,
		"if the administrator confirms the new key: 'bowline target trust "+t.Name+" --fingerprint "+key.Fingerprint+"'",
		"THE HOST KEY HAS CHANGED: offered %s %s, pinned %s; nothing was written", key.Type, key.Fingerprint, strings.Join(pins, ", "))
}

// validFingerprint accepts "" and what ssh-keygen -l prints.
func validFingerprint(s string) error {
	if s == "" {
		return nil
	}
	// 43 characters: SHA-256 in base64 without padding.
	if rest, ok := strings.CutPrefix(s, "SHA256:"); !ok || len(rest) != 43 {
		return diag.New(diag.Usage, "read --fingerprint", "take it from 'ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub' on the host",
			"%q is not of the form SHA256: and 43 characters", s)
	}
	return nil
}
