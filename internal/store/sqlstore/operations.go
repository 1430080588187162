package sqlstore

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/bowline-sh/bowline/internal/store"
	"github.com/bowline-sh/bowline/internal/work"
)

const insertOperation = `INSERT INTO operations (id, verb, request, usr, surface, client, token, scopes, idem, idem_hash, state, created, ended, cancelled, events)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 0, 0, 0)`

const insertTask = `INSERT INTO tasks (id, operation, number, verb, target, session, state, process, claim, slot, attempt, queue, job, offered, created, started, ended, truncated, kind, error)
	VALUES ($1, $2, $3, $4, $5, $6, 'queued', '', '', 0, 0, $7, $8, $9, $9, 0, 0, 0, '', '')`

// Submit implements [work.Store].
func (s *Store) Submit(ctx context.Context, op work.Operation, tasks []work.Task) (work.Operation, error) {
	what := "submit operation " + op.ID
	if len(op.Request) > work.MaxRequest {
		return op, fmt.Errorf("%s: the request has %d bytes, and %d are the most", what, len(op.Request), work.MaxRequest)
	}
	if known, err := s.keyed(ctx, op); err == nil || !errors.Is(err, work.ErrNotFound) {
		return known, err
	}
	offers, err := s.offers(ctx, tasks)
	if err != nil {
		return op, s.wrap(what, err)
	}
	err = s.offering(ctx, func(tx Offering, again bool) error {
		if again {
			if _, err := s.Operation(ctx, op.ID); err == nil {
				return nil
			}
		}
		return s.submit(ctx, tx, op, tasks, offers)
	})
	if err != nil && s.d.Taken(err) {
		if known, kerr := s.keyed(ctx, op); kerr == nil || errors.Is(kerr, work.ErrConflict) {
			return known, kerr
		}
	}
	if err != nil {
		return op, s.wrap(what, err)
	}
	s.bus.wake(op.ID)
	return s.Operation(ctx, op.ID)
}

func (s *Store) submit(ctx context.Context, tx Offering, op work.Operation, tasks []work.Task, offers []Offer) error {
	created := millis(op.Created)
	if _, err := tx.Exec(ctx, insertOperation, s.args([]any{op.ID, string(op.Verb), op.Request, op.Caller.User, op.Caller.Surface, op.Caller.Client, op.Caller.Token,
		op.Caller.Scopes, op.Key, op.KeyHash, string(work.Queued), created})...); err != nil {
		return err
	}
	jobs, err := tx.Offer(ctx, offers)
	if err != nil {
		return err
	}
	for i, t := range tasks {
		if _, err := tx.Exec(ctx, insertTask, s.args([]any{t.ID, op.ID, int64(t.Number), string(op.Verb), t.Target, t.Session, offers[i].Process, jobs[i], created})...); err != nil {
			return err
		}
	}
	return nil
}

// offers says which process a task is offered to first: the one that holds a link to its
// target.
func (s *Store) offers(ctx context.Context, tasks []work.Task) ([]Offer, error) {
	out := make([]Offer, len(tasks))
	warm := map[string]string{}
	if s.d.Offering != nil {
		_, err := rows(ctx, s, func(r row) (_ struct{}, err error) {
			var target, process string
			err = r.Scan(&target, &process)
			warm[target] = process
			return struct{}{}, err
		}, `SELECT w.target, w.process FROM warmth w JOIN processes p ON p.id = w.process WHERE p.alive = 1`)
		if err != nil {
			return nil, err
		}
	}
	for i, t := range tasks {
		out[i] = Offer{Task: t.ID, Process: warm[t.Target]}
	}
	return out, nil
}

// offering is inTx in which tasks can be offered.
func (s *Store) offering(ctx context.Context, f func(tx Offering, again bool) error) error {
	if s.d.Offering == nil {
		return s.inTx(ctx, func(tx *sql.Tx, again bool) error { return f(silent{tx}, again) })
	}
	return s.try(ctx, func(again bool) error {
		return s.d.Offering(ctx, func(tx Offering) error { return f(tx, again) })
	})
}

// silent offers nothing.
type silent struct{ tx *sql.Tx }

func (x silent) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	res, err := x.tx.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

func (x silent) Offer(_ context.Context, offers []Offer) ([]int64, error) {
	return make([]int64, len(offers)), nil
}

// keyed finds the operation that has the key of op, if that has one.
func (s *Store) keyed(ctx context.Context, op work.Operation) (work.Operation, error) {
	if op.Key == "" {
		return op, work.ErrNotFound
	}
	list, err := rows(ctx, s, scanOperation, `SELECT `+operationColumns+` FROM operations WHERE usr = $1 AND token = $2 AND idem = $3`, op.Caller.User, op.Caller.Token, op.Key)
	if err != nil {
		return op, s.wrap("find operation", err)
	}
	if len(list) == 0 {
		return op, work.ErrNotFound
	}
	if !bytes.Equal(list[0].KeyHash, op.KeyHash) {
		return op, fmt.Errorf("%w, operation %s", work.ErrConflict, list[0].ID)
	}
	return s.Operation(ctx, list[0].ID)
}

const operationColumns = `id, verb, request, usr, surface, client, token, scopes, idem, idem_hash, state, created, ended, cancelled`

func scanOperation(r row) (work.Operation, error) {
	var o work.Operation
	var created, ended, cancelled int64
	err := r.Scan(&o.ID, &o.Verb, &o.Request, &o.Caller.User, &o.Caller.Surface, &o.Caller.Client, &o.Caller.Token, &o.Caller.Scopes, &o.Key, &o.KeyHash, &o.State,
		&created, &ended, &cancelled)
	o.Created, o.Ended, o.Cancelled = timeOf(created), timeOf(ended), timeOf(cancelled)
	return o, err
}

// noWork is wrap for what is no session.
func (s *Store) noWork(op string, err error) error {
	if errors.Is(err, sql.ErrNoRows) || errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("%s: %w", op, work.ErrNotFound)
	}
	return s.wrap(op, err)
}

// Operation implements [work.Store].
func (s *Store) Operation(ctx context.Context, id string) (o work.Operation, err error) {
	what := "get operation " + id
	err = s.row(ctx, func(r row) (err error) {
		o, err = scanOperation(r)
		return err
	}, `SELECT `+operationColumns+` FROM operations WHERE id = $1`, id)
	if err != nil {
		return o, s.noWork(what, err)
	}
	o.Counts, err = counts(ctx, s, id)
	return o, s.noWork(what, err)
}

func counts(ctx context.Context, s *Store, operation string) (map[work.State]int, error) {
	out := map[work.State]int{}
	_, err := rows(ctx, s, func(r row) (struct{}, error) { return struct{}{}, scanCount(r, out) }, countTasks, operation)
	return out, err
}

const countTasks = `SELECT state, count(*) FROM tasks WHERE operation = $1 GROUP BY state`

func scanCount(r row, into map[work.State]int) error {
	var state work.State
	var n int
	err := r.Scan(&state, &n)
	into[state] = n
	return err
}

// defaultLimit is how many operations a query without a limit returns.
const defaultLimit = 50

// Operations implements [work.Store].
func (s *Store) Operations(ctx context.Context, q work.Query) ([]work.Operation, error) {
	limit := q.Limit
	if limit <= 0 {
		limit = defaultLimit
	}
	list, err := rows(ctx, s, scanOperation, `SELECT `+operationColumns+` FROM operations
		WHERE ($1 = '' OR usr = $1) AND ($2 = '' OR state = $2) AND ($3 = '' OR id < $3) ORDER BY id DESC LIMIT $4`, q.User, string(q.State), q.Before, int64(limit))
	for i := range list {
		if err == nil {
			list[i].Counts, err = counts(ctx, s, list[i].ID)
		}
	}
	return list, s.noWork("list operations", err)
}

// Cancel implements [work.Store].
func (s *Store) Cancel(ctx context.Context, id string, now time.Time) error {
	err := s.inTx(ctx, func(tx *sql.Tx, _ bool) error {
		list, err := tx.QueryContext(ctx, `UPDATE tasks SET state = 'cancelled', ended = $1 WHERE operation = $2 AND state = 'queued' RETURNING id`, millis(now), id)
		if err != nil {
			return err
		}
		var events []work.Event
		for list.Next() {
			e := work.Event{Time: now, Kind: "state", State: work.Cancelled}
			if err := list.Scan(&e.Task); err != nil {
				return errors.Join(err, list.Close())
			}
			events = append(events, e)
		}
		if err := errors.Join(list.Err(), list.Close()); err != nil {
			return err
		}
		res, err := tx.ExecContext(ctx, `UPDATE operations SET cancelled = CASE WHEN cancelled = 0 AND ended = 0 THEN CAST($1 AS BIGINT) ELSE cancelled END WHERE id = $2`, millis(now), id)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, sql.ErrNoRows)
		}
		return s.record(ctx, tx, id, events)
	})
	s.bus.wake(id)
	return s.noWork("cancel operation "+id, err)
}

// record adds events to an operation, and ends it when the last of its tasks is over. It
// comes last in a transaction: from here on it is the only one at this operation.
func (s *Store) record(ctx context.Context, tx *sql.Tx, operation string, events []work.Event) error {
	var last, ended int64
	var state work.State
	if err := tx.QueryRowContext(ctx, `UPDATE operations SET events = events + $1 WHERE id = $2 RETURNING events, state, ended`, int64(len(events)), operation).Scan(&last, &state, &ended); err != nil {
		return err
	}
	changed := false
	for i, e := range events {
		changed = changed || e.Kind == "state"
		if err := s.event(ctx, tx, operation, last-int64(len(events))+int64(i)+1, e); err != nil {
			return err
		}
	}
	if changed && ended == 0 {
		if err := s.advance(ctx, tx, operation, state, last, events[len(events)-1].Time); err != nil {
			return err
		}
	}
	return s.tell(ctx, tx, operation)
}

// tell tells other processes of an operation.
func (s *Store) tell(ctx context.Context, tx *sql.Tx, operation string) error {
	if s.d.Notify == "" {
		return nil
	}
	_, err := tx.ExecContext(ctx, s.d.Notify, operation)
	return err
}

func (s *Store) event(ctx context.Context, tx *sql.Tx, operation string, seq int64, e work.Event) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO events (operation, seq, at, task, kind, state, data) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		operation, seq, millis(e.Time), e.Task, e.Kind, string(e.State), e.Data)
	return err
}

// advance brings an operation to where its tasks are.
func (s *Store) advance(ctx context.Context, tx *sql.Tx, operation string, was work.State, last int64, now time.Time) error {
	n := map[work.State]int{}
	list, err := tx.QueryContext(ctx, countTasks, operation)
	if err != nil {
		return err
	}
	for list.Next() {
		if err := scanCount(list, n); err != nil {
			return errors.Join(err, list.Close())
		}
	}
	if err := errors.Join(list.Err(), list.Close()); err != nil {
		return err
	}
	to := whole(n)
	if to == was {
		return nil
	}
	var ended int64
	if to.Over() {
		ended = millis(now)
	}
	if _, err := tx.ExecContext(ctx, `UPDATE operations SET state = $1, ended = $2, events = events + 1 WHERE id = $3`, string(to), ended, operation); err != nil {
		return err
	}
	return s.event(ctx, tx, operation, last+1, work.Event{Time: now, Kind: "state", State: to})
}

// whole is the state of an operation whose tasks are in these.
func whole(n map[work.State]int) work.State {
	begun := n[work.Running] + n[work.Succeeded] + n[work.Failed] + n[work.Unknown] + n[work.Cancelled]
	switch {
	case begun == 0:
		return work.Queued
	case n[work.Queued]+n[work.Running] > 0:
		return work.Running
	case n[work.Failed]+n[work.Unknown] > 0:
		return work.Failed
	case n[work.Cancelled] > 0:
		return work.Cancelled
	}
	return work.Succeeded
}

// Emit implements [work.Store].
func (s *Store) Emit(ctx context.Context, operation string, events []work.Event) error {
	if len(events) == 0 {
		return nil
	}
	err := s.inTx(ctx, func(tx *sql.Tx, again bool) error {
		if again {
			e := events[len(events)-1]
			var n int
			if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM events WHERE operation = $1 AND task = $2 AND at = $3 AND kind = $4 AND data = $5`,
				operation, e.Task, millis(e.Time), e.Kind, e.Data).Scan(&n); err != nil || n > 0 {
				return err
			}
		}
		return s.record(ctx, tx, operation, events)
	})
	s.bus.wake(operation)
	return s.noWork("tell of operation "+operation, err)
}

// Events implements [work.Store].
func (s *Store) Events(ctx context.Context, operation string, after int64, limit int) ([]work.Event, error) {
	list, err := rows(ctx, s, func(r row) (e work.Event, err error) {
		var at int64
		err = r.Scan(&e.Seq, &at, &e.Task, &e.Kind, &e.State, &e.Data)
		e.Time = timeOf(at)
		return e, err
	}, `SELECT seq, at, task, kind, state, data FROM events WHERE operation = $1 AND seq > $2 ORDER BY seq LIMIT $3`, operation, after, int64(limit))
	return list, s.noWork("read events of "+operation, err)
}
