package engine

import (
	"context"
	"fmt"

	"github.com/bowline-sh/bowline/internal/audit"
	"github.com/bowline-sh/bowline/internal/store"
)

// Classed is a decision on all sessions of a class at once, for the record.
type Classed struct {
	Verb    string            // approve, reject
	Class   string            // its id, or the fleet's
	Effect  string            // "" for a fleet
	Digests map[string]string // plan digest by target
}

// Recorded writes down that a class is decided on before decide does it session by
// session, each with an entry of its own: this one lists the digest of every host. Of
// more than the log keeps it lists the first by name, and the digest of the list. What
// decide returns is recorded and nothing else: an error of Recorded means that the record
// could not be written, before or after.
func (e *Engine) Recorded(ctx context.Context, c Classed, decide func() error) error {
	digests := map[string]string{}
	for name, sum := range c.Digests {
		digests["plan of "+name] = sum
	}
	if c.Effect != "" {
		digests["effect"] = c.Effect
	}
	id, err := e.cfg.Recorder.Begin(ctx, audit.Intent{Subject: audit.Subject{Verb: c.Verb, Session: c.Class, Digests: digests}, Text: fmt.Sprintf("%d sessions", len(c.Digests))})
	if err != nil {
		return err
	}
	return e.end(ctx, id, audit.Outcome{Err: decide()})
}

// Fleet lists the sessions of a fleet, as List does.
func (e *Engine) Fleet(ctx context.Context, id string) ([]store.Session, error) {
	return e.List(ctx, store.Filter{Fleet: id})
}

// Holding calls f with an Engine that holds the key approvals are signed with, if they
// are, so that a person is asked for it once. If the key cannot be had f is not called.
func (e *Engine) Holding(ctx context.Context, f func(*Engine) error) error {
	if e.cfg.Rules.Key == nil || e.sign != nil {
		return f(e)
	}
	return e.cfg.Rules.Key(ctx, func(sign Sign) error { return f(&Engine{cfg: e.cfg, sign: sign}) })
}
