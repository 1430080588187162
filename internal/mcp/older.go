package mcp

import (
	"context"
	"strings"

	"github.com/bowline-sh/bowline"
)

type olderIn struct {
	Command []string `json:"command"`
}

// addOlder offers sandbox_<target>_<profile>, as earlier systems named their tools; for
// the default target also sandbox_<profile>.
func (s *Server) addOlder(ctx context.Context) error {
	list, err := s.allowed(ctx, "")
	if err != nil {
		return err
	}
	profiles, err := s.profiles(ctx)
	if err != nil {
		return err
	}
	for _, t := range list {
		for _, p := range profiles {
			s.addOlderTool("sandbox_"+t.Name+"_"+p.Profile.Name, t, p)
			if t.Default {
				s.addOlderTool("sandbox_"+p.Profile.Name, t, p)
			}
		}
	}
	return nil
}

func (s *Server) addOlderTool(name string, t bowline.TargetInfo, p bowline.ProfileInfo) {
	name = strings.Map(func(r rune) rune {
		if r == '.' {
			return '_'
		}
		return r
	}, name)
	add(s, tool(name, "Run on "+t.Name+" under "+p.Profile.Name, "Older name of 'run'.", reads), func(ctx context.Context, c call, in olderIn) (string, runOut, error) {
		return s.run(ctx, c, runIn{Target: t.Name, Profile: p.Profile.Name, Argv: in.Command})
	})
}
