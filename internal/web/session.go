package web

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
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
	Doc       *review.Document
	Split     bool   // diffs side by side
	From      int    // operation whose diffs come first
	Secret    int    // operation whose secret content is shown
	Following bool   // something is being done to it
	Operation string // that does it, as the address says
	Failed    error  // how the operation failed
	Two       bool   // two persons must approve
}

// shownDiffs is how many diffs a page holds; the others are a click away. openDiffs is
// how many are open.
const (
	shownDiffs = 40
	openDiffs  = 5
)

// Shown reports whether the page holds the diff of a row.
func (v sessionView) Shown(i int, row review.Row) bool {
	return i+1 >= v.From && i+1 < max(v.From, 1)+shownDiffs || row.Severity() == review.High
}

// Open reports whether a row is unfolded: those that a person must see, and the first.
func (v sessionView) Open(i int, row review.Row) bool {
	return row.Severity() >= review.Medium && i < shownDiffs || i < openDiffs || i+1 == v.From || row.N == v.Secret
}

// Query names the operation that the page follows.
func (v sessionView) Query() string {
	if v.Operation == "" {
		return ""
	}
	return "?op=" + url.QueryEscape(v.Operation)
}

// Facts are the properties of a row. Where its diff says it, digests and times are noise.
func (v sessionView) Facts(row review.Row) []review.Fact {
	all := v.Doc.Facts(row.N)
	if row.Symbol == "!" || len(v.Doc.Diff(row.N).Hunks) == 0 && !row.Sensitive {
		return all
	}
	return slices.DeleteFunc(all, func(f review.Fact) bool { return f.Name == "sha256" || f.Name == "modified" })
}

// Bad reports whether the session's message is of a failure.
func (v sessionView) Bad() bool {
	return v.Status == plan.Failed || v.Status == plan.Partial
}

// Waits reports whether the target waits for somebody to keep what was applied.
func (v sessionView) Waits() bool { return v.Status == plan.Applying }

// Question is what a person may do now.
func (v sessionView) Question() string {
	switch v.Status {
	case plan.Pending:
		return "May this be done?"
	case plan.Approved:
		return "Approved: it waits to be applied"
	case plan.Applying:
		return "It is being applied"
	case plan.Partial:
		return "It was applied in part"
	case plan.Executed:
		return "It was applied"
	}
	return "It is over: " + string(v.Status)
}

// TwoState says how far the approval by two persons is.
func (v sessionView) TwoState() string {
	for _, d := range v.Decisions {
		if !d.Reject && d.Digest == v.Digest && d.User != v.User {
			return "Two persons are needed: " + text(v.User) + " asked for it, " + text(d.User) + " approved it."
		}
	}
	return "Two persons are needed: somebody other than " + text(v.User) + " must approve it."
}

// commandRow is a deferred command.
type commandRow struct {
	review.Row
	Ran string // what became of it
}

// Steps are the deferred commands in the order in which apply runs them.
func (v sessionView) Steps() []commandRow {
	var out []commandRow
	for _, r := range v.Doc.Rows {
		if r.Symbol != "!" {
			continue
		}
		c := commandRow{Row: r}
		for _, ran := range v.Commands {
			if ran.Op == r.N && ran.Undo {
				c.Ran = fmt.Sprintf("taken back, exit code %d", ran.Exit)
			} else if ran.Op == r.N {
				c.Ran = fmt.Sprintf("exit code %d", ran.Exit)
			}
		}
		out = append(out, c)
	}
	return out
}

func (s *Site) session(w http.ResponseWriter, r *http.Request) error {
	x, err := s.find(r)
	if err != nil {
		return err
	}
	q := r.URL.Query()
	if q.Get("secret") != "" && !login.From(r.Context()).May(bowline.ScopeApprove) {
		return diag.New(diag.Refused, "show secret content", "go back, or sign in with a token that may approve", "who decides on a change sees the secrets in it, and this token does not decide")
	}
	v := sessionView{Session: x, Split: q.Get("view") == "split", From: count(q.Get("from")), Secret: count(q.Get("secret")), Operation: q.Get("op"), Following: s.acts.under(x.ID) || x.Status == plan.Applying || s.goesOn(r.Context(), q.Get("op"), x.ID),
		Doc: review.New(review.Input{Plan: x.Plan, Contents: x.Contents, Digest: x.Digest, Now: time.Now(), Others: s.inEffect(r.Context(), x)})}
	if a, err := s.cfg.Client.ExplainPlan(r.Context(), x.ID); err == nil {
		v.Two = a.Decision == "require-two"
	}
	if v.Operation != "" && s.about(r.Context(), v.Operation, x.ID) {
		v.Failed = s.outcome(r.Context(), v.Operation)
	} else {
		v.Operation = ""
	}
	s.show(w, r, http.StatusOK, sessionPage(s.frame(r, x.ID), v))
	return nil
}

// count reads a number of a query; 0 if it is none.
func count(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0
	}
	return n
}

// inEffect are other sessions that could be in the way; without them the page shows one
// risk less.
func (s *Site) inEffect(ctx context.Context, x bowline.Session) []review.Applied {
	if x.Status != plan.Pending && x.Status != plan.Approved {
		return nil
	}
	list, err := s.cfg.Client.InEffect(ctx, x.Target)
	if err != nil {
		return nil
	}
	var out []review.Applied
	for _, o := range list {
		if o.Session != x.ID {
			out = append(out, review.Applied(o))
		}
	}
	return out
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
		if err := s.acts.start(r.Context(), x.ID, func(ctx context.Context, say func(string)) error {
			_, err := do(s.cfg.Client, ctx, x.ID, bowline.ApplyOptions{Progress: func(p bowline.Progress) { say(fmt.Sprintf("%d %s %s", p.Op, p.What, p.Text)) }})
			return err
		}); err != nil {
			return err
		}
		return back(w, r, x.ID)
	}
}

func confirm(c *bowline.Client, ctx context.Context, id string, _ bowline.ApplyOptions) (bowline.SessionResult, error) {
	return c.Confirm(ctx, id)
}

// part makes a new session of the operations that were ticked.
func (s *Site) part(w http.ResponseWriter, r *http.Request) error {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm*16)
	x, err := s.find(r)
	if err != nil {
		return err
	}
	if err := r.ParseForm(); err != nil {
		return diag.New(diag.Usage, "read form", "", "%w", err)
	}
	var keep []int
	for _, n := range r.PostForm["op"] {
		keep = append(keep, count(n))
	}
	made, err := s.cfg.Client.Select(r.Context(), x.ID, bowline.Selection{Keep: keep})
	if err != nil {
		return err
	}
	return back(w, r, made.ID)
}

// drift compares the target with what a session left.
func (s *Site) drift(w http.ResponseWriter, r *http.Request) error {
	x, err := s.find(r)
	if err != nil {
		return err
	}
	d, err := s.cfg.Client.Drift(r.Context(), x.ID)
	if err != nil {
		return err
	}
	s.show(w, r, http.StatusOK, driftPage(s.frame(r, "Since "+x.ID), x.ID, d))
	return nil
}
