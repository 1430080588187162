package mcp

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
)

// hint is what clients are told of a tool.
type hint int

const (
	reads   hint = iota // changes nothing
	adds                // makes something that is not there, as a proposal
	changes             // changes hosts or files
)

// tool describes one tool. Open is whether it acts on hosts.
func tool(name, title, text string, h hint) *mcp.Tool {
	destructive, open := h == changes, h != adds
	return &mcp.Tool{Name: name, Title: title, Description: text, Annotations: &mcp.ToolAnnotations{
		ReadOnlyHint: h == reads, DestructiveHint: &destructive, IdempotentHint: h == reads, OpenWorldHint: &open,
	}}
}

// handler is the work of a tool for one caller. The text is for the model, the value
// for programs.
type handler[In, Out any] func(ctx context.Context, c call, in In) (text string, out Out, err error)

// call is one call of a tool.
type call struct {
	who bowline.Caller
	req *mcp.CallToolRequest
}

// progress tells the client how far it is, if it asked to be told.
func (c call) progress(ctx context.Context, done float64, message string) {
	if c.req == nil || c.req.Params.GetProgressToken() == nil {
		return
	}
	// A client that no longer listens is told nothing.
	_ = c.req.Session.NotifyProgress(ctx, &mcp.ProgressNotificationParams{ProgressToken: c.req.Params.GetProgressToken(), Progress: done, Message: line(message, 200)})
}

// add registers a tool. Errors become results that a model can act on, as the protocol
// has it: what was refused, by which rule, and what would pass.
func add[In, Out any](s *Server, t *mcp.Tool, h handler[In, Out]) {
	t.InputSchema, t.OutputSchema = schemaOf[In](), schemaOf[Out]()
	mcp.AddTool(s.mcp, t, func(ctx context.Context, req *mcp.CallToolRequest, in In) (*mcp.CallToolResult, Out, error) {
		who := s.caller(req.Session)
		select {
		case s.calls <- struct{}{}:
			defer func() { <-s.calls }()
		default:
			var none Out
			return nil, none, s.failure(diag.New(diag.Refused, "call a tool", "wait until some are over", "%d calls are under way already", maxCalls))
		}
		text, out, err := h(bowline.WithCaller(ctx, who), call{who, req}, in)
		if err != nil {
			var none Out
			return nil, none, s.failure(err)
		}
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: text}}}, out, nil
	})
}

// failure is what a model is told of an error: the SDK makes it a result with isError,
// and no structured content.
func (s *Server) failure(err error) error {
	text := fmt.Sprintf("error (%s): %s", cmpKind(err), s.line(err.Error(), 2000))
	if h := diag.HintOf(err); h != "" {
		text += "\nhint: " + s.line(h, 1000)
	}
	return errors.New(text)
}

func cmpKind(err error) string {
	if errors.Is(err, context.Canceled) {
		return string(diag.Canceled)
	}
	if k := diag.KindOf(err); k != "" {
		return string(k)
	}
	return string(diag.Failure)
}

// schemaOf infers a schema and makes it what simple clients understand: lists are
// lists, not lists or null.
func schemaOf[T any]() *jsonschema.Schema {
	s, err := jsonschema.For[T](nil)
	if err != nil {
		panic("mcp: a tool's type has no schema: " + err.Error()) // types are ours
	}
	plain(s)
	return s
}

func plain(s *jsonschema.Schema) {
	if s == nil {
		return
	}
	if len(s.Types) == 2 && slices.Contains(s.Types, "null") {
		s.Type = s.Types[1]
		if s.Type == "null" {
			s.Type = s.Types[0]
		}
		s.Types = nil
	}
	for _, p := range s.Properties {
		plain(p)
	}
	plain(s.Items)
	if s.AdditionalProperties != nil && s.AdditionalProperties.Not == nil {
		plain(s.AdditionalProperties)
	}
}

func (s *Server) addTools() {
	add(s, tool("targets", "List targets and profiles", "List the hosts and sandbox profiles that you may use. With 'test', also connect to one and report what works.", reads), s.targets)
	add(s, tool("run", "Run a sandboxed command", "Run a command, or a script in the sandbox, on one or more targets. It sees the host read-only and cannot change it; use 'propose' to change. "+
		"Identical output of several targets is folded. Set background for what takes long, then call 'output'.", reads), s.run)
	add(s, tool("read_file", "Read a file", "Read a file of a target, or some of its lines, inside the sandbox.", reads), s.readFile)
	add(s, tool("search", "Search files", "Search files below a path of a target for a regular expression (grep -E), or for names if no pattern is given.", reads), s.search)
	add(s, tool("output", "Page through output", "Read on in a long output, wait for a background command, or stop it. Without a handle: list them.", reads), s.output)
	add(s, tool("propose", "Propose a change", "Dry-run a script or command on a copy-on-write view of the real host. Nothing changes. The result is a session with a plan, its risks and diff, for a person to review.", adds), s.propose)
	add(s, tool("session", "Look at a session", "Show a session and its decision, or list yours. wait_seconds waits until a person has decided. With 'diff' also the diff.", reads), s.session)
	add(s, tool("apply", "Apply an approved session", "Carry out exactly the plan that a person approved. Refused unless approved.", changes), s.apply)
	add(s, tool("rollback", "Take a session back", "Restore what an applied session of yours changed. Refused if something changed since.", changes), s.rollback)
	add(s, tool("copy", "Copy a file", "Copy a file or directory between this machine (allowed directories only) and a target, verified by digest. One of source and destination is TARGET:/path.", changes), s.copy)
	add(s, tool("audit", "Your own record", "List what you did here, newest first, from the audit log.", reads), s.audit)
}

// allowed returns the targets of a selector that this server may use.
func (s *Server) allowed(ctx context.Context, selector string) ([]bowline.TargetInfo, error) {
	list, err := s.cfg.Client.Targets(ctx, cmpSelector(s.cfg.Selector))
	if err != nil || selector == "" {
		return list, err
	}
	wanted, err := s.cfg.Client.Targets(ctx, selector)
	if err != nil {
		return nil, err
	}
	var out []bowline.TargetInfo
	for _, w := range wanted {
		if !slices.ContainsFunc(list, func(t bowline.TargetInfo) bool { return t.Name == w.Name }) {
			return nil, diag.New(diag.Denied, "use target "+line(selector, 64), "use one of: "+names(list), "it is not, or not all of it is, among those that this server was given")
		}
		out = append(out, w)
	}
	return out, nil
}

// one returns the one target that a tool acts on; "" is the default.
func (s *Server) one(ctx context.Context, name string) (string, error) {
	list, err := s.allowed(ctx, name)
	if err != nil {
		return "", err
	}
	if name == "" {
		for _, t := range list {
			if t.Default {
				return t.Name, nil
			}
		}
	}
	if len(list) != 1 {
		return "", diag.New(diag.Usage, "choose a target", "name one of: "+names(list), "this needs one target, and %d match", len(list))
	}
	return list[0].Name, nil
}

func names(list []bowline.TargetInfo) string {
	var out []string
	for i, t := range list {
		if i == 20 {
			out = append(out, "...")
			break
		}
		out = append(out, t.Name)
	}
	return strings.Join(out, ", ")
}

func cmpSelector(s string) string {
	if s == "" {
		return "all"
	}
	return s
}
