package token_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/bowline-sh/bowline/internal/policy"
	"github.com/bowline-sh/bowline/internal/token"
)

func TestSecret(t *testing.T) {
	id, secret := token.New()
	got, ok := token.ID(secret)
	if !ok || got != id || !strings.HasPrefix(secret, "bwl_") {
		t.Errorf("ID(%q) = %q, %v", secret, got, ok)
	}
	hash := token.Hash(secret)
	if !token.Match(secret, hash) || token.Match(secret+"x", hash) || token.Match("", hash) || token.Match(secret, nil) {
		t.Error("Match")
	}
	if _, other := token.New(); other == secret {
		t.Error("two secrets are alike")
	}
}

func FuzzID(f *testing.F) {
	_, secret := token.New()
	f.Add(secret)
	f.Add("bwl__")
	f.Add("bwl_abcdefghij_")
	f.Fuzz(func(t *testing.T, s string) {
		id, ok := token.ID(s)
		if ok && (!strings.HasPrefix(s, "bwl_"+id+"_") || len(s) != len(secret)) || !ok && id != "" {
			t.Errorf("ID(%q) = %q, %v", s, id, ok)
		}
	})
}

func TestParseSet(t *testing.T) {
	s, err := token.ParseSet("apply, read,apply")
	if err != nil || s.String() != "read,apply" || s.Separate() != nil {
		t.Errorf("%v, %v", s, err)
	}
	for _, bad := range []string{"", "read,", "root", "READ"} {
		if _, err := token.ParseSet(bad); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
	both, err := token.ParseSet("plan,approve")
	if err != nil || !errors.Is(both.Separate(), token.ErrBoth) {
		t.Errorf("%v, %v", both.Separate(), err)
	}
	if s.Has(token.Approve) || !(token.Set{token.Admin}).Has(token.Approve) || (token.Set{token.Admin}).Has(token.Host) {
		t.Error("Has")
	}
}

// TestPermit: every verb of the policy needs a scope, and only the right one.
func TestPermit(t *testing.T) {
	only := func(s token.Scope) *token.Grant {
		return &token.Grant{Name: "ci", Scopes: token.Set{s}, Target: func(name string) bool { return name == "web1" }, Profiles: []string{"readonly"}}
	}
	for _, do := range policy.Verbs() {
		var allow []token.Scope
		for _, s := range token.Scopes() {
			if only(s).Permit(do, "web1", "readonly") == nil {
				allow = append(allow, s)
			}
			if only(s).Permit(do, "web2", "readonly") == nil || only(s).Permit(do, "web1", "admin") == nil {
				t.Errorf("%s with %s elsewhere", do, s)
			}
		}
		if len(allow) != 2 || !slices.Contains(allow, token.Admin) {
			t.Errorf("%s is allowed by %v", do, allow)
		}
	}
	if only(token.Admin).Permit("format", "web1", "") == nil {
		t.Error("an unknown verb is allowed")
	}
}
