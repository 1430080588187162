package plan

import (
	"encoding/json"
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/bowline-sh/bowline/change"
)

// Withheld returns the changes that a script must not be able to make when it is run
// again to find out what depends on the operations that keep leaves out, and the
// numbers of those left-out changes for which that cannot be tried: a path that is
// also changed by a kept operation, or a directory that one lies in. Commands are in
// neither: a dry run does not carry them out anyway.
func (p Plan) Withheld(keep func(op int) bool) (out change.Changeset, untried []int) {
	kept := map[change.Path]bool{} // paths of kept changes, and the directories above them
	for i, op := range p.Ops {
		if op.Change == nil || !keep(i+1) {
			continue
		}
		for at := string(op.Change.Path); at != "/" && at != "."; at = path.Dir(at) {
			kept[change.Path(at)] = true
		}
	}
	seen := map[change.Path]bool{}
	for i, op := range p.Ops {
		c := op.Change
		switch {
		case c == nil || keep(i+1) || seen[c.Path] || below(seen, c.Path):
		case kept[c.Path]:
			untried = append(untried, i+1)
		default:
			seen[c.Path] = true
			out = append(out, *c)
		}
	}
	return out, untried
}

// below reports whether p lies in one of dirs.
func below(dirs map[change.Path]bool, p change.Path) bool {
	for at := path.Dir(string(p)); at != "/" && at != "."; at = path.Dir(at) {
		if dirs[change.Path(at)] {
			return true
		}
	}
	return false
}

// Missing returns the numbers of the operations that keep names and that again, a
// plan of the same script on the same host, does not have. Times do not count.
func (p Plan) Missing(again Plan, keep func(op int) bool) []int {
	has := map[string]int{}
	for _, op := range again.Ops {
		has[op.effect()]++
	}
	var out []int
	for i, op := range p.Ops {
		if !keep(i + 1) {
			continue
		}
		if e := op.effect(); has[e] > 0 {
			has[e]--
			continue
		}
		out = append(out, i+1)
	}
	return out
}

// effect says what an operation leads to, whatever it starts from.
func (o Operation) effect() string {
	o = o.canonical()
	o.Apart = false
	if o.Change != nil {
		o.Change.Before = change.State{}
		o.Change.After.MTime = 0
		o.Change.After.NLink = 0
		o.Change.InPlace = false
	}
	b, err := json.Marshal(o)
	if err != nil {
		panic("plan: an operation cannot be encoded: " + err.Error()) // it was decoded before
	}
	return string(b)
}

// Numbers writes operation numbers as people do: "1, 3-5".
func Numbers(ops []int) string {
	var list []string
	for i := 0; i < len(ops); {
		j := i
		for j+1 < len(ops) && ops[j+1] == ops[j]+1 {
			j++
		}
		if j == i {
			list = append(list, strconv.Itoa(ops[i]))
		} else {
			list = append(list, fmt.Sprintf("%d-%d", ops[i], ops[j]))
		}
		i = j + 1
	}
	return strings.Join(list, ", ")
}
