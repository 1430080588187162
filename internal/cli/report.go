package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/bowline-sh/bowline/diag"
)

// exitCode is part of the command-line contract (docs/cli.md). Add, never
// renumber. Kinds without an entry give 1.
var exitCode = map[diag.Kind]int{
	diag.Usage: 2, diag.Unreachable: 10, diag.Untrusted: 11, diag.Denied: 12, diag.Refused: 12,
	diag.Conflict: 13, diag.Partial: 14,
}

// exit codes of run and everything else that hands on a command's own code, as
// timeout(1) and podman-run(1) have them.
const (
	codeTimeout  = 124
	codeFailed   = 125
	codeRefused  = 126
	codeNotFound = 127
)

// commandExit is returned by commands that hand on another program's exit code:
// err, if any, is reported, and code is what the process ends with.
type commandExit struct {
	code int
	err  error
}

func (e *commandExit) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *commandExit) Unwrap() error { return e.err }

// runCode is the exit code of "run" for an error of Bowline's own.
func runCode(err error) int {
	switch diag.KindOf(err) {
	case diag.Refused:
		return codeRefused
	case diag.NotFound:
		return codeNotFound
	case diag.Canceled:
		return 130
	default:
		return codeFailed
	}
}

// report prints a non-nil err and returns the exit code. Nowhere else does an
// error become text for a person.
func (env *Env) report(err error) int {
	if err == nil {
		return 0
	}
	code := 0
	if e, ok := errors.AsType[*commandExit](err); ok {
		code, err = e.code, e.err
		if err == nil {
			return code
		}
	} else if code = exitCode[diag.KindOf(err)]; code == 0 {
		code = 1
	}
	if errors.Is(err, context.Canceled) && code == 1 {
		code = 130
	}
	env.printError(err)
	return code
}

// printError writes err and its hint, one line each. Joined errors get a line
// of their own.
func (env *Env) printError(err error) {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			env.printError(e)
		}
		return
	}
	fmt.Fprintf(env.Stderr, "bowline: %s\n", safe(err.Error()))
	for hint := range strings.Lines(diag.HintOf(err)) {
		fmt.Fprintf(env.Stderr, "bowline: hint: %s\n", safe(strings.TrimSuffix(hint, "\n")))
	}
}

// note tells a person something that is not an error.
func (env *Env) note(format string, args ...any) {
	fmt.Fprintf(env.Stderr, "bowline: %s\n", safe(fmt.Sprintf(format, args...)))
}

// schemaVersion stands in every JSON document. It changes when a field changes
// its meaning or goes away, not when one is added.
const schemaVersion = 1

// printJSON writes v, a document with its schema version, on one line.
func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// jsonError is an error as JSON.
type jsonError struct {
	Kind    diag.Kind `json:"kind"`
	Message string    `json:"message"`
	Hint    string    `json:"hint,omitempty"`
}

func newJSONError(err error) *jsonError {
	if err == nil {
		return nil
	}
	return &jsonError{Kind: diag.KindOf(err), Message: err.Error(), Hint: diag.HintOf(err)}
}
