package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/login"
)

// submit returns the handler of a form that has a session applied or taken back, by
// whatever process serves the store: it goes on when the browser leaves, and when the
// process that answers here dies.
func (s *Site) submit(verb bowline.OperationVerb) func(w http.ResponseWriter, r *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		x, err := s.find(r)
		if err != nil {
			return err
		}
		v := login.From(r.Context())
		o, err := s.cfg.Client.Submit(r.Context(), bowline.OperationRequest{Verb: verb, Sessions: []string{x.ID}, Token: v.ID, Scopes: v.Scopes.String(),
			Act: bowline.ApplyOptions{Confirm: time.Duration(count(r.PostFormValue("confirm"))) * time.Second}})
		if err != nil {
			return err
		}
		if err := s.failed(r.Context(), o.ID); err != nil {
			return err
		}
		http.Redirect(w, r, "/s/"+x.ID+"?op="+o.ID, http.StatusSeeOther)
		return nil
	}
}

// failed waits a little for an operation that ends at once, and returns why it failed.
func (s *Site) failed(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, beginTime)
	defer cancel()
	for _, err := range s.cfg.Client.WatchOperation(ctx, id, 0) {
		if err != nil {
			return nil // it goes on, and its page says how it ends
		}
	}
	return s.outcome(ctx, id)
}

// outcome is why an operation about one session failed; nil if it did not, or goes on.
func (s *Site) outcome(ctx context.Context, id string) error {
	tasks, err := s.cfg.Client.Tasks(ctx, id, false)
	if err != nil || len(tasks) != 1 {
		return err
	}
	switch t := tasks[0]; t.State {
	case bowline.WorkFailed, bowline.WorkUnknown:
		kind := t.Kind
		if kind == "" {
			kind = diag.Failure
		}
		return &diag.Error{Kind: kind, Op: string(t.State), Err: errors.New(t.Error)}
	}
	return nil
}

// about reports whether an operation is about a session: its events are shown on that
// session's page only.
func (s *Site) about(ctx context.Context, operation, session string) bool {
	tasks, err := s.cfg.Client.Tasks(ctx, operation, false)
	return err == nil && len(tasks) == 1 && tasks[0].Session == session
}

// goesOn reports whether an operation about a session is not over.
func (s *Site) goesOn(ctx context.Context, operation, session string) bool {
	if operation == "" || !s.about(ctx, operation, session) {
		return false
	}
	o, err := s.cfg.Client.Operation(ctx, operation)
	return err == nil && (o.State == bowline.WorkQueued || o.State == bowline.WorkRunning)
}

// progressLine is one step of an apply as people read it.
func progressLine(e bowline.OperationEvent) string {
	switch e.Kind {
	case "progress":
		var p struct {
			Op   int    `json:"op"`
			What string `json:"what"`
			Text string `json:"text"`
		}
		if json.Unmarshal(e.Data, &p) == nil {
			return fmt.Sprintf("%d %s %s", p.Op, p.What, p.Text)
		}
	case "state":
		return string(e.State)
	}
	return ""
}
