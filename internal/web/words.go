package web

import (
	"strconv"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/internal/review"
)

// asker says who asked for a session, and through what.
func asker(s bowline.Session) string {
	who := s.User
	if s.Client != "" {
		who += " by " + s.Client
	}
	return who + " (" + s.Surface + ")"
}

func lineClass(k review.LineKind) string {
	switch k {
	case review.Deleted:
		return "del"
	case review.Inserted:
		return "ins"
	}
	return "same"
}

func number(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}
