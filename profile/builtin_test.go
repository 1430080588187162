package profile

import "testing"

func TestBuiltin(t *testing.T) {
	names := BuiltinNames()
	if len(names) != 5 {
		t.Fatalf("built-in profiles: %v", names)
	}
	for _, n := range names {
		p, err := Builtin(n)
		if err != nil {
			t.Fatal(err)
		}
		if p.Name != n || p.Description == "" {
			t.Errorf("%s: name %q, description %q", n, p.Name, p.Description)
		}
	}
}
