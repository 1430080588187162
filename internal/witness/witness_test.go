package witness_test

import (
	"database/sql"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bowline-sh/bowline/internal/audit"
	"github.com/bowline-sh/bowline/internal/store"
	"github.com/bowline-sh/bowline/internal/store/sqlite"
	"github.com/bowline-sh/bowline/internal/witness"
)

// machine is one with a log.
type machine struct {
	t    *testing.T
	dir  string
	self witness.Self
	sync witness.Syncer
}

func newMachine(t *testing.T, db store.Audit, name string) machine {
	t.Helper()
	m := machine{t: t, dir: filepath.Join(t.TempDir(), name)}
	self, err := witness.Load(m.dir)
	if err != nil {
		t.Fatal(err)
	}
	m.self = self
	m.sync = witness.Syncer{Self: self, Store: db, Log: m.reader(), Host: name, Now: time.Now}
	return m
}

func (m machine) reader() *audit.Reader {
	return audit.NewReader(filepath.Join(m.dir, "audit"), filepath.Join(m.dir, "audit-head.json"))
}

// act writes n entries and syncs.
func (m machine) act(n int) {
	m.t.Helper()
	log, err := audit.Open(m.t.Context(), audit.Config{Dir: filepath.Join(m.dir, "audit"), HeadFile: filepath.Join(m.dir, "audit-head.json")})
	if err != nil {
		m.t.Fatal(err)
	}
	defer log.Close()
	for i := range n {
		if err := log.Note(m.t.Context(), audit.Note{Text: fmt.Sprint("act ", i)}); err != nil {
			m.t.Fatal(err)
		}
	}
	if err := m.sync.Once(m.t.Context()); err != nil {
		m.t.Fatal(err)
	}
}

func (m machine) problems(db store.Audit) string {
	m.t.Helper()
	r, err := witness.Verify(m.t.Context(), m.self, db, m.reader(), nil)
	if err != nil {
		m.t.Fatal(err)
	}
	return strings.Join(r.Problems, "\n")
}

func edit(t *testing.T, name, old, new string) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil || !strings.Contains(string(b), old) {
		t.Fatal("nothing to edit", err)
	}
	if err := os.WriteFile(name, []byte(strings.Replace(string(b), old, new, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestTampering changes each place in each way. by says who finds it: the machine whose
// log it is (a), another (b).
func TestTampering(t *testing.T) {
	forge := func(t *testing.T, m machine) { // a new log that is good in itself, and shorter
		for _, name := range []string{"audit", "audit-head.json"} {
			if err := os.RemoveAll(filepath.Join(m.dir, name)); err != nil {
				t.Fatal(err)
			}
		}
		log, err := audit.Open(t.Context(), audit.Config{Dir: filepath.Join(m.dir, "audit"), HeadFile: filepath.Join(m.dir, "audit-head.json")})
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close()
		for range 4 {
			if err := log.Note(t.Context(), audit.Note{Text: "nothing happened"}); err != nil {
				t.Fatal(err)
			}
		}
	}
	query := func(q string) func(*testing.T, machine, *sql.DB) {
		return func(t *testing.T, m machine, db *sql.DB) {
			q := strings.ReplaceAll(q, "$A", "'"+m.self.ID+"'")
			if res, err := db.Exec(q); err != nil {
				t.Fatal(err)
			} else if n, err := res.RowsAffected(); err != nil || n == 0 {
				t.Fatal("nothing was changed", err)
			}
		}
	}
	for _, tt := range []struct {
		name string
		by   string
		do   func(t *testing.T, a machine, db *sql.DB)
		want string
	}{
		{"nothing", "", func(*testing.T, machine, *sql.DB) {}, ""},
		{"local edit", "a", func(t *testing.T, a machine, _ *sql.DB) {
			edit(t, filepath.Join(a.dir, "audit", "audit.jsonl"), "act 1", "act 7")
		}, "edited"},
		{"local rewrite", "a", func(t *testing.T, a machine, _ *sql.DB) { forge(t, a) }, "not the one that was copied"},
		{"local removal", "a", func(t *testing.T, a machine, _ *sql.DB) {
			os.RemoveAll(filepath.Join(a.dir, "audit"))
			os.Remove(filepath.Join(a.dir, "audit-head.json"))
		}, "it ends with entry 0"},
		{"memory removed", "", func(t *testing.T, a machine, _ *sql.DB) { os.Remove(filepath.Join(a.dir, "audit-witness.json")) }, ""},
		{"row edited", "ab", query(`UPDATE audit_lines SET line = replace(line, 'act 1', 'act 7') WHERE chain = $A`), "entry 2"},
		{"rows cut", "ab", query(`DELETE FROM audit_lines WHERE chain = $A AND seq > 3`), "good ones are left"},
		{"row dropped", "ab", query(`DELETE FROM audit_lines WHERE chain = $A AND seq = 2`), "entry 2 is missing"},
		{"rows all gone", "ab", query(`DELETE FROM audit_lines WHERE chain = $A`), "0 good ones"},
		{"chain gone", "ab", query(`DELETE FROM audit_chains WHERE id = $A`), "0 good ones"},
		{"key exchanged", "ab", query(`UPDATE audit_chains SET pubkey = x'` + hex.EncodeToString(make([]byte, 32)) + `' WHERE id = $A`), "not the one that it is named after"},
		{"statement edited", "ab", query(`UPDATE audit_statements SET hash = '00' WHERE signer = $A AND n = 1`), "not signed"},
		{"statement dropped", "ab", query(`DELETE FROM audit_statements WHERE signer = $A AND n = 1`), "number 1 is missing"},
		{"statements cut", "a", query(`DELETE FROM audit_statements WHERE signer = $A AND n > 1`), "statements, and the store has 1"},
		{"statements all gone", "a", query(`DELETE FROM audit_statements WHERE signer = $A`), "the store has 0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "bowline.db")
			db, err := sqlite.Open(t.Context(), file)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			a, b := newMachine(t, db, "a"), newMachine(t, db, "b")
			for range 3 {
				a.act(2)
				b.act(1)
			}
			raw, err := sql.Open("sqlite", file)
			if err != nil {
				t.Fatal(err)
			}
			defer raw.Close()
			tt.do(t, a, raw)
			for _, m := range []struct {
				name string
				machine
			}{{"a", a}, {"b", b}} {
				got := m.problems(db)
				if strings.Contains(tt.by, m.name) != (got != "") || got != "" && !strings.Contains(got, tt.want) {
					t.Errorf("%s finds %q, want %q", m.name, got, tt.want)
				}
			}
		})
	}
}

// TestRewriteByTheStore: rows and statements of a chain are replaced by a good chain of
// another content; the words of the other machine do not fit.
func TestRewriteByTheStore(t *testing.T) {
	file := filepath.Join(t.TempDir(), "bowline.db")
	db, err := sqlite.Open(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	a, b := newMachine(t, db, "a"), newMachine(t, db, "b")
	a.act(3)
	b.act(1)
	raw, err := sql.Open("sqlite", file)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	if _, err := raw.Exec(`DELETE FROM audit_lines WHERE chain = ?`, a.self.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := raw.Exec(`DELETE FROM audit_statements WHERE signer = ?`, a.self.ID); err != nil {
		t.Fatal(err)
	}
	// The thief of a's machine: its key, a fresh log, no memory.
	for _, name := range []string{"audit", "audit-head.json", "audit-witness.json"} {
		if err := os.RemoveAll(filepath.Join(a.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	a.act(3)
	if got := a.problems(db); !strings.Contains(got, "another entry 3") {
		t.Errorf("a finds %q", got)
	}
	if got := b.problems(db); !strings.Contains(got, "another entry 3") {
		t.Errorf("b finds %q", got)
	}
}

func TestKeyIsPrivateAndStays(t *testing.T) {
	dir := t.TempDir()
	one, err := witness.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	two, err := witness.Load(dir)
	if err != nil || one.ID != two.ID {
		t.Errorf("%s, %s, %v", one.ID, two.ID, err)
	}
	if info, err := os.Stat(filepath.Join(dir, "audit-key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}
