package tui

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/plan"
)

// maxListed bounds the list; waiting sessions are listed whatever their age.
const maxListed = 500

// listScreen is the list of sessions: what waits for a person first, then by status,
// newest first.
type listScreen struct {
	page   page
	list   []bowline.Session
	loaded bool
	now    func() time.Time
}

func newList(now func() time.Time) *listScreen {
	s := &listScreen{now: now}
	s.page = page{src: s, walk: true}
	return s
}

type listedMsg struct {
	list []bowline.Session
	err  error
}

// order of statuses in the list.
func order(s plan.Status) int {
	return slices.Index([]plan.Status{plan.RolledBack, plan.Executed, plan.Failed, plan.Partial, plan.Applying, plan.Approved, plan.Pending}, s)
}

// refresh reads the sessions again.
func (a *app) refresh() tea.Cmd {
	return a.call(func() tea.Msg {
		list, err := a.api.Sessions(a.ctx, bowline.SessionQuery{Limit: maxListed})
		if err != nil {
			return listedMsg{err: err}
		}
		if len(list) == maxListed {
			for _, status := range []plan.Status{plan.Pending, plan.Approved, plan.Applying, plan.Partial} {
				more, err := a.api.Sessions(a.ctx, bowline.SessionQuery{Status: status, Limit: maxListed})
				if err != nil {
					return listedMsg{err: err}
				}
				list = append(list, more...)
			}
		}
		slices.SortStableFunc(list, func(x, y bowline.Session) int {
			return cmp.Or(cmp.Compare(order(y.Status), order(x.Status)), y.Created.Compare(x.Created), cmp.Compare(y.ID, x.ID))
		})
		return listedMsg{list: slices.CompactFunc(list, func(x, y bowline.Session) bool { return x.ID == y.ID })}
	})
}

// listed takes a new list, and reads a session that is shown again if it moved.
func (a *app) listed(m listedMsg) tea.Cmd {
	if m.err != nil {
		a.say(red, "the sessions cannot be read: %v", m.err)
		return nil
	}
	if s, ok := a.screens[0].(*listScreen); ok {
		s.set(m.list)
	}
	a.layout()
	for _, s := range a.screens {
		v, ok := s.(*sessionScreen)
		if !ok || v.drift {
			continue
		}
		for _, x := range m.list {
			if x.ID == v.s.ID && (x.Status != v.s.Status || !x.Updated.Equal(v.s.Updated)) {
				return a.load(x.ID)
			}
		}
	}
	return nil
}

// set keeps the cursor on the session it was on.
func (s *listScreen) set(list []bowline.Session) {
	was := ""
	if s.page.cursor < len(s.list) {
		was = s.list[s.page.cursor].ID
	}
	s.list, s.loaded = list, true
	if i := slices.IndexFunc(list, func(x bowline.Session) bool { return x.ID == was }); i > 0 {
		s.page.cursor = i
	}
}

func (s *listScreen) head(a *app) []line {
	waiting := 0
	for _, x := range s.list {
		if x.Status == plan.Pending {
			waiting++
		}
	}
	count := "reading..."
	if s.loaded {
		count = fmt.Sprintf("%d sessions, %d wait for approval", len(s.list), waiting)
	}
	return []line{{ink(bold, "bowline review"), ink(normal, "  "+count)},
		says(faint, fmt.Sprintf("  %-11s %-34s %-12s %-8s %s", "STATUS", "SESSION", "TARGET", "AGE", "BY, NOTE"))}
}

func (s *listScreen) body() *page     { return &s.page }
func (s *listScreen) layout(_, _ int) {}
func (s *listScreen) keys() []key     { return []key{{"Enter", "open"}, {"↑↓", "move"}} }

func (s *listScreen) press(a *app, key string) tea.Cmd {
	if (key == "enter" || key == "right" || key == "l") && s.page.cursor < len(s.list) {
		x := s.list[s.page.cursor]
		a.push(newSession(x, a.now))
		return a.load(x.ID)
	}
	return nil
}

func (s *listScreen) size() int { return max(1, len(s.list)) }

func (s *listScreen) draw(i, _ int) line {
	if len(s.list) == 0 {
		if !s.loaded {
			return nil
		}
		return says(normal, "  no sessions; make one with 'bowline plan -t TARGET SCRIPT'")
	}
	x := s.list[i]
	by := ink(normal, x.User).text
	if x.Note != "" {
		by += ": " + x.Note
	}
	return line{ink(statusStyle(x.Status), "  "+pad(string(x.Status), 11)+" "), ink(bold, pad(x.ID, 34)+" "),
		ink(normal, pad(x.Target, 12)+" "), ink(faint, pad(age(s.now().Sub(x.Created)), 8)+" "), ink(normal, by)}
}

func (s *listScreen) plain(i int) string { return s.draw(i, 0).text() }

func statusStyle(s plan.Status) style {
	switch s {
	case plan.Pending:
		return yellow | bold
	case plan.Approved:
		return cyan | bold
	case plan.Applying, plan.Partial, plan.Failed:
		return red | bold
	case plan.Executed:
		return green
	default:
		return faint
	}
}

// pad makes s n columns wide.
func pad(s string, n int) string {
	l := says(normal, s).cut(n)
	return fmt.Sprintf("%s%*s", l.text(), n-l.width(), "")
}

// age is a duration in one unit.
func age(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", max(0, int(d.Seconds())))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	default:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	}
}
