package authkeys

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

func testKey(t testing.TB, seed byte) ssh.PublicKey {
	t.Helper()
	private := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
	k, err := ssh.NewPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// fill writes OLD, NEW and OTHER as keys.
func fill(t testing.TB, text string) string {
	line := func(seed byte) string { return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(testKey(t, seed)))) }
	return strings.NewReplacer("OLD", line(1), "NEW", line(2), "OTHER", line(3)).Replace(text)
}

func TestSucceed(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, in, want string }{
		{"plain", "OLD me@here\n", "OLD me@here\nNEW c\n"},
		{"without comment", "OLD\nOTHER\n", "OLD\nNEW c\nOTHER\n"},
		{"last line without end", "OTHER\nOLD x", "OTHER\nOLD x\nNEW c\n"},
		{"CR LF", "OLD x\r\nOTHER\r\n", "OLD x\r\nNEW c\r\nOTHER\r\n"},
		{"options", `from="10.0.0.0/8",restrict OLD x` + "\n", `from="10.0.0.0/8",restrict OLD x` + "\n" + `from="10.0.0.0/8",restrict NEW c` + "\n"},
		{"quotes in options", `command="echo \"a b\" # c",no-pty OLD` + "\n", `command="echo \"a b\" # c",no-pty OLD` + "\n" + `command="echo \"a b\" # c",no-pty NEW c` + "\n"},
		{"two lines", "from=\"a\" OLD\nOTHER\nfrom=\"b\" OLD\n", "from=\"a\" OLD\nfrom=\"a\" NEW c\nOTHER\nfrom=\"b\" OLD\nfrom=\"b\" NEW c\n"},
		{"what nobody understands stays", "# OLD\n\n  \nssh-rsa !!!\n\tOLD x\n\x00\xff\n", "# OLD\n\n  \nssh-rsa !!!\n\tOLD x\nNEW c\n\x00\xff\n"},
		{"there already", "OLD x\nNEW by hand\n", "OLD x\nNEW by hand\n"},
		{"authority is no key", "cert-authority OLD ca\nOLD x\n", "cert-authority OLD ca\nOLD x\nNEW c\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Succeed([]byte(fill(t, tt.in)), testKey(t, 1), testKey(t, 2), "c")
			if err != nil || string(got) != fill(t, tt.want) {
				t.Errorf("got %q, %v\nwant %q", got, err, fill(t, tt.want))
			}
		})
	}
}

func TestSucceedRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, in string
		want     error
	}{
		{"no old", "OTHER\n", ErrNoOld},
		{"empty", "", ErrNoOld},
		{"old is only an authority", "cert-authority OLD\n", ErrNoOld},
		{"old only in a comment", "#OLD\n", ErrNoOld},
		{"new stands there with more rights", `restrict OLD` + "\nNEW\n", ErrOtherOptions},
		{"new stands there with fewer rights", "OLD\nrestrict NEW\n", ErrOtherOptions},
		{"new has one more line", "OLD\nNEW\nrestrict NEW\n", ErrOtherOptions},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := Succeed([]byte(fill(t, tt.in)), testKey(t, 1), testKey(t, 2), "c"); !errors.Is(err, tt.want) {
				t.Errorf("got %q, %v; want %v", got, err, tt.want)
			}
		})
	}
}

func TestWithout(t *testing.T) {
	t.Parallel()
	in := fill(t, "# keys\nOTHER\nrestrict OLD x\n\nOLD\ncert-authority OLD ca\nOTHER last")
	got, n := Without([]byte(in), testKey(t, 1))
	if want := fill(t, "# keys\nOTHER\n\ncert-authority OLD ca\nOTHER last"); string(got) != want || n != 2 {
		t.Errorf("got %q, %d; want %q", got, n, want)
	}
	if !Has([]byte(in), testKey(t, 3)) || Has(got, testKey(t, 1)) || Find([]byte(in), ssh.FingerprintSHA256(testKey(t, 1))) == nil || Find(got, ssh.FingerprintSHA256(testKey(t, 1))) != nil {
		t.Error("Has and Find disagree with what stands there")
	}
}

func TestLineEndsOnce(t *testing.T) {
	t.Parallel()
	if got := Line("", testKey(t, 1), "a\nssh-ed25519 evil\x1b[0m"); strings.ContainsAny(got, "\n\x1b") {
		t.Errorf("%q", got)
	}
}

// FuzzEdit: what is added can be taken out again, which leaves the file as it was, and
// lines of others are never touched.
func FuzzEdit(f *testing.F) {
	for _, s := range []string{"OLD x\n", "command=\"a\\\" b\" OLD", "OTHER\r\nOLD\r\n", "cert-authority OLD\nOLD", "\" OLD\n", "#\n\\\" OLD OLD"} {
		f.Add(fill(f, s))
	}
	f.Fuzz(func(t *testing.T, text string) {
		in, old, successor := []byte(text), testKey(t, 1), testKey(t, 2)
		if Has(in, successor) {
			return
		}
		out, err := Succeed(in, old, successor, "c")
		if err != nil {
			if Has(in, old) {
				t.Errorf("Succeed(%q): %v", text, err)
			}
			return
		}
		back, n := Without(out, successor)
		if n == 0 || string(back) != text && string(back) != text+"\n" && string(back) != text+"\r\n" {
			t.Errorf("%q became %q, and back %q", text, out, back)
		}
		left, _ := Without(out, old)
		if Has(left, old) || !Has(left, successor) {
			t.Errorf("%q became %q", text, left)
		}
	})
}
