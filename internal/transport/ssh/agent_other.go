//go:build !unix

package ssh

import (
	"context"
	"errors"
	"net"
)

// dialAgent would connect to an ssh-agent.
func dialAgent(context.Context, string) (net.Conn, error) {
	return nil, errors.New("ssh-agent is not supported on this system yet; set key_file")
}

// defaultAgent is where the user's agent listens, "" if there is none.
func defaultAgent() string { return "" }
