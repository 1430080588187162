package tui

import (
	"errors"
	"fmt"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/internal/review"
	"github.com/bowline-sh/bowline/plan"
)

// decide handles the keys that decide or act, where the status allows them.
func (v *sessionScreen) decide(a *app, key string) tea.Cmd {
	verbs := map[string]struct {
		what string
		from []plan.Status
		do   func(a *app) tea.Cmd
	}{
		"a": {"approved", []plan.Status{plan.Pending}, v.approve},
		"r": {"rejected", []plan.Status{plan.Pending, plan.Approved}, v.reject},
		"A": {"applied", []plan.Status{plan.Approved}, v.apply},
		"R": {"resumed", []plan.Status{plan.Applying, plan.Partial}, v.resume},
		"c": {"confirmed", []plan.Status{plan.Applying}, v.confirm},
		"u": {"rolled back", []plan.Status{plan.Executed, plan.Partial, plan.Applying}, v.rollback},
		"d": {"compared", []plan.Status{plan.Pending, plan.Approved, plan.Executed, plan.Partial, plan.RolledBack}, v.compare},
	}
	verb, ok := verbs[key]
	if !ok {
		return nil
	}
	for _, s := range verb.from {
		if s == v.s.Status {
			return verb.do(a)
		}
	}
	a.say(yellow, "a session that is %s cannot be %s", v.s.Status, verb.what)
	return nil
}

// no is the answer that does nothing.
func no(do func() tea.Cmd) choice { return choice{key: "N", does: "no", do: do} }

// worstRisks is how many risks the question for an approval repeats.
const worstRisks = 5

// approve asks, with what is being approved; of a selection it first makes a session
// of its own, whose digest is then asked for.
func (v *sessionScreen) approve(a *app) tea.Cmd {
	switch {
	case len(v.doc.Rows) == 0:
		a.say(yellow, "there is nothing to approve")
		return nil
	case len(v.without) == 0:
		a.askApproval(v.s, v.doc, "")
		return nil
	case len(v.without) == len(v.doc.Rows):
		a.say(yellow, "no operation is selected")
		return nil
	}
	var keep []int
	for n := range v.doc.Rows {
		if !v.without[n+1] {
			keep = append(keep, n+1)
		}
	}
	id := v.s.ID
	a.say(normal, "making a session of %d operations...", len(keep))
	return a.call(func() tea.Msg {
		s, err := a.api.Select(a.ctx, id, bowline.Selection{Keep: keep})
		if err != nil {
			return selectedMsg{whole: id, err: err}
		}
		doc, err := documentOf(s)
		return selectedMsg{id, s, doc, err}
	})
}

type selectedMsg struct {
	whole string // the session selected from
	s     bowline.Session
	doc   *review.Document
	err   error
}

// selected shows the new session, and asks for it.
func (a *app) selected(m selectedMsg) {
	if m.err != nil {
		a.note = nil
		a.fail("The selection was not made.", m.err)
		return
	}
	v := newSession(m.s, a.now)
	v.doc = m.doc
	a.push(v)
	a.askApproval(m.s, m.doc, m.whole)
}

// askApproval shows what is approved, the digest and the worst risks, and asks.
// whole is the session that s is a selection of, or "".
func (a *app) askApproval(s bowline.Session, doc *review.Document, whole string) {
	about := lines{{ink(bold, "Approve this, once, on "), ink(bold|underline, s.Target), ink(bold, "?"), ink(normal, "  "+doc.Totals.String())}, says(normal, s.Digest)}
	if whole != "" {
		about.add(says(yellow, "A selection of "+whole+", which is cancelled when this is approved."))
	}
	if n := len(doc.Header.Warnings); n > 0 {
		about.add(says(red, fmt.Sprintf("%d warnings about what the dry run could not see", n)))
	}
	if doc.Header.Exit != 0 {
		about.add(says(red, fmt.Sprintf("the script failed in the dry run, with exit code %d", doc.Header.Exit)))
	}
	for i, r := range doc.Risks {
		if i == worstRisks {
			about.add(says(faint, fmt.Sprintf("          and %d more risks", len(doc.Risks)-i)))
			break
		}
		about.add(riskLines(r, "")...)
	}
	var refuse func() tea.Cmd
	if whole != "" {
		refuse = func() tea.Cmd {
			a.note = says(normal, "not approved; the selection is withdrawn")
			return tea.Batch(a.pop(), a.call(func() tea.Msg { return a.cancelled(s.ID, "not approved") }))
		}
	}
	a.open(&dialog{about: about, cancel: refuse, choices: []choice{
		{key: "y", does: "approve", do: func() tea.Cmd { return a.sendApproval(s.ID, s.Digest, whole) }}, no(refuse)}})
}

func (a *app) cancelled(id, why string) tea.Msg {
	if err := a.api.Cancel(a.ctx, id, why); err != nil {
		return decidedMsg{id: id, err: err}
	}
	return nil
}

type decidedMsg struct {
	id, says string
	err      error
}

func (a *app) sendApproval(id, digest, whole string) tea.Cmd {
	a.say(normal, "approving...")
	return a.call(func() tea.Msg {
		x, err := a.api.Approve(a.ctx, id, digest)
		if err == nil && whole != "" {
			err = a.api.Cancel(a.ctx, whole, "approved in part as "+id)
		}
		if now, gerr := a.api.Session(a.ctx, id); err == nil && gerr == nil && now.Status == plan.Pending {
			return decidedMsg{id, "your approval is kept, and more is wanted: " + now.Message, nil}
		}
		return decidedMsg{id, fmt.Sprintf("approved until %s; A applies it", x.Expires.Local().Format(time.TimeOnly)), err}
	})
}

// decided shows the outcome, and the session as it is now.
func (a *app) decided(m decidedMsg) tea.Cmd {
	if m.err != nil {
		a.note = nil
		a.fail("That did not work.", m.err)
	} else {
		a.say(green|bold, "%s", m.says)
	}
	return tea.Batch(a.load(m.id), a.refresh())
}

func (v *sessionScreen) reject(a *app) tea.Cmd {
	id := v.s.ID
	var again func(about lines)
	again = func(about lines) {
		a.open(&dialog{about: about, field: &field{}, enter: func(reason string) tea.Cmd {
			if strings.TrimSpace(reason) == "" {
				again(append(about[:1:1], says(yellow, "A rejection needs a reason; Esc goes back without one.")))
				return nil
			}
			return a.call(func() tea.Msg {
				return decidedMsg{id, "rejected", a.api.Reject(a.ctx, id, reason)}
			})
		}})
	}
	again(lines{{ink(bold, "Reject "+id+". Why?")}})
	return nil
}

// defaultWindow is what the question for a confirm window proposes.
const defaultWindow = "60s"

func (v *sessionScreen) apply(a *app) tea.Cmd {
	n := len(v.doc.Rows)
	about := lines{{ink(bold, fmt.Sprintf("Apply %d operations to ", n)), ink(bold|underline, v.s.Target), ink(bold, "?")},
		says(normal, v.s.Digest),
		says(faint, "With a window the target takes everything back by itself unless it is confirmed in time, over a new connection.")}
	a.open(&dialog{about: about, choices: []choice{
		{key: "y", does: "apply", do: func() tea.Cmd { return a.start(v, verbApply, bowline.ApplyOptions{}) }},
		{key: "w", does: "apply with a window", do: func() tea.Cmd { v.window(a, ""); return nil }},
		no(nil)}})
	return nil
}

// window asks for the length of the confirm window.
func (v *sessionScreen) window(a *app, problem string) {
	about := lines{says(bold, "How long shall the target wait for the confirmation?")}
	if problem != "" {
		about.add(says(yellow, problem))
	}
	a.open(&dialog{about: about, field: &field{text: defaultWindow}, enter: func(text string) tea.Cmd {
		d, err := time.ParseDuration(strings.TrimSpace(text))
		if err != nil || d <= 0 {
			v.window(a, "A length of time is needed, as in 60s or 2m.")
			return nil
		}
		return a.start(v, verbApply, bowline.ApplyOptions{Confirm: d})
	}})
}

func (v *sessionScreen) resume(a *app) tea.Cmd {
	a.open(&dialog{about: lines{says(bold, "Go on with "+v.s.ID+" on "+v.s.Target+"?"),
		says(faint, "What was done stays done. For a command that was interrupted, say whether it shall run again or counts as done.")},
		choices: []choice{
			{key: "y", does: "resume", do: func() tea.Cmd { return a.start(v, verbResume, bowline.ApplyOptions{}) }},
			{key: "g", does: "run the command again", do: func() tea.Cmd { return a.start(v, verbResume, bowline.ApplyOptions{Rerun: true}) }},
			{key: "s", does: "count it as done", do: func() tea.Cmd { return a.start(v, verbResume, bowline.ApplyOptions{Skip: true}) }},
			no(nil)}})
	return nil
}

func (v *sessionScreen) rollback(a *app) tea.Cmd {
	a.open(&dialog{about: lines{says(bold, fmt.Sprintf("Roll back %s on %s?", v.s.ID, v.s.Target)),
		says(faint, "Everything it touched is restored. If somebody changed something since, that is a conflict and nothing is touched.")},
		choices: []choice{{key: "y", does: "roll back", do: func() tea.Cmd { return a.start(v, verbRollback, bowline.ApplyOptions{}) }}, no(nil)}})
	return nil
}

func (v *sessionScreen) confirm(a *app) tea.Cmd { return a.sendConfirm(v.s.ID) }

func (a *app) sendConfirm(id string) tea.Cmd {
	a.say(normal, "confirming, over a new connection...")
	return a.call(func() tea.Msg {
		r, err := a.api.Confirm(a.ctx, id)
		return confirmedMsg{id, r, err}
	})
}

type confirmedMsg struct {
	id  string
	r   bowline.SessionResult
	err error
}

func (a *app) confirmed(m confirmedMsg) {
	if m.err != nil {
		a.note = nil
		a.fail("It was not confirmed.", m.err)
		return
	}
	a.say(green|bold, "confirmed; %s stays", m.id)
}

type driftMsg struct {
	s   bowline.Session
	d   bowline.Drift
	doc *review.Document
	err error
}

func (v *sessionScreen) compare(a *app) tea.Cmd {
	s := v.s
	a.say(normal, "comparing with the target...")
	return a.call(func() tea.Msg {
		d, err := a.api.Drift(a.ctx, s.ID)
		if err != nil {
			return driftMsg{s: s, err: err}
		}
		var p plan.Plan
		for _, c := range d.Changes {
			p.Ops = append(p.Ops, plan.Operation{Change: &c.Change})
		}
		return driftMsg{s, d, review.New(review.Input{Plan: p, Contents: d.Contents}), nil}
	})
}

func (a *app) drifted(m driftMsg) {
	a.note = nil
	switch {
	case m.err != nil:
		a.fail("The target cannot be compared.", m.err)
	case len(m.d.Changes) == 0:
		a.say(green|bold, "nothing differs on %s", m.s.Target)
	default:
		v := newSession(m.s, a.now)
		v.doc, v.drift = m.doc, true
		a.push(v)
		a.say(yellow, "%d paths differ", len(m.d.Changes))
	}
}

// errLeft is the cause when a person leaves what is under way.
var errLeft = errors.New("left by the person who started it")
