package sqlstore

import (
	"context"
	"time"

	"github.com/bowline-sh/bowline/internal/work"
)

// Join implements [work.Store].
func (s *Store) Join(ctx context.Context, p work.Process) error {
	err := s.insert(ctx, `INSERT INTO processes (id, host, pid, started, beat, alive, pubkey) VALUES ($1, $2, $3, $4, $5, 1, $6)`,
		[]any{p.ID, p.Host, int64(p.PID), millis(p.Started), p.Beat, p.Key},
		`SELECT count(*) FROM processes WHERE id = $1 AND pid = $2 AND started = $3`, p.ID, int64(p.PID), millis(p.Started))
	return s.noWork("join as "+p.ID, err)
}

// Beat implements [work.Store].
func (s *Store) Beat(ctx context.Context, id string, beat int64) error {
	n, err := s.exec(ctx, `UPDATE processes SET beat = $1 WHERE id = $2 AND alive = 1`, beat, id)
	return s.found("beat of "+id, n, err, work.ErrFenced)
}

// Processes implements [work.Store].
func (s *Store) Processes(ctx context.Context) ([]work.Process, error) {
	list, err := rows(ctx, s, func(r row) (p work.Process, err error) {
		var started int64
		err = r.Scan(&p.ID, &p.Host, &p.PID, &started, &p.Beat, &p.Key)
		p.Started = timeOf(started)
		return p, err
	}, `SELECT id, host, pid, started, beat, pubkey FROM processes WHERE alive = 1 ORDER BY id`)
	return list, s.noWork("list processes", err)
}

// Bury implements [work.Store].
func (s *Store) Bury(ctx context.Context, id string, beat int64) error {
	_, err := s.exec(ctx, `UPDATE processes SET alive = 0 WHERE id = $1 AND beat = $2`, id, beat)
	return s.noWork("declare "+id+" dead", err)
}

// Leave implements [work.Store].
func (s *Store) Leave(ctx context.Context, id string) error {
	_, err := s.exec(ctx, `UPDATE processes SET alive = 0 WHERE id = $1`, id)
	return s.noWork("leave as "+id, err)
}

// Warm implements [work.Store].
func (s *Store) Warm(ctx context.Context, target, process string, now time.Time) error {
	_, err := s.exec(ctx, `INSERT INTO warmth (target, process, at) VALUES ($1, $2, $3) ON CONFLICT (target) DO UPDATE SET process = excluded.process, at = excluded.at`,
		target, process, millis(now))
	return s.noWork("note link to "+target, err)
}

// Prune implements [work.Store].
func (s *Store) Prune(ctx context.Context, before time.Time) error {
	ms := millis(before)
	for _, q := range []string{
		`DELETE FROM operations WHERE ended > 0 AND ended < $1`,
		`DELETE FROM warmth WHERE at < $1`,
		`DELETE FROM processes WHERE alive = 0 AND started < $1 AND NOT EXISTS (SELECT 1 FROM tasks WHERE tasks.process = processes.id AND tasks.state = 'running')`,
	} {
		if _, err := s.exec(ctx, q, ms); err != nil {
			return s.noWork("prune operations", err)
		}
	}
	return nil
}
