package mcp

import (
	"context"
	"strings"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
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
	taken := map[string]string{} // what a tool runs on, by its name
	for _, t := range list {
		for _, p := range profiles {
			names := []string{olderName(t.Name + "_" + p.Profile.Name)}
			if t.Default {
				names = append(names, olderName(p.Profile.Name))
			}
			for _, name := range names {
				what := t.Name + " under " + p.Profile.Name
				if taken[name] != "" {
					return diag.New(diag.Usage, "offer older tools", "leave --older-tools out, or choose fewer with --target and --profile", "%s would be the name of two tools: %s, and %s", name, taken[name], what)
				}
				taken[name] = what
				s.addOlderTool(name, t, p)
			}
		}
	}
	return nil
}

func olderName(name string) string { return "sandbox_" + strings.ReplaceAll(name, ".", "_") }

func (s *Server) addOlderTool(name string, t bowline.TargetInfo, p bowline.ProfileInfo) {
	add(s, tool(name, "Run on "+t.Name+" under "+p.Profile.Name, "Older name of 'run'.", reads), func(ctx context.Context, c call, in olderIn) (string, runOut, error) {
		return s.run(ctx, c, runIn{Target: t.Name, Profile: p.Profile.Name, Argv: in.Command})
	})
}
