package audit

import (
	"context"
	"errors"
	"path/filepath"
	"slices"

	"github.com/bowline-sh/bowline/internal/durable"
)

// request is an entry that waits to be written. Its fields seq, time, prev and
// hash are set by the writer.
type request struct {
	entry Entry
	done  chan error // buffered, gets one value
}

// maxBatch bounds the entries that share one fsync, and with them the memory
// of a batch.
const maxBatch = 64

// append writes e and returns when it is on disk. Goroutines that append at
// the same time share an fsync: the one that gets the turn writes for all.
func (l *Log) append(ctx context.Context, e Entry) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	e.Actor = e.Actor.or(l.cfg.Actor)
	e.Actor = e.Actor.bounded()
	req := &request{entry: e, done: make(chan error, 1)}
	if err := l.enqueue(req); err != nil {
		return err
	}
	for {
		select {
		case err := <-req.done:
			return err
		case l.turn <- struct{}{}:
			l.lead(ctx, req)
			<-l.turn
		case <-ctx.Done():
			if l.withdraw(req) {
				return ctx.Err()
			}
			return <-req.done // being written: wait for what comes of it
		}
	}
}

func (l *Log) enqueue(req *request) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return ErrClosed
	}
	l.pending = append(l.pending, req)
	return nil
}

func (l *Log) withdraw(req *request) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.Index(l.pending, req)
	if i < 0 {
		return false
	}
	l.pending = slices.Delete(l.pending, i, i+1)
	return true
}

// take removes and returns the next batch.
func (l *Log) take() []*request {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := min(len(l.pending), maxBatch)
	batch := slices.Clone(l.pending[:n])
	l.pending = slices.Delete(l.pending, 0, n)
	return batch
}

func (l *Log) requeue(batch []*request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pending = append(batch, l.pending...)
}

func (l *Log) answer(batch []*request, err error) {
	for _, r := range batch {
		r.done <- err
	}
}

// lead writes the next batch; the caller has the turn. If its own context ends
// while it waits for other processes, the others must not fail with it.
func (l *Log) lead(ctx context.Context, own *request) {
	if l.isClosed() {
		l.answer(l.take(), ErrClosed)
		return
	}
	batch := l.take()
	if len(batch) == 0 {
		return
	}
	err := l.commit(ctx, batch)
	if err == nil || ctx.Err() == nil || !errors.Is(err, ctx.Err()) {
		l.answer(batch, err)
		return
	}
	if i := slices.Index(batch, own); i >= 0 {
		own.done <- err
		batch = slices.Delete(batch, i, i+1)
	}
	l.requeue(batch)
}

func (l *Log) isClosed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}

// commit appends a batch under the file lock. With an empty one it only brings
// the log in order. After an error nothing of the batch counts as written.
func (l *Log) commit(ctx context.Context, batch []*request) error {
	if err := guardDir(l.cfg.Dir); err != nil {
		return err
	}
	lock, err := durable.Lock(ctx, filepath.Join(l.cfg.Dir, lockName))
	if err != nil {
		return err
	}
	err = l.commitLocked(ctx, batch)
	return errors.Join(err, lock.Unlock())
}

func (l *Log) commitLocked(ctx context.Context, batch []*request) error {
	notes, err := l.refresh(ctx)
	if err != nil {
		l.tail.forget()
		return err
	}
	entries := make([]*Entry, 0, len(notes)+len(batch))
	for i := range notes {
		entries = append(entries, &notes[i])
	}
	for _, r := range batch {
		entries = append(entries, &r.entry)
	}
	if len(entries) == 0 {
		return nil
	}
	if err := l.write(entries); err != nil {
		l.tail.forget() // what the files hold now must be read again
		return err
	}
	return nil
}

// write chains, stores and syncs entries after the tail.
func (l *Log) write(entries []*Entry) error {
	data, next, err := l.chain(entries)
	if err != nil {
		return err
	}
	t := &l.tail
	if t.size > 0 && len(t.torn) == 0 && t.size+int64(len(data)) > l.cfg.MaxSize {
		if err := t.rotate(l.cfg.Dir); err != nil {
			return err
		}
		next.Segment = t.segment
	}
	if err := t.store(data); err != nil {
		return err
	}
	if err := writeHead(t.headFile, next); err != nil {
		return err // the entries are ahead of the head, and will be healed
	}
	t.head = next
	return t.remember(l.cfg)
}

// chain seals entries after the tail and returns their lines and the new head.
func (l *Log) chain(entries []*Entry) ([]byte, head, error) {
	var data []byte
	h := l.tail.head
	h.Segment = l.tail.segment
	for _, e := range entries {
		e.Seq, e.Prev, e.Time = h.Seq+1, h.Hash, l.cfg.Now().UTC()
		line, err := e.seal()
		if err != nil {
			return nil, head{}, err
		}
		data = append(data, line...)
		h.Seq, h.Hash, h.Count, h.Time = e.Seq, e.Hash, h.Count+1, e.Time
	}
	return data, h, nil
}
