package change

import (
	"strings"
	"testing"
)

func file(sum string) State { return State{Type: File, Mode: 0o644, SHA256: strings.Repeat(sum, 64)} }

func TestResolve(t *testing.T) {
	t.Parallel()
	a, b, c := file("a"), file("b"), file("c")
	for _, tt := range []struct {
		base, now, want State
		verdict         Verdict
	}{
		{a, a, b, Write}, {a, b, b, Noop}, {a, c, b, Conflict}, {a, State{}, b, Conflict}, {a, State{}, State{}, Noop},
		{State{}, State{}, b, Write}, {State{}, c, b, Conflict}, {State{}, b, b, Noop}, {a, a, State{}, Write}, {a, c, State{}, Conflict},
	} {
		if got := Resolve(tt.base, tt.now, tt.want); got != tt.verdict {
			t.Errorf("Resolve(%.4v, %.4v, %.4v) = %s, want %s", tt.base, tt.now, tt.want, got, tt.verdict)
		}
	}
}

func TestSortDeletesDeepestFirstAndLinksLast(t *testing.T) {
	t.Parallel()
	cs := Changeset{
		{Path: "/b", After: file("a"), Link: "/z"}, {Path: "/a/x", After: file("a")}, {Path: "/z", After: file("a")},
		{Path: "/a", After: State{Type: Dir}}, {Path: "/d", Before: State{Type: Dir}}, {Path: "/d/e", Before: file("a")}, {Path: "/a.b", After: file("a")},
	}
	Sort(cs)
	var got []string
	for _, c := range cs {
		got = append(got, string(c.Path))
	}
	if s := strings.Join(got, " "); s != "/d/e /d /a /a/x /a.b /z /b" {
		t.Errorf("order %s", s)
	}
	if err := cs.Valid(); err != nil {
		t.Error(err)
	}
}

func FuzzPath(f *testing.F) {
	f.Add("/a")
	f.Add("base64:x")
	f.Add("/\xff")
	f.Fuzz(func(t *testing.T, s string) {
		b, err := Path(s).MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var p Path
		if err := p.UnmarshalText(b); err != nil || string(p) != s {
			t.Errorf("%q became %q, %v", s, p, err)
		}
	})
}
