// Package tui is the review screen of 'bowline review': sessions, what they would
// do, who decided, and apply and rollback as they happen.
//
// # Rules of the screen
//
//   - What is shown of a plan is what package review says of it, so that the
//     screen, the command line and the page show the same.
//   - All text goes through ink, which neutralises it: no name or content of a
//     target can draw. Nothing is said by colour alone.
//   - Nothing is compared, wrapped or drawn before it is visible.
//   - An approval names the digest that is on the screen, and asks first.
//
// # Life of the program
//
// Model state belongs to the loop of Bubble Tea. Calls to the [API] run beside it,
// as commands, and come back as messages; [Run] waits for all of them.
package tui

import (
	"context"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/plan"
)

// API is what the screen asks of package bowline; [bowline.Client] has it.
type API interface {
	Sessions(ctx context.Context, q bowline.SessionQuery) ([]bowline.Session, error)
	Session(ctx context.Context, id string) (bowline.Session, error)
	Approve(ctx context.Context, id, digest string) (plan.Approval, error)
	Reject(ctx context.Context, id, reason string) error
	Select(ctx context.Context, id string, sel bowline.Selection) (bowline.Session, error)
	Cancel(ctx context.Context, id, why string) error
	Apply(ctx context.Context, id string, o bowline.ApplyOptions) (bowline.SessionResult, error)
	Confirm(ctx context.Context, id string) (bowline.SessionResult, error)
	Resume(ctx context.Context, id string, o bowline.ApplyOptions) (bowline.SessionResult, error)
	Rollback(ctx context.Context, id string, o bowline.ApplyOptions) (bowline.SessionResult, error)
	Drift(ctx context.Context, id string) (bowline.Drift, error)
}
