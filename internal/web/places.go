package web

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/login"
	"github.com/bowline-sh/bowline/internal/review"
	"github.com/bowline-sh/bowline/plan"
)

// targets lists the targets that the visitor may see.
func (s *Site) targets(w http.ResponseWriter, r *http.Request) error {
	list, err := s.cfg.Client.Targets(r.Context(), "")
	if err != nil {
		return err
	}
	sees := login.From(r.Context()).Sees()
	list = slices.DeleteFunc(list, func(t bowline.TargetInfo) bool { return !sees(t.Name) })
	s.show(w, r, http.StatusOK, targetsPage(s.frame(r, "Targets"), list, nil))
	return nil
}

// test looks after one target, and shows what it found above the list.
func (s *Site) test(w http.ResponseWriter, r *http.Request) error {
	sees := login.From(r.Context()).Sees()
	name := r.PathValue("name")
	if !sees(name) {
		return diag.New(diag.Usage, "test target", "", "there is no target %s", name)
	}
	rep, err := s.cfg.Client.TestTarget(r.Context(), name, false)
	if err != nil {
		return err
	}
	s.show(w, r, http.StatusOK, targetsPage(s.frame(r, "Target "+text(name)), nil, &rep))
	return nil
}

// address is where a target is, for people.
func address(t bowline.TargetInfo) string {
	if t.Host == "" {
		return "this machine"
	}
	at := t.Host
	if t.Port != 0 {
		at += ":" + strconv.Itoa(t.Port)
	}
	if t.User != "" {
		at = t.User + "@" + at
	}
	return at
}

// labels are those of a target, in order.
func labels(t bowline.TargetInfo) []string {
	var out []string
	for k, v := range t.Labels {
		out = append(out, k+"="+v)
	}
	slices.Sort(out)
	return out
}

// auditView is what the page of the audit log shows.
type auditView struct {
	Query   bowline.AuditQuery
	Entries []bowline.AuditEntry
	Next    string // query of the next page
	Chain   bowline.AuditReport
	Checked error // why the chain could not be checked
}

const auditPageSize = 100

func (s *Site) audit(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	v := auditView{Query: bowline.AuditQuery{Target: q.Get("target"), Verb: q.Get("verb"), User: q.Get("user"), Status: q.Get("status")}}
	before, err := strconv.ParseUint(q.Get("before"), 10, 64)
	if err != nil {
		before = 1<<64 - 1
	}
	sees := login.From(r.Context()).Sees()
	for e, err := range s.cfg.Client.Audit(r.Context(), v.Query) {
		if err != nil {
			v.Checked = errors.Join(v.Checked, err)
			continue
		}
		if e.Seq >= before || !sees(e.Target) {
			continue
		}
		if len(v.Entries) == auditPageSize {
			next := url.Values{"before": {strconv.FormatUint(v.Entries[auditPageSize-1].Seq, 10)}}
			for _, name := range []string{"target", "verb", "user", "status"} {
				if q.Get(name) != "" {
					next.Set(name, q.Get(name))
				}
			}
			v.Next = next.Encode()
			break
		}
		v.Entries = append(v.Entries, e)
	}
	chain, err := s.cfg.Client.AuditState(r.Context())
	v.Chain, v.Checked = chain, errors.Join(v.Checked, err)
	s.show(w, r, http.StatusOK, auditPage(s.frame(r, "Audit log"), v))
	return nil
}

// did says what an entry is about.
func did(e bowline.AuditEntry) string {
	words := e.Text
	if len(e.Argv) > 0 {
		words = strings.TrimSpace(strings.Join(e.Argv, " "))
	}
	if e.Error != "" {
		words = strings.TrimSpace(words + " " + e.Error)
	}
	if r := []rune(words); len(r) > 200 {
		words = string(r[:200]) + "…"
	}
	return text(words)
}

// fleetView is what the page of a fleet shows.
type fleetView struct {
	bowline.Fleet
	Documents []*review.Document // of the classes' examples
	Following bool               // this process does something to it
}

// Waits reports whether a class waits for a decision.
func (v fleetView) Waits(c bowline.PlanClass) bool { return v.has(c, plan.Pending) }

// Ready reports whether something of a class may be applied.
func (v fleetView) Ready(c bowline.PlanClass) bool { return v.has(c, plan.Approved) }

// Done reports whether something of a class may be rolled back.
func (v fleetView) Done(c bowline.PlanClass) bool {
	return v.has(c, plan.Executed) || v.has(c, plan.Partial)
}

func (v fleetView) has(c bowline.PlanClass, s plan.Status) bool {
	return slices.ContainsFunc(c.Sessions, func(x bowline.Session) bool { return x.Status == s })
}

// findFleet returns a fleet or class that the visitor may see whole.
func (s *Site) findFleet(r *http.Request) (bowline.Fleet, error) {
	f, err := s.cfg.Client.Fleet(r.Context(), r.PathValue("id"))
	if err != nil {
		return f, err
	}
	sees := login.From(r.Context()).Sees()
	if slices.ContainsFunc(f.Sessions(), func(x bowline.Session) bool { return !sees(x.Target) }) {
		return bowline.Fleet{}, diag.New(diag.Usage, "find fleet", "", "there is no fleet %s", r.PathValue("id"))
	}
	return f, nil
}

func (s *Site) fleet(w http.ResponseWriter, r *http.Request) error {
	f, err := s.findFleet(r)
	if err != nil {
		return err
	}
	v := fleetView{Fleet: f, Following: s.acts.under(f.ID)}
	for _, c := range f.Classes {
		v.Documents = append(v.Documents, review.New(review.Input{Plan: c.Example.Plan, Contents: c.Example.Contents}))
	}
	s.show(w, r, http.StatusOK, fleetPage(s.frame(r, f.ID), v))
	return nil
}

// followFleet streams what this process does to a fleet.
func (s *Site) followFleet(w http.ResponseWriter, r *http.Request) error {
	f, err := s.findFleet(r)
	if err != nil {
		return err
	}
	to := newStream(w)
	if a := s.acts.of(f.ID); a != nil {
		a.follow(to, r.Context())
	} else {
		to.send("end", "")
	}
	return nil
}

// onFleet returns the handler of a form about a class.
func (s *Site) onFleet(do func(r *http.Request, f bowline.Fleet) error) func(w http.ResponseWriter, r *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		f, err := s.findFleet(r)
		if err != nil {
			return err
		}
		if err := do(r, f); err != nil {
			return err
		}
		http.Redirect(w, r, "/f/"+f.ID, http.StatusSeeOther)
		return nil
	}
}

func (s *Site) approveFleet(r *http.Request, f bowline.Fleet) error {
	effect := r.PostFormValue("effect")
	if effect == "" {
		return diag.New(diag.Usage, "approve", "read the page again", "the form does not say what was read")
	}
	list, err := s.cfg.Client.ApproveFleet(r.Context(), f.ID, effect)
	return errors.Join(err, failures(list))
}

func (s *Site) rejectFleet(r *http.Request, f bowline.Fleet) error {
	list, err := s.cfg.Client.RejectFleet(r.Context(), f.ID, r.PostFormValue("reason"))
	return errors.Join(err, failures(list))
}

// failures joins what went wrong on targets.
func failures(list []bowline.MemberResult) error {
	var err error
	for _, m := range list {
		err = errors.Join(err, m.Err)
	}
	return err
}

type doingAll func(*bowline.Client, context.Context, string, bowline.ApplyOptions, bowline.FleetOptions, bowline.FleetWatch) (bowline.FleetReport, error)

// actOnFleet begins something on all targets of a class; each session's page and the
// fleet's show how far it is.
func (s *Site) actOnFleet(do doingAll) func(r *http.Request, f bowline.Fleet) error {
	return func(r *http.Request, f bowline.Fleet) error {
		waves := r.PostFormValue("waves")
		return s.acts.start(r.Context(), f.ID, func(ctx context.Context, say func(line string)) error {
			var failed error
			_, err := do(s.cfg.Client, ctx, f.ID, bowline.ApplyOptions{}, bowline.FleetOptions{Waves: waves}, bowline.FleetWatch{
				Began: func(target string) { say(target + " begins") },
				Ended: func(m bowline.MemberResult) {
					say(m.Session.Target + " " + string(m.Class))
					failed = errors.Join(failed, m.Err)
				},
			})
			return errors.Join(err, failed)
		})
	}
}
