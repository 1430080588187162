package change

// Verdict is what to do with one path.
type Verdict string

const (
	Write    Verdict = "write"    // as it was in the plan: change it
	Noop     Verdict = "noop"     // already as it shall be
	Conflict Verdict = "conflict" // somebody else changed it: leave it alone
)

// Resolve decides what to do with a path that the plan saw as base, that is now
// in state now, and that shall end as want. It answers Write only if now is base:
// what someone else changed is never overwritten.
func Resolve(base, now, want State) Verdict {
	switch {
	case now.Same(want):
		return Noop
	case now.Same(base):
		return Write
	}
	return Conflict
}

// Reverse returns the change that takes c back.
func (c Change) Reverse() Change {
	return Change{Path: c.Path, Before: c.After, After: c.Before, InPlace: c.InPlace}
}
