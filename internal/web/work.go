package web

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/login"
)

// workView is what the pages of submitted work show: a list, or one operation.
type workView struct {
	All       []bowline.Operation
	Next      string
	Operation *bowline.Operation
	Tasks     []bowline.Task
}

// Live reports whether the operation goes on.
func (v workView) Live() bool {
	return v.Operation.State == bowline.WorkQueued || v.Operation.State == bowline.WorkRunning
}

const workPageSize = 50

// works lists what the visitor submitted; an administrator sees everybody's.
func (s *Site) works(w http.ResponseWriter, r *http.Request) error {
	who := login.From(r.Context())
	q := bowline.OperationQuery{User: who.User, After: r.URL.Query().Get("after"), Limit: workPageSize}
	if who.May(bowline.ScopeAdmin) && who.Targets == "" {
		q.User = ""
	}
	list, err := s.cfg.Client.Operations(r.Context(), q)
	if err != nil {
		return err
	}
	v := workView{All: list}
	if len(list) == workPageSize {
		v.Next = list[workPageSize-1].ID
	}
	s.show(w, r, http.StatusOK, workPage(s.frame(r, "Activity"), v))
	return nil
}

// findWork returns an operation all of whose targets are the visitor's.
func (s *Site) findWork(r *http.Request, output bool) (bowline.Operation, []bowline.Task, error) {
	id := r.PathValue("id")
	o, err := s.cfg.Client.Operation(r.Context(), id)
	if err != nil {
		return o, nil, err
	}
	tasks, err := s.cfg.Client.Tasks(r.Context(), id, output)
	sees := login.From(r.Context()).Sees()
	if slices.ContainsFunc(tasks, func(t bowline.Task) bool { return !sees(t.Target) }) {
		return bowline.Operation{}, nil, diag.New(diag.Usage, "find operation", "", "there is no operation %s", id)
	}
	return o, tasks, err
}

func (s *Site) work(w http.ResponseWriter, r *http.Request) error {
	o, tasks, err := s.findWork(r, true)
	if err != nil {
		return err
	}
	s.show(w, r, http.StatusOK, workPage(s.frame(r, "Operation "+o.ID), workView{Operation: &o, Tasks: tasks}))
	return nil
}

func (s *Site) followWork(w http.ResponseWriter, r *http.Request) error {
	o, _, err := s.findWork(r, false)
	if err != nil {
		return err
	}
	s.followOperation(newStream(w), r, o.ID)
	return nil
}

// counts says how many tasks are in which state.
func counts(o bowline.Operation) string {
	var out []string
	for _, state := range []bowline.WorkState{bowline.WorkSucceeded, bowline.WorkFailed, bowline.WorkUnknown, bowline.WorkCancelled, bowline.WorkRunning, bowline.WorkQueued} {
		if n := o.Counts[state]; n > 0 {
			out = append(out, fmt.Sprintf("%d %s", n, state))
		}
	}
	return strings.Join(out, ", ")
}

// workClass is the colour of a state, by the session's status that has the same.
func workClass(s bowline.WorkState) string {
	switch s {
	case bowline.WorkSucceeded:
		return "executed"
	case bowline.WorkFailed:
		return "failed"
	case bowline.WorkUnknown:
		return "partial"
	case bowline.WorkRunning:
		return "applying"
	}
	return "none"
}
