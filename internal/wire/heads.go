package wire

import (
	"context"
	"path/filepath"
	"sync"
	"time"

	"github.com/bowline-sh/bowline/internal/helper"
	"github.com/bowline-sh/bowline/internal/witness"
)

// head is where the audit log stands, to be left on targets. Where it cannot be signed
// there is none: it is a witness more, and stops nothing.
func (p *Parts) head(ctx context.Context) *helper.Head {
	self, err := p.witness()
	if err != nil {
		return nil
	}
	h, ok, err := self.Head(ctx, p.AuditReader(), hostname(), time.Now())
	if err != nil || !ok {
		return nil
	}
	out := helper.Head(h)
	return &out
}

// TargetReport is what a target bears witness to.
type TargetReport = witness.TargetReport

// askAtATime bounds the targets that are asked for heads at a time.
const askAtATime = 32

// held asks targets for the heads that they hold.
func (p *Parts) held(ctx context.Context, targets []string) []witness.Held {
	list := make([]witness.Held, len(targets))
	places := make(chan struct{}, askAtATime)
	var asking sync.WaitGroup
	for i, name := range targets {
		places <- struct{}{}
		asking.Go(func() {
			defer func() { <-places }()
			heads, err := p.Engine.Heads(ctx, name)
			list[i] = witness.Held{Target: name, Err: err}
			for _, h := range heads {
				list[i].Heads = append(list[i].Heads, witness.Head(h))
			}
		})
	}
	asking.Wait()
	return list
}

// caughtUp waits until other machines have copied what they vouched for on targets.
func caughtUp(ctx context.Context, held []witness.Held, self string) error {
	const patience = 3 * witness.Every
	var newest time.Time
	for _, h := range held {
		for _, x := range h.Heads {
			if x.Chain != self && x.Time.After(newest) && x.Valid() {
				newest = x.Time
			}
		}
	}
	wait := min(patience-time.Since(newest), patience) // clocks differ
	if wait <= 0 {
		return nil
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(wait):
		return nil
	}
}

// VerifyOwn checks the audit log of this machine against what targets hold of it.
func (p *Parts) VerifyOwn(ctx context.Context, targets []string) (witness.OwnReport, error) {
	held := p.held(ctx, targets)
	self, err := witness.Find(filepath.Dir(p.Paths.AuditHead))
	if err != nil {
		return witness.OwnReport{}, err
	}
	return witness.VerifyOwn(ctx, self, p.AuditReader(), held), nil
}
