//go:build !unix

package warm

import (
	"context"
	"time"

	"github.com/bowline-sh/bowline/internal/link"
	"github.com/bowline-sh/bowline/internal/transport"
	"github.com/bowline-sh/bowline/target"
)

// Server is the background process; there is none here.
type Server struct {
	Socket, Build string
	Idle          time.Duration
	Links         *link.Pool
	Helpers       *link.Helpers
}

// Serve implements nothing.
func (*Server) Serve(context.Context) error { return ErrNone }

// Dialer finds no process.
type Dialer struct {
	Socket, Build string
	Spawn         func() error
}

// Dial gives ErrNone.
func (Dialer) Dial(context.Context, target.Target) (transport.Conn, error) { return nil, ErrNone }

// Links lists none.
func (Dialer) Links(context.Context) ([]Link, int, error) { return nil, 0, nil }

// Close has nothing to close.
func (Dialer) Close(context.Context, *target.Target) error { return nil }
