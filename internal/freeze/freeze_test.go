//go:build unix

package freeze

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode"

	"github.com/bowline-sh/bowline/diag"
)

var sample = Freeze{By: "ann@desk", At: time.Date(2026, 11, 21, 14, 50, 0, 0, time.UTC), Reason: "incident 4711: disk"}

func TestTextReadsBack(t *testing.T) {
	if got := Parse(sample.Text()); got != sample {
		t.Errorf("%+v, want %+v", got, sample)
	}
	if got, want := sample.String(), "frozen by ann@desk since 2026-11-21 14:50 UTC: incident 4711: disk"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	forged := Freeze{By: "eve\nby: ann", Reason: "x\nreason: y"}
	if got := Parse(forged.Text()); got.By != "eve?by: ann" {
		t.Errorf("a newline in a name made another line: %+v", got)
	}
}

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       Freeze
	}{
		{"empty", "", Freeze{}},
		{"by hand", "holidays\nuntil monday\n", Freeze{Reason: "holidays until monday"}},
		{"no time", "by: a\nat: soon\n", Freeze{By: "a"}},
		{"escapes", "reason: a\x1b[2Jb\u202ec\x00\xff", Freeze{Reason: "a?[2Jb?c?\ufffd"}},
		{"carriage returns", "by: a\r\nreason: b\r\n", Freeze{By: "a", Reason: "b"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := Parse([]byte(tt.text)); got != tt.want {
				t.Errorf("%+v, want %+v", got, tt.want)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add(sample.Text())
	f.Add([]byte("by: \x1b[2J\nat: x\n\n:::"))
	f.Fuzz(func(t *testing.T, text []byte) {
		s := Parse(text).String()
		if len(s) > 8<<10 || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%q of %d bytes", s, len(s))
		}
	})
}

// TestRead: whatever is there counts.
func TestRead(t *testing.T) {
	for _, tt := range []struct {
		name   string
		make   func(path string) error
		frozen bool
		reason string
	}{
		{"nothing", func(string) error { return nil }, false, ""},
		{"text", func(p string) error { return os.WriteFile(p, sample.Text(), 0o644) }, true, sample.Reason},
		{"huge", func(p string) error {
			return errors.Join(os.WriteFile(p, []byte("reason: big\n"), 0o644), os.Truncate(p, 3<<30))
		}, true, "big ?"},
		{"directory", func(p string) error { return os.Mkdir(p, 0o755) }, true, "is not a regular file"},
		{"dangling link", func(p string) error { return os.Symlink("/nowhere", p) }, true, "is not a regular file"},
		{"pipe", func(p string) error { return syscall.Mkfifo(p, 0o644) }, true, "is not a regular file"},
		{"not a directory", func(p string) error {
			return errors.Join(os.RemoveAll(filepath.Dir(p)), os.WriteFile(filepath.Dir(p), nil, 0o644))
		}, true, "not a directory"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "etc", "freeze")
			if err := errors.Join(os.Mkdir(filepath.Dir(path), 0o755), tt.make(path)); err != nil {
				t.Fatal(err)
			}
			f, ok := read(path)
			if ok != tt.frozen || !strings.Contains(f.Reason, tt.reason) {
				t.Errorf("%v %+v", ok, f)
			}
		})
	}
}

func gate(t *testing.T) Gate { return Gate{File: filepath.Join(t.TempDir(), "state", "freeze.json")} }

func TestGate(t *testing.T) {
	g, ctx := gate(t), t.Context()
	if err := g.Check("web1"); err != nil {
		t.Error(err)
	}
	if err := g.Set(ctx, []string{"web1", "web2"}, sample); err != nil {
		t.Fatal(err)
	}
	err := g.Check("web1")
	if diag.KindOf(err) != diag.Refused || !errors.Is(err, ErrFrozen) || !strings.Contains(err.Error(), sample.String()) || diag.HintOf(err) != "lift it with 'bowline unfreeze web1'" {
		t.Errorf("%v (%s)", err, diag.HintOf(err))
	}
	if err := g.Check("db1"); err != nil {
		t.Error(err)
	}
	if err := g.Set(ctx, []string{"web1"}, Freeze{By: "eve"}); err != nil {
		t.Fatal(err)
	}
	if f, _ := g.Find("web1"); f != sample {
		t.Errorf("the second freeze replaced the first: %+v", f)
	}
	if err := g.Set(ctx, []string{All}, sample); err != nil {
		t.Fatal(err)
	}
	if err := g.Check("db1"); diag.HintOf(err) != "lift it with 'bowline unfreeze'" {
		t.Errorf("%v (%s)", err, diag.HintOf(err))
	}
	if _, err := g.Lift(ctx, []string{"web1"}); diag.KindOf(err) != diag.Refused {
		t.Errorf("lifted one of all: %v", err)
	}
	if lifted, err := g.Lift(ctx, []string{All}); err != nil || !reflect.DeepEqual(lifted, []string{All, "web1", "web2"}) {
		t.Errorf("%q, %v", lifted, err)
	}
	if err := g.Check("web1"); err != nil {
		t.Error(err)
	}
	if lifted, err := g.Lift(ctx, []string{All}); err != nil || lifted != nil {
		t.Errorf("%q, %v", lifted, err)
	}
}

// TestGateBroken: what cannot be read is a freeze, and only lifting all mends it.
func TestGateBroken(t *testing.T) {
	for _, text := range []string{"", "{", "[]", `{"schema_version":2}`, "\x00", `{"schema_version":1,"targets":7}`} {
		g := gate(t)
		if err := errors.Join(os.Mkdir(filepath.Dir(g.File), 0o700), os.WriteFile(g.File, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
		if err := g.Check("web1"); diag.KindOf(err) != diag.Refused {
			t.Errorf("%q: %v", text, err)
		}
		if err := g.Set(t.Context(), []string{"a"}, sample); diag.KindOf(err) != diag.Refused {
			t.Errorf("%q: set: %v", text, err)
		}
		if b, _ := os.ReadFile(g.File); string(b) != text {
			t.Errorf("%q became %q", text, b)
		}
		if _, err := g.Lift(t.Context(), []string{All}); err != nil || g.Check("web1") != nil {
			t.Errorf("%q: lift: %v", text, err)
		}
	}
}

// TestGateTogether: two who freeze at once lose nothing.
func TestGateTogether(t *testing.T) {
	g := gate(t)
	var wg sync.WaitGroup
	names := []string{"a", "b", "c", "d", "e", "f", "g", "h"}
	for _, n := range names {
		wg.Go(func() {
			if err := g.Set(context.Background(), []string{n}, sample); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, n := range names {
		if g.Check(n) == nil {
			t.Errorf("%s was lost", n)
		}
	}
}

func TestNamed(t *testing.T) {
	err := Named(sample.Here(), "web1")
	if diag.HintOf(err) != "lift it with 'bowline unfreeze web1', or as root there with 'rm /etc/bowline/freeze'" || !strings.HasPrefix(err.Error(), "check freeze on web1: the target is frozen by ann@desk") {
		t.Errorf("%v (%s)", err, diag.HintOf(err))
	}
	if other := errors.New("x"); Named(other, "web1") != other || Named(nil, "web1") != nil {
		t.Error("another error was changed")
	}
}
