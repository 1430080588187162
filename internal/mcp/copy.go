package mcp

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
)

type copyIn struct {
	From      string `json:"from" jsonschema:"TARGET:/path, or a local path"`
	To        string `json:"to" jsonschema:"TARGET:/path, or a local path"`
	Recursive bool   `json:"recursive,omitempty"`
	Timeout   int    `json:"timeout_seconds,omitempty"`
}

type copyOut struct {
	Files []copiedOut `json:"files"`
	Bytes int64       `json:"bytes"`
}

type copiedOut struct {
	Path   string `json:"path"`
	Status string `json:"status" jsonschema:"verified, made, mismatched, unverified, changed or failed"`
	SHA256 string `json:"sha256,omitempty"`
	Error  string `json:"error,omitempty"`
}

// copy copies one way between an allowed directory of this machine and a target.
func (s *Server) copy(ctx context.Context, c call, in copyIn) (string, copyOut, error) {
	from, err := s.place(ctx, in.From)
	if err != nil {
		return "", copyOut{}, err
	}
	to, err := s.place(ctx, in.To)
	if err != nil {
		return "", copyOut{}, err
	}
	if (from.Target == "") == (to.Target == "") {
		return "", copyOut{}, diag.New(diag.Usage, "copy", "write one of them as TARGET:/path", "one side is a target, the other this machine")
	}
	roots := s.roots()
	if len(roots) == 0 { // they were there a moment ago; none would mean everything
		return "", copyOut{}, diag.New(diag.Denied, "copy", "", "the allowed directories are gone")
	}
	res, err := s.cfg.Client.Copy(ctx, bowline.CopyRequest{
		Sources: []bowline.CopyLocation{from}, Dest: to, Recursive: in.Recursive, Roots: roots, Timeout: time.Duration(max(in.Timeout, 0)) * time.Second,
		Progress: func(p bowline.CopyProgress) {
			c.progress(ctx, float64(p.Bytes), fmt.Sprintf("%d of %d bytes", p.Bytes, p.TotalBytes))
		},
	})
	if err != nil {
		return "", copyOut{}, err
	}
	out := copyOut{Files: []copiedOut{}, Bytes: res.Bytes}
	for i, f := range res.Files {
		if i == 100 {
			break
		}
		out.Files = append(out.Files, copiedOut{line(f.Path, 300), f.Status, f.SHA256, s.line(f.Error, 300)})
	}
	return fmt.Sprintf("%d files, %d bytes, verified\n", len(res.Files), res.Bytes), out, nil
}

// place reads one side of a copy.
func (s *Server) place(ctx context.Context, text string) (bowline.CopyLocation, error) {
	name, path, remote := strings.Cut(text, ":")
	if !remote || strings.HasPrefix(text, "/") || strings.HasPrefix(text, ".") {
		p, err := s.local(text)
		return bowline.CopyLocation{Path: p}, err
	}
	if strings.ContainsRune(path, 0) || !strings.HasPrefix(path, "/") {
		return bowline.CopyLocation{}, diag.New(diag.Usage, "copy", "write "+line(name, 64)+":/whole/path", "%q is not an absolute path on a target", line(path, 200))
	}
	name, err := s.one(ctx, name)
	return bowline.CopyLocation{Target: name, Path: path}, err
}

// local returns a local path if it lies in an allowed directory, with all symbolic
// links of its directory resolved. A link that comes meanwhile, from a tree that the model
// copies at the same time, leads nowhere: the copy itself is held below the roots.
func (s *Server) local(p string) (string, error) {
	refuse := func(why string) (string, error) {
		hint := "this server was given no directory; start it with --root DIR"
		if len(s.cfg.Roots) > 0 {
			hint = "use a path below " + strings.Join(s.cfg.Roots, " or ")
		}
		return "", diag.New(diag.Denied, "use local path "+line(p, 200), hint, "%s", why)
	}
	if !filepath.IsAbs(p) || strings.ContainsRune(p, 0) {
		return refuse("it is not absolute")
	}
	p = filepath.Clean(p)
	dir, err := filepath.EvalSymlinks(filepath.Dir(p))
	if err != nil {
		return refuse("its directory cannot be found")
	}
	real := filepath.Join(dir, filepath.Base(p))
	if fi, err := os.Lstat(real); err == nil && fi.Mode()&os.ModeSymlink != 0 {
		return refuse("it is a symbolic link")
	}
	for _, root := range s.roots() {
		if real == root || strings.HasPrefix(real, strings.TrimSuffix(root, "/")+"/") {
			return real, nil
		}
	}
	return refuse("it is outside of the allowed directories")
}

// roots are the allowed directories, where they are now.
func (s *Server) roots() []string {
	var out []string
	for _, root := range s.cfg.Roots {
		if real, err := filepath.EvalSymlinks(root); err == nil {
			out = append(out, real)
		}
	}
	return out
}

type auditIn struct {
	Limit  int    `json:"limit,omitempty" jsonschema:"default 50"`
	Target string `json:"target,omitempty"`
	Verb   string `json:"verb,omitempty" jsonschema:"run, plan, apply, rollback, cp..."`
}

type auditOut struct {
	Entries []entryOut `json:"entries"`
}

type entryOut struct {
	Time    string   `json:"time"`
	ID      string   `json:"id"`
	Event   string   `json:"event"`
	Verb    string   `json:"verb"`
	Target  string   `json:"target,omitempty"`
	Session string   `json:"session,omitempty"`
	Argv    []string `json:"argv,omitempty"`
	Status  string   `json:"status,omitempty"`
	Error   string   `json:"error,omitempty"`
}

func (s *Server) audit(ctx context.Context, c call, in auditIn) (string, auditOut, error) {
	out := auditOut{Entries: []entryOut{}}
	limit := in.Limit
	if limit <= 0 {
		limit = 50
	}
	limit = min(limit, 500)
	var b strings.Builder
	for e, err := range s.cfg.Client.Audit(ctx, bowline.AuditQuery{Target: in.Target, Verb: in.Verb}) {
		if err != nil {
			return "", out, err
		}
		if e.Surface != bowline.SurfaceMCP || e.Client != c.who.Client {
			continue
		}
		o := entryOut{e.Time.UTC().Format(time.RFC3339), e.ID, e.Event, e.Verb, e.Target, e.Session, nil, e.Status, s.line(e.Error, 300)}
		for i, a := range e.Argv {
			if i < 20 {
				o.Argv = append(o.Argv, line(a, 200))
			}
		}
		out.Entries = append(out.Entries, o)
		fmt.Fprintf(&b, "%s  %s %s  %s %s %s %s\n", o.Time, o.Verb, o.Event, o.Target, o.Session, line(strings.Join(o.Argv, " "), 300), o.Status)
		if len(out.Entries) == limit {
			break
		}
	}
	return b.String(), out, nil
}
