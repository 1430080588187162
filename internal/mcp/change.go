package mcp

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/review"
	"github.com/bowline-sh/bowline/plan"
)

type proposeIn struct {
	Target  string   `json:"target,omitempty"`
	Script  string   `json:"script,omitempty" jsonschema:"text, run by its #! line, else sh"`
	Argv    []string `json:"argv,omitempty" jsonschema:"a command; with script, its arguments"`
	Note    string   `json:"note" jsonschema:"why, for the person who decides"`
	Name    string   `json:"name,omitempty" jsonschema:"short, for the session id"`
	AsRoot  bool     `json:"as_root,omitempty" jsonschema:"through sudo -n"`
	HostNet bool     `json:"network,omitempty" jsonschema:"let the dry run use the network"`
	Timeout int      `json:"timeout_seconds,omitempty"`
}

type sessionOut struct {
	Session    string    `json:"session,omitempty"`
	Target     string    `json:"target,omitempty"`
	Status     string    `json:"status,omitempty" jsonschema:"pending, approved, rejected, applying, executed, failed, partial, rolled_back, expired or cancelled"`
	Digest     string    `json:"digest,omitempty"`
	Operations int       `json:"operations"`
	Risks      []riskOut `json:"risks,omitempty"`
	Review     string    `json:"review,omitempty" jsonschema:"what a person types to review it"`
	Expires    string    `json:"expires,omitempty"`
	Reason     string    `json:"reason,omitempty"`
	Exit       int       `json:"dry_run_exit_code"`
}

// sessionsOut is one session, or a list of all.
type sessionsOut struct {
	sessionOut
	Sessions []listed `json:"sessions,omitempty"`
}

type movedOut struct {
	Session    string `json:"session"`
	Status     string `json:"status" jsonschema:"executed, rolled_back, partial or failed"`
	Operations int    `json:"operations"`
	Done       int    `json:"done"`
	Message    string `json:"message,omitempty"`
}

type riskOut struct {
	Class    string `json:"class"`
	Severity string `json:"severity"`
	Text     string `json:"text"`
}

type listed struct {
	Session string `json:"session"`
	Target  string `json:"target"`
	Status  string `json:"status"`
	Note    string `json:"note,omitempty"`
}

func (s *Server) propose(ctx context.Context, c call, in proposeIn) (string, sessionOut, error) {
	if in.Script == "" && len(in.Argv) == 0 {
		return "", sessionOut{}, diag.New(diag.Usage, "propose", "give script, or argv", "there is nothing to propose")
	}
	if len(in.Script) > maxText || in.Timeout < 0 {
		return "", sessionOut{}, diag.New(diag.Usage, "propose", "", "a script of more than %d bytes, or a negative timeout", maxText)
	}
	name, err := s.one(ctx, in.Target)
	if err != nil {
		return "", sessionOut{}, err
	}
	if err := s.mayNetwork(ctx, in.HostNet); err != nil {
		return "", sessionOut{}, err
	}
	req := bowline.PlanRequest{
		Target: name, AsRoot: in.AsRoot, HostNet: in.HostNet, Name: line(in.Name, 40), Note: line(in.Note, 1000), Argv: in.Argv,
		Timeout: time.Duration(in.Timeout) * time.Second,
	}
	if in.Script != "" {
		req.Script, req.File = []byte(in.Script), "script"
	}
	x, err := s.cfg.Client.Plan(ctx, req)
	if err != nil {
		return "", sessionOut{}, err
	}
	text, out := s.show(x, true)
	return text + "\nNothing has changed. " + next(x.Status, out.Review) + "\n", out, nil
}

// next is what comes after a proposal: the policy may have approved it already.
func next(s plan.Status, review string) string {
	if s == plan.Approved {
		return "The policy approved it: call 'apply'."
	}
	return "A person reviews it with '" + review + "'. Then call 'session' with wait_seconds, and 'apply' once it is approved."
}

// mine returns a session that this client made.
func (s *Server) mine(ctx context.Context, c call, id string) (bowline.Session, error) {
	x, err := s.cfg.Client.Session(ctx, id)
	if err == nil && (x.Surface != bowline.SurfaceMCP || x.Client != c.who.Client) {
		err = diag.New(diag.Denied, "use session "+line(id, 80), "list yours with 'session'", "it was not made by this client")
	}
	if err == nil {
		_, err = s.one(ctx, x.Target)
	}
	return x, err
}

type sessionIn struct {
	Session string `json:"session,omitempty" jsonschema:"id; none lists yours"`
	Wait    int    `json:"wait_seconds,omitempty" jsonschema:"up to 60, for a decision"`
	Diff    bool   `json:"diff,omitempty"`
}

func (s *Server) session(ctx context.Context, c call, in sessionIn) (string, sessionsOut, error) {
	if in.Session == "" {
		return s.listSessions(ctx, c)
	}
	x, err := s.mine(ctx, c, in.Session)
	if err != nil {
		return "", sessionsOut{}, err
	}
	if x.Status == plan.Pending && in.Wait > 0 {
		if x, err = s.await(ctx, c, x, waitFor(in.Wait)); err != nil {
			return "", sessionsOut{}, err
		}
	}
	text, out := s.show(x, in.Diff)
	return text, sessionsOut{sessionOut: out}, nil
}

// poll is how often a session is looked at while somebody waits for its decision: a
// read of one row.
const poll = 250 * time.Millisecond

func (s *Server) await(ctx context.Context, c call, x bowline.Session, d time.Duration) (bowline.Session, error) {
	defer c.point(ctx, x)()
	end := time.Now().Add(d)
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for x.Status == plan.Pending && time.Now().Before(end) {
		select {
		case <-ctx.Done():
			return x, context.Cause(ctx)
		case <-tick.C:
		}
		var err error
		if x, err = s.cfg.Client.Session(ctx, x.ID); err != nil {
			return x, err
		}
		c.progress(ctx, d.Seconds()-time.Until(end).Seconds(), "waiting for a person to decide")
	}
	return x, nil
}

func (s *Server) listSessions(ctx context.Context, c call) (string, sessionsOut, error) {
	all, err := s.cfg.Client.Sessions(ctx, bowline.SessionQuery{})
	if err != nil {
		return "", sessionsOut{}, err
	}
	out := sessionsOut{Sessions: []listed{}}
	var b strings.Builder
	for _, x := range all {
		if x.Surface != bowline.SurfaceMCP || x.Client != c.who.Client || len(out.Sessions) == 100 {
			continue
		}
		l := listed{x.ID, x.Target, string(x.Status), s.line(x.Note, 200)}
		out.Sessions = append(out.Sessions, l)
		fmt.Fprintf(&b, "%s  %s  %s  %s\n", l.Session, l.Target, l.Status, l.Note)
	}
	return cmp.Or(b.String(), "you have no sessions"), out, nil
}

// show is a session for a model: totals, risks, operations, and if wanted the diff.
func (s *Server) show(x bowline.Session, diff bool) (string, sessionOut) {
	d := review.New(review.Input{Plan: x.Plan, Contents: x.Contents, Digest: x.Digest, Now: time.Now()})
	out := sessionOut{
		Session: x.ID, Target: x.Target, Status: string(x.Status), Digest: x.Digest, Operations: len(d.Rows), Exit: x.Plan.Exit,
		Review: "bowline review " + x.ID, Expires: x.Expires.UTC().Format(time.RFC3339), Reason: s.line(reason(x), 1000),
	}
	var b strings.Builder
	fmt.Fprintf(&b, "session %s on %s: %s; %d operations; the script ended with %d in the dry run\n", x.ID, x.Target, x.Status, len(d.Rows), x.Plan.Exit)
	if out.Reason != "" {
		fmt.Fprintf(&b, "reason: %s\n", out.Reason)
	}
	var data strings.Builder
	for _, w := range d.Header.Warnings {
		fmt.Fprintf(&data, "warning: %s\n", s.line(w, 500))
	}
	for i, r := range d.Risks {
		if i == 50 {
			fmt.Fprintf(&data, "... and %d risks more\n", len(d.Risks)-i)
			break
		}
		o := riskOut{string(r.Class), r.Severity.String(), s.line(r.Text, 500)}
		out.Risks = append(out.Risks, o)
		fmt.Fprintf(&data, "%s risk: %s (%s)\n", o.Severity, o.Text, o.Class)
	}
	for i, r := range d.Rows {
		if i == 100 {
			fmt.Fprintf(&data, "... and %d operations more\n", len(d.Rows)-i)
			break
		}
		fmt.Fprintf(&data, "%d %s %s  %s\n", r.N, r.Symbol, s.line(r.Subject, 300), s.line(r.Detail, 200))
	}
	for _, o := range d.Header.Output {
		fmt.Fprintf(&data, "the script said: %s\n", s.line(o, 500))
	}
	if diff {
		data.WriteString(s.diff(d))
	}
	short, _ := ends(data.String())
	b.WriteString(untrusted(x.Target, short) + "\n")
	return b.String(), out
}

func reason(x bowline.Session) string {
	for _, a := range x.Decisions {
		if a.Reject {
			return a.Reason
		}
	}
	return x.Message
}

// diff is the text of all changes that hold no secrets, bounded.
func (s *Server) diff(d *review.Document) string {
	var b strings.Builder
	for _, r := range d.Rows {
		if b.Len() > headBytes+tailBytes {
			b.WriteString("... more is in the review\n")
			break
		}
		if r.Symbol == "!" {
			continue
		}
		if r.Sensitive {
			fmt.Fprintf(&b, "--- %s: not shown, it holds secrets\n", s.line(r.Subject, 300))
			continue
		}
		f := d.Diff(r.N)
		if len(f.Hunks) == 0 {
			continue
		}
		fmt.Fprintf(&b, "--- %s\n", s.line(r.Subject, 300))
		for _, h := range f.Hunks {
			b.WriteString(h.Header() + "\n")
			for i, text := range s.masked(h) {
				b.WriteString(string(rune(h.Lines[i].Kind)) + line(text, 500) + "\n")
			}
		}
	}
	return b.String()
}

type idIn struct {
	Session string `json:"session"`
}

func (s *Server) apply(ctx context.Context, c call, in idIn) (string, movedOut, error) {
	return s.move(ctx, c, in.Session, s.cfg.Client.Apply)
}

func (s *Server) rollback(ctx context.Context, c call, in idIn) (string, movedOut, error) {
	return s.move(ctx, c, in.Session, s.cfg.Client.Rollback)
}

type mover func(context.Context, string, bowline.ApplyOptions) (bowline.SessionResult, error)

// move applies or rolls back. It goes on on the target when the client leaves.
func (s *Server) move(ctx context.Context, c call, id string, do mover) (string, movedOut, error) {
	x, err := s.mine(ctx, c, id)
	if err != nil {
		return "", movedOut{}, err
	}
	res, err := do(ctx, id, bowline.ApplyOptions{Progress: func(p bowline.Progress) {
		c.progress(ctx, float64(p.Op), s.cfg.Client.Mask(p.What))
	}})
	if err != nil {
		return "", movedOut{}, err
	}
	out := movedOut{Session: id, Status: string(res.Status), Operations: res.Total, Done: res.Done, Message: s.line(res.Message, 1000)}
	var b strings.Builder
	fmt.Fprintf(&b, "session %s on %s is now %s: %d of %d operations\n", id, x.Target, res.Status, res.Done, res.Total)
	for _, n := range res.Notes {
		fmt.Fprintf(&b, "note: %s\n", s.line(n, 500))
	}
	for _, r := range res.Commands {
		fmt.Fprintf(&b, "%s: exit code %d\n", s.line(strings.Join(r.Argv, " "), 300), r.Exit)
		if said := slices.Concat(r.Stdout, r.Stderr); len(said) > 0 {
			short, _ := ends(s.clean(said))
			b.WriteString(untrusted(x.Target, short) + "\n")
		}
	}
	return b.String(), out, nil
}

// masked returns the lines of a hunk with secrets masked. They are looked for in the
// whole of it, since a key spans lines; where that takes lines away, each is masked.
func (s *Server) masked(h review.Hunk) []string {
	texts := make([]string, len(h.Lines))
	for i, l := range h.Lines {
		texts[i] = l.Text
	}
	out := strings.Split(s.cfg.Client.Mask(strings.Join(texts, "\n")), "\n")
	if len(out) == len(texts) {
		return out
	}
	for i := range texts {
		texts[i] = "***"
	}
	return texts
}
