package bowline

import (
	"context"
	"fmt"
	"time"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/audit"
	"github.com/bowline-sh/bowline/internal/receipt"
	"github.com/bowline-sh/bowline/internal/sshsig"
	"github.com/bowline-sh/bowline/plan"
)

// ExportSession returns a receipt: one file with the script, the plan, the decisions,
// what was run and said, and the audit entries about it. See VerifyReceipt.
func (c *Client) ExportSession(ctx context.Context, id string) ([]byte, error) {
	d, err := c.parts.Engine.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	r := receipt.Receipt{Made: time.Now().UTC(), By: c.parts.Who(), Script: d.Script, Plan: d.Plan, Decisions: d.Decisions, Commands: d.Commands,
		Session: receipt.Session{ID: d.ID, Target: d.Target, HostKey: d.HostKey, Status: d.Status, Digest: d.Digest, User: d.User, Host: d.Host, Surface: d.Surface,
			Note: d.Note, Message: d.Message, Created: d.Created, Updated: d.Updated}}
	if r.Audit, err = c.auditOf(ctx, id); err != nil {
		return nil, err
	}
	v, err := c.parts.AuditReader().Verify(ctx)
	if err != nil {
		return nil, err
	}
	r.Chain = receipt.Chain{Entries: v.Entries, Last: v.Last, Intact: v.OK}
	return receipt.Encode(r)
}

// auditOf returns the stored lines about a session: those that name it, and the
// intents of those, which may not have known its id yet.
func (c *Client) auditOf(ctx context.Context, session string) ([]string, error) {
	ids := map[string]bool{}
	reader := c.parts.AuditReader()
	for e, err := range reader.List(ctx, audit.Filter{Session: session}) {
		if err != nil {
			return nil, fmt.Errorf("read audit log: %w", err)
		}
		ids[e.ID] = true
	}
	var lines []string
	for e, err := range reader.List(ctx, audit.Filter{OldestFirst: true}) {
		if err != nil {
			return nil, fmt.Errorf("read audit log: %w", err)
		}
		if ids[e.ID] {
			lines = append(lines, string(e.Raw()))
		}
	}
	return lines, nil
}

// Finding is one thing that VerifyReceipt checked.
type Finding = receipt.Finding

// Receipt is what a receipt says about itself, once it was checked.
type Receipt struct {
	Session  string
	Target   string
	Status   string
	OK       bool
	Findings []Finding
}

// VerifyReceipt checks a receipt with nothing but its bytes and signers, the text of an
// allowed_signers file ("" leaves signatures unchecked). An error means that it is no
// receipt or not as it was written; otherwise OK says whether all its parts agree.
func VerifyReceipt(file []byte, signers string) (Receipt, error) {
	r, err := receipt.Decode(file)
	if err != nil {
		return Receipt{}, diag.New(diag.Conflict, "verify receipt", "ask for it again: 'bowline session export ID'", "%w", err)
	}
	var check receipt.Signatures
	if signers != "" {
		allowed, err := sshsig.ParseSigners(signers)
		if err != nil {
			return Receipt{}, diag.New(diag.Usage, "verify receipt", "see ALLOWED SIGNERS in 'man ssh-keygen'", "%w", err)
		}
		check = func(message []byte, signature string, at time.Time) (string, error) {
			return allowed.Verify(plan.SignatureNamespace, message, signature, at)
		}
	}
	out := Receipt{Session: r.Session.ID, Target: r.Session.Target, Status: string(r.Session.Status), OK: true, Findings: r.Check(check)}
	for _, f := range out.Findings {
		out.OK = out.OK && f.OK
	}
	return out, nil
}
