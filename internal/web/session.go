package web

import (
	"context"
	"net/http"
	"time"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/login"
	"github.com/bowline-sh/bowline/internal/review"
	"github.com/bowline-sh/bowline/plan"
)

// maxForm bounds a form, in bytes.
const maxForm = 64 << 10

// find returns a session that the visitor may see.
func (s *Site) find(r *http.Request) (bowline.Session, error) {
	x, err := s.cfg.Client.Session(r.Context(), r.PathValue("id"))
	if err == nil && !login.From(r.Context()).Sees()(x.Target) {
		err = diag.New(diag.Usage, "find session", "", "there is no session %s", r.PathValue("id"))
	}
	return x, err
}

// sessionView is what the page of a session shows.
type sessionView struct {
	bowline.Session
	Doc   *review.Document
	Split bool // diffs side by side
	Now   time.Time
}

// Live reports whether the target works on it.
func (v sessionView) Live() bool { return v.Status == plan.Applying }

// inlineDiffs is how many diffs a page holds; the others are a click away.
const inlineDiffs = 50

func (s *Site) session(w http.ResponseWriter, r *http.Request) error {
	x, err := s.find(r)
	if err != nil {
		return err
	}
	v := sessionView{Session: x, Split: r.URL.Query().Get("view") == "split", Now: time.Now(),
		Doc: review.New(review.Input{Plan: x.Plan, Contents: x.Contents, Digest: x.Digest, Now: time.Now()})}
	s.show(w, r, http.StatusOK, sessionPage(s.frame(r, x.ID), v))
	return nil
}

func (s *Site) approve(w http.ResponseWriter, r *http.Request) error {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	x, err := s.find(r)
	if err != nil {
		return err
	}
	digest := r.PostFormValue("digest")
	if digest == "" {
		return diag.New(diag.Usage, "approve", "read the page again", "the form does not say what was read")
	}
	if _, err := s.cfg.Client.Approve(r.Context(), x.ID, digest); err != nil {
		return err
	}
	return back(w, r, x.ID)
}

func (s *Site) reject(w http.ResponseWriter, r *http.Request) error {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	x, err := s.find(r)
	if err != nil {
		return err
	}
	if err := s.cfg.Client.Reject(r.Context(), x.ID, r.PostFormValue("reason")); err != nil {
		return err
	}
	return back(w, r, x.ID)
}

func back(w http.ResponseWriter, r *http.Request, id string) error {
	http.Redirect(w, r, "/s/"+id, http.StatusSeeOther)
	return nil
}

type doing func(*bowline.Client, context.Context, string, bowline.ApplyOptions) (bowline.SessionResult, error)

// act returns the handler of a form that has something done on the target. It answers
// when that has begun or failed at once; the page then follows it.
func (s *Site) act(do doing) func(w http.ResponseWriter, r *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		x, err := s.find(r)
		if err != nil {
			return err
		}
		if err := s.acts.start(r.Context(), x.ID, func(ctx context.Context, p func(bowline.Progress)) error {
			_, err := do(s.cfg.Client, ctx, x.ID, bowline.ApplyOptions{Progress: p})
			return err
		}); err != nil {
			return err
		}
		return back(w, r, x.ID)
	}
}
