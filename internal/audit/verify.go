package audit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
)

// ProblemKind says what is wrong with a log.
type ProblemKind string

const (
	Edited      ProblemKind = "edited"       // the entry is not the one that was written
	Dropped     ProblemKind = "dropped"      // the entry is missing, later ones are there
	Reordered   ProblemKind = "reordered"    // the entry stands elsewhere
	Duplicate   ProblemKind = "duplicate"    // an entry with this number was there before
	Truncated   ProblemKind = "truncated"    // the head states entries after the last one
	Unparseable ProblemKind = "unparseable"  // the line is no entry
	HeadMissing ProblemKind = "head_missing" // entries, but no head
	HeadDamaged ProblemKind = "head_damaged" // the head file is not one
)

// Problem is the first thing wrong with a log.
type Problem struct {
	Kind   ProblemKind `json:"kind"`
	File   string      `json:"file"`
	Line   int         `json:"line,omitempty"` // where Seq stands, or should stand
	Seq    uint64      `json:"seq,omitempty"`  // the first entry that is not as it was written
	Detail string      `json:"detail"`
}

func (p Problem) String() string {
	at := p.File
	if p.Line > 0 {
		at = fmt.Sprintf("%s:%d", at, p.Line)
	}
	if p.Seq > 0 {
		return fmt.Sprintf("%s: entry %d: %s: %s", at, p.Seq, p.Kind, p.Detail)
	}
	return fmt.Sprintf("%s: %s: %s", at, p.Kind, p.Detail)
}

// Report is what Verify found.
type Report struct {
	OK       bool     `json:"ok"`
	Entries  uint64   `json:"entries"`  // that were found good, from the first on
	Segments int      `json:"segments"` // files
	Last     string   `json:"last"`     // hash of the last good entry
	HeadSeq  uint64   `json:"head_seq"`
	Ahead    uint64   `json:"ahead"`      // good entries after the head: appended while reading, or a crash
	Torn     int      `json:"torn_bytes"` // of a line at the end without newline: being written, or a crash
	Healed   int      `json:"healed"`     // notes about repairs after a crash
	Problem  *Problem `json:"problem,omitempty"`
	Notes    []string `json:"notes,omitempty"` // what is no problem but should be said
}

// Verify checks every entry, the chain and the head. It returns an error only
// if it could not look; what it found is in the Report. Appends while it runs
// do not disturb it.
func (r *Reader) Verify(ctx context.Context) (Report, error) {
	// The head first: entries appended after it are then merely ahead of it.
	stored, headErr := readHead(r.headFile)
	if headErr != nil && !errors.Is(headErr, fs.ErrNotExist) && !errors.Is(headErr, errHead) && !errors.Is(headErr, errNotRegular) {
		return Report{}, fmt.Errorf("read head: %w", headErr)
	}
	segments, err := r.snapshot()
	if err != nil {
		return Report{}, fmt.Errorf("list segments: %w", err)
	}
	defer closeAll(segments)
	v := verifier{headFile: r.headFile, head: stored, headErr: headErr, prev: Entry{Hash: zeroHash}, file: activeName}
	v.report.Segments = len(segments)
	for l, err := range forward(ctx, segments) {
		if err != nil {
			return Report{}, fmt.Errorf("read segments: %w", err)
		}
		v.line(l)
	}
	return v.finish(), nil
}

// verifier goes through a log line by line.
type verifier struct {
	headFile string
	head     head
	headErr  error
	report   Report
	prev     Entry // the last good entry
	prevLine int
	prevFile string
	file     string // of the line looked at last
	at       int
}

func (v *verifier) problem(kind ProblemKind, file string, line int, seq uint64, format string, args ...any) {
	if v.report.Problem == nil {
		v.report.Problem = &Problem{kind, file, line, seq, fmt.Sprintf(format, args...)}
	}
}

func (v *verifier) line(l line) {
	if v.file != l.segment.name {
		v.file, v.at = l.segment.name, 0
	}
	if l.torn && l.last && v.report.Problem == nil {
		v.report.Torn = len(l.text)
		return
	}
	v.at = l.number
	e, err := parseLine(l)
	if p := v.report.Problem; p != nil {
		v.refine(p, &e, err)
		return
	}
	want := v.prev.Seq + 1
	switch {
	case errors.Is(err, ErrEdited):
		v.problem(Edited, v.file, v.at, want, "%v", err)
	case err != nil:
		v.problem(Unparseable, v.file, v.at, want, "%v", err)
	case e.Seq > want:
		v.problem(Dropped, v.file, v.at, want, "entry %d stands in its place", e.Seq)
	case e.Seq < want:
		v.problem(Duplicate, v.file, v.at, e.Seq, "it stands after entry %d", want-1)
	case e.Prev != v.prev.Hash:
		v.broken(&e)
	case e.Seq == v.head.Seq && v.headErr == nil && e.Hash != v.head.Hash:
		v.problem(Edited, v.file, v.at, e.Seq, "the head states another hash for it")
	default:
		v.good(&e)
	}
}

// broken names the entry that was rewritten with a hash of its own: the next
// one was chained to what it had been.
func (v *verifier) broken(e *Entry) {
	if v.prev.Seq == 0 {
		v.problem(Edited, v.file, v.at, e.Seq, "it is not chained to the start")
		return
	}
	v.report.Entries = v.prev.Seq - 1
	v.problem(Edited, v.prevFile, v.prevLine, v.prev.Seq, "entry %d was chained to another content of it", e.Seq)
}

func (v *verifier) good(e *Entry) {
	v.prev, v.prevFile, v.prevLine = *e, v.file, v.at
	v.prev.raw = nil
	v.report.Entries, v.report.Last = e.Seq, e.Hash
	if e.Verb == verbHeal {
		v.report.Healed++
		v.report.Notes = append(v.report.Notes, fmt.Sprintf("entry %d: %s", e.Seq, e.Text))
	}
}

// refine turns "dropped" into "reordered" when the entry turns up later.
func (v *verifier) refine(p *Problem, e *Entry, err error) {
	if p.Kind == Dropped && err == nil && e.Seq == p.Seq {
		p.Kind = Reordered
		p.Detail += fmt.Sprintf("; it stands at %s:%d", v.file, v.at)
	}
}

func (v *verifier) finish() Report {
	r := &v.report
	r.HeadSeq = v.head.Seq
	switch {
	case errors.Is(v.headErr, fs.ErrNotExist):
		if r.Entries > 0 || r.Torn > 0 {
			v.problem(HeadMissing, v.headFile, 0, 0, "it states how many entries there are")
		}
	case v.headErr != nil:
		v.problem(HeadDamaged, v.headFile, 0, 0, "%v", v.headErr)
	case v.prev.Seq < v.head.Seq:
		v.problem(Truncated, v.file, v.at+1, v.prev.Seq+1, "the head states %d entries, the log ends after %d", v.head.Seq, v.prev.Seq)
	default:
		r.Ahead = v.prev.Seq - v.head.Seq
	}
	r.OK = r.Problem == nil
	if r.OK {
		v.remarks()
	}
	return *r
}

func (v *verifier) remarks() {
	r := &v.report
	if r.Ahead > 0 {
		r.Notes = append(r.Notes, fmt.Sprintf("%d entries are newer than the head: they chain to it, and are accepted", r.Ahead))
	}
	if r.Torn > 0 {
		r.Notes = append(r.Notes, fmt.Sprintf("%s ends in %d bytes of an entry being written or cut short by a crash; it was never acknowledged", v.file, r.Torn))
	}
}
