package tui

import (
	"context"
	"fmt"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/plan"
)

// verb is what a runScreen shows.
type verb string

const (
	verbApply    verb = "apply"
	verbResume   verb = "resume"
	verbRollback verb = "rollback"
)

// runScreen shows an apply or a rollback as it happens, and how it ended.
type runScreen struct {
	page     page
	session  *sessionScreen
	verb     verb
	options  bowline.ApplyOptions
	cancel   context.CancelCauseFunc
	rows     lines
	raw      lines // as they came; rows are wrapped
	width    int
	total    int
	steps    map[int]bool // operations that were worked on
	deadline time.Time    // of the confirm window; zero before it opens
	over     bool
	quit     bool // the person wants to leave
	now      func() time.Time
}

// maxRows bounds what is kept of a run's output.
const maxRows = 20000

type progressMsg struct {
	run *runScreen
	p   bowline.Progress
}

type endedMsg struct {
	run *runScreen
	r   bowline.SessionResult
	err error
}

// start runs a verb beside the loop and shows it.
func (a *app) start(v *sessionScreen, what verb, o bowline.ApplyOptions) tea.Cmd {
	ctx, cancel := context.WithCancelCause(a.ctx)
	r := &runScreen{steps: map[int]bool{}, session: v, verb: what, options: o, cancel: cancel, total: len(v.doc.Rows), now: a.now}
	r.page = page{src: &r.rows}
	o.Progress = func(p bowline.Progress) { a.send(progressMsg{r, p}) }
	f := map[verb]func(context.Context, string, bowline.ApplyOptions) (bowline.SessionResult, error){
		verbApply: a.api.Apply, verbResume: a.api.Resume, verbRollback: a.api.Rollback,
	}[what]
	a.push(r)
	return a.call(func() tea.Msg {
		defer cancel(nil)
		res, err := f(ctx, v.s.ID, o)
		return endedMsg{r, res, err}
	})
}

func (a *app) progressed(m progressMsg) {
	r, p := m.run, m.p
	if p.Text != "" {
		for l := range strings.Lines(p.Text) {
			r.put(line{ink(faint, "       | "), ink(normal, strings.TrimSuffix(l, "\n"))})
		}
		return
	}
	if p.Op > 0 {
		r.steps[p.Op] = true
	}
	if r.options.Confirm > 0 && r.deadline.IsZero() && strings.HasPrefix(p.What, "all is applied; waiting") {
		r.deadline = a.now().Add(r.options.Confirm)
	}
	r.put(line{ink(faint, fmt.Sprintf("  %4d/%d ", p.Op, r.total)), ink(normal, p.What)})
}

// put adds a line and follows it, unless the person has scrolled up.
func (r *runScreen) put(l line) {
	follows := r.page.top+r.page.height >= len(r.rows)
	r.raw.add(l)
	if len(r.raw) > maxRows {
		r.raw = append(lines{says(yellow, "earlier output is not kept here; see the session")}, r.raw[maxRows/2:]...)
		r.layout(r.width, 0)
	} else {
		r.rows.add(l.wrap(max(r.width, minWidth), 9)...)
	}
	if follows {
		r.page.top = len(r.rows)
	}
	r.page.fit()
}

func (r *runScreen) layout(width, _ int) {
	follows := r.page.top+r.page.height >= len(r.rows)
	r.width = width
	r.rows = r.rows[:0]
	for _, l := range r.raw {
		r.rows.add(l.wrap(max(width, minWidth), 9)...)
	}
	if follows {
		r.page.top = len(r.rows)
	}
}

// ended shows how it ended.
func (a *app) ended(m endedMsg) tea.Cmd {
	r := m.run
	r.over = true
	if r.quit {
		return tea.Quit
	}
	for _, n := range m.r.Notes {
		r.put(says(yellow, "note: "+n))
	}
	r.put(nil)
	if m.err != nil {
		r.put(says(red|bold, "FAILED"))
		for _, part := range split(m.err) {
			r.put(says(red|bold, part.Error()))
			for hint := range strings.Lines(diag.HintOf(part)) {
				r.put(says(yellow, "hint: "+strings.TrimSuffix(hint, "\n")))
			}
		}
	}
	if m.r.Status != "" {
		r.put(line{ink(bold, "the session is now "), ink(statusStyle(m.r.Status), standing(m.r))})
	}
	a.layout()
	return tea.Batch(a.load(r.session.s.ID), a.refresh())
}

// standing says where a session stands, in a few words.
func standing(r bowline.SessionResult) string {
	switch r.Status {
	case plan.Executed:
		return fmt.Sprintf("%s: %d of %d operations", r.Status, r.Done, r.Total)
	case plan.RolledBack:
		if len(r.Notes) > 0 {
			return fmt.Sprintf("%s, but not in everything: read the notes above", r.Status)
		}
		return fmt.Sprintf("%s: all %d operations taken back", r.Status, r.Total)
	default:
		return fmt.Sprintf("%s: %d of %d operations in effect", r.Status, r.Done, r.Total)
	}
}

func (r *runScreen) head(_ *app) []line {
	what := map[verb]string{verbApply: "Applying", verbResume: "Resuming", verbRollback: "Rolling back"}[r.verb]
	first := line{ink(bold, what+" "+r.session.s.ID), ink(normal, " on "), ink(bold, r.session.s.Target)}
	if r.over {
		first = append(first, ink(bold, "  ended"))
	}
	const bar = 24 // leaves room for the window beside it, in 80 columns
	done, full := min(len(r.steps), r.total), 0
	if r.total > 0 {
		full = bar * done / r.total
	}
	second := line{ink(green, "["+strings.Repeat("#", full)+strings.Repeat(".", bar-full)+"]"), ink(normal, fmt.Sprintf(" %d of %d operations", done, r.total))}
	if !r.deadline.IsZero() && !r.over {
		left := max(0, int(r.deadline.Sub(r.now()).Seconds()))
		second = append(second, ink(yellow|bold, fmt.Sprintf("  %ds to confirm: press c", left)))
	}
	return []line{first, second}
}

func (r *runScreen) body() *page { return &r.page }

func (r *runScreen) keys() []key {
	if r.options.Confirm > 0 && !r.over {
		return []key{{"c", "confirm"}, {"↑↓", "scroll"}}
	}
	return []key{{"↑↓", "scroll"}}
}

func (r *runScreen) press(a *app, key string) tea.Cmd {
	switch {
	case key == "c" && r.options.Confirm > 0 && !r.over:
		return a.sendConfirm(r.session.s.ID)
	case key == "enter" && r.over:
		return a.pop()
	}
	return nil
}

// leaving asks whether to leave what is under way.
func (r *runScreen) leaving(a *app) *dialog {
	id := r.session.s.ID
	about := lines{says(bold, "Leave? "+id+" is under way on "+r.session.s.Target+" and goes on there."),
		says(faint, "To follow it again:"), says(normal, "  bowline session resume "+id)}
	if r.options.Confirm > 0 {
		about.add(says(yellow, "Unless it is confirmed in time the target takes everything back:"), says(normal, "  bowline confirm "+id))
	}
	return &dialog{about: about, leaves: true, choices: []choice{{key: "y", does: "leave", do: func() tea.Cmd {
		if r.over {
			return tea.Quit
		}
		r.quit = true
		r.cancel(errLeft)
		a.say(normal, "leaving...")
		return nil
	}}, no(nil)}}
}
