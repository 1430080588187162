//go:build unix

package ssh

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/testkit"
)

func fingerprintOf(key ssh.PublicKey) string { return ssh.FingerprintSHA256(key) }

// strangerKey is a host key that no server has.
func strangerKey(t testing.TB) ssh.PublicKey {
	t.Helper()
	_, pub := testkit.ClientKey(t, t.TempDir(), "stranger")
	return pub
}

func TestGoodKey(t *testing.T) {
	s := testkit.SSHD(t)
	mustWork(t, mustDial(t, targetOf(s), isolated(t, s.KnownHostsLine())))
}

func TestUnknownKeyIsRefused(t *testing.T) {
	s := testkit.SSHD(t)
	cfg := isolated(t)
	refused(t, targetOf(s), cfg, diag.Untrusted, "connect to web1 ("+s.User+"@"+s.Addr+")", "unknown",
		"ssh-ed25519 "+s.HostKeyFingerprint, "bowline target trust web1 --fingerprint "+s.HostKeyFingerprint)
	if data, err := os.ReadFile(cfg.KnownHosts[0]); err != nil || strings.TrimSpace(string(data)) != "" {
		t.Errorf("known_hosts now holds %q, %v; want nothing written", data, err)
	}
	if strings.Contains(s.Log(), "Accepted") || strings.Contains(s.Log(), "Postponed publickey") {
		t.Errorf("the client went on to authenticate:\n%s", s.Log())
	}
}

func TestMissingKnownHostsFileIsEmpty(t *testing.T) {
	s := testkit.SSHD(t)
	cfg := isolated(t)
	cfg.KnownHosts = []string{filepath.Join(t.TempDir(), "none")}
	refused(t, targetOf(s), cfg, diag.Untrusted, "unknown")
	if _, err := os.Stat(cfg.KnownHosts[0]); err == nil {
		t.Error("the known_hosts file was made")
	}
}

func TestChangedKeyIsRefused(t *testing.T) {
	s := testkit.SSHD(t)
	old := strangerKey(t)
	cfg := isolated(t, "# a comment", knownhosts.Line([]string{s.Addr}, old))
	refused(t, targetOf(s), cfg, diag.Untrusted, "CHANGED", s.HostKeyFingerprint, fingerprintOf(old),
		cfg.KnownHosts[0]+":2", "administrator", "bowline target trust web1 --fingerprint "+s.HostKeyFingerprint)
}

func TestKeyOfAnotherTypePinnedIsChanged(t *testing.T) {
	s := testkit.SSHD(t)
	old := testkit.NewKey(t, filepath.Join(t.TempDir(), "k"), "rsa")
	refused(t, targetOf(s), isolated(t, knownhosts.Line([]string{s.Addr}, old)), diag.Untrusted,
		"CHANGED", fingerprintOf(old), s.HostKeyFingerprint)
}

func TestRevokedKeyIsRefused(t *testing.T) {
	s := testkit.SSHD(t)
	line := "@revoked * " + strings.TrimSpace(string(ssh.MarshalAuthorizedKey(s.HostPublicKey)))
	refused(t, targetOf(s), isolated(t, s.KnownHostsLine(), line), diag.Untrusted, "revoked", s.HostKeyFingerprint)
}

func TestHashedKnownHosts(t *testing.T) {
	s := testkit.SSHD(t)
	key := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(s.HostPublicKey)))
	name := knownhosts.HashHostname(knownhosts.Normalize(s.Addr))
	mustWork(t, mustDial(t, targetOf(s), isolated(t, name+" "+key)))
	other := knownhosts.HashHostname("[127.0.0.1]:1")
	refused(t, targetOf(s), isolated(t, other+" "+key), diag.Untrusted, "unknown")
}

func TestPortMatters(t *testing.T) {
	s := testkit.SSHD(t)
	other := knownhosts.Line([]string{"127.0.0.1:1"}, s.HostPublicKey)
	refused(t, targetOf(s), isolated(t, other), diag.Untrusted, "unknown")
	// The same key under the plain name is good enough, as for ssh; another
	// key there says nothing about this port.
	mustWork(t, mustDial(t, targetOf(s), isolated(t, knownhosts.Line([]string{"127.0.0.1"}, s.HostPublicKey))))
	refused(t, targetOf(s), isolated(t, knownhosts.Line([]string{"127.0.0.1"}, strangerKey(t))), diag.Untrusted, "unknown")
}

func TestJunkLinesAreIgnored(t *testing.T) {
	s := testkit.SSHD(t)
	mustWork(t, mustDial(t, targetOf(s), isolated(t, "junk", "@what * ssh-ed25519 AAAA", "a b", "host ssh-rsa !!!!",
		"\x00\xff", s.KnownHostsLine())))
}

func TestServerWithManyKeysOffersThePinnedOne(t *testing.T) {
	s := testkit.SSHD(t, testkit.HostKeyTypes("rsa", "ecdsa", "ed25519"))
	for _, key := range s.HostKeys {
		t.Run(key.Type(), func(t *testing.T) {
			c := mustDial(t, targetOf(s), isolated(t, knownhosts.Line([]string{s.Addr}, key)))
			if got := c.Info().Fingerprint; got != fingerprintOf(key) {
				t.Errorf("server offered %s, pinned is %s", got, fingerprintOf(key))
			}
		})
	}
}

func TestHostCertificate(t *testing.T) {
	ca, other := testkit.NewCA(t), testkit.NewCA(t)
	s := testkit.SSHD(t, testkit.HostCertificate(ca, []string{"127.0.0.1"}))
	pattern := "[127.0.0.1]:*"

	t.Run("RightCA", func(t *testing.T) {
		c := mustDial(t, targetOf(s), isolated(t, ca.KnownHostsLine(pattern)))
		mustWork(t, c)
		if c.Info().Fingerprint != s.HostKeyFingerprint {
			t.Errorf("Info tells of %s, want the host's own key", c.Info().Fingerprint)
		}
	})
	t.Run("WrongCA", func(t *testing.T) {
		refused(t, targetOf(s), isolated(t, other.KnownHostsLine(pattern)), diag.Untrusted,
			"unknown", fingerprintOf(ca.PublicKey), s.HostKeyFingerprint)
	})
	t.Run("CAForOtherHosts", func(t *testing.T) {
		refused(t, targetOf(s), isolated(t, ca.KnownHostsLine("*.example.com")), diag.Untrusted, "unknown")
	})
	t.Run("CAKeyIsNoHostKey", func(t *testing.T) {
		// What vouches for hosts is not itself one.
		p := hostPolicy{identify("127.0.0.1", 22, ""), []*hostFile{parseHostFile([]byte(ca.KnownHostsLine("*")), "f")}, nil}
		if got := p.judge(ca.PublicKey).Trust; got != Unknown {
			t.Errorf("the authority's own key is %s", got)
		}
	})
	t.Run("PlainKeyPinnedBesidesStrangeCA", func(t *testing.T) {
		mustWork(t, mustDial(t, targetOf(s), isolated(t, other.KnownHostsLine(pattern), s.KnownHostsLine())))
	})
	t.Run("RevokedCA", func(t *testing.T) {
		revoked := strings.Replace(ca.KnownHostsLine("*"), "@cert-authority", "@revoked", 1)
		refused(t, targetOf(s), isolated(t, ca.KnownHostsLine(pattern), revoked), diag.Untrusted, "revoked")
	})
}

func TestExpiredHostCertificateIsRefused(t *testing.T) {
	ca := testkit.NewCA(t)
	s := testkit.SSHD(t, testkit.HostCertificate(ca, []string{"127.0.0.1"}, testkit.Expired))
	refused(t, targetOf(s), isolated(t, ca.KnownHostsLine("*")), diag.Untrusted, "expired")
}

func TestHostCertificateForAnotherPrincipalIsRefused(t *testing.T) {
	ca := testkit.NewCA(t)
	s := testkit.SSHD(t, testkit.HostCertificate(ca, []string{"web2.example.com"}))
	refused(t, targetOf(s), isolated(t, ca.KnownHostsLine("*")), diag.Untrusted, "principal")
}

func TestHostCertificateForNobodyIsRefused(t *testing.T) {
	ca := testkit.NewCA(t)
	s := testkit.SSHD(t, testkit.HostCertificate(ca, nil))
	refused(t, targetOf(s), isolated(t, ca.KnownHostsLine("*")), diag.Untrusted, "names no host")
}

func TestUserCertificateIsNoHostCertificate(t *testing.T) {
	ca := testkit.NewCA(t)
	dir := t.TempDir()
	_, pub := testkit.ClientKey(t, dir, "k")
	cert := ca.SignUser(t, filepath.Join(dir, "cert"), pub, []string{"web1"})
	p := hostPolicy{identify("web1", 22, ""), []*hostFile{parseHostFile([]byte(ca.KnownHostsLine("*")), "f")}, nil}
	if got := p.judge(cert).Trust; got != Rejected {
		t.Errorf("a user certificate as host key is %s, want %s", got, Rejected)
	}
}

func TestWeakHostKeyIsRejectedEvenIfPinned(t *testing.T) {
	weak := testkit.NewKey(t, filepath.Join(t.TempDir(), "weak"), "rsa1024")
	p := hostPolicy{identify("web1", 22, ""), []*hostFile{parseHostFile([]byte(knownhosts.Line([]string{"web1"}, weak)), "f")}, nil}
	if got := p.judge(weak); got.Trust != Rejected || !strings.Contains(got.Problem, "1024") {
		t.Errorf("RSA with 1024 bits is %s: %s", got.Trust, got.Problem)
	}
}

func TestKnownHostsIsReadAgainWhenItChanges(t *testing.T) {
	s := testkit.SSHD(t)
	cfg := isolated(t)
	d := New(cfg)
	if _, err := d.Dial(t.Context(), targetOf(s)); diag.KindOf(err) != diag.Untrusted {
		t.Fatalf("Dial = %v, want untrusted", err)
	}
	if err := os.WriteFile(cfg.KnownHosts[0], []byte(s.KnownHostsLine()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := d.Dial(t.Context(), targetOf(s))
	if err != nil {
		t.Fatalf("Dial after the key was pinned: %v", err)
	}
	c.Close()
}

func TestKnownHostsIsParsedOnce(t *testing.T) {
	path := testkit.WriteFile(t, "known_hosts", "a ssh-ed25519 AAAA\n", 0o600)
	var files hostFiles
	first, err := files.load([]string{path})
	if err != nil {
		t.Fatal(err)
	}
	second, err := files.load([]string{path})
	if err != nil || first[0] != second[0] {
		t.Errorf("an unchanged file was parsed again (%v)", err)
	}
}

func TestScan(t *testing.T) {
	s := testkit.SSHD(t)
	tg := targetOf(s)
	tg.KeyFile = "/nonexistent" // nobody logs in
	scan := func(t *testing.T, lines ...string) HostKey {
		t.Helper()
		h, err := Scan(t.Context(), tg, isolated(t, lines...))
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	unknown := scan(t)
	if unknown.Trust != Unknown || unknown.Type != "ssh-ed25519" || unknown.Fingerprint != s.HostKeyFingerprint || unknown.Line != s.KnownHostsLine() {
		t.Errorf("Scan = %+v, want the unknown key of the server and the line %q", unknown, s.KnownHostsLine())
	}
	// What Scan says to write makes the key known.
	if got := scan(t, unknown.Line); got.Trust != Known || len(got.Pins) != 1 {
		t.Errorf("Scan with the line it gave = %+v", got)
	}
	old := strangerKey(t)
	if got := scan(t, knownhosts.Line([]string{s.Addr}, old)); got.Trust != Changed || got.Pins[0].Fingerprint != fingerprintOf(old) {
		t.Errorf("Scan with another key pinned = %+v", got)
	}
	if got := scan(t, "@revoked * "+strings.TrimSpace(string(ssh.MarshalAuthorizedKey(s.HostPublicKey)))); got.Trust != Revoked {
		t.Errorf("Scan of a revoked key = %+v", got)
	}
	if strings.Contains(s.Log(), "userauth") || strings.Contains(s.Log(), "invalid user") || strings.Contains(s.Log(), "Failed") {
		t.Errorf("Scan tried to log in:\n%s", s.Log())
	}
}

func TestScanOfHostCertificate(t *testing.T) {
	ca := testkit.NewCA(t)
	s := testkit.SSHD(t, testkit.HostCertificate(ca, []string{"127.0.0.1"}))
	h, err := Scan(t.Context(), targetOf(s), isolated(t, ca.KnownHostsLine("*")))
	if err != nil || h.Trust != Certified || h.Authority != fingerprintOf(ca.PublicKey) || h.Line != s.KnownHostsLine() {
		t.Errorf("Scan = %+v, %v", h, err)
	}
}
