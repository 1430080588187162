package plan

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bowline-sh/bowline/change"
)

// onHost is a plan of every kind of operation as host made it: what is the host's own
// differs, what it does is the same.
func onHost(host string, mtime int64) Plan {
	file := func(sum byte, mode uint32) change.State {
		return change.State{Type: change.File, Mode: mode, Size: 3, SHA256: strings.Repeat(string(sum), 64)}
	}
	edited := file('1', 0o644)
	edited.MTime = mtime
	moved := file('4', 0o600)
	moved.MTime = mtime + 7
	aged := file('6', 0o644)
	aged.MTime = 1e18
	kept := edited
	kept.Mode = 0o600
	return Plan{
		Version: Version, Session: "20261121-fix-a3f20c-000" + host, Target: "web" + host, HostKey: "SHA256:" + host, Login: "uid 0", Mode: Root, Profile: "sha256:p", Script: "s",
		Argv: []string{"fix.sh", "x"}, Created: time.Unix(mtime, 0), Warnings: []string{"w"}, Stdout: []byte("hello from " + host),
		Ops: []Operation{
			{Change: &change.Change{Path: "/gone", Before: moved}},
			{Change: &change.Change{Path: "/etc/a", Before: edited, After: kept, InPlace: true}},
			{Change: &change.Change{Path: "/etc/b", Before: file('2', 0o644), After: file('3', 0o644)}},
			{Change: &change.Change{Path: "/kept", After: moved}},
			{Change: &change.Change{Path: "/old", After: aged}},
			{Command: &Command{Argv: []string{"systemctl", "restart", "x"}, Path: "/bin/systemctl", Cwd: "/", Env: []string{"A=1"}, Groups: []uint32{4}, Undo: []string{"u"}}},
			{Change: &change.Change{Path: "/etc/c", Before: file('2', 0o644), After: change.State{Type: change.Symlink, Target: "/etc/b", Xattrs: map[string][]byte{"user.k": {1}}}}},
		},
	}
}

func effectOf(t *testing.T, p Plan) string {
	t.Helper()
	sum, err := p.Effect()
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// TestEffectIsTheSameOnAnyHost: nothing that is the host's own counts, also after the
// plan went over the wire.
func TestEffectIsTheSameOnAnyHost(t *testing.T) {
	t.Parallel()
	one, other := onHost("1", 1e9), onHost("2", 2e9)
	if effectOf(t, one) != effectOf(t, other) {
		t.Error("two hosts, two effects")
	}
	a, err := one.Digest()
	b, err2 := other.Digest()
	if err != nil || err2 != nil || a == b {
		t.Errorf("digests %s and %s, %v, %v: an approval of one would do for the other", a, b, err, err2)
	}
	doc, err := json.Marshal(one)
	if err != nil {
		t.Fatal(err)
	}
	var back Plan
	if err := json.Unmarshal(doc, &back); err != nil {
		t.Fatal(err)
	}
	if effectOf(t, back) != effectOf(t, one) {
		t.Error("the effect did not survive its encoding")
	}
	one.Argv, other.Argv, one.Warnings, other.Warnings = nil, []string{}, []string{}, nil
	if effectOf(t, one) != effectOf(t, other) {
		t.Error("nothing is not nothing")
	}
}

// TestKeptTimesAreNamedByTheirOwnPath: that two files happen to have one time on one host
// makes no other effect.
func TestKeptTimesAreNamedByTheirOwnPath(t *testing.T) {
	t.Parallel()
	one, other := onHost("1", 1e9), onHost("2", 1e9)
	other.Ops[2].Change.Before.MTime = 1e9
	other.Ops[2].Change.Path, one.Ops[2].Change.Path = "/etc/A", "/etc/A"
	if effectOf(t, one) != effectOf(t, other) {
		t.Errorf("%q and %q", one.Times(), other.Times())
	}
	if got := one.Times(); got[1] != "as /etc/a" || got[2] != "" || got[3] != "as /gone" || got[4] != "1000000000000000000" {
		t.Errorf("times %q", got)
	}
}

// alterations each change one thing that a reviewer sees.
func alterations() map[string]func(*Plan) {
	state := func(op int, after bool, f func(*change.State)) func(*Plan) {
		return func(p *Plan) {
			if after {
				f(&p.Ops[op].Change.After)
				return
			}
			f(&p.Ops[op].Change.Before)
		}
	}
	byte1 := func(s *change.State) { s.SHA256 = s.SHA256[:63] + "0" }
	mode := func(s *change.State) { s.Mode ^= 0o111 }
	owner := func(s *change.State) { s.UID++ }
	return map[string]func(*Plan){
		"content after": state(2, true, byte1), "content before": state(2, false, byte1), "mode after": state(2, true, mode), "mode before": state(2, false, mode),
		"owner after": state(2, true, owner), "owner before": state(2, false, owner), "group": state(2, true, func(s *change.State) { s.GID++ }),
		"hard links":                 state(2, false, func(s *change.State) { s.NLink = 2 }),
		"xattr after":                state(6, true, func(s *change.State) { s.Xattrs = map[string][]byte{"user.k": {2}} }),
		"xattr before":               state(6, false, func(s *change.State) { s.Xattrs = map[string][]byte{"user.k": {2}} }),
		"link target":                state(6, true, func(s *change.State) { s.Target = "/etc/d" }),
		"chosen time":                state(4, true, func(s *change.State) { s.MTime++ }),
		"time of applying, not kept": state(1, true, func(s *change.State) { s.MTime = 0 }),
		"time kept, not of applying": state(2, true, func(s *change.State) { s.MTime = 1e9 + 7 }),
		"path":                       func(p *Plan) { p.Ops[2].Change.Path = "/etc/bb" },
		"hard link":                  func(p *Plan) { p.Ops[2].Change.Link = "/etc/a" },
		"in place":                   func(p *Plan) { p.Ops[2].Change.InPlace = true },
		"order":                      func(p *Plan) { p.Ops[1], p.Ops[2] = p.Ops[2], p.Ops[1] },
		"one less":                   func(p *Plan) { p.Ops = p.Ops[:len(p.Ops)-1] },
		"apart":                      func(p *Plan) { p.Ops[2].Apart = true },
		"argument":                   func(p *Plan) { p.Ops[5].Command.Argv = []string{"systemctl", "restart", "y"} },
		"joined":                     func(p *Plan) { p.Ops[5].Command.Argv = []string{"systemctl", "restart x"} },
		"program":                    func(p *Plan) { p.Ops[5].Command.Path = "/tmp/systemctl" },
		"directory":                  func(p *Plan) { p.Ops[5].Command.Cwd = "/tmp" },
		"environment":                func(p *Plan) { p.Ops[5].Command.Env = []string{"A=2"} },
		"user":                       func(p *Plan) { p.Ops[5].Command.UID = 1 },
		"groups":                     func(p *Plan) { p.Ops[5].Command.Groups = nil },
		"input":                      func(p *Plan) { p.Ops[5].Command.Stdin = "i" },
		"undo":                       func(p *Plan) { p.Ops[5].Command.Undo = nil },
		"answer":                     func(p *Plan) { p.Ops[5].Command.Answer = 1 },
		"login":                      func(p *Plan) { p.Login = "uid 1000" },
		"as whom":                    func(p *Plan) { p.Mode = User },
		"profile":                    func(p *Plan) { p.Profile = "sha256:q" },
		"script":                     func(p *Plan) { p.Script = "t" },
		"arguments":                  func(p *Plan) { p.Argv = []string{"fix.sh"} },
		"exit code":                  func(p *Plan) { p.Exit = 1 },
		"warning":                    func(p *Plan) { p.Warnings = nil },
		"cut output":                 func(p *Plan) { p.Truncated = true },
	}
}

// TestEffectCoversWhatAReviewerSees: each alteration makes another effect, and no two the
// same.
func TestEffectCoversWhatAReviewerSees(t *testing.T) {
	t.Parallel()
	seen := map[string]string{effectOf(t, onHost("1", 1e9)): "as it was"}
	for name, alter := range alterations() {
		p := onHost("1", 1e9)
		alter(&p)
		sum := effectOf(t, p)
		if seen[sum] != "" {
			t.Errorf("%s has the effect of %s", name, seen[sum])
		}
		seen[sum] = name
	}
	failed, again := onHost("1", 1e9), onHost("2", 1e9)
	failed.Exit, again.Exit = 1, 1
	if effectOf(t, failed) == effectOf(t, again) {
		t.Error("what a script says that failed is shown, and counts")
	}
}

// TestEffectOfRandomFleets: hosts with random alterations are of one class exactly if
// they have the same ones.
func TestEffectOfRandomFleets(t *testing.T) {
	t.Parallel()
	all := alterations()
	var names []string
	for name := range all {
		if !slices.Contains([]string{"one less", "order", "argument", "joined", "exit code"}, name) { // they undo or hide others
			names = append(names, name)
		}
	}
	slices.Sort(names)
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 1))
	effects := map[string]string{} // by what was altered
	of := map[string]string{}
	for i := range 2000 {
		p := onHost(string(rune('a'+i%26)), 1e9)
		var done []string
		for range r.IntN(3) {
			if name := names[r.IntN(len(names))]; !slices.Contains(done, name) {
				all[name](&p)
				done = append(done, name)
			}
		}
		slices.Sort(done)
		key, sum := strings.Join(done, "+"), effectOf(t, p)
		if effects[key] != "" && effects[key] != sum {
			t.Fatalf("seed %d: %s has two effects", seed, key)
		}
		if was, ok := of[sum]; ok && was != key {
			t.Fatalf("seed %d: %q and %q have one effect", seed, was, key)
		}
		effects[key], of[sum] = sum, key
	}
}

func TestFleetIDs(t *testing.T) {
	t.Parallel()
	id := NewID(time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC), strings.Repeat("long-name", 9), "a3f20c")
	if err := ValidID(MemberID(id, 70000)); err != nil {
		t.Error(err)
	}
	class := ClassID(id, "sha256:"+strings.Repeat("9e1b77", 8))
	fleet, prefix, err := ParseFleetID(class)
	if err != nil || fleet != id || prefix != "9e1b77" || !InClass("sha256:9e1b77aa", prefix) || InClass("sha256:9e1b78aa", prefix) {
		t.Errorf("%q, %q, %v", fleet, prefix, err)
	}
	if fleet, prefix, err := ParseFleetID(id); err != nil || fleet != id || prefix != "" {
		t.Errorf("%q, %q, %v", fleet, prefix, err)
	}
	for _, bad := range []string{"", "x", "../../etc", id + ".", id + ".9e1", id + ".9E1B", id + ".9e1b.9e1b", id + ".web1", ".9e1b"} {
		if _, _, err := ParseFleetID(bad); err == nil {
			t.Errorf("%q passed", bad)
		}
	}
}
