package tui

import tea "charm.land/bubbletea/v2"

// helpScreen lists all keys.
type helpScreen struct {
	page page
	rows lines
}

func newHelp() *helpScreen {
	h := &helpScreen{}
	h.page = page{src: &h.rows}
	return h
}

func (h *helpScreen) head(_ *app) []line             { return []line{says(bold, "Keys")} }
func (h *helpScreen) body() *page                    { return &h.page }
func (h *helpScreen) keys() []key                    { return nil }
func (h *helpScreen) press(_ *app, _ string) tea.Cmd { return nil }

func (h *helpScreen) layout(width, _ int) {
	h.rows = h.rows[:0]
	for _, part := range []struct {
		title string
		keys  []key
	}{
		{"Everywhere", []key{{"↑ ↓ k j", "one line"}, {"PgUp PgDn", "one page; Ctrl-U and Ctrl-D half of one"}, {"g G", "first and last line"}, {"/", "find text; n and N find the next and the one before; Esc ends it"},
			{"q Esc", "back; in the list of sessions, quit"}, {"Ctrl-C", "quit"}}},
		{"A session", []key{{"Tab", "next part: risks, operations, results"}, {"Enter", "open the operation, or what a risk is about; unfold a group"}, {"←", "fold the group"},
			{"Space", "select the operation or group, or leave it out"}, {"*", "select all or none"}, {"a", "approve what is selected: shows the digest and the worst risks, and asks"},
			{"r", "reject, with a reason"}, {"A", "apply, if you like with a confirm window"}, {"c", "confirm what was applied with a window"}, {"R", "resume what was broken off"}, {"u", "roll back"},
			{"d", "drift: is the target as the session left it?"}}},
		{"An operation", []key{{"] [", "next hunk, hunk before"}, {"} {", "next operation, operation before"}, {"z", "fold the hunk at the top"}, {"f", "fold the facts"}, {"s", "side by side or one below the other, from 140 columns on"},
			{"x", "show secret content"}, {"Space", "select this operation, or leave it out"}}},
	} {
		h.rows.add(says(heading, part.title))
		for _, k := range part.keys {
			h.rows.wrap(width, 14, line{ink(bold, "  "+pad(k.name, 12)), ink(normal, k.does)})
		}
		h.rows.add(nil)
	}
	h.rows.wrap(width, 0, says(normal, "An approval is for the plan on the screen, by its digest. It works once, within the hour. What the target sends is shown, never obeyed: escape sequences, marks of direction and invisible characters appear as codes."))
}
