package plan

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/bowline-sh/bowline/change"
)

// effect is the canonical form of what a reviewer is shown. Fields are only ever added,
// with a new Version.
type effect struct {
	Version   int               `json:"version"`
	Login     string            `json:"login"`
	Mode      Mode              `json:"mode"`
	Profile   string            `json:"profile"`
	Script    string            `json:"script"`
	Argv      []string          `json:"argv"`
	Exit      int               `json:"exit"`
	Stdout    []byte            `json:"stdout"` // if Exit is not 0, else nil
	Stderr    []byte            `json:"stderr"`
	Truncated bool              `json:"truncated"`
	Warnings  []string          `json:"warnings"`
	Ops       []effectOperation `json:"operations"`
}

type effectOperation struct {
	Operation
	Time string `json:"time"`
}

// Effect returns the digest of what this plan does to a host, whichever host that is, as
// "sha256:" and 64 hex digits: two plans have the same effect if a reviewer who reads one
// has read the other. Plans of a fleet are grouped by it.
//
// It covers all that [Plan.Digest] does but the host key, and what the reviewer sees
// besides: the script and its arguments, warnings, how the script ended, and what it
// wrote if it failed.
//
// The states before the change are part of it, with their contents. A diff has two sides:
// the same new file replaces a line on one host and, on a host that somebody had edited,
// throws that edit away. Whoever read the first diff has not seen the second, and must
// not have approved it.
//
// It does not cover who, where and when: session, target, host key, and the time of
// planning. Nor does it cover when a host's own files were last modified, for no two hosts
// agree on that. Where a change keeps such a time, as chmod and mv do, what counts is
// that it does, and of which path; see [Plan.Times].
//
// An approval never names an effect, only digests: what one person approved on one host
// is worth nothing on another.
func (p Plan) Effect() (string, error) {
	x := effect{Version: p.Version, Login: p.Login, Mode: p.Mode, Profile: p.Profile, Script: p.Script, Argv: some(p.Argv), Exit: p.Exit,
		Truncated: p.Truncated, Warnings: some(p.Warnings), Ops: make([]effectOperation, len(p.Ops))}
	if p.Exit != 0 {
		x.Stdout, x.Stderr = some(p.Stdout), some(p.Stderr)
	}
	times := p.Times()
	for i, op := range p.Ops {
		op = op.canonical()
		if op.Change != nil {
			op.Change.After.MTime = 0 // Time has it
		}
		x.Ops[i] = effectOperation{op, times[i]}
	}
	b, err := json.Marshal(x)
	if err != nil {
		return "", fmt.Errorf("effect of plan: %w", err)
	}
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:]), nil
}

// some is list, and nil if it is empty: a plan read back from JSON has the one where the
// original had the other.
func some[E any](list []E) []E {
	if len(list) == 0 {
		return nil
	}
	return list
}

// Times says of each operation which modification time it leaves: "" that of applying, or
// none; "as PATH" the one that PATH had before, which is the path itself where it keeps
// its own; else nanoseconds since 1970, which the script chose.
func (p Plan) Times() []string {
	had := map[int64]change.Path{} // the first path, by its bytes, that had it
	for _, op := range p.Ops {
		if c := op.Change; c != nil && c.Before.MTime != 0 {
			if q, ok := had[c.Before.MTime]; !ok || cmp.Less(c.Path, q) {
				had[c.Before.MTime] = c.Path
			}
		}
	}
	out := make([]string, len(p.Ops))
	for i, op := range p.Ops {
		c := op.Change
		if c == nil || c.After.MTime == 0 {
			continue
		}
		from, kept := had[c.After.MTime]
		switch {
		case c.After.MTime == c.Before.MTime:
			out[i] = "as " + pathText(c.Path)
		case kept:
			out[i] = "as " + pathText(from)
		default:
			out[i] = strconv.FormatInt(c.After.MTime, 10)
		}
	}
	return out
}

// pathText is p as JSON has it: paths of any bytes stay apart.
func pathText(p change.Path) string {
	b, err := p.MarshalText()
	if err != nil {
		panic("plan: a path cannot be encoded: " + err.Error()) // any bytes can
	}
	return string(b)
}
