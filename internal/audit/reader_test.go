package audit

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestList(t *testing.T) {
	t.Parallel()
	dir := newLog(t, 12, 1500) // intents odd, outcomes even; targets web0, web2
	start := time.Date(2026, 11, 21, 10, 0, 0, 123456789, time.UTC)
	all := entries(t, dir, Filter{OldestFirst: true})
	for _, tt := range []struct {
		name   string
		filter Filter
		want   string
	}{
		{"all", Filter{}, "12 11 10 9 8 7 6 5 4 3 2 1"},
		{"oldest first", Filter{OldestFirst: true}, "1 2 3 4 5 6 7 8 9 10 11 12"},
		{"limit", Filter{Limit: 3}, "12 11 10"},
		{"limit oldest", Filter{Limit: 3, OldestFirst: true}, "1 2 3"},
		{"after", Filter{AfterSeq: 9}, "12 11 10"},
		{"after oldest", Filter{AfterSeq: 9, OldestFirst: true}, "10 11 12"},
		{"target", Filter{Target: "web2"}, "12 11 8 7 4 3"},
		{"status", Filter{Status: OK, Limit: 2}, "12 10"},
		{"event", Filter{Event: EventIntent, Limit: 2}, "11 9"},
		{"id", Filter{ID: all[4].ID}, "6 5"},
		{"actor", Filter{Actor: "bob"}, ""},
		{"verb", Filter{Verb: "cp"}, ""},
		{"session", Filter{Session: "s"}, ""},
		{"since", Filter{Since: all[9].Time}, "12 11 10"},
		{"until", Filter{Until: all[2].Time}, "2 1"},
		{"before everything", Filter{Until: start}, ""},
	} {
		var got []string
		for _, e := range entries(t, dir, tt.filter) {
			got = append(got, fmt.Sprint(e.Seq))
		}
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, s, tt.want)
		}
	}
	if got := entries(t, t.TempDir(), Filter{}); got != nil {
		t.Errorf("List without a log = %v", got)
	}
}

// An edited line is never shown as an entry, and hides no other.
func TestListEditedLine(t *testing.T) {
	t.Parallel()
	dir := newLog(t, 4, 0)
	path := filepath.Join(dir, activeName)
	put(t, path, bytes.Replace(read(t, path), []byte(`"2"`), []byte(`"3"`), 1)) // in entry 3
	for _, oldest := range []bool{true, false} {
		var seqs []uint64
		var bad []error
		for e, err := range NewReader(dir, "").List(t.Context(), Filter{OldestFirst: oldest}) {
			if err != nil {
				bad = append(bad, err)
				continue
			}
			seqs = append(seqs, e.Seq)
		}
		slices.Sort(seqs)
		at := new(LineError)
		if !slices.Equal(seqs, []uint64{1, 2, 4}) || len(bad) != 1 || !errors.Is(bad[0], ErrEdited) || !errors.As(bad[0], &at) {
			t.Errorf("entries %v, errors %v", seqs, bad)
		}
		if oldest && at.Line != 3 {
			t.Errorf("bad line %d, want 3", at.Line)
		}
	}
}

func TestTail(t *testing.T) {
	t.Parallel()
	cfg := testConfig(filepath.Join(t.TempDir(), "audit"))
	cfg.MaxSize = 1500
	l := open(t, cfg)
	fill(t, l, 6)
	r := NewReader(cfg.Dir, "")
	r.poll = time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	var got []uint64
	err := r.Tail(ctx, 2, true, func(e Entry) error {
		got = append(got, e.Seq)
		switch e.Seq {
		case 6:
			fill(t, l, 8) // across rotations
		case 14:
			cancel()
		}
		return nil
	})
	if want := []uint64{5, 6, 7, 8, 9, 10, 11, 12, 13, 14}; err != nil || !slices.Equal(got, want) {
		t.Errorf("Tail = %v, %v; want %v", got, err, want)
	}
	stop := errors.New("stop")
	if err := r.Tail(t.Context(), 1, true, func(Entry) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("Tail = %v, want the error of fn", err)
	}
	if err := r.Tail(t.Context(), 0, false, func(Entry) error { return stop }); err != nil {
		t.Errorf("Tail of nothing = %v", err)
	}
}

func TestExport(t *testing.T) {
	t.Parallel()
	cfg := testConfig(filepath.Join(t.TempDir(), "audit"))
	cfg.MaxSize = 1500
	l := open(t, cfg)
	fill(t, l, 6)
	if _, err := l.Begin(t.Context(), Intent{Subject: Subject{Verb: "=cmd|'/c calc'!A1"}, Argv: []string{"a,\"b", "\n"}}); err != nil {
		t.Fatal(err)
	}
	var jsonl, sheet bytes.Buffer
	if err := l.Export(t.Context(), &jsonl, Filter{OldestFirst: true}, JSONL); err != nil {
		t.Fatal(err)
	}
	for i, line := range lines(jsonl.Bytes()) {
		if e, err := ParseEntry(bytes.TrimSuffix(line, []byte("\n"))); err != nil || e.Seq != uint64(i+1) {
			t.Errorf("exported line %d: %v", i+1, err)
		}
	}
	if err := l.Export(t.Context(), &sheet, Filter{Limit: 1}, CSV); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(&sheet).ReadAll()
	if err != nil || len(rows) != 2 || len(rows[0]) != len(rows[1]) {
		t.Fatalf("csv: %v, %v", rows, err)
	}
	if v, a := rows[1][4], rows[1][17]; v != "'=cmd|'/c calc'!A1" || a != `["a,\"b","\n"]` {
		t.Errorf("verb %q, argv %q", v, a)
	}
	if err := l.Export(t.Context(), &sheet, Filter{}, "xml"); err == nil {
		t.Error("unknown format accepted")
	}
	if strings.Count(jsonl.String(), "\n") != 7 {
		t.Errorf("%d lines exported, want 7", strings.Count(jsonl.String(), "\n"))
	}
}

// A reader that opened the active segment just before it was rotated finds it
// under both names, here by a second link, and reads it once.
func TestReadDuringRotation(t *testing.T) {
	t.Parallel()
	dir := newLog(t, 4, 0)
	if err := os.Link(filepath.Join(dir, activeName), filepath.Join(dir, segmentName(1))); err != nil {
		t.Fatal(err)
	}
	wantOK(t, dir, 4)
	if got := entries(t, dir, Filter{}); len(got) != 4 {
		t.Errorf("%d entries, want 4", len(got))
	}
}
