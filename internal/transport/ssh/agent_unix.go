//go:build unix

package ssh

import (
	"context"
	"net"
	"os"
)

// dialAgent connects to the ssh-agent that listens on socket.
func dialAgent(ctx context.Context, socket string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "unix", socket)
}

// defaultAgent is where the user's agent listens, "" if there is none.
func defaultAgent() string { return os.Getenv("SSH_AUTH_SOCK") }
