package review

import (
	"path"
	"strings"

	"github.com/bowline-sh/bowline/plan"
)

// Item is one line of the outline: a row or a group of rows.
type Item struct {
	Row   int    // number of the row; 0 for a group
	Group *Group // nil for a row
}

// Group is rows of one directory that are shown as one line. No row with a risk is
// ever in a group. Its rows follow each other in the plan, but for risky ones
// among them, which are shown after it.
type Group struct {
	Dir    string // any bytes
	Rows   []int  // numbers, in order
	Totals Totals
}

// foldFrom is how many rows make a group: what fills half a screen.
const foldFrom = 12

// outline folds rows: within a run of deletions, or of other changes, between two
// commands, the plan is ordered by path, so that what is below a directory is in
// one piece.
func outline(p plan.Plan, rows []Row) []Item {
	f := folder{plan: p, rows: rows}
	for start := 0; start < len(rows); {
		end := start + 1
		for end < len(rows) && rows[start].Symbol != "!" && zone(rows[end]) == zone(rows[start]) {
			end++
		}
		f.fold(start, end, 0)
		start = end
	}
	return f.out
}

func zone(r Row) string {
	if r.Symbol == "+" || r.Symbol == "~" {
		return "~"
	}
	return r.Symbol
}

type folder struct {
	plan plan.Plan
	rows []Row
	out  []Item
}

// fold lists rows [start, end), which share the first depth parts of their paths.
// A group is made at the third level, or above if all is directly in one directory.
func (f *folder) fold(start, end, depth int) {
	if end-start < foldFrom {
		f.list(start, end)
		return
	}
	if depth >= 3 {
		f.group(start, end)
		return
	}
	for i := start; i < end; {
		j := i + 1
		key, leaf := part(f.rows[i].Subject, depth)
		for j < end {
			k, l := part(f.rows[j].Subject, depth)
			if l != leaf || !leaf && k != key {
				break
			}
			j++
		}
		switch {
		case leaf && depth > 0 && j-i >= foldFrom:
			f.group(i, j)
		case leaf:
			f.list(i, j)
		default:
			f.fold(i, j, depth+1)
		}
		i = j
	}
}

// part returns the path's part at depth, and whether the path ends there.
func part(p string, depth int) (name string, leaf bool) {
	for range depth + 1 {
		i := strings.IndexByte(p, '/')
		if i < 0 {
			return p, true
		}
		p = p[i+1:]
	}
	i := strings.IndexByte(p, '/')
	if i < 0 {
		return p, true
	}
	return p[:i], false
}

func (f *folder) list(start, end int) {
	for i := start; i < end; i++ {
		f.out = append(f.out, Item{Row: i + 1})
	}
}

func (f *folder) group(start, end int) {
	g := &Group{Dir: path.Dir(f.rows[start].Subject)}
	var risky []Item
	for i := start; i < end; i++ {
		r := f.rows[i]
		for g.Dir != "/" && !strings.HasPrefix(r.Subject, g.Dir+"/") && r.Subject != g.Dir {
			g.Dir = path.Dir(g.Dir)
		}
		if len(r.Risks) > 0 {
			risky = append(risky, Item{Row: i + 1})
			continue
		}
		g.Rows = append(g.Rows, i+1)
		g.Totals.count(r, f.plan.Ops[i])
	}
	if len(g.Rows) < foldFrom {
		f.list(start, end)
		return
	}
	f.out = append(append(f.out, Item{Group: g}), risky...)
}
