package witness

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"

	"github.com/bowline-sh/bowline/internal/audit"
	"github.com/bowline-sh/bowline/internal/store"
)

// Report is what Verify found.
type Report struct {
	Chains     []ChainReport
	Statements int64 // signed, all good unless there are problems
	Targets    []TargetReport
	Problems   []string // at most a few for each place
}

// ChainReport is one chain in the store.
type ChainReport struct {
	ID      string
	Host    string
	Entries uint64 // good ones in the copy, from the first on
	Signers int    // machines that vouch for it
}

// maxProblems bounds what is said of each place.
const maxProblems = 5

// page is how many rows are read at a time.
const page = 1000

// verifier holds what the store says against itself and against this machine.
type verifier struct {
	store  store.Audit
	report Report
	hashes map[string][]string // of each chain's entries, from number 1
	keys   map[string]ed25519.PublicKey
	heard  map[string]map[string]bool // chain, signers
}

// Verify checks the copies, the statements, and this machine's log and memory against
// them, and all that against what targets hold, which was read before. An error means
// that it could not look.
func Verify(ctx context.Context, self Self, db store.Audit, log *audit.Reader, held []Held) (Report, error) {
	v := &verifier{store: db, hashes: map[string][]string{}, keys: map[string]ed25519.PublicKey{}, heard: map[string]map[string]bool{}}
	// What vouches is read before what it vouches for: all of it may grow meanwhile.
	memory, merr := self.last()
	chains, err := db.Chains(ctx)
	if err != nil {
		return v.report, err
	}
	said := map[string][]store.Statement{}
	for _, c := range chains {
		if said[c.ID], err = v.statements(ctx, c.ID); err != nil {
			return v.report, err
		}
	}
	for _, c := range chains {
		if err := v.chain(ctx, c); err != nil {
			return v.report, err
		}
	}
	for _, c := range chains {
		v.signer(c.ID, said[c.ID])
	}
	if merr != nil {
		v.at("memory of this machine").problem("%v", merr)
	} else if err := v.remembered(ctx, self, memory); err != nil {
		return v.report, err
	}
	if err := v.here(ctx, self, log); err != nil {
		return v.report, err
	}
	v.held(ctx, self, log, held)
	for i, c := range v.report.Chains {
		v.report.Chains[i].Signers = len(v.heard[c.ID])
	}
	return v.report, nil
}

// place collects the problems of one place.
type place struct {
	v    *verifier
	name string
	n    int
}

func (p *place) problem(format string, args ...any) {
	if p.n++; p.n <= maxProblems {
		p.v.report.Problems = append(p.v.report.Problems, p.name+": "+fmt.Sprintf(format, args...))
	}
}

func (v *verifier) at(format string, args ...any) *place {
	return &place{v: v, name: fmt.Sprintf(format, args...)}
}

// chain checks the copy of a log.
func (v *verifier) chain(ctx context.Context, c store.Chain) error {
	p := v.at("copy of the log of %s (%s)", c.Host, c.ID)
	if len(c.Key) != ed25519.PublicKeySize || idOf(c.Key) != c.ID {
		p.problem("its key is not the one that it is named after")
	} else {
		v.keys[c.ID] = c.Key
	}
	prev := strings.Repeat("0", 64)
	var hashes []string
	for {
		lines, err := v.store.Lines(ctx, c.ID, uint64(len(hashes)), page)
		if err != nil {
			return err
		}
		for _, l := range lines {
			want := uint64(len(hashes) + 1)
			e, err := audit.ParseEntry(l.Line)
			switch {
			case l.Seq != want:
				p.problem("entry %d is missing", want)
			case err != nil:
				p.problem("entry %d: %v", want, err)
			case e.Seq != want || e.Hash != l.Hash:
				p.problem("entry %d: the line is of entry %d with hash %s", want, e.Seq, e.Hash)
			case e.Prev != prev:
				p.problem("entry %d does not follow the one before", want)
			}
			if p.n > 0 { // what comes after cannot be told from what was put there
				v.done(c, hashes)
				return nil
			}
			hashes, prev = append(hashes, e.Hash), e.Hash
		}
		if len(lines) < page {
			v.done(c, hashes)
			return nil
		}
	}
}

func (v *verifier) done(c store.Chain, hashes []string) {
	v.hashes[c.ID] = hashes
	v.report.Chains = append(v.report.Chains, ChainReport{ID: c.ID, Host: c.Host, Entries: uint64(len(hashes))})
}

func (v *verifier) statements(ctx context.Context, id string) (all []store.Statement, err error) {
	for {
		var after int64
		if len(all) > 0 {
			after = all[len(all)-1].N
		}
		list, err := v.store.Statements(ctx, id, after, page)
		if err != nil {
			return nil, err
		}
		if all = append(all, list...); len(list) < page {
			return all, nil
		}
	}
}

// signer checks the statements of one machine.
func (v *verifier) signer(id string, all []store.Statement) {
	p := v.at("statements of %s", id)
	prev := ""
	for i, x := range all {
		n := int64(i + 1)
		switch {
		case x.N != n:
			p.problem("number %d is missing", n)
		case x.Prev != prev:
			p.problem("number %d does not follow the one before", n)
		case v.keys[id] == nil || !ed25519.Verify(v.keys[id], text(x), x.Signature):
			p.problem("number %d is not signed by it", n)
		default:
			v.holds(p, x)
		}
		if p.n > 0 {
			return
		}
		prev = digest(x)
		v.report.Statements++
	}
}

// holds checks that the copy of a chain is what a statement says.
func (v *verifier) holds(p *place, x store.Statement) {
	hashes := v.hashes[x.Chain]
	switch {
	case x.Seq == 0 || x.Seq > uint64(len(hashes)):
		p.problem("number %d vouches for entry %d of chain %s, of which %d good ones are left", x.N, x.Seq, x.Chain, len(hashes))
	case hashes[x.Seq-1] != x.Hash:
		p.problem("number %d vouches for another entry %d of chain %s", x.N, x.Seq, x.Chain)
	default:
		if v.heard[x.Chain] == nil {
			v.heard[x.Chain] = map[string]bool{}
		}
		v.heard[x.Chain][x.Signer] = true
	}
}

// here checks this machine's log and memory against the store.
func (v *verifier) here(ctx context.Context, self Self, log *audit.Reader) error {
	p := v.at("log of this machine")
	r, err := log.Verify(ctx)
	if err != nil {
		return err
	}
	if r.Problem != nil {
		p.problem("%s", r.Problem)
	}
	copied := v.hashes[self.ID]
	var seq uint64
	for e, err := range log.List(ctx, audit.Filter{OldestFirst: true}) {
		if err != nil {
			break // as reported above
		}
		if seq = e.Seq; seq >= 1 && seq <= uint64(len(copied)) && copied[seq-1] != e.Hash {
			p.problem("entry %d is not the one that was copied to the store", seq)
		}
	}
	if seq < uint64(len(copied)) {
		p.problem("it ends with entry %d, and the store has %d", seq, len(copied))
	}
	return nil
}

// held compares what targets hold with the copies; what they hold of this machine with
// its log, which is never behind.
func (v *verifier) held(ctx context.Context, self Self, log *audit.Reader, held []Held) {
	if len(held) == 0 {
		return
	}
	known := map[string][]string{}
	for chain, hashes := range v.hashes {
		known[chain] = hashes
	}
	if self.ID != "" {
		known[self.ID] = entriesOf(ctx, log)
	}
	list, problems := compare(held, known, func(chain string) string {
		if chain == self.ID {
			return "log of this machine"
		}
		return "copy of the log " + chain
	})
	v.report.Targets = list
	v.report.Problems = append(v.report.Problems, problems...)
}

// remembered checks what this machine remembers of its statements.
func (v *verifier) remembered(ctx context.Context, self Self, l last) error {
	p := v.at("memory of this machine")
	x, err := v.store.LastStatement(ctx, self.ID, "")
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if x.N < l.N || l.N > 0 && x.N == l.N && digest(x) != l.Prev {
		p.problem("it has made %d statements, and the store has %d, or others", l.N, x.N)
	}
	for chain, seq := range l.Seqs {
		if hashes := v.hashes[chain]; seq > uint64(len(hashes)) || hashes[seq-1] != l.Hash[chain] {
			p.problem("it vouched for entry %d of chain %s, which is not in the store as it was", seq, chain)
		}
	}
	return nil
}
