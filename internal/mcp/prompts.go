package mcp

import (
	"context"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// investigation is a prompt: what to look at, and how.
type investigation struct {
	name, title, text string
	argument, about   string // optional besides target
}

var investigations = []investigation{
	{"health", "Health of a host", "Check the overall health of {target}: load and memory (/proc/loadavg, /proc/meminfo), disks (df -h with profile diagnostics), failed units and recent errors in the logs. Say what is wrong, with the lines that show it, and what you would propose.", "", ""},
	{"disk", "What fills a disk", "Find what fills the disk of {target} below {path}: sizes (df, du), the largest files and directories, old logs and caches. Do not delete anything: if it would help, call 'propose' with a script and say what it frees.", "path", "where to look; default /"},
	{"logs", "Errors in the logs", "Look through the logs of {service} on {target} (journalctl with profile systemd, /var/log): errors, restarts and their first cause. Quote the lines that matter.", "service", "unit or program; default all"},
	{"failed-services", "Failed services", "Find units on {target} that failed or restart again and again, and why: their unit files, configuration and logs. Propose a fix as a session if one is clear; do not guess.", "service", "one unit; default all"},
	{"performance", "Why a host is slow", "Find out why {target} is slow: CPU, memory pressure, swap, input and output, the processes that use most (profile diagnostics), and what {service} waits for. Compare with the limits that are configured.", "service", "what is slow; default the host"},
}

func (s *Server) addPrompts() {
	for _, p := range investigations {
		args := []*mcp.PromptArgument{{Name: "target", Description: "host to look at; default: the default target"}}
		if p.argument != "" {
			args = append(args, &mcp.PromptArgument{Name: p.argument, Description: p.about})
		}
		s.mcp.AddPrompt(&mcp.Prompt{Name: p.name, Title: p.title, Arguments: args}, p.get)
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
