package web

import (
	"context"
	"net/http"
	"net/url"
	"slices"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/login"
)

// boxesView is what the page of boxes shows: those of one target.
type boxesView struct {
	Servers []string // targets that could have boxes
	Target  string   // "" until one is chosen
	Boxes   []bowline.Box
	Failed  error // why they could not be listed
}

// servers are the targets over SSH that the visitor may use.
func (s *Site) servers(r *http.Request) ([]string, error) {
	list, err := s.cfg.Client.Targets(r.Context(), "")
	if err != nil {
		return nil, err
	}
	sees := login.From(r.Context()).Sees()
	var out []string
	for _, t := range list {
		if t.Host != "" && t.Kind == "ssh" && t.Refused == "" && sees(t.Name) {
			out = append(out, t.Name)
		}
	}
	return out, nil
}

func (s *Site) boxes(w http.ResponseWriter, r *http.Request) error {
	names, err := s.servers(r)
	if err != nil {
		return err
	}
	v := boxesView{Servers: names, Target: r.URL.Query().Get("target")}
	if v.Target != "" {
		if !slices.Contains(names, v.Target) {
			return diag.New(diag.Usage, "list boxes", "", "there is no server %s", v.Target)
		}
		v.Boxes, v.Failed = s.cfg.Client.Boxes(r.Context(), v.Target)
	}
	s.show(w, r, http.StatusOK, boxesPage(s.frame(r, "Boxes"), v))
	return nil
}

// onBox returns the handler of a form about a box.
func (s *Site) onBox(do func(c *bowline.Client, ctx context.Context, target, name string) error) func(w http.ResponseWriter, r *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		target := r.PathValue("target")
		if !login.From(r.Context()).Sees()(target) {
			return diag.New(diag.Usage, "find box", "", "there is no server %s", target)
		}
		if err := do(s.cfg.Client, r.Context(), target, r.PathValue("box")); err != nil {
			return err
		}
		http.Redirect(w, r, "/boxes?target="+url.QueryEscape(target), http.StatusSeeOther)
		return nil
	}
}
