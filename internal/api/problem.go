package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/login"
)

// Problem is an error as JSON (RFC 9457).
type Problem struct {
	Type   string    `json:"type"`
	Title  string    `json:"title"`
	Status int       `json:"status"`
	Detail string    `json:"detail"`
	Kind   diag.Kind `json:"kind"`
	Hint   string    `json:"hint,omitempty"`
}

// statuses are what each kind of error is in HTTP, and what it says of the target.
var statuses = map[diag.Kind]struct {
	code  int
	title string
}{
	diag.Failure:     {http.StatusInternalServerError, "It failed"},
	diag.Usage:       {http.StatusBadRequest, "The request is wrong; nothing ran"},
	diag.Unreachable: {http.StatusBadGateway, "No usable link to the target; nothing ran"},
	diag.Untrusted:   {http.StatusBadGateway, "The target is not who it should be; nothing ran"},
	diag.Denied:      {http.StatusForbidden, "Not allowed; nothing ran"},
	diag.Refused:     {http.StatusForbidden, "Refused by token, profile or policy; nothing ran"},
	diag.NotFound:    {http.StatusUnprocessableEntity, "The program does not exist inside the sandbox; nothing ran"},
	diag.Sandbox:     {http.StatusBadGateway, "The target cannot build the sandbox; nothing ran"},
	diag.Lost:        {http.StatusBadGateway, "The link dropped; the outcome is unknown"},
	diag.Timeout:     {http.StatusGatewayTimeout, "The deadline passed; what ran was killed"},
	diag.Canceled:    {http.StatusServiceUnavailable, "It was stopped; what ran was killed"},
	diag.Conflict:    {http.StatusConflict, "Something changed meanwhile; nothing was applied"},
	diag.Partial:     {http.StatusConflict, "It was applied in part; the journal can undo it"},
}

// errMissing is for what does not exist, or not for this token.
var errMissing = errors.New("there is no such thing, or not for this token")

// ProblemOf returns an error as its reader gets it.
func ProblemOf(err error) Problem {
	kind := diag.KindOf(err)
	s := statuses[kind]
	if s.code == 0 {
		s = statuses[diag.Failure]
	}
	p := Problem{Type: "/problems/" + string(kind), Title: s.title, Status: s.code, Detail: err.Error(), Kind: kind, Hint: diag.HintOf(err)}
	tooBig := new(http.MaxBytesError)
	switch {
	case errors.Is(err, errMissing):
		p.Status, p.Title = http.StatusNotFound, "Not found"
	case errors.Is(err, login.ErrNobody), errors.Is(err, login.ErrUnknown):
		p.Status, p.Title = http.StatusUnauthorized, "A token is needed"
	case errors.As(err, &tooBig):
		p.Status, p.Title = http.StatusRequestEntityTooLarge, "The request is too large; nothing ran"
	case errors.Is(err, context.Canceled):
		p.Kind, p.Status = diag.Canceled, statuses[diag.Canceled].code
	}
	return p
}

// WriteProblem answers with an error.
func WriteProblem(w http.ResponseWriter, _ *http.Request, err error) {
	p := ProblemOf(err)
	if p.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="bowline"`)
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // the reader is gone: nobody to tell
}
