//go:build unix

package testkit

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// NewKey writes a new key pair to path and path.pub and returns its public
// half. typ is "ed25519", "rsa" (3072 bits), "rsa1024", "rsa2048" or "ecdsa"
// (P-256).
func NewKey(t testing.TB, path, typ string) ssh.PublicKey {
	t.Helper()
	private, err := generateKey(typ)
	if err != nil {
		t.Fatalf("generate %s key: %v", typ, err)
	}
	return writeKeyPair(t, path, private)
}

func generateKey(typ string) (crypto.Signer, error) {
	switch typ {
	case "rsa":
		return rsa.GenerateKey(rand.Reader, 3072)
	case "rsa1024":
		return rsa.GenerateKey(rand.Reader, 1024)
	case "rsa2048":
		return rsa.GenerateKey(rand.Reader, 2048)
	case "ecdsa":
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ed25519":
		_, private, err := ed25519.GenerateKey(nil)
		return private, err
	}
	panic("testkit: unknown key type " + typ)
}

func writeKeyPair(t testing.TB, path string, private crypto.Signer) ssh.PublicKey {
	t.Helper()
	block, err := ssh.MarshalPrivateKey(private, "bowline test")
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, path, pem.EncodeToMemory(block), 0o600)
	pub, err := ssh.NewPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, path+".pub", ssh.MarshalAuthorizedKey(pub), 0o644)
	return pub
}

// EncryptedKey writes a new ed25519 key pair whose private half needs
// passphrase.
func EncryptedKey(t testing.TB, path, passphrase string) ssh.PublicKey {
	t.Helper()
	private, err := generateKey("ed25519")
	if err != nil {
		t.Fatal(err)
	}
	pub := writeKeyPair(t, path, private)
	block, err := ssh.MarshalPrivateKeyWithPassphrase(private, "bowline test", []byte(passphrase))
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, path, pem.EncodeToMemory(block), 0o600)
	return pub
}

// CA is a certificate authority for users or hosts.
type CA struct {
	PublicKey ssh.PublicKey
	signer    ssh.Signer
}

// NewCA returns an ed25519 certificate authority.
func NewCA(t testing.TB) *CA {
	t.Helper()
	private, err := generateKey("ed25519")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	return &CA{PublicKey: signer.PublicKey(), signer: signer}
}

// KnownHostsLine returns the @cert-authority line that trusts ca for the hosts
// that pattern names.
func (ca *CA) KnownHostsLine(pattern string) string {
	return "@cert-authority " + pattern + " " + trimmedKey(ca.PublicKey)
}

// CertOption changes a certificate before it is signed.
type CertOption func(*ssh.Certificate)

// Expired makes a certificate that was valid until an hour ago.
func Expired(c *ssh.Certificate) {
	c.ValidAfter = uint64(time.Now().Add(-2 * time.Hour).Unix())
	c.ValidBefore = uint64(time.Now().Add(-time.Hour).Unix())
}

// signHost writes a host certificate for key to path.
func (ca *CA) signHost(t testing.TB, path string, key ssh.PublicKey, principals []string, opts []CertOption) {
	t.Helper()
	ca.sign(t, path, &ssh.Certificate{
		CertType: ssh.HostCert, Key: key, KeyId: "bowline test host", ValidPrincipals: principals,
	}, opts)
}

// SignUser writes a user certificate for the public key to path, by custom
// KEY-cert.pub.
func (ca *CA) SignUser(t testing.TB, path string, key ssh.PublicKey, principals []string, opts ...CertOption) *ssh.Certificate {
	t.Helper()
	cert := &ssh.Certificate{
		CertType: ssh.UserCert, Key: key, KeyId: "bowline test user", ValidPrincipals: principals,
		Permissions: ssh.Permissions{Extensions: map[string]string{"permit-pty": "", "permit-port-forwarding": ""}},
	}
	ca.sign(t, path, cert, opts)
	return cert
}

func (ca *CA) sign(t testing.TB, path string, cert *ssh.Certificate, opts []CertOption) {
	t.Helper()
	cert.ValidAfter = uint64(time.Now().Add(-time.Minute).Unix())
	cert.ValidBefore = uint64(time.Now().Add(time.Hour).Unix())
	for _, opt := range opts {
		opt(cert)
	}
	if err := cert.SignCert(rand.Reader, ca.signer); err != nil {
		t.Fatalf("sign certificate: %v", err)
	}
	writeFile(t, path, ssh.MarshalAuthorizedKey(cert), 0o644)
}
