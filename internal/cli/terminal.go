package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/neutral"
)

// safe makes one line of text harmless for a terminal: control characters, and
// marks that reorder or hide text, are shown as escapes.
func safe(s string) string { return neutral.Text(s) }

// prompt returns the function that asks a person, or nil where nobody is there.
func (env *Env) prompt() func(ctx context.Context, question string, echo bool) (string, error) {
	if !env.Terminal(env.Stdin) || !env.Terminal(env.Stderr) {
		return nil
	}
	return func(ctx context.Context, question string, echo bool) (string, error) {
		return ask(ctx, env.Stdin, env.Stderr, question, echo)
	}
}

type answer struct {
	text string
	err  error
}

// ask prints a question and reads one line. It returns when ctx ends, though
// the read itself then stays behind until the process ends.
func ask(ctx context.Context, in *os.File, out io.Writer, question string, echo bool) (string, error) {
	read := readLine
	if !echo {
		state, err := term.MakeRaw(int(in.Fd())) // before the question: whoever answers at once is not echoed either
		if err != nil {
			return "", fmt.Errorf("ask: %w", err)
		}
		defer term.Restore(int(in.Fd()), state)
		read = readSecret
	}
	got := make(chan answer, 1)
	go func() { got <- read(in, out, safe(question)+" ") }()
	select {
	case a := <-got:
		return a.text, a.err
	case <-ctx.Done():
		fmt.Fprintln(out)
		return "", context.Cause(ctx)
	}
}

// readSecret reads a line from a terminal in raw mode, which shows nothing of it.
func readSecret(in io.Reader, out io.Writer, question string) answer {
	t := term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{oneByte{in}, out}, "")
	text, err := t.ReadPassword(question)
	if errors.Is(err, io.EOF) { // Ctrl-C and Ctrl-D: raw mode makes no signals
		err = context.Canceled
	}
	return answer{text, err}
}

func readLine(in io.Reader, out io.Writer, question string) answer {
	fmt.Fprint(out, question)
	// One byte at a time: what follows the line belongs to the next reader.
	line, err := bufio.NewReaderSize(oneByte{in}, 16).ReadString('\n')
	if errors.Is(err, io.EOF) && line != "" {
		err = nil
	}
	return answer{strings.TrimRight(line, "\r\n"), err}
}

type oneByte struct{ r io.Reader }

func (o oneByte) Read(p []byte) (int, error) { return o.r.Read(p[:min(1, len(p))]) }

// confirm asks a yes-or-no question; flag is what answers it without a terminal.
func (env *Env) confirm(ctx context.Context, question, flag string) (bool, error) {
	p := env.prompt()
	if p == nil {
		return false, diag.New(diag.Usage, "", "add "+flag, "this asks a question, and there is no terminal to ask on")
	}
	for {
		text, err := p(ctx, question+" [y/N]", true)
		if err != nil {
			return false, err
		}
		switch strings.ToLower(strings.TrimSpace(text)) {
		case "y", "yes":
			return true, nil
		case "", "n", "no":
			return false, nil
		}
		fmt.Fprintln(env.Stderr, "bowline: answer y or n")
	}
}

// colour wraps s in an SGR sequence where standard output is a terminal that
// wants colour.
func (env *Env) colour(code, s string) string {
	if env.Getenv("NO_COLOR") != "" || env.Getenv("TERM") == "dumb" || !env.Terminal(env.Stdout) {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

const (
	green = "32"
	red   = "31;1"
	bold  = "1"
	faint = "2"
)
