package tui

import (
	"context"
	"strings"
	"unicode/utf8"

	tea "charm.land/bubbletea/v2"

	"github.com/bowline-sh/bowline/internal/neutral"
)

// dialog asks for a key or for a line of text, below the page, which stays visible
// above it.
type dialog struct {
	about   lines // wrapped when drawn
	choices []choice
	field   *field
	enter   func(text string) tea.Cmd // what the text is for
	cancel  func() tea.Cmd            // optional
	leaves  bool                      // asks whether to leave
	page    page
}

// choice is a key that answers. Every dialog has Esc besides.
type choice struct {
	key, does string
	do        func() tea.Cmd // optional
}

func (a *app) dialog() *dialog {
	if len(a.dialogs) == 0 {
		return nil
	}
	return a.dialogs[len(a.dialogs)-1]
}

func (a *app) open(d *dialog) { a.dialogs = append(a.dialogs, d) }

// shut takes d away, which need not be the last any more.
func (a *app) shut(d *dialog) {
	for i := range a.dialogs {
		if a.dialogs[i] == d {
			a.dialogs = append(a.dialogs[:i:i], a.dialogs[i+1:]...)
			return
		}
	}
}

func (d *dialog) press(a *app, key, text string) tea.Cmd {
	switch key {
	case "esc":
		a.shut(d)
		if d.cancel != nil {
			return d.cancel()
		}
		return nil
	case "pgup", "pgdown", "up", "down":
		d.page.press(key)
		return nil
	}
	if d.field != nil {
		if key == "enter" {
			a.shut(d)
			return d.enter(d.field.text)
		}
		d.field.press(key, text)
		return nil
	}
	for _, c := range d.choices {
		if c.key == key || c.key == "N" && (key == "n" || key == "q") {
			a.shut(d)
			if c.do != nil {
				return c.do()
			}
			return nil
		}
	}
	return nil
}

// drawDialog draws what is left of the page, and the dialog below it.
func (a *app) drawDialog(b *strings.Builder, s screen, d *dialog) {
	var about lines
	for _, l := range d.about {
		about.wrap(a.width-2, 2, l)
	}
	p := *s.body() // shortened for this picture only
	room := p.height
	d.page.src, d.page.width, d.page.height = about, a.width, min(len(about), room-4)
	d.page.fit()
	p.height = room - d.page.height - 1
	if p.walk && p.cursor >= p.top+p.height {
		p.top = p.cursor - p.height + 1
	}
	p.render(b, a.colour)
	a.rule(b, &d.page)
	d.page.render(b, a.colour)
	if d.field != nil {
		d.field.line(a.width).render(b, normal, a.colour)
		b.WriteString("\n")
		a.rule(b, nil)
		a.keys(b, []key{{"Enter", "ok"}}, []key{{"Esc", "cancel"}})
		return
	}
	b.WriteString("\n")
	a.rule(b, nil)
	var keys []key
	for _, c := range d.choices {
		keys = append(keys, key{c.key, c.does})
	}
	a.keys(b, nil, keys)
}

// field is a line that is being typed.
type field struct {
	text   string
	secret bool
}

// maxField is more than a reason needs, in bytes.
const maxField = 4096

func (f *field) press(key, text string) {
	switch key {
	case "backspace", "ctrl+h":
		_, n := utf8.DecodeLastRuneInString(f.text)
		f.text = f.text[:len(f.text)-n]
	case "ctrl+u":
		f.text = ""
	case "ctrl+w":
		f.text = f.text[:strings.LastIndexByte(strings.TrimRight(f.text, " "), ' ')+1]
	default:
		f.add(text)
	}
}

// add takes what is typed or pasted, up to the first line end.
func (f *field) add(text string) {
	text, _, _ = strings.Cut(text, "\n")
	text = strings.TrimSuffix(text, "\r")
	if len(f.text)+len(text) <= maxField && utf8.ValidString(text) {
		f.text += text
	}
}

// line is the end of the text, as much as fits, and a cursor.
func (f *field) line(width int) line {
	shown := neutral.Text(f.text)
	if f.secret {
		shown = "" // not even its length
	}
	for columns(shown) > width-4 {
		shown = shown[len(firstRune(shown)):]
	}
	return line{ink(bold, "> "), ink(normal, shown), {" ", reverse}}
}

// askMsg is a question of a layer below, as for a passphrase.
type askMsg struct {
	question string
	echo     bool
	reply    chan<- answer // takes one answer without waiting
}

type answer struct {
	text string
	err  error
}

func (a *app) ask(m askMsg) {
	var about lines
	for l := range strings.Lines(m.question) {
		about.add(says(bold, strings.TrimSuffix(l, "\n")))
	}
	a.open(&dialog{about: about, field: &field{secret: !m.echo},
		enter:  func(text string) tea.Cmd { m.reply <- answer{text: text}; return nil },
		cancel: func() tea.Cmd { m.reply <- answer{err: context.Canceled}; return nil }})
}

// prompt returns the function that asks a person through the screen.
func prompt(send func(tea.Msg)) func(ctx context.Context, question string, echo bool) (string, error) {
	return func(ctx context.Context, question string, echo bool) (string, error) {
		reply := make(chan answer, 1)
		send(askMsg{question, echo, reply})
		select {
		case r := <-reply:
			return r.text, r.err
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}
}
