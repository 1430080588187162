package postgres

import (
	"context"
	"crypto/rand"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// Limit is a number of acts that all processes share. 0 stands for no limit.
type Limit struct {
	Key        string
	Rate       int // in the last Per
	Per        time.Duration
	Concurrent int
}

// Reached says which of the limits lets no more in; Limit is its number in the list.
type Reached struct {
	Limit int
	Busy  bool
	Next  time.Duration
}

const (
	// placeFor is how long a place is held without being renewed, and renewEvery how
	// often that is: the places of a process that died are free after placeFor.
	placeFor   = 15 * time.Second
	renewEvery = 4 * time.Second
)

// nowMS is the clock of the database, in milliseconds: processes may differ.
const nowMS = `(extract(epoch FROM clock_timestamp()) * 1000)::bigint`

// places are those that this process holds. The zero value holds none.
type places struct {
	mu     sync.Mutex // guards the fields below
	holder string     // name of this process in rows; "" before the first
	held   int
	stop   context.CancelFunc // of renewing; nil while none is held
}

// Enter takes a place in every limit, or in none: then it says which is reached. leave
// gives the places back.
func (s *Store) Enter(ctx context.Context, limits []Limit) (leave func(), full *Reached, err error) {
	id := rand.Text()
	holder := s.places.name()
	concurrent := slices.ContainsFunc(limits, func(l Limit) bool { return l.Concurrent > 0 })
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		var err error
		full, err = reserve(ctx, tx, limits, place{id, holder})
		return err
	})
	if err != nil || full != nil {
		return nil, full, err
	}
	if !concurrent {
		return func() {}, nil, nil
	}
	s.hold()
	return sync.OnceFunc(func() { s.release(id) }), nil, nil
}

// place is a row to be.
type place struct{ id, holder string }

func reserve(ctx context.Context, tx pgx.Tx, limits []Limit, p place) (*Reached, error) {
	keys := make([]string, len(limits))
	for i, l := range limits {
		keys[i] = printable(l.Key)
	}
	order := slices.Sorted(slices.Values(keys)) // so that nobody waits in a circle
	for _, k := range order {
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtextextended($1, 0))`, k); err != nil {
			return nil, err
		}
	}
	for i, l := range limits {
		r, err := reached(ctx, tx, l, keys[i])
		if r != nil {
			r.Limit = i
		}
		if r != nil || err != nil {
			return r, err
		}
	}
	for i, l := range limits {
		if l.Rate > 0 {
			if _, err := tx.Exec(ctx, `INSERT INTO limit_acts (key, at) VALUES ($1, `+nowMS+`)`, keys[i]); err != nil {
				return nil, err
			}
		}
		if l.Concurrent > 0 {
			if _, err := tx.Exec(ctx, `INSERT INTO limit_places (id, key, holder, until) VALUES ($1, $2, $3, `+nowMS+` + $4)`, p.id+"."+keys[i], keys[i], p.holder, placeFor.Milliseconds()); err != nil {
				return nil, err
			}
		}
	}
	return nil, nil
}

// printable is a key that PostgreSQL keeps: its parts are set off by zero bytes.
func printable(key string) string {
	return strings.ToValidUTF8(strings.ReplaceAll(key, "\x00", "\x1f"), "\uFFFD")
}

func reached(ctx context.Context, tx pgx.Tx, l Limit, key string) (*Reached, error) {
	var n int
	if l.Concurrent > 0 {
		if err := tx.QueryRow(ctx, `SELECT count(*) FROM limit_places WHERE key = $1 AND until > `+nowMS, key).Scan(&n); err != nil {
			return nil, err
		}
		if n >= l.Concurrent {
			return &Reached{Busy: true}, nil
		}
	}
	if l.Rate == 0 {
		return nil, nil
	}
	if _, err := tx.Exec(ctx, `DELETE FROM limit_acts WHERE key = $1 AND at <= `+nowMS+` - $2`, key, l.Per.Milliseconds()); err != nil {
		return nil, err
	}
	var left int64
	if err := tx.QueryRow(ctx, `SELECT count(*), coalesce(min(at) + $2 - `+nowMS+`, 0) FROM limit_acts WHERE key = $1`, key, l.Per.Milliseconds()).Scan(&n, &left); err != nil {
		return nil, err
	}
	if n >= l.Rate {
		return &Reached{Next: time.Duration(left) * time.Millisecond}, nil
	}
	return nil, nil
}

func (p *places) name() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.holder == "" {
		p.holder = rand.Text()
	}
	return p.holder
}

// hold counts a place, and renews all while there is one.
func (s *Store) hold() {
	p := &s.places
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held++; p.held == 1 {
		ctx, stop := context.WithCancel(context.Background())
		p.stop = stop
		s.done.Go(func() { s.renew(ctx, p.holder) })
	}
}

func (s *Store) renew(ctx context.Context, holder string) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(renewEvery):
		}
		// Should it fail, the places are free for others too early: no more than that.
		_, _ = s.pool.Exec(ctx, `UPDATE limit_places SET until = `+nowMS+` + $1 WHERE holder = $2`, placeFor.Milliseconds(), holder)
	}
}

func (s *Store) release(id string) {
	p := &s.places
	p.mu.Lock()
	if p.held--; p.held == 0 {
		p.stop()
	}
	p.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), renewEvery)
	defer cancel()
	// Should it fail, the place is free when nobody renews it.
	_, _ = s.pool.Exec(ctx, `DELETE FROM limit_places WHERE id LIKE $1 || '.%' OR until < `+nowMS, id)
}
