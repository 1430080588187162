package bowline

import (
	"context"
	"strings"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/sshsig"
)

// SignatureRequest makes a target demand signed approvals.
type SignatureRequest struct {
	Target  string
	Signers string // text of an allowed_signers file, as in ssh-keygen(1)
	AsRoot  bool   // through sudo -n
}

// endOfSigners ends the signers in the script that writes them.
const endOfSigners = "END-OF-ALLOWED-SIGNERS"

// RequireSignature plans the change after which the target applies only what somebody
// named in Signers has signed, and only plans that were made for this very host. Like any
// change it is a pending session: nothing is demanded before it is approved and applied.
func (c *Client) RequireSignature(ctx context.Context, req SignatureRequest) (Session, error) {
	allowed, err := sshsig.ParseSigners(req.Signers)
	if err == nil && len(allowed.Principals()) == 0 {
		err = diag.New(diag.Usage, "", "", "they name nobody; then nothing could ever be applied")
	}
	if err == nil && strings.Contains(req.Signers, endOfSigners) {
		err = diag.New(diag.Usage, "", "", "they hold the line %s", endOfSigners)
	}
	if err != nil {
		return Session{}, diag.New(diag.Usage, "require signatures", "see ALLOWED SIGNERS in 'man ssh-keygen'", "%w", err)
	}
	host, err := c.parts.Engine.HostKey(ctx, req.Target)
	if err != nil {
		return Session{}, err
	}
	script := `#!/bin/sh
set -eu
umask 022
mkdir -p /etc/bowline
chown 0:0 /etc/bowline
chmod 755 /etc/bowline
cat >/etc/bowline/allowed_signers <<'` + endOfSigners + `'
` + strings.TrimRight(req.Signers, "\n") + `
` + endOfSigners + `
echo '` + host + `' >/etc/bowline/host_keys
chown 0:0 /etc/bowline/allowed_signers /etc/bowline/host_keys
chmod 644 /etc/bowline/allowed_signers /etc/bowline/host_keys
`
	return c.Plan(ctx, PlanRequest{Target: req.Target, AsRoot: req.AsRoot, Script: []byte(script), File: "require-signature", Name: "require-signature",
		Note: "apply only what is signed by " + strings.Join(allowed.Principals(), ", ")})
}
