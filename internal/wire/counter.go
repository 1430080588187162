package wire

import (
	"context"
	"time"

	"github.com/bowline-sh/bowline/internal/gate"
	"github.com/bowline-sh/bowline/internal/store/postgres"
)

// counter counts where the store is: for all processes that share a PostgreSQL one, else
// in this process.
type counter struct {
	store *sessions
	own   gate.Counter
}

// Take implements [gate.Counter].
func (c counter) Take(ctx context.Context, places []gate.Place, now time.Time) (leave func(), err error) {
	if !c.store.isShared() {
		return c.own.Take(ctx, places, now)
	}
	k, err := c.store.keeper(ctx)
	if err != nil {
		return nil, err
	}
	pg, ok := k.(*postgres.Store)
	if !ok {
		return c.own.Take(ctx, places, now)
	}
	limits := make([]postgres.Limit, len(places))
	for i, p := range places {
		limits[i] = postgres.Limit{Key: p.Key, Rate: p.Limit.Rate, Per: p.Limit.Per, Concurrent: p.Limit.Concurrent}
	}
	leave, full, err := pg.Enter(ctx, limits)
	if full != nil {
		err = &gate.Full{Place: places[full.Limit], Busy: full.Busy, Next: full.Next}
	}
	return leave, err
}
