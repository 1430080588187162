package web

import (
	"context"
	"embed"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"github.com/a-h/templ"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/login"
	"github.com/bowline-sh/bowline/internal/login/oidc"
	"github.com/bowline-sh/bowline/internal/neutral"
	"github.com/bowline-sh/bowline/plan"
)

//go:embed static
var static embed.FS

// Config is what a Site is made of; every field is required.
type Config struct {
	Client *bowline.Client
	Desk   login.Desk
	Flow   *oidc.Flow // how people sign in without a token, where that is configured
	Logger *slog.Logger
}

// Site answers browsers. It is safe for concurrent use.
type Site struct {
	cfg  Config
	acts *acts
}

// New returns a Site. What was begun by its forms ends with ctx.
func New(ctx context.Context, cfg Config) *Site {
	return &Site{cfg: cfg, acts: newActs(ctx)}
}

// Register adds the pages to mux.
func (s *Site) Register(mux *http.ServeMux) {
	mux.Handle("GET /static/", http.FileServerFS(static))
	mux.HandleFunc("GET /login", func(w http.ResponseWriter, r *http.Request) {
		s.show(w, r, http.StatusOK, s.loginPage("", r.URL.Query().Get("once")))
	})
	mux.HandleFunc("POST /login", s.signIn)
	s.registerElsewhere(mux)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { s.show(w, r, http.StatusNotFound, missingPage()) })
	mux.HandleFunc("POST /logout", s.signOut)
	page := func(pattern string, scope bowline.Scope, h func(w http.ResponseWriter, r *http.Request) error) {
		mux.Handle(pattern, s.cfg.Desk.Let(scope, "web", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err := h(w, r); err != nil {
				s.refuse(w, r, err)
			}
		}), s.refuse))
	}
	page("GET /{$}", bowline.ScopeRead, s.list)
	page("GET /s/{id}", bowline.ScopeRead, s.session)
	page("GET /s/{id}/events", bowline.ScopeRead, s.follow)
	page("POST /s/{id}/approve", bowline.ScopeApprove, s.approve)
	page("POST /s/{id}/select", bowline.ScopePlan, s.part)
	page("GET /s/{id}/drift", bowline.ScopeRead, s.drift)
	page("POST /s/{id}/reject", bowline.ScopeApprove, s.reject)
	page("POST /s/{id}/apply", bowline.ScopeApply, s.submit(bowline.OperationApply))
	page("POST /s/{id}/resume", bowline.ScopeApply, s.act((*bowline.Client).Resume))
	page("GET /targets", bowline.ScopeRead, s.targets)
	page("POST /targets/{name}/test", bowline.ScopeRun, s.test)
	page("GET /f/{id}/events", bowline.ScopeRead, s.followFleet)
	page("GET /activity", bowline.ScopeRead, s.works)
	page("GET /activity/{id}", bowline.ScopeRead, s.work)
	page("GET /activity/{id}/events", bowline.ScopeRead, s.followWork)
	page("GET /boxes", bowline.ScopeApply, s.boxes)
	page("POST /boxes/{target}/{box}/start", bowline.ScopeApply, s.onBox((*bowline.Client).StartBox))
	page("POST /boxes/{target}/{box}/stop", bowline.ScopeApply, s.onBox((*bowline.Client).StopBox))
	page("GET /audit", bowline.ScopeRead, s.audit)
	page("GET /f/{id}", bowline.ScopeRead, s.fleet)
	page("POST /f/{id}/approve", bowline.ScopeApprove, s.onFleet(s.approveFleet))
	page("POST /f/{id}/reject", bowline.ScopeApprove, s.onFleet(s.rejectFleet))
	page("POST /f/{id}/apply", bowline.ScopeApply, s.onFleet(s.actOnFleet((*bowline.Client).ApplyFleet)))
	page("POST /f/{id}/rollback", bowline.ScopeApply, s.onFleet(s.actOnFleet((*bowline.Client).RollbackFleet)))
	page("POST /s/{id}/confirm", bowline.ScopeApply, s.act(confirm))
	page("POST /s/{id}/rollback", bowline.ScopeApply, s.submit(bowline.OperationRollback))
}

// show answers with a page.
func (s *Site) show(w http.ResponseWriter, r *http.Request, status int, page templ.Component) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	if err := page.Render(r.Context(), w); err != nil {
		s.cfg.Logger.Debug("page was not read to its end", "path", r.URL.Path, "err", err)
	}
}

// refuse says what went wrong, or asks who it is.
func (s *Site) refuse(w http.ResponseWriter, r *http.Request, err error) {
	if login.From(r.Context()).ID == "" && diag.KindOf(err) == diag.Denied {
		if r.Method == http.MethodGet {
			http.Redirect(w, r, "/login", http.StatusSeeOther)
			return
		}
		s.show(w, r, http.StatusUnauthorized, s.loginPage("Sign in again; nothing was done.", ""))
		return
	}
	status := http.StatusInternalServerError
	switch diag.KindOf(err) {
	case diag.Usage:
		status = http.StatusNotFound
	case diag.Denied, diag.Refused:
		status = http.StatusForbidden
	case diag.Conflict, diag.Partial:
		status = http.StatusConflict
	case diag.Unreachable, diag.Untrusted, diag.Lost, diag.Sandbox:
		status = http.StatusBadGateway
	}
	s.show(w, r, status, problemPage(s.frame(r, "Not done"), text(err.Error()), strings.Split(text(diag.HintOf(err)), "\n")))
}

func (s *Site) signIn(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 4<<10)
	if code := r.PostFormValue("once"); code != "" {
		if _, err := s.cfg.Desk.SignInOnce(w, r, code); err != nil {
			s.show(w, r, http.StatusUnauthorized, s.loginPage(text(err.Error()), ""))
			return
		}
	} else if _, err := s.cfg.Desk.SignIn(w, r, strings.TrimSpace(r.PostFormValue("token"))); err != nil {
		s.show(w, r, http.StatusUnauthorized, s.loginPage("This token is not valid: unknown, expired or revoked.", ""))
		return
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func (s *Site) signOut(w http.ResponseWriter, r *http.Request) {
	if err := s.cfg.Desk.SignOut(w, r); err != nil {
		s.refuse(w, r, err)
		return
	}
	http.Redirect(w, r, "/login", http.StatusSeeOther)
}

// frame is what stands around every page.
type frame struct {
	Title   string
	Path    string
	Visitor login.Visitor
}

func (s *Site) frame(r *http.Request, title string) frame {
	return frame{Title: title, Path: r.URL.Path, Visitor: login.From(r.Context())}
}

// link is one of the places that every page leads to.
type link struct{ To, Text, Current string }

// Links are those places.
func (f frame) Links() []link {
	out := []link{{To: "/", Text: "Sessions"}, {To: "/targets", Text: "Targets"}, {To: "/activity", Text: "Activity"}, {To: "/audit", Text: "Audit"}}
	if f.May(bowline.ScopeApply) { // listing them asks the server's Podman
		out = slices.Insert(out, 3, link{To: "/boxes", Text: "Boxes"})
	}
	for i, l := range out {
		out[i].Current = current(l.To == f.Path)
	}
	return out
}

// May reports whether the visitor's forms of a scope work.
func (f frame) May(scope bowline.Scope) bool { return f.Visitor.May(scope) }

// text neutralises text of a target line by line: its line ends stay.
func text(s string) string {
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		lines[i] = neutral.Text(l)
	}
	return strings.Join(lines, "\n")
}

// list shows what waits, what runs, and what is over.
func (s *Site) list(w http.ResponseWriter, r *http.Request) error {
	const most = 100
	v := login.From(r.Context())
	var l listing
	for _, part := range []struct {
		to *[]bowline.Session
		of []plan.Status
	}{
		{&l.Waiting, []plan.Status{plan.Pending}},
		{&l.Running, []plan.Status{plan.Approved, plan.Applying, plan.Partial}},
	} {
		for _, status := range part.of {
			p, err := s.cfg.Client.SessionPage(r.Context(), bowline.SessionQuery{Status: status, Limit: most}, v.Sees())
			if err != nil {
				return err
			}
			*part.to = append(*part.to, p.Sessions...)
		}
	}
	p, err := s.cfg.Client.SessionPage(r.Context(), bowline.SessionQuery{Limit: 50, After: r.URL.Query().Get("after")}, v.Sees())
	if err != nil {
		return err
	}
	l.Past, l.Next, l.First = p.Sessions, p.Next, r.URL.Query().Get("after") == ""
	s.show(w, r, http.StatusOK, listPage(s.frame(r, "Sessions"), l))
	return nil
}

type listing struct {
	Waiting, Running, Past []bowline.Session
	Next                   string
	First                  bool // page
}
