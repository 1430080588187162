package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// The recipe in the package comment, done by other means.
func TestCanonicalForm(t *testing.T) {
	t.Parallel()
	dir := newLog(t, 3, 0)
	prev := strings.Repeat("0", 64)
	for _, line := range lines(read(t, filepath.Join(dir, activeName))) {
		m := regexp.MustCompile(`^(.*"prev":"([0-9a-f]{64})"),"hash":"([0-9a-f]{64})"}\n$`).FindSubmatch(line)
		if m == nil {
			t.Fatalf("line %q is not in the documented form", line)
		}
		sum := sha256.Sum256(m[1])
		if string(m[2]) != prev || string(m[3]) != hex.EncodeToString(sum[:]) {
			t.Errorf("line %q does not have the documented hashes", line)
		}
		prev = string(m[3])
	}
}

// This line was written by version 1 and must stay readable.
func TestParseEntryVersion1(t *testing.T) {
	t.Parallel()
	e := Entry{Seq: 1, Time: time.Date(2026, 11, 21, 10, 0, 0, 1, time.UTC), ID: "x", Event: EventNote, Verb: "v", Prev: zeroHash}
	got, err := e.seal()
	if err != nil {
		t.Fatal(err)
	}
	want := `{"v":1,"seq":1,"time":"2026-11-21T10:00:00.000000001Z","id":"x","event":"note","verb":"v","actor":{"user":""},"prev":"` + zeroHash +
		`","hash":"` + hashOf([]byte(`{"v":1,"seq":1,"time":"2026-11-21T10:00:00.000000001Z","id":"x","event":"note","verb":"v","actor":{"user":""},"prev":"`+zeroHash+`"`)) + "\"}\n"
	if string(got) != want {
		t.Errorf("stored as %s\nwant %s", got, want)
	}
}

func TestParseEntryRefuses(t *testing.T) {
	t.Parallel()
	sealed := func(body string) string { return body + hashOpen + hashOf([]byte(body)) + hashClose }
	prev := `"prev":"` + zeroHash + `"`
	for _, tt := range []struct {
		name, line string
		want       error
	}{
		{"empty", "", ErrUnparseable},
		{"no hash", `{"v":1}`, ErrUnparseable},
		{"upper-case hash", `{"v":1` + hashOpen + strings.ToUpper(hashOf([]byte(`{"v":1`))) + hashClose, ErrUnparseable},
		{"wrong hash", `{"v":1` + hashOpen + zeroHash + hashClose, ErrEdited},
		{"not JSON", sealed(`{"v":1,`), ErrUnparseable},
		{"no version", sealed(`{"seq":1,` + prev), ErrUnparseable},
		{"newer version", sealed(`{"v":2,"seq":1,` + prev), ErrUnparseable},
		{"no seq", sealed(`{"v":1,` + prev), ErrUnparseable},
		{"no prev", sealed(`{"v":1,"seq":1`), ErrUnparseable},
		{"negative seq", sealed(`{"v":1,"seq":-1,` + prev), ErrUnparseable},
		{"two lines in one", sealed(`{"v":1,"seq":1,` + prev + `}{"a":1`), ErrUnparseable},
		{"too long", sealed(`{"v":1,"seq":1,"text":"` + strings.Repeat("x", MaxLine) + `",` + prev), ErrUnparseable},
		{"good, with an unknown member", sealed(`{"v":1,"seq":1,"new":2,` + prev), nil},
	} {
		if _, err := ParseEntry([]byte(tt.line)); !errors.Is(err, tt.want) {
			t.Errorf("%s: ParseEntry = %v, want %v", tt.name, err, tt.want)
		}
	}
}

// FuzzParseEntry holds ParseEntry to its promise: it accepts what seal wrote,
// as it was, and no line that differs in any byte from an accepted one.
func FuzzParseEntry(f *testing.F) {
	e := Entry{Seq: 1, Prev: zeroHash, Verb: "run", Argv: []string{"a\n", "\u202e\U000e0041\x7f"}}
	line, err := e.seal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(line[:len(line)-1], 3, "x")
	f.Fuzz(func(t *testing.T, in []byte, at int, text string) {
		if got, err := ParseEntry(in); err == nil {
			if !bytes.Equal(got.Raw(), in) {
				t.Errorf("Raw = %q, want %q", got.Raw(), in)
			}
			bad := bytes.Clone(in)
			bad[uint(at)%uint(len(bad))] ^= 1
			if _, err := ParseEntry(bad); err == nil {
				t.Errorf("%q accepted, and %q too", in, bad)
			}
		}
		e := Intent{Argv: []string{text}, Subject: Subject{Verb: text}}.entry(nil)
		e.Seq, e.Prev = 1, zeroHash
		line, err := e.seal()
		if err != nil || bytes.Count(line, []byte("\n")) != 1 {
			t.Fatalf("seal = %q, %v", line, err)
		}
		got, err := ParseEntry(line[:len(line)-1])
		if want := strings.ToValidUTF8(e.Argv[0], ""); err != nil || strings.ReplaceAll(got.Argv[0], "\ufffd", "") != strings.ReplaceAll(want, "\ufffd", "") {
			t.Errorf("argv %q comes back as %q, %v", e.Argv, got.Argv, err)
		}
	})
}
