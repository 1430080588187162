package wire

import (
	"context"
	"io"

	"github.com/bowline-sh/bowline/internal/transport/framed"
	"github.com/bowline-sh/bowline/internal/transport/local"
)

// Lend gives the client at the other end of rw this machine, until that end closes it or
// ctx ends.
func (p *Parts) Lend(ctx context.Context, rw io.ReadWriter) error {
	conn := local.Dial()
	defer conn.Close() // what still runs loses its streams
	return framed.Serve(ctx, rw, conn)
}

// Login is the account that this process runs as.
func (p *Parts) Login() string { return login() }
