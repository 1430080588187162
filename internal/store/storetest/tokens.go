package storetest

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bowline-sh/bowline/internal/store"
)

// tokens checks the contract of [store.Tokens].
func tokens(t *testing.T, s store.Store) {
	ctx := t.Context()
	want := store.Token{ID: "abc", Name: "ci", Hash: []byte{0, 255}, User: "ann", Scopes: "read,run", Selector: "@prod", Profiles: "readonly",
		Maker: "bob", Created: now, Expires: now.Add(time.Hour)}
	if err := s.CreateToken(ctx, want); err != nil {
		t.Fatal(err)
	}
	if err := s.CreateToken(ctx, want); !errors.Is(err, store.ErrExists) {
		t.Errorf("second CreateToken = %v", err)
	}
	if err := s.CreateToken(ctx, store.Token{ID: "old", Hash: []byte{1}, Created: now.Add(-time.Hour)}); err != nil {
		t.Fatal(err)
	}
	got, err := s.Token(ctx, "abc")
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Error(d, err)
	}
	if _, err := s.Token(ctx, "none"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Token of nothing = %v", err)
	}
	if err := errors.Join(s.UseToken(ctx, "abc", now.Add(time.Minute)), s.UseToken(ctx, "none", now)); err != nil {
		t.Error(err)
	}
	for _, at := range []time.Duration{2, 3} { // the first counts
		if err := s.RevokeToken(ctx, "abc", now.Add(at*time.Minute)); err != nil {
			t.Error(err)
		}
	}
	if err := s.RevokeToken(ctx, "none", now); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("RevokeToken of nothing = %v", err)
	}
	want.Used, want.Revoked = now.Add(time.Minute), now.Add(2*time.Minute)
	list, err := s.Tokens(ctx)
	if err != nil || len(list) != 2 || list[1].ID != "old" {
		t.Fatalf("%+v, %v", list, err)
	}
	if d := cmp.Diff(want, list[0]); d != "" {
		t.Error(d)
	}
}
