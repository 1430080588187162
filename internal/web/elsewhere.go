package web

import (
	"net/http"

	"github.com/a-h/templ"

	"github.com/bowline-sh/bowline/internal/login/oidc"
)

// registerElsewhere adds the way to sign in with an account of elsewhere.
func (s *Site) registerElsewhere(mux *http.ServeMux) {
	mux.HandleFunc("GET "+oidc.BeginPath, func(w http.ResponseWriter, r *http.Request) {
		if err := s.cfg.Flow.Begin(w, r); err != nil {
			s.show(w, r, http.StatusForbidden, s.loginPage(text(err.Error()), ""))
		}
	})
	mux.HandleFunc("GET "+oidc.FinishPath, func(w http.ResponseWriter, r *http.Request) {
		if err := s.cfg.Flow.Finish(w, r); err != nil {
			s.show(w, r, http.StatusForbidden, s.loginPage(text(err.Error()), ""))
			return
		}
		w.Header().Set("Refresh", "0; url=/")
		s.show(w, r, http.StatusOK, welcomePage())
	})
}

// loginPage is the page to sign in; problem is why nobody is yet, once the code of a
// sign-in link.
func (s *Site) loginPage(problem, once string) templ.Component {
	return loginPage(problem, once, s.cfg.Flow.Name())
}
