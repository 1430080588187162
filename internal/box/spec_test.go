package box

import (
	"crypto/ed25519"
	"encoding/pem"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/bowline-sh/bowline/diag"
)

func TestSpec(t *testing.T) {
	key, err := newHostKey("x")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		spec Spec
		want string // of the error; "" for none
	}{
		{"digits first", Spec{Name: "123project", Image: "i"}, ""},
		{"no name", Spec{Image: "i"}, "is no name"},
		{"space", Spec{Name: "a b", Image: "i"}, "is no name"},
		{"at", Spec{Name: "a@b", Image: "i"}, "is no name"},
		{"dash first", Spec{Name: "-a", Image: "i"}, "is no name"},
		{"dash last", Spec{Name: "a-", Image: "i"}, "is no name"},
		{"two dashes", Spec{Name: "a--b", Image: "i"}, "is no name"},
		{"dot", Spec{Name: "a.b", Image: "i"}, "is no name"},
		{"upper case", Spec{Name: "Web", Image: "i"}, "is no name"},
		{"too long", Spec{Name: strings.Repeat("a", 41), Image: "i"}, "is no name"},
		{"user", Spec{Name: "a", Image: "i", User: "Invalid User"}, "account inside"},
		{"root", Spec{Name: "a", Image: "i", User: "root"}, "account inside"},
		{"no image", Spec{Name: "a"}, "no image"},
		{"memory", Spec{Name: "a", Image: "i", Memory: 1}, "too small"},
		{"a public key", Spec{Name: "a", Image: "i", Keys: []byte("# mine\n\n" + key.Public + " me@here\n")}, ""},
		{"a private key", Spec{Name: "a", Image: "i", Keys: key.private}, "line 1 is no public key"},
		{"untyped", Spec{Name: "a", Image: "i", Keys: []byte(strings.Fields(key.Public)[1])}, "no public key"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.spec.check()
			if tt.want == "" && err == nil {
				return
			}
			if tt.want == "" || err == nil || !strings.Contains(err.Error(), tt.want) || diag.KindOf(err) != diag.Usage {
				t.Errorf("%v, want %q", err, tt.want)
			}
			if strings.Contains(err.Error(), "PRIVATE") {
				t.Errorf("the error repeats the key: %v", err)
			}
		})
	}
}

func TestNames(t *testing.T) {
	for in, want := range map[string]string{"My_Project": "my-project", "--a  b--": "a-b", "": "box", "ü": "box", strings.Repeat("a", 50): strings.Repeat("a", 40)} {
		if got := Normalize(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	if NameFor("ann@a", "/src/x") == NameFor("ann@b", "/src/x") || NameFor("ann@a", "/src/x") == NameFor("ann@a", "/x/x") {
		t.Error("the same name for two worktrees")
	}
}

// TestHostKeysDiffer: every box has a key of its own, which is a key.
func TestHostKeysDiffer(t *testing.T) {
	a, err := newHostKey("x")
	if err != nil {
		t.Fatal(err)
	}
	b, err := newHostKey("x")
	if err != nil || a.Public == b.Public {
		t.Errorf("%v, %s", err, b.Public)
	}
	block, _ := pem.Decode(a.private)
	key, err := ssh.ParseRawPrivateKey(a.private)
	if _, ok := key.(*ed25519.PrivateKey); err != nil || !ok || block == nil {
		t.Errorf("%T, %v", key, err)
	}
}
