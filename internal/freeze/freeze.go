// Package freeze is the switch that stops new work on targets: no run, no plan, no
// apply, no copy begins until somebody lifts it. It stands in two places, and either
// is enough: in a file of this client ([Gate]), and in a file on the target ([File])
// which holds whatever a client says.
//
// What runs goes on, and a rollback stays possible: who freezes does so because of what
// changed, and taking that back is what they then need.
//
// # Invariants
//
//   - What cannot be read, or cannot be understood, is a freeze.
//   - Texts of a Freeze that was read are bounded and printable, on one line.
package freeze

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"
	"unicode"

	"github.com/bowline-sh/bowline/diag"
)

// File is the switch of a target. Whatever is there, an empty file or a dangling link
// too, means that it is frozen. Its text, as far as it has the form of [Freeze.Text],
// says by whom, when and why; lines of another form are part of the reason, so that
// 'echo holidays > /etc/bowline/freeze' does what it says.
const File = dir + "/freeze"

const dir = "/etc/bowline"

// ErrFrozen is wrapped by refusals that did not come over a link.
var ErrFrozen = errors.New("frozen")

// maxText bounds how much of a file is read, in bytes; maxField one text in it.
const (
	maxText  = 4 << 10
	maxField = 300
)

// Freeze is who stopped the work, when and why; all may be unknown.
type Freeze struct {
	By     string    `json:"by,omitempty"`
	At     time.Time `json:"at,omitzero"`
	Reason string    `json:"reason,omitempty"`
}

// Text is the content of a [File].
func (f Freeze) Text() []byte {
	f = f.printable()
	return fmt.Appendf(nil, "by: %s\nat: %s\nreason: %s\n", f.By, f.At.UTC().Format(time.RFC3339), f.Reason)
}

// Parse reads what stands in a [File]. There is no text that it does not take.
func Parse(text []byte) Freeze {
	var f Freeze
	var rest []string
	for line := range strings.Lines(string(text[:min(len(text), maxText)])) {
		line = strings.TrimSpace(line)
		switch key, value, _ := strings.Cut(line, ":"); key {
		case "by":
			f.By = strings.TrimSpace(value)
		case "at":
			f.At, _ = time.Parse(time.RFC3339, strings.TrimSpace(value)) // else it is not known
		case "reason":
			rest = append(rest, strings.TrimSpace(value))
		default:
			rest = append(rest, line)
		}
	}
	f.Reason = strings.TrimSpace(strings.Join(rest, " "))
	return f.printable()
}

func (f Freeze) printable() Freeze {
	f.By, f.Reason = printable(f.By), printable(f.Reason)
	return f
}

// printable shows what could repaint a terminal, or forge a line, as "?".
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s[:min(len(s), 4*maxField)])
	if runes := []rune(s); len(runes) > maxField {
		return string(runes[:maxField]) + "…"
	}
	return s
}

// Read reports whether the machine on which this is called is frozen.
func Read() (Freeze, bool) { return read(File) }

func read(path string) (Freeze, bool) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Freeze{}, false
	}
	if err != nil {
		return unreadable(err), true
	}
	if !info.Mode().IsRegular() { // a pipe would keep us
		return Freeze{Reason: path + " is not a regular file"}, true
	}
	f, err := os.Open(path)
	if err != nil {
		return unreadable(err), true
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxText))
	if err != nil {
		return unreadable(err), true
	}
	return Parse(b), true
}

func unreadable(err error) Freeze { return Freeze{Reason: err.Error()}.printable() }

// String is how a person reads it, as "frozen by ann@desk since ...: why".
func (f Freeze) String() string {
	s := "frozen"
	if f.By != "" {
		s += " by " + f.By
	}
	if !f.At.IsZero() {
		s += " since " + f.At.UTC().Format("2006-01-02 15:04 UTC")
	}
	if f.Reason != "" {
		s += ": " + f.Reason
	}
	return s
}

const op = "check freeze"

// Here refuses work because of the target's own file.
func (f Freeze) Here() error {
	return diag.New(diag.Refused, op, "lift it with 'bowline unfreeze "+nameless+"', or as root there with 'rm "+File+"'",
		"the target is %w", f.wrapped())
}

// nameless stands where the name of a target belongs, which the far side does not know.
const nameless = "TARGET"

// Named puts the name of the target into a refusal that came from there; any other error
// stays as it is.
func Named(err error, target string) error {
	d, ok := errors.AsType[*diag.Error](err)
	if !ok || d.Kind != diag.Refused || d.Op != op {
		return err
	}
	e := *d
	e.Op += " on " + target
	e.Hint = strings.Replace(e.Hint, "unfreeze "+nameless, "unfreeze "+target, 1)
	return &e
}

// wrapped is f as an error.
func (f Freeze) wrapped() error { return frozen(f) }

type frozen Freeze

func (e frozen) Error() string        { return Freeze(e).String() }
func (e frozen) Is(target error) bool { return target == ErrFrozen }

// Mark is how the sh program of package sandbox begins to say that the target is
// frozen; what follows is the beginning of the file.
const Mark = "bowline: frozen"

// FromMark returns the refusal that text stands for, or nil.
func FromMark(text []byte) error {
	rest, ok := bytes.CutPrefix(text, []byte(Mark))
	if !ok {
		return nil
	}
	return Parse(rest).Here()
}
