package web

import (
	"strconv"
	"time"

	"github.com/bowline-sh/bowline"
)

// asker says who asked for a session, and through what.
func asker(s bowline.Session) string {
	who := s.User
	if s.Client != "" {
		who += " by " + s.Client
	}
	return who + " (" + s.Surface + ")"
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
