package mcp

import (
	"context"
	"fmt"
	"strings"

	"github.com/bowline-sh/bowline"
)

// fleet runs a command on several targets and folds equal results.
func (s *Server) fleet(ctx context.Context, c call, req bowline.RunRequest, list []bowline.TargetInfo) (string, runOut, error) {
	var names []string
	for _, t := range list {
		names = append(names, t.Name)
	}
	var groups []*resultOut
	ended := func(r bowline.FleetResult) {
		out := s.result(c, r.RunResult)
		out.Seconds = r.Duration.Seconds()
		if r.Err != nil {
			out.Error = fmt.Sprintf("%s: %s", r.Class, line(r.Err.Error(), 500))
		}
		c.progress(ctx, float64(len(groups)), r.Target+": "+string(r.Class))
		for _, g := range groups {
			if g.ExitCode == out.ExitCode && g.Stdout == out.Stdout && g.Stderr == out.Stderr && g.Error == out.Error && g.TimedOut == out.TimedOut {
				g.Targets = append(g.Targets, r.Target)
				return
			}
		}
		out.Targets = []string{r.Target}
		groups = append(groups, &out)
	}
	if _, err := s.cfg.Client.RunFleet(ctx, names, req, bowline.FleetOptions{}, func(string) {}, ended); err != nil {
		return "", runOut{}, err
	}
	var b strings.Builder
	out := runOut{}
	fmt.Fprintf(&b, "%d targets, %d different results\n", len(names), len(groups))
	for _, g := range groups {
		b.WriteString(describe(*g))
		out.Results = append(out.Results, *g)
	}
	return b.String(), out, nil
}
