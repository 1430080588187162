package bowline

import (
	"context"

	"github.com/bowline-sh/bowline/internal/store"
	"github.com/bowline-sh/bowline/internal/wire"
	"github.com/bowline-sh/bowline/plan"
)

// Act is a kind of act and how it ended, as the audit log says both.
type Act = wire.Act

// Counts are numbers of a client for who watches it.
type Counts struct {
	Sessions map[plan.Status]int // each status there is; of the newest MaxCounted
	Links    int                 // to targets, those being dialled included
	Acts     map[Act]uint64      // that ended since the client was opened
}

// MaxCounted bounds the sessions that Counts looks at.
const MaxCounted = 10_000

// Counts returns the numbers as they are now.
func (c *Client) Counts(ctx context.Context) (Counts, error) {
	out := Counts{Sessions: map[plan.Status]int{}, Links: c.parts.OpenLinks(), Acts: c.parts.Acts()}
	s, err := c.parts.Store(ctx)
	if err != nil {
		return out, err
	}
	for _, status := range plan.Statuses() {
		out.Sessions[status] = 0
	}
	list, err := s.List(ctx, store.Filter{Limit: MaxCounted})
	for _, x := range list {
		out.Sessions[x.Status]++
	}
	return out, err
}
