// Package review turns a plan into what a person sees: rows, risks, totals and
// diffs. It is pure, and every surface shows what it says, so that all show the
// same. Its texts hold paths and contents of the target as they are; the surface
// neutralises them.
package review

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/aymanbagabas/go-udiff"

	"github.com/bowline-sh/bowline/change"
	"github.com/bowline-sh/bowline/plan"
)

// Row is one operation.
type Row struct {
	N       int    // from 1
	Symbol  string // "+", "~", "-", "!" for a command
	Subject string // path, or command line
	Detail  string // what changes, in a few words
	Risks   []string
}

// Rows returns one row an operation.
func Rows(p plan.Plan) []Row {
	rows := make([]Row, len(p.Ops))
	for i, op := range p.Ops {
		if op.Command != nil {
			rows[i] = commandRow(i+1, *op.Command)
			continue
		}
		rows[i] = changeRow(i+1, *op.Change)
	}
	return rows
}

func commandRow(n int, c plan.Command) Row {
	detail := "runs only when applied"
	if len(c.Undo) > 0 {
		detail += "; undone by: " + strings.Join(c.Undo, " ")
	} else {
		detail += "; no undo is known"
	}
	return Row{N: n, Symbol: "!", Subject: strings.Join(c.Argv, " "), Detail: detail, Risks: []string{"command outside the file system"}}
}

func changeRow(n int, c change.Change) Row {
	r := Row{N: n, Subject: string(c.Path), Risks: Risks(c)}
	switch c.Kind() {
	case change.Create:
		r.Symbol, r.Detail = "+", describe(c.After)
	case change.Delete:
		r.Symbol, r.Detail = "-", describe(c.Before)
	default:
		r.Symbol, r.Detail = "~", difference(c)
	}
	if c.Link != "" {
		r.Detail += ", hard link to " + string(c.Link)
	}
	return r
}

func describe(s change.State) string {
	text := string(s.Type)
	switch s.Type {
	case change.File:
		text = fmt.Sprintf("file, %d bytes", s.Size)
	case change.Symlink:
		return "symlink to " + string(s.Target)
	case change.Char, change.Block:
		text = fmt.Sprintf("%s device %d:%d", s.Type, s.Major, s.Minor)
	}
	return fmt.Sprintf("%s, mode %04o, owner %d:%d", text, s.Mode, s.UID, s.GID)
}

func difference(c change.Change) string {
	b, a := c.Before, c.After
	if b.Type != a.Type {
		return fmt.Sprintf("%s becomes %s", b.Type, describe(a))
	}
	var out []string
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if b.SHA256 != a.SHA256 {
		add("content, %d to %d bytes", b.Size, a.Size)
	}
	if b.Target != a.Target {
		add("target %s to %s", b.Target, a.Target)
	}
	if b.Mode != a.Mode {
		add("mode %04o to %04o", b.Mode, a.Mode)
	}
	if b.UID != a.UID || b.GID != a.GID {
		add("owner %d:%d to %d:%d", b.UID, b.GID, a.UID, a.GID)
	}
	for _, k := range slices.Sorted(keys(b.Xattrs, a.Xattrs)) {
		if !bytes.Equal(b.Xattrs[k], a.Xattrs[k]) {
			add("attribute %s", k)
		}
	}
	if len(out) == 0 {
		add("time")
	}
	return strings.Join(out, ", ")
}

func keys(maps ...map[string][]byte) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		seen := map[string]bool{}
		for _, m := range maps {
			for k := range m {
				if !seen[k] && !yield(k) {
					return
				}
				seen[k] = true
			}
		}
	}
}

// Totals counts operations.
type Totals struct {
	Created, Changed, Deleted, Commands int
	DeletedBytes                        int64
	Risky                               int
}

// Sum counts the operations of rows of p.
func Sum(p plan.Plan) Totals {
	var t Totals
	for i, r := range Rows(p) {
		switch r.Symbol {
		case "+":
			t.Created++
		case "-":
			t.Deleted++
			t.DeletedBytes += p.Ops[i].Change.Before.Size
		case "!":
			t.Commands++
		default:
			t.Changed++
		}
		if len(r.Risks) > 0 {
			t.Risky++
		}
	}
	return t
}

// String is the last line of a plan.
func (t Totals) String() string {
	return fmt.Sprintf("%d to create, %d to change, %d to delete (%d bytes), %d commands; %d need a second look",
		t.Created, t.Changed, t.Deleted, t.DeletedBytes, t.Commands, t.Risky)
}

// maxDiff bounds what is diffed, in bytes a side.
const maxDiff = 1 << 20

// Diff returns the unified diff of one change, or one line that says why there is
// none. contents are by SHA-256.
func Diff(c change.Change, contents map[string][]byte) string {
	b, a := c.Before, c.After
	if b.SHA256 == a.SHA256 && cmp.Or(b.SHA256, a.SHA256) != "" || b.Type != change.File && a.Type != change.File {
		return ""
	}
	before, okB := contentOf(b, contents)
	after, okA := contentOf(a, contents)
	switch {
	case !okB || !okA:
		return fmt.Sprintf("(contents not kept: %s to %s)\n", sizeAndDigest(b), sizeAndDigest(a))
	case !text(before) || !text(after):
		return fmt.Sprintf("(binary: %s to %s)\n", sizeAndDigest(b), sizeAndDigest(a))
	case len(before) > maxDiff || len(after) > maxDiff:
		return fmt.Sprintf("(too large to show: %s to %s)\n", sizeAndDigest(b), sizeAndDigest(a))
	}
	return udiff.Unified("a"+string(c.Path), "b"+string(c.Path), string(before), string(after))
}

func contentOf(s change.State, contents map[string][]byte) ([]byte, bool) {
	if s.Type != change.File || s.Size == 0 {
		return nil, true
	}
	b, ok := contents[s.SHA256]
	return b, ok
}

func sizeAndDigest(s change.State) string {
	if s.Type != change.File {
		return "nothing"
	}
	return fmt.Sprintf("%d bytes %s", s.Size, s.SHA256[:12])
}

func text(b []byte) bool {
	return utf8.Valid(b) && !bytes.Contains(b, []byte{0})
}
