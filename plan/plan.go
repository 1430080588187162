// Package plan holds what a session would do: ordered operations on one target,
// with the state they start from. A plan is immutable; its digest is what a
// person approves.
//
// # Digest
//
// The digest is SHA-256 over the canonical encoding of everything that decides
// what apply does: format version, target identity, profile, mode and the
// operations in order with contents, metadata and base states. Times when the
// plan was made, names, notes and warnings are not part of it, so that two dry
// runs with the same effect have the same digest.
package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/bowline-sh/bowline/change"
)

// Version of the stored form and of the digest.
//
//	1  first
const Version = 1

// Mode says how the dry run saw the host.
type Mode string

const (
	Root Mode = "root" // as root: everything can be previewed
	User Mode = "user" // unprivileged: effects on other owners' files cannot
)

// Plan is what a session would do.
type Plan struct {
	Version   int         `json:"version"`
	Session   string      `json:"session"`
	Target    string      `json:"target"`   // name on the client; not in the digest
	HostKey   string      `json:"host_key"` // fingerprint; "local" for this machine
	Login     string      `json:"login"`    // account on the target that the effects were captured for
	Mode      Mode        `json:"mode"`
	Profile   string      `json:"profile"`             // digest of the deferral table and volatile rules
	Script    string      `json:"script"`              // SHA-256 of the script or command that was run
	Argv      []string    `json:"argv"`                // how it was run; not in the digest
	Exit      int         `json:"exit"`                // its exit code in the dry run
	Created   time.Time   `json:"created"`             // on the client's clock; not in the digest
	From      string      `json:"from,omitempty"`      // session that this plan is a selection of; not in the digest
	Ops       []Operation `json:"operations"`          // in order
	Warnings  []string    `json:"warnings"`            // what the dry run could not see; not in the digest
	Truncated bool        `json:"truncated,omitempty"` // output of the dry run was cut
	Stdout    []byte      `json:"stdout,omitempty"`    // of the dry run, bounded; not in the digest
	Stderr    []byte      `json:"stderr,omitempty"`
}

// Operation is one entry of a plan: a file change or a deferred command; exactly
// one of the two is set.
type Operation struct {
	Change  *change.Change `json:"change,omitempty"`
	Command *Command       `json:"command,omitempty"`
	// Apart begins a new stretch with this change: a command that stood before it
	// was left out, see [Plan.Select].
	Apart bool `json:"apart,omitempty"`
}

// Command is a deferred command: it reaches outside the file system, was recorded
// in the dry run, and is run only by apply.
type Command struct {
	Argv   []string `json:"argv"` // Argv[0] as the script called it
	Path   string   `json:"path"` // absolute, of the real program on the target
	Cwd    string   `json:"cwd"`
	Env    []string `json:"env"` // "NAME=value", sorted; what belongs to the login session is left out
	UID    uint32   `json:"uid"`
	GID    uint32   `json:"gid"`
	Groups []uint32 `json:"groups,omitempty"`
	Stdin  string   `json:"stdin,omitempty"` // SHA-256 of its input; "" for none
	Undo   []string `json:"undo,omitempty"`  // argument vector that takes it back; none if unknown
	Answer int      `json:"answer"`          // exit code the dry run gave the script
}

// digested is the canonical form. Fields are only ever added, with a new Version.
type digested struct {
	Version int         `json:"version"`
	HostKey string      `json:"host_key"`
	Login   string      `json:"login"`
	Mode    Mode        `json:"mode"`
	Profile string      `json:"profile"`
	Ops     []Operation `json:"operations"`
}

// Digest returns "sha256:" and 64 hex digits. It is the same for every process
// that computes it: encoding/json orders map keys and struct fields.
func (p Plan) Digest() (string, error) {
	ops := make([]Operation, len(p.Ops))
	for i, op := range p.Ops {
		ops[i] = op.canonical()
	}
	b, err := json.Marshal(digested{p.Version, p.HostKey, p.Login, p.Mode, p.Profile, ops})
	if err != nil {
		return "", fmt.Errorf("digest of plan: %w", err)
	}
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:]), nil
}

// canonical leaves out what two dry runs of the same script may differ in: times
// of base states.
func (o Operation) canonical() Operation {
	if o.Change == nil {
		return o
	}
	c := *o.Change
	c.Before.MTime = 0
	if len(c.Before.Xattrs) == 0 {
		c.Before.Xattrs = nil
	}
	if len(c.After.Xattrs) == 0 {
		c.After.Xattrs = nil
	}
	return Operation{Change: &c, Apart: o.Apart}
}

// Valid reports the first rule that p breaks, or nil. Whoever receives a plan
// calls it before anything else.
func (p Plan) Valid() error {
	if p.Version != Version {
		return fmt.Errorf("plan version %d; this program knows %d", p.Version, Version)
	}
	if !slices.Contains([]Mode{Root, User}, p.Mode) {
		return fmt.Errorf("unknown mode %q", p.Mode)
	}
	if err := ValidID(p.Session); err != nil {
		return err
	}
	for i, stretch := range p.Stretches() {
		if err := stretch.Changes.Valid(); err != nil {
			return fmt.Errorf("stretch %d: %w", i+1, err)
		}
	}
	for i, op := range p.Ops {
		if (op.Change == nil) == (op.Command == nil) {
			return fmt.Errorf("operation %d is neither a change nor a command", i+1)
		}
		if c := op.Command; c != nil && (len(c.Argv) == 0 || len(c.Path) == 0 || c.Path[0] != '/') {
			return fmt.Errorf("operation %d: a command without its program", i+1)
		}
	}
	return nil
}

// Stretch is the file changes between two deferred commands, and the command that
// follows them; nil after the last, and where one was left out.
type Stretch struct {
	First   int // number of the first operation, from 1
	Changes change.Changeset
	Command *Command
}

// Stretches splits the operations at the deferred commands.
func (p Plan) Stretches() []Stretch {
	out := []Stretch{{First: 1}}
	for i, op := range p.Ops {
		last := &out[len(out)-1]
		if op.Change != nil && op.Apart && i+1 > last.First {
			out = append(out, Stretch{First: i + 1})
			last = &out[len(out)-1]
		}
		if op.Change != nil {
			last.Changes = append(last.Changes, *op.Change)
			continue
		}
		last.Command = op.Command
		out = append(out, Stretch{First: i + 2})
	}
	if last := out[len(out)-1]; len(last.Changes) == 0 && last.Command == nil && len(out) > 1 {
		out = out[:len(out)-1]
	}
	return out
}

// Blobs returns the digests of all contents that apply needs, sorted.
func (p Plan) Blobs() []string {
	set := map[string]bool{}
	for _, op := range p.Ops {
		if c := op.Change; c != nil && c.After.Type == change.File && c.Link == "" {
			set[c.After.SHA256] = true
		}
		if c := op.Command; c != nil && c.Stdin != "" {
			set[c.Stdin] = true
		}
	}
	return slices.Sorted(maps.Keys(set))
}
