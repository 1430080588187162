package bowline

import (
	"context"

	"github.com/bowline-sh/bowline/internal/caller"
)

// Caller is who makes a call, where one Client acts for several: the clients of an
// MCP server, the users of a web page. It is recorded with every entry of the audit
// log and with every session. A call of the surface "mcp" never approves.
type Caller = caller.Caller

// SurfaceMCP is the surface of models.
const SurfaceMCP = caller.MCP

// WithCaller returns a context whose calls are made for who.
func WithCaller(ctx context.Context, who Caller) context.Context { return caller.With(ctx, who) }

// Mask returns text with what looks like a secret masked, as the audit log does it:
// values that are declared in audit.secrets, private keys, tokens and passwords in
// their usual forms. It finds what it knows, not everything.
func (c *Client) Mask(text string) string { return c.parts.Mask(text) }
