package tui

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/review"
	"github.com/bowline-sh/bowline/plan"
)

// sessionScreen is one session: who asks for what, its risks, its operations. With
// drift set it shows how the target differs from a session instead, and decides
// nothing.
type sessionScreen struct {
	page    page
	s       bowline.Session
	doc     *review.Document // nil until it is read
	entries []entry
	without map[int]bool // operations not selected
	open    map[int]bool // groups unfolded, by their place in the outline
	all     bool         // all risks are listed
	drift   bool
	width   int
	now     func() time.Time
}

// entry is one row of the page: a line of text, an operation or a group.
type entry struct {
	line  line
	op    int // what Enter opens; 0 for nothing
	group int // place in the outline; -1 for none
	row   bool
	fold  func() // what Enter does instead, if set
}

// shownRisks is how many risks are listed before the rest is folded. Those of high
// severity never are.
const shownRisks = 12

func newSession(s bowline.Session, now func() time.Time) *sessionScreen {
	v := &sessionScreen{s: s, without: map[int]bool{}, open: map[int]bool{}, now: now}
	v.page = page{src: v, walk: true}
	return v
}

type openedMsg struct {
	id  string
	s   bowline.Session
	doc *review.Document
	err error
}

// load reads a session whole and makes its document.
func (a *app) load(id string) tea.Cmd {
	return a.call(func() tea.Msg {
		s, err := a.api.Session(a.ctx, id)
		if err != nil {
			return openedMsg{id: id, err: err}
		}
		doc, err := documentOf(s)
		return openedMsg{id, s, doc, err}
	})
}

// documentOf makes what is shown of a session. That its digest is that of the plan
// which is shown is computed here, whoever says so: an approval names it.
func documentOf(s bowline.Session) (*review.Document, error) {
	digest, err := s.Plan.Digest()
	if err != nil {
		return nil, err
	}
	if digest != s.Digest {
		return nil, diag.New(diag.Denied, "show session "+s.ID, "plan it again with 'bowline plan'", "its plan has the digest %s, but the session says %s", digest, s.Digest)
	}
	return review.New(review.Input{Plan: s.Plan, Contents: s.Contents, Digest: s.Digest}), nil
}

// opened shows what was read; a plan never changes, so that only what stands around
// it is new if it was shown before.
func (a *app) opened(m openedMsg) tea.Cmd {
	for _, s := range a.screens {
		v, ok := s.(*sessionScreen)
		if !ok || v.drift || v.s.ID != m.id {
			continue
		}
		if m.err != nil {
			a.fail("The session cannot be read.", m.err)
			continue
		}
		if v.doc == nil || v.s.Digest != m.s.Digest {
			v.doc, v.without = m.doc, map[int]bool{}
		}
		v.s = m.s
	}
	a.layout()
	return nil
}

func (v *sessionScreen) body() *page { return &v.page }

func (v *sessionScreen) head(_ *app) []line {
	s := v.s
	first := line{ink(bold, s.ID), ink(normal, "  "), ink(statusStyle(s.Status), string(s.Status)), ink(normal, " on "), ink(bold, s.Target)}
	if v.drift {
		return []line{append(first, ink(normal, ": how the target differs from what the session left"))}
	}
	if left := v.expiry(); left != "" {
		first = append(first, ink(normal, "  "+left))
	}
	return []line{first, {ink(normal, s.Digest)}}
}

// expiry counts down what waits.
func (v *sessionScreen) expiry() string {
	if v.s.Status != plan.Pending && v.s.Status != plan.Approved {
		return ""
	}
	left := v.s.Expires.Sub(v.now()).Truncate(time.Second)
	if left <= 0 {
		return "has expired"
	}
	return fmt.Sprintf("expires in %02d:%02d", int(left.Minutes()), int(left.Seconds())%60)
}

func (v *sessionScreen) keys() []key {
	ks := []key{{"Enter", "open"}}
	if v.drift {
		return ks
	}
	switch v.s.Status {
	case plan.Pending:
		ks = append(ks, key{"a", "approve"}, key{"r", "reject"}, key{"Space", "select"})
	case plan.Approved:
		ks = append(ks, key{"A", "apply"}, key{"r", "reject"})
	case plan.Applying, plan.Partial:
		ks = append(ks, key{"c", "confirm"}, key{"R", "resume"}, key{"u", "roll back"})
	case plan.Executed:
		ks = append(ks, key{"u", "roll back"}, key{"d", "drift"})
	}
	return append(ks, key{"Tab", "next part"})
}

func (v *sessionScreen) press(a *app, key string) tea.Cmd {
	if v.doc == nil {
		return nil
	}
	switch key {
	case "enter", "right", "l":
		return v.enter(a)
	case "left", "h":
		return v.foldAt(a)
	case "tab":
		v.nextPart()
		return nil
	}
	if v.drift {
		return nil
	}
	switch key {
	case "space":
		v.toggle(a)
	case "*":
		v.toggleAll(a)
	default:
		return v.decide(a, key)
	}
	return nil
}

// enter opens the operation under the cursor, or unfolds.
func (v *sessionScreen) enter(a *app) tea.Cmd {
	if v.page.cursor >= len(v.entries) {
		return nil
	}
	e := v.entries[v.page.cursor]
	switch {
	case e.fold != nil:
		e.fold()
		a.layout()
	case e.op > 0:
		return a.look(v, e.op)
	}
	return nil
}

// foldAt folds the group that the cursor is in.
func (v *sessionScreen) foldAt(a *app) tea.Cmd {
	for i := v.page.cursor; i >= 0 && i < len(v.entries); i-- {
		if g := v.entries[i].group; g >= 0 {
			if v.open[g] && (i == v.page.cursor || v.entries[v.page.cursor].row) {
				v.open[g] = false
				v.page.cursor = i
				a.layout()
			}
			return nil
		}
	}
	return nil
}

// nextPart goes to the next heading, and to the first again after the last.
func (v *sessionScreen) nextPart() {
	n := len(v.entries)
	for k := 1; k <= n; k++ {
		i := (v.page.cursor + k) % n
		if l := v.entries[i].line; len(l) > 0 && l[0].style == heading {
			v.page.cursor, v.page.top = i, i
			v.page.fit()
			return
		}
	}
}

const heading = bold | underline

// toggle selects the operation under the cursor or not, or those of a group.
func (v *sessionScreen) toggle(a *app) {
	if v.s.Status != plan.Pending {
		a.say(yellow, "only a pending session is selected from; this one is %s", v.s.Status)
		return
	}
	e := entry{group: -1}
	if v.page.cursor < len(v.entries) {
		e = v.entries[v.page.cursor]
	}
	switch {
	case e.group >= 0:
		rows := v.doc.Outline[e.group].Group.Rows
		out := !v.without[rows[0]]
		for _, n := range rows {
			v.leaveOut(n, out)
		}
	case e.row:
		v.toggleOne(e.op)
	default:
		a.say(yellow, "Space selects operations; Tab goes to them")
		return
	}
	v.page.move(1)
	v.selection(a)
}

// toggleOne reports whether there was anything to select from.
func (v *sessionScreen) toggleOne(n int) bool {
	if v.drift || v.s.Status != plan.Pending {
		return false
	}
	v.leaveOut(n, !v.without[n])
	return true
}

func (v *sessionScreen) toggleAll(a *app) {
	if v.s.Status != plan.Pending {
		return
	}
	out := len(v.without) == 0
	for n := range v.doc.Rows {
		v.leaveOut(n+1, out)
	}
	v.selection(a)
}

func (v *sessionScreen) leaveOut(n int, out bool) {
	if out {
		v.without[n] = true
	} else {
		delete(v.without, n)
	}
}

func (v *sessionScreen) selection(a *app) {
	a.say(normal, "%d of %d operations selected", len(v.doc.Rows)-len(v.without), len(v.doc.Rows))
}

// layout makes the entries. Rows of operations are drawn when they are visible; only
// texts are wrapped here, and risks beyond the first few when they are asked for.
func (v *sessionScreen) layout(width, _ int) {
	v.width = width
	v.entries = v.entries[:0]
	if v.doc == nil {
		v.add(says(faint, "reading..."))
		return
	}
	if !v.drift {
		v.who()
		v.warnings()
	}
	v.risks()
	v.operations()
	v.results()
}

func (v *sessionScreen) add(l line) { v.entries = append(v.entries, entry{line: l, group: -1}) }

// wrap adds l, broken between words; all of it leads to operation op.
func (v *sessionScreen) wrap(op, hang int, l line) {
	for _, x := range l.wrap(v.width, hang) {
		v.entries = append(v.entries, entry{line: x, op: op, group: -1})
	}
}

func (v *sessionScreen) who() {
	s, h := v.s, v.doc.Header
	v.wrap(0, 2, line{ink(faint, "asked by "), ink(normal, s.User+"@"+s.Host), ink(faint, " through "), ink(normal, s.Surface), ink(faint, ", "),
		ink(normal, age(v.now().Sub(s.Created))), ink(faint, " ago; acts as "), ink(normal, h.Login), ink(faint, ", mode "), ink(normal, string(h.Mode))})
	if len(h.Argv) > 0 {
		v.wrap(0, 2, line{ink(faint, "planned from "), ink(normal, strings.Join(h.Argv, " "))})
	}
	if s.Note != "" {
		v.wrap(0, 2, line{ink(faint, "note: "), ink(bold, s.Note)})
	}
	if s.Message != "" {
		v.wrap(0, 2, says(normal, s.Message))
	}
	for _, d := range s.Decisions {
		verb := "approved"
		if d.Reject {
			verb = "rejected"
		}
		l := line{ink(bold, verb), ink(faint, " by "), ink(normal, d.User+"@"+d.Host), ink(faint, " at "+d.Created.Local().Format(time.TimeOnly))}
		if d.KeyID != "" {
			l = append(l, ink(faint, " signed with "), ink(normal, d.KeyID))
		}
		if d.Reason != "" {
			l = append(l, ink(normal, ": "+d.Reason))
		}
		v.wrap(0, 2, l)
	}
}

// warnings are what the dry run could not see, and how it ended.
func (v *sessionScreen) warnings() {
	h := v.doc.Header
	for _, w := range h.Warnings {
		v.wrap(0, 2, line{ink(red|bold, "warning: "), ink(normal, w)})
	}
	if h.Exit == 0 {
		return
	}
	v.wrap(0, 2, line{ink(red|bold, "warning: "), ink(normal, fmt.Sprintf("the script ended with exit code %d in the dry run, and said:", h.Exit))})
	for _, l := range h.Output {
		v.wrap(0, 4, line{ink(faint, "  | "), ink(normal, l)})
	}
}

func (v *sessionScreen) risks() {
	t := v.doc.Totals
	if len(v.doc.Risks) == 0 {
		return
	}
	v.add(nil)
	v.add(line{ink(heading, "Risks"), ink(faint, fmt.Sprintf("  %d high, %d medium, %d low", t.High, t.Medium, t.Low))})
	for i, r := range v.doc.Risks {
		if i >= shownRisks && r.Severity < review.High && !v.all {
			v.entries = append(v.entries, entry{line: says(cyan, fmt.Sprintf("  ▸ %d more; Enter shows them", len(v.doc.Risks)-i)), group: -1, fold: func() { v.all = true }})
			return
		}
		v.risk(r)
	}
}

// risk adds a risk with the line that shows it.
func (v *sessionScreen) risk(r review.Risk) {
	where := " (" + string(r.Class) + ")"
	if r.Op > 0 {
		where = fmt.Sprintf(" (operation %d, %s)", r.Op, r.Class)
	}
	for _, l := range riskLines(r, where) {
		v.wrap(r.Op, 12, l)
	}
}

// riskLines is a risk and its evidence, not wrapped.
func riskLines(r review.Risk, where string) []line {
	out := []line{{ink(severityStyle(r.Severity), fmt.Sprintf("%8s: ", r.Severity)), ink(normal, r.Text), ink(faint, where)}}
	for _, e := range r.Evidence {
		if e.Line > 0 && e.Text != "" {
			side := "old"
			if e.After {
				side = "new"
			}
			out = append(out, line{ink(faint, fmt.Sprintf("          %s line %d: ", side, e.Line)), ink(cyan, e.Text)})
		}
	}
	return out
}

func severityStyle(s review.Severity) style {
	switch s {
	case review.High:
		return red | bold
	case review.Medium:
		return yellow
	default:
		return faint
	}
}

func (v *sessionScreen) operations() {
	v.add(nil)
	n := len(v.doc.Rows)
	l := line{ink(heading, "Operations")}
	if n > 0 {
		l = append(l, ink(faint, "  "+v.doc.Totals.String()))
	}
	v.wrap(0, 2, l)
	if n == 0 {
		v.add(says(normal, "  nothing would change"))
	}
	for i, item := range v.doc.Outline {
		if item.Group == nil {
			v.entries = append(v.entries, entry{op: item.Row, group: -1, row: true})
			continue
		}
		v.entries = append(v.entries, entry{group: i, fold: func() { v.open[i] = !v.open[i] }})
		if v.open[i] {
			for _, r := range item.Group.Rows {
				v.entries = append(v.entries, entry{op: r, group: -1, row: true})
			}
		}
	}
}

// results are what the deferred commands said when they were run.
func (v *sessionScreen) results() {
	if len(v.s.Commands) == 0 {
		return
	}
	v.add(nil)
	v.add(says(heading, "Commands that were run"))
	for _, c := range v.s.Commands {
		for _, l := range ranLines(c) {
			v.wrap(c.Op, 9, l)
		}
	}
}

func ranLines(c plan.Ran) []line {
	verb, st := "ran", normal
	if c.Undo {
		verb = "taken back"
	}
	if c.Exit != 0 {
		st = red | bold
	}
	first := line{ink(normal, fmt.Sprintf("  %4d %s, ", c.Op, verb)), ink(st, fmt.Sprintf("exit code %d", c.Exit)), ink(normal, ": "+strings.Join(c.Argv, " "))}
	if c.Note != "" {
		first = append(first, ink(yellow, " ("+c.Note+")"))
	}
	out := []line{first}
	for _, text := range [][]byte{c.Stdout, c.Stderr} {
		for l := range strings.Lines(string(text)) {
			out = append(out, line{ink(faint, "       | "), ink(normal, strings.TrimSuffix(l, "\n"))})
		}
	}
	return out
}

func (v *sessionScreen) size() int { return len(v.entries) }

func (v *sessionScreen) draw(i, _ int) line {
	e := v.entries[i]
	switch {
	case e.row:
		return v.rowLine(v.doc.Rows[e.op-1])
	case e.group >= 0:
		return v.groupLine(e.group)
	}
	return e.line
}

func (v *sessionScreen) plain(i int) string {
	e := v.entries[i]
	if e.row {
		r := v.doc.Rows[e.op-1]
		return ink(normal, r.Subject+"  "+r.Detail).text
	}
	return v.draw(i, 0).text()
}

// box is the mark of selection.
func (v *sessionScreen) box(in, out int) string {
	switch {
	case v.drift || v.s.Status != plan.Pending:
		return "    "
	case out == 0:
		return "[x] "
	case in == 0:
		return "[ ] "
	default:
		return "[-] "
	}
}

func (v *sessionScreen) rowLine(r review.Row) line {
	in, out := 1, 0
	if v.without[r.N] {
		in, out = 0, 1
	}
	// What needs a look stands before the path, so that no long name hides it.
	l := line{ink(normal, v.box(in, out)), ink(faint, fmt.Sprintf("%4d ", r.N)), ink(symbolStyle(r.Symbol), r.Symbol+" ")}
	if s := r.Severity(); s > 0 {
		l = append(l, ink(severityStyle(s), cmp.Or(map[review.Severity]string{review.High: "HIGH", review.Medium: "medium"}[s], "low")), ink(normal, " "))
	}
	return append(l, ink(normal, r.Subject), ink(faint, "  "+r.Detail))
}

func symbolStyle(symbol string) style {
	switch symbol {
	case "+":
		return green | bold
	case "-":
		return red | bold
	case "!":
		return magenta | bold
	default:
		return yellow | bold
	}
}

func (v *sessionScreen) groupLine(i int) line {
	g := v.doc.Outline[i].Group
	in, out := 0, 0
	for _, n := range g.Rows {
		if v.without[n] {
			out++
		} else {
			in++
		}
	}
	sign := "▸"
	if v.open[i] {
		sign = "▾"
	}
	return line{ink(normal, v.box(in, out)), ink(cyan, "   "+sign+" "), ink(normal, fmt.Sprintf("%d operations below %s", len(g.Rows), g.Dir)),
		ink(faint, fmt.Sprintf("  %d to create, %d to change, %d to delete", g.Totals.Created, g.Totals.Changed, g.Totals.Deleted))}
}
