// Package caller says on whose behalf a call is made, where one process acts for
// several: a server's users, the clients of an MCP server. It travels in the context,
// so that the one gate, the audit log and sessions see the same.
package caller

import (
	"cmp"
	"context"
)

// Surfaces that rules name.
const (
	MCP = "mcp" // a model acts, not a person
)

// Caller is who makes a call. Empty fields are those of the process.
type Caller struct {
	User    string // the person or token that answers for it
	Surface string // "cli", "tui", "mcp", "api"
	Client  string // program that acts for the user, as it names itself: not proven
	Grant   Grant  // what the caller may do besides what the policy says; nil: all of it
}

// Grant bounds what a caller may do, as a token does. It is asked by the one gate, before
// the policy: what it allows may still be refused there. Implementations are comparable
// and may be used concurrently.
type Grant interface {
	// Permit reports why an act is not allowed, or nil. do is a verb of package policy;
	// target and profile are names, profile "" where the act has none.
	Permit(do, target, profile string) error
}

type key struct{}

// With returns a context whose calls are made for c.
func With(ctx context.Context, c Caller) context.Context { return context.WithValue(ctx, key{}, c) }

// From returns who calls, with what ctx does not say taken from def.
func From(ctx context.Context, def Caller) Caller {
	c, _ := ctx.Value(key{}).(Caller)
	return Caller{User: cmp.Or(c.User, def.User), Surface: cmp.Or(c.Surface, def.Surface), Client: cmp.Or(c.Client, def.Client), Grant: cmp.Or(c.Grant, def.Grant)}
}
