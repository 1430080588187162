package tui

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"

	"github.com/bowline-sh/bowline"
)

// Config says what Run shows and where. Fields not marked optional are required.
type Config struct {
	In      *os.File  // a terminal
	Out     io.Writer // a terminal
	Colour  bool
	Session string // optional; opened at once instead of the list
	// Client is what the client is opened with; Run sets Prompt and Notify, so that
	// questions and notes appear on the screen.
	Client bowline.Config
}

// Run shows the review screen until the person leaves or ctx ends. What is under way
// on a target then goes on there; what runs here is ended and waited for.
func Run(ctx context.Context, cfg Config) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	a := newApp(ctx, cfg.Colour)
	p := tea.NewProgram(a, tea.WithContext(ctx), tea.WithInput(cfg.In), tea.WithOutput(cfg.Out), tea.WithoutSignalHandler(),
		tea.WithColorProfile(colorprofile.ANSI)) // given, because finding it out runs tmux
	a.send = p.Send
	cfg.Client.Prompt = prompt(a.send)
	cfg.Client.Notify = func(note string) { go p.Send(noteMsg(note)) } // ends with the program at the latest
	c, err := bowline.Open(ctx, cfg.Client)
	if err != nil {
		return err
	}
	a.api = c
	if err := a.begin(cfg.Session); err != nil {
		return errors.Join(err, c.Close())
	}
	_, err = p.Run()
	if cause := context.Cause(ctx); errors.Is(err, tea.ErrProgramKilled) && cause != nil {
		err = cause
	}
	cancel()
	a.calls.end()
	return errors.Join(err, c.Close())
}

func newApp(ctx context.Context, colour bool) *app {
	a := &app{ctx: ctx, now: time.Now, calls: &calls{}, colour: colour, tick: everySecond}
	a.screens = []screen{newList(func() time.Time { return a.now() })}
	return a
}

// begin opens the session that was asked for. One that does not exist is an error of
// the command, not a picture.
func (a *app) begin(id string) error {
	if id == "" {
		return nil
	}
	s, err := a.api.Session(a.ctx, id)
	if err != nil {
		return err
	}
	v := newSession(s, a.now)
	if v.doc, err = documentOf(s); err != nil {
		return err
	}
	a.screens = append(a.screens, v)
	return nil
}
