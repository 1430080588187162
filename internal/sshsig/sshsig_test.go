package sshsig_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/bowline-sh/bowline/internal/sshsig"
	"github.com/bowline-sh/bowline/internal/testkit"
)

const space = "bowline-approval"

var message = []byte("{\"digest\":\"sha256:x\"}\n")

// maker makes a key with ssh-keygen and returns it as a signer, and its public line.
func maker(t *testing.T, dir, name, typ string) (ssh.Signer, string) {
	t.Helper()
	file := filepath.Join(dir, name)
	keygen(t, "", "-q", "-t", typ, "-N", "", "-C", "", "-f", file)
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.ParsePrivateKey(b)
	if err != nil {
		t.Fatal(err)
	}
	pub, err := os.ReadFile(file + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	return key, strings.TrimSpace(string(pub))
}

func keygen(t *testing.T, stdin string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command(testkit.Tool(t, "ssh-keygen"), args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// theirs is the verdict of ssh-keygen -Y verify.
func theirs(t *testing.T, dir, signers, who, ns, sig string, at time.Time) bool {
	t.Helper()
	file := filepath.Join(dir, "signers")
	if err := os.WriteFile(file, []byte(signers), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file+".sig", []byte(sig), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := keygen(t, string(message), "-Y", "verify", "-f", file, "-I", who, "-n", ns, "-s", file+".sig", "-O", "verify-time="+at.UTC().Format("20060102150405")+"Z")
	return err == nil
}

// TestVerdictsAreThoseOfOpenSSH: for every key type and every way to be wrong, this
// package and ssh-keygen -Y verify agree.
func TestVerdictsAreThoseOfOpenSSH(t *testing.T) {
	dir := t.TempDir()
	at := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	for _, typ := range []string{"ed25519", "ecdsa", "rsa"} {
		key, pub := maker(t, dir, typ, typ)
		_, other := maker(t, dir, typ+"-other", typ)
		sig, fp, err := sshsig.Sign(key, space, message)
		if err != nil || !strings.HasPrefix(fp, "SHA256:") {
			t.Fatal(fp, err)
		}
		foreign, _, err := sshsig.Sign(key, "file", message)
		if err != nil {
			t.Fatal(err)
		}
		forged, _, err := sshsig.Sign(key, space, []byte("another"))
		if err != nil {
			t.Fatal(err)
		}
		for _, tt := range []struct {
			name, signers, sig string
			want               bool
		}{
			{"right", "ann " + pub, sig, true},
			{"two lines", "bob " + other + "\n\n# c\nann " + pub + "\n", sig, true},
			{"namespace named", `ann namespaces="git,bowline-*" ` + pub, sig, true},
			{"namespace excluded", `ann namespaces="*,!bowline-approval" ` + pub, sig, false},
			{"other namespace allowed", `ann namespaces="file" ` + pub, sig, false},
			{"made in another namespace", "ann " + pub, foreign, false},
			{"another message", "ann " + pub, forged, false},
			{"another key", "ann " + other, sig, false},
			{"in its window", `ann valid-after="20261101",valid-before="202612010000Z" ` + pub, sig, true},
			{"not yet", `ann valid-after="20261201Z" ` + pub, sig, false},
			{"no longer", `ann valid-before="20261101000000Z" ` + pub, sig, false},
			{"authority only", "ann cert-authority " + pub, sig, false},
			{"nobody", "", sig, false},
			{"damaged", "ann " + pub, strings.Replace(sig, "AAAA", "AAAB", 1), false},
		} {
			signers, err := sshsig.ParseSigners(tt.signers)
			if err != nil {
				t.Fatalf("%s: %v", tt.name, err)
			}
			who, err := signers.Verify(space, message, tt.sig, at)
			if (err == nil) != tt.want || tt.want && who != "ann" {
				t.Errorf("%s, %s: %q, %v; want %v", typ, tt.name, who, err, tt.want)
			}
			if got := theirs(t, dir, tt.signers, "ann", space, tt.sig, at); got != tt.want {
				t.Errorf("%s, %s: ssh-keygen says %v, want %v", typ, tt.name, got, tt.want)
			}
		}
	}
}

// TestTheirSignatures are accepted too.
func TestTheirSignatures(t *testing.T) {
	dir := t.TempDir()
	_, pub := maker(t, dir, "key", "ed25519")
	file := filepath.Join(dir, "m")
	if err := os.WriteFile(file, message, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := keygen(t, "", "-Y", "sign", "-f", filepath.Join(dir, "key"), "-n", space, file); err != nil {
		t.Fatal(out, err)
	}
	sig, err := os.ReadFile(file + ".sig")
	if err != nil {
		t.Fatal(err)
	}
	signers, err := sshsig.ParseSigners("ann " + pub)
	if err != nil {
		t.Fatal(err)
	}
	if who, err := signers.Verify(space, message, string(sig), time.Now()); err != nil || who != "ann" {
		t.Errorf("%q, %v", who, err)
	}
}

// TestCertificates: a certificate counts for the principals that it and the authority's
// line name, while it is valid.
func TestCertificates(t *testing.T) {
	dir := t.TempDir()
	_, ca := maker(t, dir, "ca", "ed25519")
	key, _ := maker(t, dir, "key", "ed25519")
	if out, err := keygen(t, "", "-q", "-s", filepath.Join(dir, "ca"), "-I", "id", "-n", "ann@example.com", "-V", "20261101000000Z:20261201000000Z", filepath.Join(dir, "key.pub")); err != nil {
		t.Fatal(out, err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "key-cert.pub"))
	if err != nil {
		t.Fatal(err)
	}
	pub, _, _, _, err := ssh.ParseAuthorizedKey(b)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewCertSigner(pub.(*ssh.Certificate), key)
	if err != nil {
		t.Fatal(err)
	}
	sig, _, err := sshsig.Sign(signer, space, message)
	if err != nil {
		t.Fatal(err)
	}
	in, out := time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC), time.Date(2027, 11, 21, 0, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name, signers string
		at            time.Time
		want          bool
	}{
		{"right", "*@example.com cert-authority " + ca, in, true},
		{"expired", "*@example.com cert-authority " + ca, out, false},
		{"another principal", "*@example.org cert-authority " + ca, in, false},
		{"no authority", "*@example.com " + ca, in, false},
	} {
		signers, err := sshsig.ParseSigners(tt.signers)
		if err != nil {
			t.Fatal(err)
		}
		if who, err := signers.Verify(space, message, sig, tt.at); (err == nil) != tt.want || tt.want && who != "ann@example.com" {
			t.Errorf("%s: %q, %v", tt.name, who, err)
		}
		if got := theirs(t, dir, tt.signers, "ann@example.com", space, sig, tt.at); got != tt.want {
			t.Errorf("%s: ssh-keygen says %v", tt.name, got)
		}
	}
}

func TestBadFiles(t *testing.T) {
	_, pub := maker(t, t.TempDir(), "key", "ed25519")
	for text, want := range map[string]string{
		"ann":                           "line 1: the key is missing",
		"\nann ssh-ed25519 AAAA":        "line 2: it has no key",
		`ann valid-after="soon" ` + pub: "not a time",
		`ann no-touch ` + pub:           `unknown option "no-touch"`,
		`"ann ` + pub:                   "the key is missing",
	} {
		if _, err := sshsig.ParseSigners(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func FuzzSigners(f *testing.F) {
	f.Add(`ann namespaces="a" ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGd0`, "-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----")
	f.Fuzz(func(t *testing.T, text, sig string) {
		s, err := sshsig.ParseSigners(text)
		if err != nil {
			return
		}
		if who, err := s.Verify(space, message, sig, time.Now()); err == nil {
			t.Errorf("%q was accepted", who)
		}
	})
}
