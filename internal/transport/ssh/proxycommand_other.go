//go:build !unix

package ssh

import (
	"errors"
	"net"
)

// dialCommand would start a proxy command.
func dialCommand(string) (net.Conn, error) {
	return nil, errors.New("ProxyCommand is not supported on this system yet; use ProxyJump")
}
