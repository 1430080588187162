package copier

import (
	"context"
	"errors"
	"io"

	"github.com/bowline-sh/bowline/internal/freeze"
	"github.com/bowline-sh/bowline/internal/link"
	"github.com/bowline-sh/bowline/internal/transfer"
	"github.com/bowline-sh/bowline/internal/transfer/agentless"
	"github.com/bowline-sh/bowline/target"
)

// agentlessSide is a target over SFTP: its half runs here.
type agentlessSide struct {
	placeSide
	link *link.Link
	sftp *agentless.Place
}

func (p *copying) agentless(ctx context.Context, t target.Target, l *link.Link) (side, error) {
	place, err := agentless.Open(ctx, l, p.rules)
	if err != nil {
		return nil, err
	}
	if err := place.Frozen(); err != nil {
		return nil, errors.Join(freeze.Named(err, t.Name), place.Close())
	}
	return &agentlessSide{placeSide: placeSide{p: p, place: place, label: t.Name, kind: wayAgentless}, link: l, sftp: place}, nil
}

// lanes hides the round trips that every file costs.
func (s *agentlessSide) lanes() int { return 8 }

func (s *agentlessSide) close() error {
	err := s.sftp.Close()
	s.link.Release()
	return err
}

func (s *agentlessSide) receive(dir string) half {
	return half{here: func(ctx context.Context, conn io.ReadWriter) error {
		uid, gid, err := transfer.FindOwner(s.p.req.Owner, s.sftp.ReadFile)
		if err != nil {
			return err
		}
		tree, err := s.place.Open(dir)
		if err != nil {
			return err
		}
		defer tree.Close()
		return transfer.Receive(ctx, tree, conn, s.p.receiveOptions(uid, gid))
	}}
}
