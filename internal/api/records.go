package api

import (
	"strconv"
	"strings"
	"time"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/diag"
)

func (c *call) time(name string) (time.Time, error) {
	text := c.query(name)
	if text == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, diag.New(diag.Usage, "read "+name, "as in ?"+name+"=2026-11-21T10:00:00Z", "%w", err)
	}
	return t, nil
}

// listAudit shows entries about targets that the visitor may see; who is bound to some
// sees nothing that is about none.
func listAudit(c *call) (any, error) {
	limit, err := c.limit()
	if err != nil {
		return nil, err
	}
	q := bowline.AuditQuery{Target: c.query("target"), Verb: c.query("verb"), User: c.query("user"), Status: c.query("status")}
	if q.Since, err = c.time("since"); err != nil {
		return nil, err
	}
	if q.Until, err = c.time("until"); err != nil {
		return nil, err
	}
	before := uint64(1<<64 - 1)
	if text := c.query("cursor"); text != "" {
		if before, err = strconv.ParseUint(text, 10, 64); err != nil {
			return nil, diag.New(diag.Usage, "read cursor", "take 'next' of the page before", "%w", err)
		}
	}
	sees := c.visitor.Sees()
	out := AuditPage{Entries: []AuditEntry{}}
	for e, err := range c.Audit(c, q) {
		if err != nil {
			return nil, err
		}
		if e.Seq >= before || !sees(e.Target) {
			continue
		}
		if len(out.Entries) == limit {
			out.Next = strconv.FormatUint(out.Entries[limit-1].Seq, 10)
			break
		}
		out.Entries = append(out.Entries, newEntry(e))
	}
	return out, nil
}

func newEntry(e bowline.AuditEntry) AuditEntry {
	return AuditEntry{Seq: e.Seq, Time: e.Time, ID: e.ID, Event: e.Event, Verb: e.Verb, User: e.User, Surface: e.Surface, Client: e.Client, Session: e.Session, Target: e.Target,
		Profile: e.Profile, Argv: e.Argv, Text: e.Text, Status: e.Status, Kind: e.Kind, Exit: e.Exit, Millis: float64(e.Elapsed.Microseconds()) / 1000, Error: e.Error}
}

func verifyAudit(c *call) (any, error) {
	r, err := c.VerifyAudit(c)
	return AuditState{OK: r.OK, Entries: r.Entries, Segments: r.Segments, Last: r.Last, Problem: r.Problem, Notes: r.Notes}, err
}

func newToken(t bowline.Token) Token {
	state := "valid"
	switch {
	case !t.Revoked.IsZero():
		state = "revoked"
	case t.Expires.Before(time.Now()):
		state = "expired"
	}
	return Token{ID: t.ID, Name: t.Name, User: t.User, Scopes: words(t.Scopes), Targets: t.Targets, Profiles: t.Profiles, Maker: t.Maker, Created: t.Created, Expires: t.Expires, State: state}
}

// keeps reports that the visitor may look after tokens, which are for all targets and
// profiles, or an error.
func (c *call) keeps(op string) error {
	if c.visitor.Targets == "" && len(c.visitor.Profiles) == 0 {
		return nil
	}
	return diag.New(diag.Refused, op, "use a token that is bound to nothing", "a token bound to targets or profiles has no say about tokens")
}

func listTokens(c *call) (any, error) {
	if err := c.keeps("list tokens"); err != nil {
		return nil, err
	}
	list, err := c.Tokens(c)
	out := Tokens{Tokens: []Token{}}
	for _, t := range list {
		out.Tokens = append(out.Tokens, newToken(t))
	}
	return out, err
}

func createToken(c *call) (any, error) {
	in, err := body[TokenRequest](c)
	if err != nil {
		return nil, err
	}
	if err := c.keeps("create token"); err != nil {
		return nil, err
	}
	if c.visitor.Parent != "" {
		return nil, diag.New(diag.Refused, "create token", "use the token itself, or 'bowline token create'", "what a browser keeps makes no token: it would outlive the browser's")
	}
	t, secret, err := c.CreateToken(c, bowline.TokenRequest{Name: in.Name, User: in.User, Scopes: strings.Join(in.Scopes, ","), Both: in.Both, Targets: in.Targets, Profiles: in.Profiles,
		Expires: time.Duration(in.Days * 24 * float64(time.Hour))})
	out := newToken(t)
	out.Secret = secret
	return out, err
}

func revokeToken(c *call) (any, error) {
	if err := c.keeps("revoke token"); err != nil {
		return nil, err
	}
	err := c.RevokeToken(c, c.path("id"))
	if diag.KindOf(err) == diag.NotFound {
		err = diag.New(diag.Usage, "revoke token", "GET "+Prefix+"/tokens lists them", "%w", errMissing)
	}
	return nil, err
}

func freeze(c *call) (any, error) {
	in, err := body[FreezeRequest](c)
	if err != nil {
		return nil, err
	}
	if err := c.covers(in.Selector); err != nil {
		return nil, err
	}
	_, list, err := c.Freeze(c, bowline.FreezeRequest{Selector: in.Selector, Reason: in.Reason, Here: in.Here})
	return switches(list), err
}

func unfreeze(c *call) (any, error) {
	in, err := body[FreezeRequest](c)
	if err != nil {
		return nil, err
	}
	if err := c.covers(in.Selector); err != nil {
		return nil, err
	}
	_, list, err := c.Unfreeze(c, bowline.FreezeRequest{Selector: in.Selector, Here: in.Here})
	return switches(list), err
}

// covers reports that the visitor may name all targets of a selector, or an error.
func (c *call) covers(selector string) error {
	if c.visitor.Targets == "" {
		return nil
	}
	list, err := c.Targets(c, selector)
	for _, t := range list {
		if err == nil {
			err = c.sees(t.Name)
		}
	}
	return err
}

func switches(list []bowline.FreezeResult) Switches {
	out := Switches{Switches: []Switch{}}
	for _, r := range list {
		x := Switch{Target: r.Target, Did: r.Did}
		if r.Err != nil {
			x.Error = r.Err.Error()
		}
		out.Switches = append(out.Switches, x)
	}
	return out
}
