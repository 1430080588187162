package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/bowline-sh/bowline/internal/work"
)

const taskColumns = `id, operation, number, verb, target, session, state, process, claim, attempt, created, started, ended, result, truncated, kind, error`

func scanTask(r row, more ...any) (work.Task, error) {
	var t work.Task
	var created, started, ended, truncated int64
	err := r.Scan(append([]any{&t.ID, &t.Operation, &t.Number, &t.Verb, &t.Target, &t.Session, &t.State, &t.Process, &t.Claim, &t.Attempt,
		&created, &started, &ended, &t.Result, &truncated, &t.Kind, &t.Error}, more...)...)
	t.Created, t.Started, t.Ended, t.Truncated = timeOf(created), timeOf(started), timeOf(ended), truncated != 0
	return t, err
}

func scanWhole(r row) (work.Task, error) {
	var output []byte
	t, err := scanTask(r, &output)
	t.Output = output
	return t, err
}

func scanPart(r row) (work.Task, error) { return scanTask(r) }

// Tasks implements [work.Store].
func (s *Store) Tasks(ctx context.Context, operation string, output bool) ([]work.Task, error) {
	columns, scan := taskColumns, scanPart
	if output {
		columns, scan = taskColumns+`, output`, scanWhole
	}
	list, err := rows(ctx, s, scan, `SELECT `+columns+` FROM tasks WHERE operation = $1 ORDER BY number`, operation)
	return list, s.noWork("list tasks", err)
}

// Task implements [work.Store].
func (s *Store) Task(ctx context.Context, id string) (t work.Task, err error) {
	err = s.row(ctx, func(r row) (err error) {
		t, err = scanWhole(r)
		return err
	}, `SELECT `+taskColumns+`, output FROM tasks WHERE id = $1`, id)
	return t, s.noWork("get task "+id, err)
}

// Claim implements [work.Store].
func (s *Store) Claim(ctx context.Context, id, process string, l work.Limits, now time.Time) (work.Task, error) {
	what := "claim task " + id
	t, err := s.Task(ctx, id)
	if err != nil {
		return t, err
	}
	for range l.PerTarget + 1 { // a place may be taken while we look for one
		if t.State != work.Queued {
			return t, fmt.Errorf("%s: %w", what, work.ErrTaken)
		}
		slot, err := s.place(ctx, t, l)
		if err != nil {
			return t, s.noWork(what, err)
		}
		err = s.claim(ctx, t, process, slot, now)
		if err == nil {
			return s.Task(ctx, id)
		}
		if !s.d.Taken(err) {
			return t, s.noWork(what, err)
		}
	}
	return t, fmt.Errorf("%s: %w", what, work.ErrBusy)
}

// place finds a free place of the target of t.
func (s *Store) place(ctx context.Context, t work.Task, l work.Limits) (int64, error) {
	used := map[int64]bool{}
	_, err := rows(ctx, s, func(r row) (_ struct{}, err error) {
		var n int64
		err = r.Scan(&n)
		used[n] = true
		return struct{}{}, err
	}, `SELECT slot FROM tasks WHERE target = $1 AND state = 'running'`, t.Target)
	if err != nil {
		return 0, err
	}
	from, to := int64(1), int64(max(l.PerTarget, 1))
	if t.Verb.Exclusive() {
		from, to = 0, 0
	}
	for n := from; n <= to; n++ {
		if !used[n] {
			return n, nil
		}
	}
	return 0, work.ErrBusy
}

func (s *Store) claim(ctx context.Context, t work.Task, process string, slot int64, now time.Time) error {
	m := mark()
	err := s.inTx(ctx, func(tx *sql.Tx, again bool) error {
		if again {
			var n int
			if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM tasks WHERE id = $1 AND claim = $2`, t.ID, m).Scan(&n); err != nil || n > 0 {
				return err
			}
		}
		res, err := tx.ExecContext(ctx, `UPDATE tasks SET state = 'running', process = $1, claim = $2, slot = $3, started = $4, attempt = attempt + 1
			WHERE id = $5 AND state = 'queued' AND EXISTS (SELECT 1 FROM processes WHERE id = $1 AND alive = 1)`, process, m, slot, millis(now), t.ID)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, work.ErrTaken)
		}
		return s.record(ctx, tx, t.Operation, []work.Event{{Time: now, Task: t.ID, Kind: "state", State: work.Running}})
	})
	if errors.Is(err, work.ErrTaken) {
		if n, aerr := s.alive(ctx, process); aerr == nil && n == 0 {
			return work.ErrFenced
		}
	}
	if err == nil {
		s.bus.wake(t.Operation)
	}
	return err
}

func (s *Store) alive(ctx context.Context, process string) (n int, err error) {
	err = s.row(ctx, func(r row) error { return r.Scan(&n) }, `SELECT count(*) FROM processes WHERE id = $1 AND alive = 1`, process)
	return n, err
}

// Adopt implements [work.Store].
func (s *Store) Adopt(ctx context.Context, t work.Task, process string, now time.Time) (work.Task, error) {
	m := mark()
	n, err := s.exec(ctx, `UPDATE tasks SET process = $1, claim = $2, attempt = CASE WHEN claim = $2 THEN attempt ELSE attempt + 1 END
		WHERE id = $3 AND state = 'running' AND (claim = $4 AND NOT EXISTS (SELECT 1 FROM processes WHERE id = tasks.process AND alive = 1)
			AND EXISTS (SELECT 1 FROM processes WHERE id = $1 AND alive = 1) OR claim = $2)`, process, m, t.ID, t.Claim)
	if err == nil && n == 0 {
		err = work.ErrLost
	}
	if err != nil {
		return t, s.noWork("adopt task "+t.ID, err)
	}
	return s.Task(ctx, t.ID)
}

// Finish implements [work.Store].
func (s *Store) Finish(ctx context.Context, t work.Task, o work.Outcome, now time.Time) error {
	what := "end task " + t.ID
	if !work.CanMove(work.Running, o.State) {
		return fmt.Errorf("%s: %q is not how a task ends", what, o.State)
	}
	if len(o.Output) > work.MaxOutput {
		o.Output, o.Truncated = o.Output[:work.MaxOutput], true
	}
	if len(o.Result) > work.MaxResult {
		o.Result = nil
		o.Error = strings.TrimSpace(o.Error + " (the result is too large to be kept)")
	}
	if len(o.Error) > work.MaxError {
		o.Error = strings.ToValidUTF8(o.Error[:work.MaxError], "") + "…"
	}
	var truncated int64
	if o.Truncated {
		truncated = 1
	}
	err := s.inTx(ctx, func(tx *sql.Tx, again bool) error {
		res, err := tx.ExecContext(ctx, `UPDATE tasks SET state = $1, ended = $2, result = $3, output = $4, truncated = $5, kind = $6, error = $7,
			session = CASE WHEN $8 = '' THEN session ELSE $8 END WHERE id = $9 AND state = 'running' AND claim = $10`,
			s.args([]any{string(o.State), millis(now), o.Result, o.Output, truncated, o.Kind, o.Error, o.Session, t.ID, t.Claim})...)
		if err != nil {
			return err
		}
		n, err := res.RowsAffected()
		if err != nil {
			return err
		}
		if n == 0 && again {
			err = tx.QueryRowContext(ctx, `SELECT count(*) FROM tasks WHERE id = $1 AND claim = $2 AND state = $3 AND ended = $4`, t.ID, t.Claim, string(o.State), millis(now)).Scan(&n)
			if err != nil || n == 1 {
				return err
			}
		}
		if n == 0 {
			return work.ErrLost
		}
		return s.record(ctx, tx, t.Operation, []work.Event{{Time: now, Task: t.ID, Kind: "state", State: o.State}})
	})
	s.bus.wake(t.Operation)
	return s.noWork(what, err)
}

func scanText(r row) (x string, err error) {
	err = r.Scan(&x)
	return x, err
}

// Waiting implements [work.Store].
func (s *Store) Waiting(ctx context.Context, l work.Limits, limit int) ([]string, error) {
	list, err := rows(ctx, s, scanText, `SELECT t.id FROM tasks t WHERE t.state = 'queued' AND CASE WHEN t.verb IN ('apply', 'rollback')
			THEN NOT EXISTS (SELECT 1 FROM tasks r WHERE r.state = 'running' AND r.target = t.target AND r.slot = 0)
			ELSE (SELECT count(*) FROM tasks r WHERE r.state = 'running' AND r.target = t.target AND r.slot > 0) < $1 END
		ORDER BY t.created, t.id LIMIT $2`, int64(max(l.PerTarget, 1)), int64(limit))
	return list, s.noWork("list waiting tasks", err)
}

// Left implements [work.Store].
func (s *Store) Left(ctx context.Context) ([]work.Task, error) {
	list, err := rows(ctx, s, scanPart, `SELECT `+taskColumns+` FROM tasks WHERE state = 'running' AND NOT EXISTS (SELECT 1 FROM processes WHERE id = tasks.process AND alive = 1) ORDER BY started, id`)
	return list, s.noWork("list tasks of dead processes", err)
}

// Stopping implements [work.Store].
func (s *Store) Stopping(ctx context.Context, process string) ([]string, error) {
	list, err := rows(ctx, s, scanText, `SELECT t.id FROM tasks t JOIN operations o ON o.id = t.operation WHERE t.state = 'running' AND t.process = $1 AND o.cancelled > 0`, process)
	return list, s.noWork("list tasks to stop", err)
}

// Reoffer implements [work.Store].
func (s *Store) Reoffer(ctx context.Context, now time.Time) (int, error) {
	if s.d.Offering == nil {
		return 0, nil
	}
	type gone struct {
		id  string
		job int64
	}
	list, err := rows(ctx, s, func(r row) (g gone, err error) {
		err = r.Scan(&g.id, &g.job)
		return g, err
	}, s.d.Unoffered, millis(now))
	if err != nil || len(list) == 0 {
		return 0, s.noWork("find offers that are gone", err)
	}
	offers := make([]Offer, len(list))
	for i, g := range list {
		offers[i].Task = g.id
	}
	// An offer too many is harmless: a task is claimed once.
	err = s.offering(ctx, func(tx Offering, _ bool) error {
		jobs, err := tx.Offer(ctx, offers)
		for i, g := range list {
			if err == nil {
				_, err = tx.Exec(ctx, `UPDATE tasks SET queue = '', job = $1, offered = $2 WHERE id = $3 AND job = $4`, jobs[i], millis(now), g.id, g.job)
			}
		}
		return err
	})
	return len(list), s.noWork("offer tasks anew", err)
}
