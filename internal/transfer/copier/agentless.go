package copier

import (
	"context"
	"errors"

	"github.com/bowline-sh/bowline/internal/link"
	"github.com/bowline-sh/bowline/target"
)

func (p *copying) agentless(context.Context, target.Target, *link.Link) (side, error) {
	return nil, errors.New("not yet")
}
