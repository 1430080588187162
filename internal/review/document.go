package review

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bowline-sh/bowline/change"
	"github.com/bowline-sh/bowline/plan"
)

// Input is what a document is made of. Only Plan is required.
type Input struct {
	Plan     plan.Plan
	Contents map[string][]byte // of files before and after, by SHA-256; may lack any
	Digest   string            // of the plan, as its session has it
	Now      time.Time         // for what expires; default when the plan was made
	Others   []Applied         // sessions that may still be rolled back
}

// Document is everything a surface shows of a plan. It is not changed after New
// and may be read concurrently.
type Document struct {
	Header  Header
	Risks   []Risk // worst first, then in the order of operations
	Rows    []Row  // one an operation
	Outline []Item // the rows with large uniform parts folded
	Totals  Totals

	in     Input
	host   names
	effect func() string // effectText, once
}

// Header is what stands above the rows.
type Header struct {
	Session  string
	Target   string
	HostKey  string
	Login    string // account the effects were captured for
	Digest   string // "" if the input had none
	Mode     plan.Mode
	Created  time.Time
	Argv     []string // how the script was run
	Exit     int      // of the script in the dry run
	Output   []string // the last lines the script wrote, if it failed
	Warnings []string // what the dry run could not see
}

// Row is one operation.
type Row struct {
	N         int    // from 1
	Symbol    string // "+", "~", "-", "!" for a command
	Subject   string // path or command line; any bytes
	Detail    string // what changes, in a few words
	Risks     []Risk
	Sensitive bool // its content holds secrets: show the diff only when asked
}

// Severity is that of the worst risk, or 0.
func (r Row) Severity() Severity {
	var worst Severity
	for _, x := range r.Risks {
		worst = max(worst, x.Severity)
	}
	return worst
}

// lastLines is how much of a failed script's output the header has.
const lastLines = 12

// New makes the document of a plan. It takes any plan and never fails.
func New(in Input) *Document {
	if in.Now.IsZero() {
		in.Now = in.Plan.Created
	}
	d := &Document{in: in, host: namesOf(in.Plan, in.Contents)}
	d.effect = sync.OnceValue(d.effectText)
	d.Header = headerOf(in)
	d.Risks = judgeAll(in, d.host)
	d.Rows = d.rows()
	d.Outline = outline(in.Plan, d.Rows)
	d.Totals = sum(in.Plan, d.Rows)
	for _, r := range d.Risks {
		d.Totals.weigh(r.Severity)
	}
	return d
}

func headerOf(in Input) Header {
	p := in.Plan
	h := Header{Session: p.Session, Target: p.Target, HostKey: p.HostKey, Login: p.Login, Digest: in.Digest, Mode: p.Mode,
		Created: p.Created, Argv: p.Argv, Exit: p.Exit, Warnings: slices.Clone(p.Warnings)}
	if p.Truncated {
		h.Warnings = append(h.Warnings, "the output of the dry run was cut")
	}
	if p.Exit != 0 {
		out := strings.TrimRight(string(p.Stdout)+string(p.Stderr), "\n")
		if out != "" {
			all := strings.Split(out, "\n")
			h.Output = all[max(0, len(all)-lastLines):]
		}
	}
	return h
}

func (d *Document) rows() []Row {
	rows := make([]Row, len(d.in.Plan.Ops))
	for i, op := range d.in.Plan.Ops {
		if op.Change != nil {
			rows[i] = d.changeRow(*op.Change)
		} else {
			rows[i] = commandRow(*op.Command)
		}
		rows[i].N = i + 1
	}
	for _, r := range d.Risks {
		for _, n := range r.ops() {
			rows[n-1].Risks = append(rows[n-1].Risks, r)
		}
	}
	return rows
}

func commandRow(c plan.Command) Row {
	detail := "runs only when applied; no undo is known"
	if len(c.Undo) > 0 {
		detail = "runs only when applied; undone by: " + strings.Join(c.Undo, " ")
	}
	return Row{Symbol: "!", Subject: strings.Join(c.Argv, " "), Detail: detail}
}

func (d *Document) changeRow(c change.Change) Row {
	r := Row{Subject: string(c.Path), Sensitive: sensitive(string(c.Path))}
	switch c.Kind() {
	case change.Create:
		r.Symbol, r.Detail = "+", d.describe(c.After)
	case change.Delete:
		r.Symbol, r.Detail = "-", d.describe(c.Before)
	default:
		r.Symbol, r.Detail = "~", d.difference(c)
	}
	if c.Link != "" {
		r.Detail += ", hard link to " + string(c.Link)
	}
	return r
}

func (d *Document) describe(s change.State) string {
	text := string(s.Type)
	switch s.Type {
	case change.File:
		text = fmt.Sprintf("file, %d bytes", s.Size)
	case change.Symlink:
		return "symlink to " + string(s.Target)
	case change.Char, change.Block:
		text = fmt.Sprintf("%s device %d:%d", s.Type, s.Major, s.Minor)
	}
	return fmt.Sprintf("%s, mode %04o, owner %s", text, s.Mode, d.host.owner(s))
}

func (d *Document) difference(c change.Change) string {
	b, a := c.Before, c.After
	if b.Type != a.Type {
		return fmt.Sprintf("%s becomes %s", b.Type, d.describe(a))
	}
	var out []string
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if b.SHA256 != a.SHA256 {
		add("content, %d to %d bytes", b.Size, a.Size)
	}
	if b.Target != a.Target {
		add("target %s to %s", b.Target, a.Target)
	}
	if b.Major != a.Major || b.Minor != a.Minor {
		add("device %d:%d to %d:%d", b.Major, b.Minor, a.Major, a.Minor)
	}
	if b.Mode != a.Mode {
		add("mode %04o to %04o", b.Mode, a.Mode)
	}
	if b.UID != a.UID || b.GID != a.GID {
		add("owner %s to %s", d.host.owner(b), d.host.owner(a))
	}
	for _, k := range xattrChanges(b, a) {
		add("attribute %s", k)
	}
	if len(out) == 0 {
		if c.Link != "" {
			return "same content"
		}
		return "time"
	}
	return strings.Join(out, ", ")
}

// Totals counts operations.
type Totals struct {
	Created, Changed, Deleted, Commands int
	DeletedBytes                        int64
	Risky                               int // operations with a risk
	High, Medium, Low                   int // risks
}

func sum(p plan.Plan, rows []Row) Totals {
	var t Totals
	for i, r := range rows {
		t.count(r, p.Ops[i])
	}
	return t
}

func (t *Totals) count(r Row, op plan.Operation) {
	switch r.Symbol {
	case "+":
		t.Created++
	case "-":
		t.Deleted++
		t.DeletedBytes += op.Change.Before.Size
	case "!":
		t.Commands++
	default:
		t.Changed++
	}
	if len(r.Risks) > 0 {
		t.Risky++
	}
}

func (t *Totals) weigh(s Severity) {
	switch s {
	case High:
		t.High++
	case Medium:
		t.Medium++
	default:
		t.Low++
	}
}

// String is the last line of a plan.
func (t Totals) String() string {
	return fmt.Sprintf("%d to create, %d to change, %d to delete (%d bytes), %d commands; %d need a second look",
		t.Created, t.Changed, t.Deleted, t.DeletedBytes, t.Commands, t.Risky)
}

// Fact is one property of an operation, with its value before and after; a value
// that does not exist is "".
type Fact struct{ Name, Before, After string }

// Facts returns the properties of operation n, from 1: all of a command, and of a
// change those that either side has. None if there is no such operation.
func (d *Document) Facts(n int) []Fact {
	if n < 1 || n > len(d.in.Plan.Ops) {
		return nil
	}
	op := d.in.Plan.Ops[n-1]
	if op.Command != nil {
		return commandFacts(*op.Command, d.host)
	}
	return d.changeFacts(*op.Change)
}

func commandFacts(c plan.Command, host names) []Fact {
	out := []Fact{{Name: "program", After: c.Path}}
	for i, a := range c.Argv {
		out = append(out, Fact{Name: fmt.Sprintf("argument %d", i), After: a})
	}
	out = append(out, Fact{Name: "directory", After: c.Cwd}, Fact{Name: "user", After: host.user(c.UID)}, Fact{Name: "group", After: host.group(c.GID)})
	for _, g := range c.Groups {
		out = append(out, Fact{Name: "further group", After: host.group(g)})
	}
	for _, e := range c.Env {
		out = append(out, Fact{Name: "environment", After: e})
	}
	if c.Stdin != "" {
		out = append(out, Fact{Name: "input", After: "sha256 " + c.Stdin})
	}
	return append(out, Fact{Name: "undo", After: strings.Join(c.Undo, " ")}, Fact{Name: "answer in the dry run", After: fmt.Sprint(c.Answer)})
}

func (d *Document) changeFacts(c change.Change) []Fact {
	b, a := d.stateFacts(c.Before), d.stateFacts(c.After)
	var out []Fact
	for _, name := range []string{"type", "mode", "owner", "group", "size", "sha256", "target", "device", "modified", "hard links"} {
		if b[name] != "" || a[name] != "" {
			out = append(out, Fact{name, b[name], a[name]})
		}
		delete(b, name)
		delete(a, name)
	}
	for _, name := range slices.Sorted(unionKeys(b, a)) { // extended attributes
		out = append(out, Fact{name, b[name], a[name]})
	}
	if c.Link != "" {
		out = append(out, Fact{Name: "hard link to", After: string(c.Link)})
	}
	return out
}

func (d *Document) stateFacts(s change.State) map[string]string {
	f := map[string]string{}
	if s.Absent() {
		return f
	}
	f["type"], f["owner"], f["group"] = string(s.Type), d.host.user(s.UID), d.host.group(s.GID)
	if s.Type != change.Symlink {
		f["mode"] = fmt.Sprintf("%04o", s.Mode)
	}
	if s.Type == change.File {
		f["size"], f["sha256"] = fmt.Sprint(s.Size), s.SHA256
	}
	if s.Type == change.Char || s.Type == change.Block {
		f["device"] = fmt.Sprintf("%d:%d", s.Major, s.Minor)
	}
	f["target"] = string(s.Target)
	if s.MTime != 0 {
		f["modified"] = time.Unix(0, s.MTime).UTC().Format(time.RFC3339Nano)
	}
	if s.NLink > 1 {
		f["hard links"] = fmt.Sprint(s.NLink)
	}
	for k, v := range s.Xattrs {
		f[k] = xattrText(k, v)
	}
	return f
}

// unionKeys yields each key of the maps once.
func unionKeys[V any](maps ...map[string]V) func(yield func(string) bool) {
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
