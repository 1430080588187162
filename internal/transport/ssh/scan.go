package ssh

import (
	"context"
	"errors"
	"net"

	"golang.org/x/crypto/ssh"

	"github.com/bowline-sh/bowline/target"
)

// errScanned ends a handshake once the host key is known.
var errScanned = errors.New("host key scanned")

// Scan asks t for its host key and does not log in. The key is proven: the
// server signed the exchange with it. Whether it is trusted is for the caller
// to read in HostKey.Trust; no trust is not an error. Jump hosts on the way are
// checked and logged in to as by Dial, whose errors Scan returns.
//
// sshd counts a connection that never authenticates; scan once when a target
// is added, and do not poll.
func (d *Dialer) Scan(ctx context.Context, t target.Target) (HostKey, error) {
	var key HostKey
	err := d.attempt(ctx, t, true, func(ctx context.Context, r *route) error {
		return d.reach(ctx, nil, r, func(raw net.Conn) error {
			heard := &greeting{Conn: raw}
			config := d.clientConfig(r, func(offered ssh.PublicKey) error {
				key = r.policy.judge(offered)
				return errScanned
			})
			_, _, _, err := handshake(ctx, heard, r.end.address(), config)
			if key.PublicKey != nil {
				return nil
			}
			return d.loginError(ctx, r, loginFailure{err: err, at: phaseKeys, raw: heard})
		})
	})
	return key, err
}
