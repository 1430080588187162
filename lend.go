package bowline

import (
	"context"
	"errors"
	"io"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/audit"
	"github.com/bowline-sh/bowline/internal/caller"
	"github.com/bowline-sh/bowline/internal/token"
)

// LendHost gives the client at the other end of rw this machine, as sshd gives a login:
// it is a target of kind https there, and profile, review and record are those of that
// client. The link itself is on record here. The caller of ctx needs a token with the
// scope host. It returns when the other end closes rw, or ctx ends.
func (c *Client) LendHost(ctx context.Context, rw io.ReadWriter) error {
	grant := caller.From(ctx, caller.Caller{}).Grant
	if grant == nil {
		return diag.New(diag.Denied, "lend host", "", "this needs a token of its own")
	}
	if err := grant.Permit(token.Link, LocalTarget, ""); err != nil {
		return diag.New(diag.Denied, "lend host", "'bowline token create --name NAME --scope host'", "%w", err)
	}
	id, err := c.parts.Recorder().Begin(ctx, audit.Intent{Subject: audit.Subject{Verb: "host.link", Target: LocalTarget}})
	if err != nil {
		return err
	}
	err = c.parts.Lend(ctx, rw)
	return errors.Join(err, c.parts.Recorder().End(context.WithoutCancel(ctx), id, audit.Outcome{Err: err}))
}

// Login is the account that this process runs as.
func (c *Client) Login() string { return c.parts.Login() }
