package mcp

import (
	"context"
	"fmt"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/bowline-sh/bowline"
)

// point tells the user of a client that can ask its user that a session waits, and
// where it is reviewed, until stop is called. Whatever the user answers decides
// nothing: an answer that travels through the model's client is no proof of a person.
//
// Revisions without sessions (2026-07-28) would have the client ask and call again,
// and wait for its user even when the decision has long been made elsewhere; there the
// model is told in the result, as where nothing can be asked.
func (c call) point(ctx context.Context, x bowline.Session) (stop func()) {
	p := c.req.Session.InitializeParams()
	if p == nil || p.Capabilities == nil || p.Capabilities.Elicitation == nil || p.ProtocolVersion >= stateless {
		return func() {}
	}
	ctx, stop = context.WithCancel(ctx)
	// The answer, or that there is none, changes nothing.
	go func() {
		_, _ = c.req.Session.Elicit(ctx, &mcp.ElicitParams{
			Mode:            "form",
			Message:         fmt.Sprintf("A change to %s waits for a person. Review it in a terminal: 'bowline review %s'. Your answer here approves nothing.", line(x.Target, 64), x.ID),
			RequestedSchema: map[string]any{"type": "object", "properties": map[string]any{}},
		})
	}()
	return stop
}
