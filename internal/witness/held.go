package witness

import (
	"context"
	"fmt"
	"slices"

	"github.com/bowline-sh/bowline/internal/audit"
)

// Held is what one target sent as the heads that machines left there: anything at all.
type Held struct {
	Target string
	Heads  []Head
	Err    error // it could not be asked
}

// TargetReport is what a target bears witness to.
type TargetReport struct {
	Target  string
	Holds   int      // heads that their machine signed, and that its log bears out
	Against int      // those that its log does not bear out: see the problems
	Bad     int      // not signed by whom they name: the target's fault, not the chain's
	Unknown []string // chains that nobody here knows, with the hosts that they name
	Err     error
}

// Sound reports whether the target could be asked and sent nothing forged.
func (r TargetReport) Sound() bool { return r.Err == nil && r.Bad == 0 }

// maxUnknown bounds the unknown chains that a target is reported with.
const maxUnknown = 16

// compare holds what targets sent against the logs as they are. hashes are of each known
// chain's entries, from number 1; name says where they were read.
func compare(held []Held, hashes map[string][]string, name func(chain string) string) (list []TargetReport, problems []string) {
	said := map[string]int{}
	for _, h := range held {
		r := TargetReport{Target: h.Target, Err: h.Err}
		for _, x := range h.Heads {
			chain, known := hashes[x.Chain]
			problem := ""
			switch {
			case !x.Valid():
				r.Bad++
				continue
			case !known:
				if text := fmt.Sprintf("%s of host %.100q", x.Chain, x.Host); len(r.Unknown) < maxUnknown && !slices.Contains(r.Unknown, text) {
					r.Unknown = append(r.Unknown, text)
				}
				continue
			case x.Seq == 0 || x.Seq > uint64(len(chain)):
				problem = fmt.Sprintf("target %s holds a signed head of entry %d, of %s, and %d good ones are left", h.Target, x.Seq, x.Time.Format("2006-01-02 15:04:05"), len(chain))
			case chain[x.Seq-1] != x.Hash:
				problem = fmt.Sprintf("target %s holds a signed head of another entry %d", h.Target, x.Seq)
			}
			if problem == "" {
				r.Holds++
				continue
			}
			if r.Against++; said[x.Chain] < maxProblems {
				problems = append(problems, name(x.Chain)+": "+problem)
			}
			said[x.Chain]++
		}
		list = append(list, r)
	}
	return list, problems
}

// OwnReport is what VerifyOwn found.
type OwnReport struct {
	Targets  []TargetReport
	Problems []string
}

// VerifyOwn holds the log of this machine against what targets hold of it. The log itself
// is checked by [audit.Reader.Verify].
func VerifyOwn(ctx context.Context, self Self, log *audit.Reader, held []Held) OwnReport {
	known := map[string][]string{}
	if self.ID != "" {
		known[self.ID] = entriesOf(ctx, log)
	}
	list, problems := compare(held, known, func(string) string { return "log of this machine" })
	return OwnReport{Targets: list, Problems: problems}
}

// entriesOf returns the hashes of a log's good entries, from the first on.
func entriesOf(ctx context.Context, log *audit.Reader) []string {
	var hashes []string
	for e, err := range log.List(ctx, audit.Filter{OldestFirst: true}) {
		if err != nil || e.Seq != uint64(len(hashes)+1) {
			break
		}
		hashes = append(hashes, e.Hash)
	}
	return hashes
}
