package fleet

import (
	"cmp"
	"crypto/sha256"
	"slices"
	"sync"
)

// Groups gathers targets that gave the same output. It holds every output once, however
// many targets gave it. The zero value is empty; methods may be called concurrently.
type Groups struct {
	mu   sync.Mutex
	byID map[[sha256.Size]byte]*Group
}

// Group is the targets of one output, in the order they were added.
type Group struct {
	Targets []string
	Exit    int
	Output  []byte
}

// Add notes what a target gave.
func (g *Groups) Add(target string, exit int, output []byte) {
	h := sha256.New()
	h.Write([]byte{byte(exit >> 8), byte(exit)})
	h.Write(output)
	var id [sha256.Size]byte
	h.Sum(id[:0])
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.byID == nil {
		g.byID = map[[sha256.Size]byte]*Group{}
	}
	if g.byID[id] == nil {
		g.byID[id] = &Group{Exit: exit, Output: slices.Clone(output)}
	}
	g.byID[id].Targets = append(g.byID[id].Targets, target)
}

// List returns the groups, the largest first; of equal ones that with the first name.
func (g *Groups) List() []Group {
	g.mu.Lock()
	defer g.mu.Unlock()
	var out []Group
	for _, x := range g.byID {
		slices.Sort(x.Targets)
		out = append(out, *x)
	}
	slices.SortFunc(out, func(a, b Group) int {
		return cmp.Or(cmp.Compare(len(b.Targets), len(a.Targets)), cmp.Compare(a.Targets[0], b.Targets[0]))
	})
	return out
}
