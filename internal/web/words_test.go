package web

import (
	"testing"

	"github.com/bowline-sh/bowline"
)

func TestAsker(t *testing.T) {
	for _, tt := range []struct {
		s    bowline.Session
		want string
	}{
		{bowline.Session{User: "ann", Surface: "cli"}, "ann (cli)"},
		{bowline.Session{User: "ann", Surface: "api", Client: "token ci job"}, "ann (api, token ci job)"},
		{bowline.Session{User: "ann", Surface: "mcp", Client: "token abcdefghij my robot"}, "ann (mcp, token my robot)"},
		{bowline.Session{User: "ann", Surface: "mcp", Client: "claude"}, "ann by claude (mcp)"},
	} {
		if got := asker(tt.s); got != tt.want {
			t.Errorf("%+v: %q, want %q", tt.s, got, tt.want)
		}
	}
}
