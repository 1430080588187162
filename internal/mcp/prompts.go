package mcp

import (
	"context"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// investigation is a prompt: what to look at, and how.
type investigation struct {
	name, title, text string
	argument, meaning string // optional besides target
}

var investigations = []investigation{
	{"health", "Health of a host", "Check the overall health of {target}: load and memory (/proc/loadavg, /proc/meminfo), disks (df -h with profile diagnostics), failed units and recent errors in the logs. Say what is wrong, with the lines that show it, and what you would propose.", "", ""},
	{"disk", "What fills a disk", "Find what fills the disk of {target} below {path}: sizes (df, du), the largest files and directories, old logs and caches. Do not delete anything: if it would help, call 'propose' with a script and say what it frees.", "path", "where to look; default /"},
	{"logs", "Errors in the logs", "Look through the logs of {service} on {target} (journalctl with profile systemd, /var/log): errors, restarts and their first cause. Quote the lines that matter.", "service", "unit or program; default all"},
	{"failed-services", "Failed services", "Find units on {target} that failed or restart again and again ({service}), and why: their unit files, configuration and logs. Propose a fix as a session if one is clear; do not guess.", "service", "one unit; default all"},
	{"performance", "Why a host is slow", "Find out why {target} is slow: CPU, memory pressure, swap, input and output, the processes that use most (profile diagnostics), and what {service} waits for. Compare with the limits that are configured.", "service", "what is slow; default the host"},
}

// about is what a list says of a prompt.
func (p investigation) about() string {
	if p.argument == "" {
		return p.title + ", given a target"
	}
	return p.title + ", given a target and " + p.argument
}

func (s *Server) addPrompts() {
	for _, p := range investigations {
		args := []*mcp.PromptArgument{{Name: "target", Description: "host to look at; default: the default target"}}
		if p.argument != "" {
			args = append(args, &mcp.PromptArgument{Name: p.argument, Description: p.meaning})
		}
		s.mcp.AddPrompt(&mcp.Prompt{Name: p.name, Title: p.title, Description: p.about(), Arguments: args}, p.get)
	}
}

func (p investigation) get(_ context.Context, req *mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
	value := func(name, def string) string {
		if v := line(req.Params.Arguments[name], 200); v != "" {
			return v
		}
		return def
	}
	text := strings.NewReplacer("{target}", value("target", "the default target"), "{path}", value("path", "/"), "{service}", value("service", "all services")).Replace(p.text)
	return &mcp.GetPromptResult{Description: p.title, Messages: []*mcp.PromptMessage{{Role: "user", Content: &mcp.TextContent{Text: text}}}}, nil
}

// complete offers names for the arguments of prompts and resources.
func (s *Server) complete(ctx context.Context, req *mcp.CompleteRequest) (*mcp.CompleteResult, error) {
	res := &mcp.CompleteResult{Completion: mcp.CompletionResultDetails{Values: []string{}}}
	names, err := s.completions(ctx, req)
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		if strings.HasPrefix(n, req.Params.Argument.Value) && len(res.Completion.Values) < 100 {
			res.Completion.Values = append(res.Completion.Values, n)
		}
	}
	return res, nil
}

func (s *Server) completions(ctx context.Context, req *mcp.CompleteRequest) ([]string, error) {
	var names []string
	switch req.Params.Argument.Name {
	case "target":
		list, err := s.allowed(ctx, "")
		for _, t := range list {
			names = append(names, t.Name)
		}
		return names, err
	case "id":
		_, out, err := s.listSessions(ctx, call{who: s.caller(req.Session)})
		for _, x := range out.Sessions {
			names = append(names, x.Session)
		}
		return names, err
	}
	return nil, nil
}
