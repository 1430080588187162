package witness_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bowline-sh/bowline/internal/audit"
	"github.com/bowline-sh/bowline/internal/store/sqlite"
	"github.com/bowline-sh/bowline/internal/witness"
)

// head signs where a machine's log stands.
func (m machine) head() witness.Head {
	m.t.Helper()
	h, ok, err := m.self.Head(m.t.Context(), m.reader(), "host", time.Now())
	if err != nil || !ok {
		m.t.Fatal(ok, err)
	}
	return h
}

// cut shortens a log so that all its own machine has agrees again: entries and head are
// those of an earlier time, and so is what it remembers.
func (m machine) cut(do func()) {
	m.t.Helper()
	old := map[string][]byte{}
	for _, name := range []string{"audit/audit.jsonl", "audit-head.json", "audit-witness.json"} {
		b, err := os.ReadFile(filepath.Join(m.dir, name))
		if err != nil {
			m.t.Fatal(err)
		}
		old[name] = b
	}
	do()
	for name, b := range old {
		if err := os.WriteFile(filepath.Join(m.dir, name), b, 0o600); err != nil {
			m.t.Fatal(err)
		}
	}
}

// TestHeads: a head that a target holds shows what was cut from a log; a target that lies
// condemns itself and no log.
func TestHeads(t *testing.T) {
	db, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "bowline.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	a, b := newMachine(t, db, "a"), newMachine(t, db, "b")
	strange, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "other.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer strange.Close()
	stranger := newMachine(t, strange, "c")
	stranger.act(1)
	a.act(3)
	b.act(2)
	early := a.head()
	var late witness.Head
	whole := a.head()
	a.cut(func() {
		a.act(4)
		late = a.head()
	})
	changed := func(h witness.Head, change func(*witness.Head)) witness.Head {
		change(&h)
		return h
	}
	for _, tt := range []struct {
		name                string
		held                witness.Held
		holds, against, bad int
		unknown             int
		problem             string
	}{
		{name: "what is so", held: witness.Held{Heads: []witness.Head{early, whole, b.head()}}, holds: 3},
		{name: "what was cut", held: witness.Held{Heads: []witness.Head{early, late}}, holds: 1, against: 1, problem: "log of this machine: target t holds a signed head of entry 7"},
		{name: "a higher number, signed for a lower", held: witness.Held{Heads: []witness.Head{changed(early, func(h *witness.Head) { h.Seq = 9 })}}, bad: 1},
		{name: "another hash", held: witness.Held{Heads: []witness.Head{changed(early, func(h *witness.Head) { h.Hash = strings.Repeat("0", 64) })}}, bad: 1},
		{name: "another time", held: witness.Held{Heads: []witness.Head{changed(early, func(h *witness.Head) { h.Time = h.Time.Add(time.Hour) })}}, bad: 1},
		{name: "another host", held: witness.Held{Heads: []witness.Head{changed(early, func(h *witness.Head) { h.Host = "evil\n7" })}}, bad: 1},
		{name: "another's key", held: witness.Held{Heads: []witness.Head{changed(early, func(h *witness.Head) { h.Key = b.head().Key })}}, bad: 1},
		{name: "another's chain", held: witness.Held{Heads: []witness.Head{changed(b.head(), func(h *witness.Head) { h.Chain = a.self.ID })}}, bad: 1},
		{name: "no key", held: witness.Held{Heads: []witness.Head{changed(early, func(h *witness.Head) { h.Key = nil })}}, bad: 1},
		{name: "nothing in it", held: witness.Held{Heads: []witness.Head{{}}}, bad: 1},
		{name: "a stranger's", held: witness.Held{Heads: []witness.Head{stranger.head()}}, unknown: 1},
		{name: "no answer", held: witness.Held{Err: errors.New("gone")}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.held.Target = "t"
			r, err := witness.Verify(t.Context(), a.self, db, a.reader(), []witness.Held{tt.held})
			if err != nil {
				t.Fatal(err)
			}
			got := r.Targets[0]
			if got.Holds != tt.holds || got.Against != tt.against || got.Bad != tt.bad || len(got.Unknown) != tt.unknown || !errors.Is(got.Err, tt.held.Err) {
				t.Errorf("%+v", got)
			}
			if sound := tt.bad == 0 && tt.held.Err == nil; got.Sound() != sound {
				t.Errorf("sound: %v", got.Sound())
			}
			// The store was not cut: it complains of the log besides.
			said := strings.Join(r.Problems, "\n")
			if tt.problem != "" && !strings.Contains(said, tt.problem) || tt.problem == "" && strings.Contains(said, "target") {
				t.Errorf("problems: %s", said)
			}
			own := witness.VerifyOwn(t.Context(), a.self, a.reader(), []witness.Held{tt.held})
			if said := strings.Join(own.Problems, "\n"); tt.problem != "" && !strings.Contains(said, tt.problem) || tt.problem == "" && said != "" {
				t.Errorf("problems of the own log: %s", said)
			}
		})
	}
	// b sees what a cut, too, where a has cut the copy as well.
	if r := witness.VerifyOwn(t.Context(), b.self, b.reader(), []witness.Held{{Target: "t", Heads: []witness.Head{late}}}); len(r.Targets[0].Unknown) != 1 || len(r.Problems) > 0 {
		t.Errorf("%+v", r)
	}
}

// TestHeadOfAnEmptyLog: there is none.
func TestHeadOfAnEmptyLog(t *testing.T) {
	dir := t.TempDir()
	self, err := witness.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if h, ok, err := self.Head(t.Context(), audit.NewReader(filepath.Join(dir, "audit"), ""), "x", time.Now()); ok || err != nil {
		t.Errorf("%+v, %v", h, err)
	}
}
