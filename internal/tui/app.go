package tui

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/bowline-sh/bowline/diag"
)

// The smallest terminal there is a picture for.
const (
	minWidth  = 80
	minHeight = 24
)

// screen is one of the pictures that lie on each other.
type screen interface {
	// head is the fixed part above the page.
	head(a *app) []line
	body() *page
	// layout makes the rows for the width and height of the page.
	layout(width, height int)
	keys() []key
	// press handles a key that is neither the page's nor the app's.
	press(a *app, key string) tea.Cmd
}

// key is one entry of the line at the bottom.
type key struct{ name, does string }

// app is the model of the program.
type app struct {
	ctx    context.Context
	api    API
	now    func() time.Time
	send   func(tea.Msg) // to the running program, from other goroutines
	calls  *calls
	colour bool

	width, height int
	screens       []screen
	dialogs       []*dialog // the last is answered first
	note          line      // what just happened
	tick          func() tea.Cmd
	ticks         int
}

type tickMsg struct{}

// noteMsg is something that a person should know and need not answer.
type noteMsg string

func everySecond() tea.Cmd {
	return tea.Tick(time.Second, func(time.Time) tea.Msg { return tickMsg{} })
}

// call runs f beside the loop.
func (a *app) call(f func() tea.Msg) tea.Cmd {
	return func() tea.Msg {
		if !a.calls.begin() {
			return nil
		}
		defer a.calls.wg.Done()
		return f()
	}
}

// calls counts what runs beside the loop, so that it can be waited for.
type calls struct {
	// mu guards over, and that nothing begins after it is set.
	mu   sync.Mutex
	over bool
	wg   sync.WaitGroup
}

func (c *calls) begin() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.over {
		c.wg.Add(1)
	}
	return !c.over
}

// end waits for what has begun, and lets nothing else begin.
func (c *calls) end() {
	c.mu.Lock()
	c.over = true
	c.mu.Unlock()
	c.wg.Wait()
}

func (a *app) screen() screen { return a.screens[len(a.screens)-1] }

func (a *app) push(s screen) {
	a.screens = append(a.screens, s)
	a.layout()
}

func (a *app) pop() tea.Cmd {
	if len(a.screens) == 1 {
		return tea.Quit
	}
	a.screens = a.screens[:len(a.screens)-1]
	a.layout()
	return a.refresh()
}

func (a *app) say(st style, format string, args ...any) {
	a.note = says(st, fmt.Sprintf(format, args...))
}

// Init implements tea.Model.
func (a *app) Init() tea.Cmd { return tea.Batch(a.refresh(), a.tick()) }

// Update implements tea.Model.
func (a *app) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch m := msg.(type) {
	case tea.WindowSizeMsg:
		a.width, a.height = m.Width, m.Height
		a.layout()
	case tickMsg:
		a.ticks++
		if a.ticks%2 == 0 {
			return a, tea.Batch(a.refresh(), a.tick())
		}
		return a, a.tick()
	case tea.KeyPressMsg:
		return a, a.press(m.String(), m.Key().Text)
	case tea.PasteMsg:
		if d := a.dialog(); d != nil && d.field != nil {
			d.field.add(m.Content)
		}
	case noteMsg:
		a.say(yellow, "%s", string(m))
	case askMsg:
		a.ask(m)
	case listedMsg:
		return a, a.listed(m)
	case openedMsg:
		return a, a.opened(m)
	case decidedMsg:
		return a, a.decided(m)
	case selectedMsg:
		a.selected(m)
	case diffedMsg:
		a.diffed(m)
	case progressMsg:
		a.progressed(m)
	case endedMsg:
		return a, a.ended(m)
	case confirmedMsg:
		a.confirmed(m)
	case driftMsg:
		a.drifted(m)
	}
	return a, nil
}

func (a *app) press(key, text string) tea.Cmd {
	if key == "ctrl+c" {
		return a.leave()
	}
	if a.small() {
		if key == "q" {
			return a.leave()
		}
		return nil
	}
	if d := a.dialog(); d != nil {
		return d.press(a, key, text)
	}
	a.note = nil
	s := a.screen()
	if cmd, done := a.shared(s, key); done {
		return cmd
	}
	return s.press(a, key)
}

// shared handles the keys that every screen has.
func (a *app) shared(s screen, key string) (tea.Cmd, bool) {
	p := s.body()
	switch {
	case key == "q" || key == "esc":
		if p.find != "" && key == "esc" {
			p.find = ""
			return nil, true
		}
		return a.back(), true
	case key == "?":
		if _, already := s.(*helpScreen); !already {
			a.push(newHelp())
		}
		return nil, true
	case key == "/":
		a.open(&dialog{about: lines{says(bold, "Find")}, field: &field{}, enter: func(text string) tea.Cmd {
			p.find = ink(normal, text).text
			a.find(p, p.at(), 1)
			return nil
		}})
		return nil, true
	case key == "n" && p.find != "":
		a.find(p, p.at()+1, 1)
		return nil, true
	case key == "N" && p.find != "":
		a.find(p, p.at()-1, -1)
		return nil, true
	}
	return nil, p.press(key)
}

func (a *app) find(p *page, from, step int) {
	if p.find != "" && !p.search(from, step) {
		a.say(yellow, "not found: %s", p.find)
	}
}

// back leaves the screen; one that shows something under way asks first.
func (a *app) back() tea.Cmd {
	if r, ok := a.screen().(*runScreen); ok && !r.over {
		return a.leave()
	}
	return a.pop()
}

// leave ends the program, or asks whether to leave what is under way.
func (a *app) leave() tea.Cmd {
	r, ok := a.running()
	if !ok {
		return tea.Quit
	}
	if d := a.dialog(); d != nil && d.leaves {
		return nil
	}
	a.open(r.leaving(a))
	return nil
}

func (a *app) running() (*runScreen, bool) {
	for _, s := range a.screens {
		if r, ok := s.(*runScreen); ok && !r.over {
			return r, true
		}
	}
	return nil, false
}

func (a *app) small() bool { return a.width < minWidth || a.height < minHeight }

// layout gives each part its place: the head, a rule, the page, a rule, what just
// happened, and the keys.
func (a *app) layout() {
	if a.small() {
		return
	}
	s := a.screen()
	p := s.body()
	used := len(s.head(a)) + 1 + 3
	s.layout(a.width, a.height-used)
	p.width, p.height = a.width, a.height-used
	p.fit()
}

// View implements tea.Model.
func (a *app) View() tea.View {
	v := tea.NewView(a.picture())
	v.AltScreen = true
	v.WindowTitle = "bowline review"
	return v
}

func (a *app) picture() string {
	var b strings.Builder
	switch {
	case a.width == 0: // not known yet
	case a.small():
		for i, l := range (line{ink(normal, fmt.Sprintf("This terminal has %d columns and %d lines; the review needs %d by %d. Make it larger, or press q and use 'bowline session'.",
			a.width, a.height, minWidth, minHeight))}).wrap(a.width, 0) {
			if i >= a.height {
				break
			}
			l.first(a.width).render(&b, normal, a.colour)
			b.WriteByte('\n')
		}
	default:
		a.draw(&b)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func (a *app) draw(b *strings.Builder) {
	s := a.screen()
	for _, l := range s.head(a) {
		l.cut(a.width).render(b, normal, a.colour)
		b.WriteByte('\n')
	}
	a.rule(b, s.body())
	if d := a.dialog(); d != nil {
		a.drawDialog(b, s, d)
		return
	}
	s.body().render(b, a.colour)
	a.rule(b, nil)
	a.note.cut(a.width).render(b, normal, a.colour)
	b.WriteByte('\n')
	a.keys(b, s.keys(), []key{{"/", "find"}, {"?", "help"}, {"q", backWord(a)}})
}

func backWord(a *app) string {
	if len(a.screens) == 1 {
		return "quit"
	}
	return "back"
}

// rule draws a line, with the position in the page at its end.
func (a *app) rule(b *strings.Builder, p *page) {
	text := ""
	if p != nil {
		if n := p.src.size(); n > p.height {
			text = fmt.Sprintf(" %d%% of %d lines ", min(100, 100*(p.top+p.height)/n), n)
		}
	}
	line{{strings.Repeat("─", max(0, a.width-len(text)-2)) + text + "──", faint}}.cut(a.width).render(b, normal, a.colour)
	b.WriteByte('\n')
}

// keys draws the line at the bottom; the last ones always fit.
func (a *app) keys(b *strings.Builder, own, always []key) {
	var l, end line
	for _, k := range always {
		end = append(end, k.line()...)
	}
	for _, k := range own {
		kl := k.line()
		if l.width()+kl.width()+end.width() > a.width {
			break
		}
		l = append(l, kl...)
	}
	append(l, end...).cut(a.width).render(b, normal, a.colour)
}

func (k key) line() line {
	return line{ink(bold, k.name), ink(normal, " "+k.does+"  ")}
}

// fail shows an error with its hint.
func (a *app) fail(what string, err error) {
	about := lines{says(bold|red, what)}
	for _, part := range split(err) {
		about.add(says(normal, part.Error()))
		for hint := range strings.Lines(diag.HintOf(part)) {
			about.add(says(yellow, "hint: "+strings.TrimSuffix(hint, "\n")))
		}
	}
	a.open(&dialog{about: about, choices: []choice{{key: "enter", does: "close"}}})
}

// split returns joined errors one by one.
func split(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var out []error
		for _, e := range joined.Unwrap() {
			out = append(out, split(e)...)
		}
		return out
	}
	return []error{err}
}
