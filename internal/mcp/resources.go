package mcp

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/bowline-sh/bowline"
)

// Resources are what tools show, for clients that prefer to attach them.
func (s *Server) addResources() {
	for _, r := range []struct{ uri, name, title string }{
		{"bowline://targets", "targets", "Targets that may be used"},
		{"bowline://profiles", "profiles", "Sandbox profiles that may be used"},
		{"bowline://sessions", "sessions", "Sessions of this client"},
	} {
		s.mcp.AddResource(&mcp.Resource{URI: r.uri, Name: r.name, Title: r.title, MIMEType: "text/plain"}, s.readResource)
	}
	for _, t := range []struct{ uri, name, title string }{
		{"bowline://sessions/{id}", "session", "A session: plan, risks and decision"},
		{"bowline://plans/{id}", "plan", "The plan of a session with its diff"},
		{"bowline://outputs/{id}{?offset}", "output", "A page of a long output"},
	} {
		s.mcp.AddResourceTemplate(&mcp.ResourceTemplate{URITemplate: t.uri, Name: t.name, Title: t.title, MIMEType: "text/plain"}, s.readResource)
	}
}

func (s *Server) readResource(ctx context.Context, req *mcp.ReadResourceRequest) (*mcp.ReadResourceResult, error) {
	who := s.caller(req.Session)
	u, err := url.Parse(req.Params.URI)
	if err != nil || u.Scheme != "bowline" {
		return nil, mcp.ResourceNotFoundError(req.Params.URI)
	}
	c := call{who: who}
	text, err := s.resource(bowline.WithCaller(ctx, who), c, u)
	if err != nil {
		return nil, fmt.Errorf("%s: %s", cmpKind(err), s.line(err.Error(), 500))
	}
	return &mcp.ReadResourceResult{Contents: []*mcp.ResourceContents{{URI: req.Params.URI, MIMEType: "text/plain", Text: text}}}, nil
}

func (s *Server) resource(ctx context.Context, c call, u *url.URL) (string, error) {
	id := strings.TrimPrefix(u.Path, "/")
	switch kind := u.Host; {
	case kind == "targets" && id == "":
		_, out, err := s.targets(ctx, c, targetsIn{})
		return encode(out.Targets, err)
	case kind == "profiles" && id == "":
		_, out, err := s.targets(ctx, c, targetsIn{})
		return encode(out.Profiles, err)
	case kind == "sessions" && id == "":
		text, _, err := s.listSessions(ctx, c)
		return text, err
	case kind == "sessions" || kind == "plans":
		x, err := s.mine(ctx, c, id)
		if err != nil {
			return "", err
		}
		text, _ := s.show(x, kind == "plans")
		return text, nil
	case kind == "outputs":
		o, err := s.outs.get(c.who.Client, id)
		if err != nil {
			return "", err
		}
		offset, _ := strconv.Atoi(u.Query().Get("offset")) // none is the beginning
		return untrusted(o.target, o.page(offset, s.clean).Text), nil
	}
	return "", mcp.ResourceNotFoundError(u.String())
}

func encode(v any, err error) (string, error) {
	if err != nil {
		return "", err
	}
	b, err := json.MarshalIndent(v, "", "  ")
	return string(b), err
}
