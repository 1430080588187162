// Package token is what a bearer token of `bowline serve` says and allows: its secret,
// its scopes, and the check of one act against them. It is pure; package store keeps
// tokens.
//
// A secret reads "bwl_ID_RANDOM": ID finds the token in the store without the secret
// being stored, the random part has 130 bits. Its prefix lets scanners of repositories
// find one that leaked.
package token

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Scope is a kind of act that a token allows. Each stands for itself but Admin, which
// allows all of them except Host.
type Scope string

// Scopes.
const (
	Read    Scope = "read"    // see targets, sessions, plans, the audit log
	Run     Scope = "run"     // run commands in the sandbox
	Plan    Scope = "plan"    // propose changes, and withdraw them
	Approve Scope = "approve" // approve and reject
	Apply   Scope = "apply"   // apply what was approved, roll back; copy files, use boxes
	Admin   Scope = "admin"   // make tokens, freeze, and everything above
	Host    Scope = "host"    // be a link to the machine that serves: what an SSH login is
)

// Scopes lists them all, the least first.
func Scopes() []Scope { return []Scope{Read, Run, Plan, Approve, Apply, Admin, Host} }

// Set is some scopes, in the order of [Scopes].
type Set []Scope

// ErrBoth means that a set proposes and approves: what one holds alone, nobody reviews.
var ErrBoth = errors.New("who proposes changes must not approve them")

// ParseSet reads scopes joined by commas. It is an error if there is none.
func ParseSet(text string) (Set, error) {
	have := map[Scope]bool{}
	for word := range strings.SplitSeq(text, ",") {
		s := Scope(strings.TrimSpace(word))
		if !slices.Contains(Scopes(), s) {
			return nil, fmt.Errorf("there is no scope %q: use some of read, run, plan, approve, apply, admin, host", string(s))
		}
		have[s] = true
	}
	var out Set
	for _, s := range Scopes() {
		if have[s] {
			out = append(out, s)
		}
	}
	return out, nil
}

// Separate returns ErrBoth if the set proposes and approves. Admin is not asked: it can
// make a token of any kind anyway.
func (s Set) Separate() error {
	if slices.Contains(s, Plan) && slices.Contains(s, Approve) {
		return ErrBoth
	}
	return nil
}

// Has reports whether the set allows a scope.
func (s Set) Has(want Scope) bool {
	return slices.Contains(s, want) || want != Host && slices.Contains(s, Admin)
}

// String joins the scopes with commas, as ParseSet reads them.
func (s Set) String() string {
	words := make([]string, len(s))
	for i, w := range s {
		words[i] = string(w)
	}
	return strings.Join(words, ",")
}

const prefix = "bwl_"

// idLength is that of the public part: 50 bits, so that no two of a store are alike.
const idLength = 10

// New returns a new token's id and secret.
func New() (id, secret string) {
	id = strings.ToLower(rand.Text()[:idLength])
	return id, prefix + id + "_" + rand.Text()
}

// ID returns the public part of a secret; not ok if it is none of ours.
func ID(secret string) (id string, ok bool) {
	rest, ok := strings.CutPrefix(secret, prefix)
	id, random, cut := strings.Cut(rest, "_")
	if !ok || !cut || len(id) != idLength || len(random) != 26 {
		return "", false
	}
	return id, true
}

// Hash is what is stored of a secret. It needs no salt and no slow hash: the secret is
// random, not chosen by a person.
func Hash(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}

// Match reports whether a secret has a hash, in a time that tells nothing about it.
func Match(secret string, hash []byte) bool {
	return subtle.ConstantTimeCompare(Hash(secret), hash) == 1
}

// verbs are the scopes that the verbs of package policy need.
var verbs = map[string]Scope{
	"run": Run, "read": Run, "plan": Plan, "approve": Approve, "apply": Apply, "rollback": Apply,
	// Copies and boxes change a target without a plan.
	"cp": Apply, "box": Apply,
	Link: Host,
}

// Link is the verb of lending the machine that serves.
const Link = "host.link"

// Grant is what the holder of a token may do. It is checked below every surface, by
// package gate.
type Grant struct {
	Name     string                   // of the token
	Scopes   Set                      //
	Target   func(target string) bool // may be named
	Profiles []string                 // names; none means all
}

// Permit reports why an act is not allowed, or nil. profile is "" where the act has none.
func (g *Grant) Permit(do, target, profile string) error {
	need, known := verbs[do]
	switch {
	case !known:
		return fmt.Errorf("token %q: nothing says who may %s", g.Name, do)
	case !g.Scopes.Has(need):
		return fmt.Errorf("token %q lacks the scope %q", g.Name, string(need))
	case !g.Target(target):
		return fmt.Errorf("token %q is not for target %s", g.Name, target)
	case profile != "" && len(g.Profiles) > 0 && !slices.Contains(g.Profiles, profile):
		return fmt.Errorf("token %q is not for profile %s, only for %s", g.Name, profile, strings.Join(g.Profiles, ", "))
	}
	return nil
}
