package copier

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/bowline-sh/bowline/internal/transfer"
)

// perCall bounds the list of one transfer, so that a request stays small.
const perCall = 8192

// copyAll makes directories, then files on several lanes, then sets what directories
// shall look like, from the deepest up: whatever is made in them changes their time.
func (p *copying) copyAll(ctx context.Context) error {
	var dirs, rest []transfer.Found
	for _, f := range p.list {
		if f.Type == transfer.Dir {
			dirs = append(dirs, f)
		} else {
			rest = append(rest, f)
		}
	}
	if err := p.inTurn(ctx, dirs); err != nil {
		return err
	}
	if err := p.inParallel(ctx, rest); err != nil {
		return err
	}
	var final []transfer.Found
	for i := len(dirs) - 1; i >= 0; i-- {
		if d := dirs[i]; p.created(d.Index) {
			d.Final = true
			final = append(final, d)
		}
	}
	return p.inTurn(ctx, final)
}

func (p *copying) created(index int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	r, ok := p.results[index]
	return ok && r.Created && r.Status.OK()
}

func (p *copying) inTurn(ctx context.Context, list []transfer.Found) error {
	for len(list) > 0 {
		n := min(len(list), perCall)
		if err := p.transfer(ctx, list[:n]); err != nil {
			return err
		}
		list = list[n:]
	}
	return nil
}

// fileCost is what a file costs besides its bytes, as bytes.
const fileCost = 64 << 10

// inParallel deals list out to lanes of about the same cost. Neighbours stay
// together, so that each lane has few directories open.
func (p *copying) inParallel(ctx context.Context, list []transfer.Found) error {
	lanes := max(1, min(p.src.lanes(), p.dst.lanes(), len(list)))
	var total int64
	for _, f := range list {
		total += fileCost + max(f.Size, 0)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var running sync.WaitGroup
	errs := make([]error, lanes)
	for i := range lanes {
		share, cost := total/int64(lanes-i), int64(0)
		n := 0
		for n < len(list) && (cost < share || i == lanes-1) {
			cost += fileCost + max(list[n].Size, 0)
			n++
		}
		mine := list[:n]
		list, total = list[n:], total-cost
		running.Go(func() {
			if errs[i] = p.inTurn(ctx, mine); errs[i] != nil {
				cancel(errs[i])
			}
		})
	}
	running.Wait()
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause // what stopped the others
	}
	return errors.Join(errs...)
}

// transfer runs both halves for list.
func (p *copying) transfer(ctx context.Context, list []transfer.Found) error {
	src, dst := p.src.send(list), p.dst.receive(string(p.dest.Dir))
	switch {
	case src.there != nil && dst.there != nil:
		return p.relay(ctx, src, dst)
	case src.there != nil:
		return meet(ctx, src, dst)
	case dst.there != nil:
		return meet(ctx, dst, src)
	default:
		return both(ctx, src, dst)
	}
}

// meet runs the half that is here on the stream of the one that is there.
func meet(ctx context.Context, there, here half) error {
	r, err := there.there(ctx)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, r.abort)
	hereErr := here.here(ctx, r)
	stop()
	return firstOf(r.end(ctx, hereErr == nil), hereErr)
}

// abort breaks the stream; the far half then cleans up and ends.
func (r *remote) abort() {
	r.call.Cancel()
	_ = r.call.Stdin.Close() // wakes the far half, whose answer wakes ours
}

// both runs two halves that are here, each in a goroutine.
func both(ctx context.Context, src, dst half) error {
	a, b := newPipes()
	defer context.AfterFunc(ctx, func() { a.breakOff(context.Cause(ctx)) })()
	sent := make(chan error, 1)
	go func() {
		err := src.here(ctx, a)
		if err != nil {
			a.breakOff(err)
		}
		sent <- err
	}()
	err := dst.here(ctx, b)
	if err != nil {
		b.breakOff(err)
	}
	return firstOf(<-sent, err)
}

// pipes is one end of two pipes.
type pipes struct {
	r *io.PipeReader
	w *io.PipeWriter
}

func newPipes() (a, b pipes) {
	ar, bw := io.Pipe()
	br, aw := io.Pipe()
	return pipes{ar, aw}, pipes{br, bw}
}

func (p pipes) Read(b []byte) (int, error)  { return p.r.Read(b) }
func (p pipes) Write(b []byte) (int, error) { return p.w.Write(b) }

func (p pipes) breakOff(err error) {
	_ = p.r.CloseWithError(err) // never fails
	_ = p.w.CloseWithError(err)
}

// relay carries the bytes between two targets.
func (p *copying) relay(ctx context.Context, src, dst half) error {
	a, err := src.there(ctx)
	if err != nil {
		return err
	}
	b, err := dst.there(ctx)
	if err != nil {
		return errors.Join(err, a.end(ctx, false))
	}
	stop := context.AfterFunc(ctx, func() { a.abort(); b.abort() })
	forward := make(chan error, 1)
	go func() {
		err := transfer.Watch(b, a, transfer.Watcher{Sent: p.read, Progress: p.progress})
		if err != nil {
			b.abort()
		}
		forward <- err
	}()
	backErr := transfer.Watch(a, b, transfer.Watcher{Done: p.done})
	if backErr != nil {
		a.abort()
	}
	forwardErr := <-forward
	stop()
	ok := forwardErr == nil && backErr == nil
	aErr, bErr := a.end(ctx, ok), b.end(ctx, ok)
	return firstOf(firstOf(bErr, backErr), firstOf(aErr, forwardErr))
}
