package box

import (
	"context"
	"errors"
)

// steps are taken one after the other, and taken back if one fails.
type steps struct {
	back []func(context.Context) error
}

// do takes a step. back takes it back; nil if there is nothing to take back. It is called
// for a step that failed too, which may have been done though its answer was lost, so it
// must bear that nothing was done.
func (s *steps) do(ctx context.Context, what func(context.Context) error, back func(context.Context) error) error {
	if back != nil {
		s.back = append(s.back, back)
	}
	return what(ctx)
}

// undo takes back what was done, the last first, also when ctx is over.
func (s *steps) undo(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	var errs []error
	for i := len(s.back) - 1; i >= 0; i-- {
		errs = append(errs, s.back[i](ctx))
	}
	s.back = nil
	return errors.Join(errs...)
}

// Step is a part of a box outside of its server, such as an ssh entry: it is made when the
// box runs, and taken back if it or a later one fails.
type Step struct {
	Do   func(ctx context.Context, s *Server, b Box) error
	Back func(ctx context.Context) error // optional; bears that nothing was done
}
