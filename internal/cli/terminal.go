package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/bowline-sh/bowline/diag"
)

// safe makes one line of text harmless for a terminal: control characters, and
// marks that reorder or hide text, are shown as escapes.
func safe(s string) string {
	var b strings.Builder
	neutralise(&b, []byte(s), false)
	return b.String()
}

// neutralise writes p to b with everything escaped that could act on a terminal.
// With stream set, newlines, tabs and colours (SGR sequences) pass.
func neutralise(b *strings.Builder, p []byte, stream bool) {
	for len(p) > 0 {
		r, n := utf8.DecodeRune(p)
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(b, `\x%02x`, p[0])
		case stream && (r == '\n' || r == '\t'):
			b.WriteRune(r)
		case stream && r == '\x1b' && sgr(p) > 0:
			n = sgr(p)
			b.Write(p[:n])
		case r == '\n':
			b.WriteString(`\n`)
		case r < 0x20 || r == 0x7f:
			b.WriteString("^" + string(rune(r^0x40)))
		case r >= 0x80 && r < 0xa0 || reorders(r):
			fmt.Fprintf(b, `\u%04x`, r)
		default:
			b.Write(p[:n])
		}
		p = p[n:]
	}
}

// reorders reports characters that change how the text around them is shown
// (Unicode Standard Annex 9, and zero-width characters), or end a line.
func reorders(r rune) bool {
	return r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r >= 0x200b && r <= 0x200f || r == 0x2028 || r == 0x2029 || r == 0xfeff || r == 0x061c
}

// sgr returns the length of the colour sequence (ECMA-48, 8.3.117) p begins
// with, or 0.
func sgr(p []byte) int {
	if len(p) < 3 || p[1] != '[' {
		return 0
	}
	for i := 2; i < min(len(p), 24); i++ {
		switch c := p[i]; {
		case c == 'm':
			return i + 1
		case c != ';' && c != ':' && (c < '0' || c > '9'):
			return 0
		}
	}
	return 0
}

// safeWriter neutralises a stream on its way to a terminal. Sequences split
// between writes are put together as far as they are needed to judge them.
type safeWriter struct {
	w    io.Writer
	rest []byte
	err  error
}

// maxRest bounds what is held back: one character or one colour sequence.
const maxRest = 24

func (s *safeWriter) Write(p []byte) (int, error) {
	all := append(s.rest, p...)
	keep := incomplete(all)
	s.rest = append([]byte(nil), all[len(all)-keep:]...)
	s.put(all[:len(all)-keep])
	return len(p), s.err
}

// Flush writes what was held back.
func (s *safeWriter) Flush() error {
	s.put(s.rest)
	s.rest = nil
	return s.err
}

func (s *safeWriter) put(p []byte) {
	if s.err != nil || len(p) == 0 {
		return
	}
	var b strings.Builder
	neutralise(&b, p, true)
	_, s.err = io.WriteString(s.w, b.String())
}

// incomplete is the length of an unfinished character or colour sequence at the
// end of p.
func incomplete(p []byte) int {
	for n := 1; n < min(utf8.UTFMax, len(p)+1); n++ {
		if c := p[len(p)-n]; utf8.RuneStart(c) {
			if c >= 0x80 && !utf8.FullRune(p[len(p)-n:]) {
				return n
			}
			break
		}
	}
	if i := strings.LastIndexByte(string(p[max(0, len(p)-maxRest):]), '\x1b'); i >= 0 {
		tail := p[max(0, len(p)-maxRest)+i:]
		if sgr(tail) == 0 && strings.Trim(string(tail[1:]), "[;:0123456789") == "" {
			return len(tail)
		}
	}
	return 0
}

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
