package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"github.com/bowline-sh/bowline/internal/store/sqlstore"
)

// offer is a River job: it only brings a task to the notice of a process. Whether the
// process gets it, our own row says.
type offer struct {
	Task string `json:"task"`
}

// Kind implements [river.JobArgs].
func (offer) Kind() string { return "bowline_task" }

// maxOffers bounds how often River brings one job; claiming counts our own way.
const maxOffers = 1000

// queueOf is the queue of a process; names begin with a letter.
func queueOf(process string) string {
	if process == "" {
		return river.QueueDefault
	}
	return "p_" + process
}

// offers is a [sqlstore.Offering].
type offers struct {
	tx    pgx.Tx
	river *river.Client[pgx.Tx]
}

func (o offers) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	tag, err := o.tx.Exec(ctx, query, args...)
	return tag.RowsAffected(), err
}

func (o offers) Offer(ctx context.Context, list []sqlstore.Offer) ([]int64, error) {
	if len(list) == 0 {
		return nil, nil
	}
	params := make([]river.InsertManyParams, len(list))
	for i, x := range list {
		params[i] = river.InsertManyParams{Args: offer{x.Task}, InsertOpts: &river.InsertOpts{Queue: queueOf(x.Process), MaxAttempts: maxOffers}}
	}
	made, err := o.river.InsertManyTx(ctx, o.tx, params)
	if err != nil {
		return nil, err
	}
	jobs := make([]int64, len(made))
	for i, m := range made {
		jobs[i] = m.Job.ID
	}
	return jobs, nil
}

// offering returns a [sqlstore.Dialect.Offering].
func offering(pool *pgxpool.Pool, c *river.Client[pgx.Tx]) func(context.Context, func(sqlstore.Offering) error) error {
	return func(ctx context.Context, f func(sqlstore.Offering) error) error {
		return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error { return f(offers{tx, c}) })
	}
}

// unoffered: the job is gone or over, or a process that is not alive has it, or it waits
// for a process that is not alive or does not get to it for 3 s.
const unoffered = `SELECT t.id, t.job FROM tasks t LEFT JOIN river_job j ON j.id = t.job WHERE t.state = 'queued' AND (
	j.id IS NULL OR j.state IN ('completed', 'cancelled', 'discarded')
	OR j.state = 'running' AND NOT EXISTS (SELECT 1 FROM processes p WHERE p.alive = 1 AND p.id = j.attempted_by[array_upper(j.attempted_by, 1)])
	OR t.queue <> '' AND (t.offered < CAST($1 AS BIGINT) - 3000 OR NOT EXISTS (SELECT 1 FROM processes p WHERE p.alive = 1 AND p.id = t.queue)))
	ORDER BY t.created, t.id LIMIT 500`

// taker is the River worker.
type taker struct {
	river.WorkerDefaults[offer]
	take func(ctx context.Context, task string) (again time.Duration)
}

// Work implements [river.Worker]. A job is never an error: what went wrong is on record.
func (w *taker) Work(ctx context.Context, job *river.Job[offer]) error {
	if again := w.take(ctx, job.Args.Task); again > 0 {
		return river.JobSnooze(again)
	}
	return nil
}

// Timeout implements [river.Worker]: tasks have deadlines of their own.
func (*taker) Timeout(*river.Job[offer]) time.Duration { return -1 }

// rescueAfter is when River offers a job anew that a process has; our own claim then
// says that there is nothing to do, or that the process got no further than to fetch it.
const rescueAfter = time.Hour

// drain bounds how long River waits for calls to return after it was stopped.
const drain = 10 * time.Minute

// Take calls take with tasks that are offered to this process, up to workers at a time,
// until ctx ends and all calls have returned. A task that take wants to see again is
// offered again after that time.
func (s *Store) Take(ctx context.Context, process string, workers int, take func(ctx context.Context, task string) (again time.Duration)) error {
	reg := river.NewWorkers()
	if err := river.AddWorkerSafely(reg, &taker{take: take}); err != nil {
		return fmt.Errorf("take work: %w", err)
	}
	c, err := river.NewClient(riverpgxv5.New(s.pool), &river.Config{
		ID: process, Workers: reg, JobTimeout: -1, RescueStuckJobsAfter: rescueAfter, Logger: slog.New(slog.DiscardHandler),
		FetchPollInterval: 500 * time.Millisecond, CompletedJobRetentionPeriod: 10 * time.Minute,
		Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: workers}, queueOf(process): {MaxWorkers: workers}},
	})
	if err != nil {
		return fmt.Errorf("take work: %w", err)
	}
	if err := c.Start(context.WithoutCancel(ctx)); err != nil {
		return fmt.Errorf("take work: %w", err)
	}
	<-ctx.Done()
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	if err := c.Stop(stop); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("stop taking work: %w", err)
	}
	return nil
}

// listen wakes those who wait for what other processes did, until ctx ends.
func (s *Store) listen(ctx context.Context) {
	for ctx.Err() == nil {
		_ = s.listenOnce(ctx) // the database is away; all is looked at anew below
		s.Woken("")
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

func (s *Store) listenOnce(ctx context.Context) error {
	conn, err := pgx.ConnectConfig(ctx, s.pool.Config().ConnConfig)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, `LISTEN bowline`); err != nil {
		return err
	}
	s.Woken("")
	for {
		n, err := conn.WaitForNotification(ctx)
		if err != nil {
			return err
		}
		s.Woken(n.Payload)
	}
}
