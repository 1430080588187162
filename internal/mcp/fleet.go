package mcp

import (
	"context"
	"crypto/sha256"
	"encoding/json"
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
	first := map[[sha256.Size]byte]*resultOut{} // by all that came, also what is cut
	ended := func(r bowline.FleetResult) {
		out := s.result(c, r.RunResult)
		if len(groups) >= maxLong {
			out.shorten()
		}
		out.Seconds = r.Duration.Seconds()
		if r.Err != nil {
			out.Error = fmt.Sprintf("%s: %s", r.Class, s.line(r.Err.Error(), 500))
		}
		c.progress(ctx, float64(len(groups)), r.Target+": "+string(r.Class))
		out.Targets = []string{r.Target}
		key := sameness(r.RunResult, out)
		if g := first[key]; g != nil {
			g.Targets = append(g.Targets, r.Target)
			return
		}
		first[key] = &out
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

// maxLong is how many different results of a fleet are given at full length: the next
// have a few lines, so that an answer of a thousand hosts stays one that can be read.
const maxLong = 20

// sameness is the digest of a result but for where it comes from and how long it took.
func sameness(res bowline.RunResult, out resultOut) [sha256.Size]byte {
	b, err := json.Marshal([]any{res.ExitCode, res.Stdout, res.Stderr, res.Truncated, out.Error, out.TimedOut})
	if err != nil {
		panic("mcp: a result cannot be written: " + err.Error()) // it is numbers and texts
	}
	return sha256.Sum256(b)
}

// shorten keeps the beginning of the output.
func (r *resultOut) shorten() {
	const most = 400
	if len(r.Stdout) > most || len(r.Stderr) > most {
		r.Stdout, r.Stderr, r.Truncated = cut(r.Stdout, most), cut(r.Stderr, most), true
	}
}
