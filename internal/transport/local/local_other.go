//go:build !unix

package local

import (
	"context"
	"errors"

	"github.com/bowline-sh/bowline/internal/transport"
)

// Dial returns a connection on which nothing can be started: the sandbox needs
// Linux. Remote targets work from here.
func Dial() transport.Conn { return conn{make(chan struct{})} }

type conn struct{ done chan struct{} }

func (conn) Start(context.Context, string) (transport.Process, error) {
	return nil, errors.New("commands cannot be confined on this operating system; use a remote target")
}
func (conn) Info() transport.Info    { return transport.Info{Address: "local"} }
func (c conn) Done() <-chan struct{} { return c.done }
func (conn) Close() error            { return nil }
