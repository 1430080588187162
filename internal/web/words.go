package web

import (
	"strconv"
	"strings"
	"time"

	"github.com/bowline-sh/bowline"
)

// asker says who asked for a session, and through what.
func asker(s bowline.Session) string {
	name, token := strings.CutPrefix(s.Client, "token ")
	if token && s.Surface == bowline.SurfaceMCP {
		_, name, _ = strings.Cut(name, " ") // its id stands before its name
	}
	switch {
	case token:
		return s.User + " (" + s.Surface + ", token " + name + ")"
	case s.Client != "":
		return s.User + " by " + s.Client + " (" + s.Surface + ")"
	}
	return s.User + " (" + s.Surface + ")"
}

func number(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

func when(t time.Time) string  { return t.UTC().Format("2006-01-02 15:04") }
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// current is the value of aria-current.
func current(is bool) string {
	if is {
		return "true"
	}
	return "false"
}

func symbolClass(s string) string {
	switch s {
	case "+":
		return "new"
	case "-":
		return "gone"
	case "!":
		return "run"
	}
	return "changed"
}

func symbolWord(s string) string {
	switch s {
	case "+":
		return "created"
	case "-":
		return "deleted"
	case "!":
		return "command"
	}
	return "changed"
}

func markWord(s string) string {
	switch s {
	case "+":
		return "added"
	case "-":
		return "removed"
	}
	return ""
}
