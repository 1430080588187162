package bowline

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/bowline-sh/bowline/internal/box"
	"github.com/bowline-sh/bowline/internal/transfer/copier"
	"github.com/bowline-sh/bowline/internal/transport"
	"github.com/bowline-sh/bowline/target"
)

// CopyBox copies files between this machine and boxes of a target, or between two of
// them, as [Client.Copy] does it with targets: the names of boxes stand in
// CopyLocation.Target. Files in a box are its account's.
func (c *Client) CopyBox(ctx context.Context, on string, req CopyRequest) (CopyResult, error) {
	call := box.Call{Target: on, Verb: "box.cp"}
	inside := func(l CopyLocation) CopyLocation {
		call.Argv = append(call.Argv, copier.Location(l).String())
		if l.Target != "" {
			call.Box = l.Target
			l.Target = box.Alias(l.Target, on) // which no target is called, see the record of it
		}
		return l
	}
	req.Sources = slices.Clone(req.Sources)
	for i := range req.Sources {
		req.Sources[i] = inside(req.Sources[i])
	}
	req.Dest = inside(req.Dest)
	var out CopyResult
	err := c.boxes(ctx, call, func(ctx context.Context, s *box.Server) error {
		cp, end := c.parts.BoxCopier(func(ctx context.Context, t target.Target) (transport.Conn, error) {
			return s.Conn(ctx, strings.TrimSuffix(t.Name, "."+on))
		})
		var err error
		out, err = copyWith(ctx, cp, req)
		return errors.Join(err, end())
	})
	return out, err
}
