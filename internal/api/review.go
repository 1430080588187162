package api

import (
	"strings"
	"time"

	"github.com/bowline-sh/bowline/internal/review"
)

// Review is a plan as people read it.
type Review struct {
	Session  string      `json:"session"`
	Digest   string      `json:"digest"` // that an approval names
	Summary  string      `json:"summary"`
	Warnings []string    `json:"warnings,omitempty"` // what the dry run could not see
	Exit     int         `json:"exit"`               // of the script in the dry run
	Risks    []Risk      `json:"risks"`
	Rows     []ReviewRow `json:"operations"`
}

// Risk is one reason for a second look.
type Risk struct {
	Class    string   `json:"class"`
	Severity string   `json:"severity"`            // low, medium, high
	Op       int      `json:"operation,omitempty"` // from 1; 0 for the whole
	Text     string   `json:"text"`
	Evidence []string `json:"evidence,omitempty"`
}

// ReviewRow is one operation with its diff.
type ReviewRow struct {
	N         int          `json:"n"`
	Symbol    string       `json:"symbol"`  // + created, ~ changed, - deleted, ! command
	Subject   string       `json:"subject"` // path or command line
	Detail    string       `json:"detail"`
	Sensitive bool         `json:"sensitive,omitempty"` // its content holds secrets: the diff comes with ?secrets=true
	Note      string       `json:"note,omitempty"`      // why there is no diff
	Cut       string       `json:"cut,omitempty"`       // what is not shown of it
	Hunks     []ReviewHunk `json:"hunks,omitempty"`
}

// ReviewHunk is a piece of a file around changed lines, as in a unified diff.
type ReviewHunk struct {
	Header string   `json:"header"`
	Lines  []string `json:"lines"` // each begins with " ", "-" or "+"
}

// maxDiffs bounds the operations whose diffs an answer holds.
const maxDiffs = 500

func reviewSession(c *call) (any, error) {
	s, err := c.session()
	if err != nil {
		return nil, err
	}
	d := review.New(review.Input{Plan: s.Plan, Contents: s.Contents, Digest: s.Digest, Now: time.Now()})
	out := Review{Session: s.ID, Digest: s.Digest, Summary: d.Totals.String(), Warnings: valid(d.Header.Warnings), Exit: d.Header.Exit, Risks: []Risk{}, Rows: []ReviewRow{}}
	for _, r := range d.Risks {
		x := Risk{Class: string(r.Class), Severity: r.Severity.String(), Op: r.Op, Text: whole(r.Text)}
		for _, e := range r.Evidence {
			if e.Text != "" {
				x.Evidence = append(x.Evidence, whole(e.Text))
			}
		}
		out.Risks = append(out.Risks, x)
	}
	secrets := c.query("secrets") == "true"
	for i, r := range d.Rows {
		x := ReviewRow{N: r.N, Symbol: r.Symbol, Subject: whole(r.Subject), Detail: whole(r.Detail), Sensitive: r.Sensitive}
		switch {
		case r.Sensitive && !secrets:
			x.Note = "its content holds secrets"
		case i >= maxDiffs:
			x.Cut = "only the first 500 operations come with their diffs"
		default:
			x.diff(d.Diff(r.N))
		}
		out.Rows = append(out.Rows, x)
	}
	return out, nil
}

func (r *ReviewRow) diff(d review.Diff) {
	r.Note, r.Cut = whole(d.Note), whole(d.Cut)
	for _, h := range d.Hunks {
		x := ReviewHunk{Header: h.Header(), Lines: []string{}}
		for _, l := range h.Lines {
			x.Lines = append(x.Lines, string(rune(l.Kind))+whole(l.Text))
		}
		r.Hunks = append(r.Hunks, x)
	}
}

// whole makes bytes of a target a JSON string: what is no UTF-8 is replaced.
func whole(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

func valid(list []string) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = whole(s)
	}
	return out
}
