package box

import (
	"sync"

	"github.com/bowline-sh/bowline/diag"
)

// takes are the verbs that end or change what runs in a box: those of other owners are left
// alone unless it is asked for. Whoever may use Podman's socket could do it all the same:
// this keeps from mistakes, and from nothing else.
var takes = map[string]string{"box.rm": "rm", "box.stop": "stop", "box.start": "start", "box.rebuild": "rebuild"}

// claim returns what looks at each box that a call finds, before anything is done to it.
// What takes a box of another owner is refused; what uses it says whose it is, once.
func (b *Boxes) claim(c Call, on string) func(Box) error {
	if reads[c.Verb] || c.Verb == "box.create" || c.Verb == "box.ssh" {
		return nil // box.ssh speaks SSH, and nobody hears it
	}
	var mu sync.Mutex
	told := map[string]bool{}
	return func(bx Box) error {
		if bx.Owner == b.cfg.Owner {
			return nil
		}
		verb, take := takes[c.Verb]
		if take && !c.Force {
			return diag.New(diag.Refused, verb+" "+bx.Name, "ask them; to do it all the same: 'bowline box "+verb+" -t "+on+" "+bx.Name+" --force'", "the box belongs to %s, and you are %s", bx.Owner, b.cfg.Owner)
		}
		mu.Lock()
		defer mu.Unlock()
		if !told[bx.Name] && b.cfg.Notify != nil {
			told[bx.Name] = true
			b.cfg.Notify("box " + bx.Name + " belongs to " + bx.Owner)
		}
		return nil
	}
}
