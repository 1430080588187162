package box

import (
	"context"
	"errors"
)

// steps are taken one after the other, and taken back if one fails.
type steps struct {
	back []func(context.Context) error
}

// do takes a step. back takes it back; nil if there is nothing to take back.
func (s *steps) do(ctx context.Context, what func(context.Context) error, back func(context.Context) error) error {
	if err := what(ctx); err != nil {
		return err
	}
	if back != nil {
		s.back = append(s.back, back)
	}
	return nil
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
