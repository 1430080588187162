package helper

import (
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/bowline-sh/bowline/change"
	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/sshsig"
	"github.com/bowline-sh/bowline/internal/testkit"
	"github.com/bowline-sh/bowline/plan"
)

func newKey(t *testing.T) (ssh.Signer, string) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return s, strings.TrimSpace(string(ssh.MarshalAuthorizedKey(s.PublicKey())))
}

func samplePlan() plan.Plan {
	return plan.Plan{Version: plan.Version, Session: "20261121-x-a3f2", HostKey: "SHA256:host", Mode: plan.Root,
		Ops: []plan.Operation{{Change: &change.Change{Path: "/a", After: change.State{Type: change.Dir, Mode: 0o755}}}}}
}

// signed is an approval of p, signed over what it says.
func signed(t *testing.T, key ssh.Signer, namespace string, p plan.Plan) plan.Approval {
	t.Helper()
	digest, err := p.Digest()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().UTC()
	a := plan.Approval{ID: "a", Session: p.Session, Digest: digest, HostKey: p.HostKey, User: "ann", Host: "desk", Created: now, Expires: now.Add(time.Hour)}
	if a.Signature, a.KeyID, err = sshsig.Sign(key, namespace, a.Statement(len(p.Ops))); err != nil {
		t.Fatal(err)
	}
	return a
}

// etc is a policy directory that belongs to root.
func etc(t *testing.T, files map[string]string) policy {
	t.Helper()
	testkit.Root(t)
	dir := filepath.Join(testkit.Dir(t), "etc")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return policy{dir}
}

// TestOnlyTheRightSignatureIsAccepted by the target, whatever the client says.
func TestOnlyTheRightSignatureIsAccepted(t *testing.T) {
	testkit.Tool(t, "ssh-keygen")
	key, pub := newKey(t)
	other, _ := newKey(t)
	p := samplePlan()
	good := signed(t, key, plan.SignatureNamespace, p)
	with := func(f func(a *plan.Approval)) plan.Approval { a := good; f(&a); return a }
	moved := p
	moved.HostKey = "SHA256:elsewhere"
	for _, tt := range []struct {
		name, signers string
		approval      plan.Approval
		plan          plan.Plan
		want          string // in the error; "" for none
	}{
		{"right", "ann " + pub, good, p, ""},
		{"namespace named", `ann namespaces="bowline-approval" ` + pub, good, p, ""},
		{"not signed", "ann " + pub, with(func(a *plan.Approval) { a.Signature = "" }), p, "is not signed"},
		{"wrong key", "ann " + pub, signed(t, other, plan.SignatureNamespace, p), p, "nobody whom it names"},
		{"signer expired", `ann valid-before="20200101Z" ` + pub, good, p, "nobody whom it names"},
		{"signer not yet", `ann valid-after="20990101Z" ` + pub, good, p, "nobody whom it names"},
		{"key for another namespace", `ann namespaces="git" ` + pub, good, p, "ssh-keygen"},
		{"made in another namespace", "ann " + pub, signed(t, key, "git", p), p, "ssh-keygen"},
		{"another session", "ann " + pub, with(func(a *plan.Approval) { a.Session = "20261121-y-a3f2" }), p, "verify"},
		{"another digest", "ann " + pub, with(func(a *plan.Approval) { a.Digest = "sha256:0" }), p, "verify"},
		{"another host", "ann " + pub, with(func(a *plan.Approval) { a.HostKey = "SHA256:z" }), p, "verify"},
		{"another number of operations", "ann " + pub, good, plan.Plan{Session: p.Session, HostKey: p.HostKey}, "verify"},
		{"longer life", "ann " + pub, with(func(a *plan.Approval) { a.Expires = a.Expires.Add(time.Hour) }), p, "verify"},
		{"used under another id", "ann " + pub, with(func(a *plan.Approval) { a.ID = "b" }), p, "verify"},
		{"plan of another host", "ann " + pub, signed(t, key, plan.SignatureNamespace, moved), moved, "was made for the host"},
		{"empty file", "", good, p, "nobody whom it names"},
		{"garbage", "ann " + pub, with(func(a *plan.Approval) { a.Signature = "-----BEGIN SSH SIGNATURE-----\nAAAA" }), p, "nobody whom it names"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := etc(t, map[string]string{signersFile: tt.signers + "\n", namesFile: "SHA256:host\nSHA256:second\n"}).verify(t.Context(), tt.approval, tt.plan)
			if tt.want == "" && err != nil || tt.want != "" && (diag.KindOf(err) != diag.Denied || !strings.Contains(fmt.Sprint(err), tt.want)) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

// TestNoDemandWithoutFile, and none that others could have written.
func TestPolicyFiles(t *testing.T) {
	p := samplePlan()
	if err := (policy{"/nonexistent"}).verify(t.Context(), plan.Approval{}, p); err != nil {
		t.Errorf("no demand: %v", err)
	}
	for name, spoil := range map[string]func(dir string) error{
		"writable file":      func(dir string) error { return os.Chmod(filepath.Join(dir, signersFile), 0o666) },
		"another's file":     func(dir string) error { return os.Chown(filepath.Join(dir, signersFile), 1000, 0) },
		"writable directory": func(dir string) error { return os.Chmod(dir, 0o775) },
		"link": func(dir string) error {
			if err := os.Rename(filepath.Join(dir, signersFile), filepath.Join(dir, "x")); err != nil {
				return err
			}
			return os.Symlink("x", filepath.Join(dir, signersFile))
		},
	} {
		e := etc(t, map[string]string{signersFile: ""})
		if err := spoil(e.dir); err != nil {
			t.Fatal(err)
		}
		if err := e.verify(t.Context(), plan.Approval{}, p); diag.KindOf(err) != diag.Denied || !strings.Contains(err.Error(), "must belong to root") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
