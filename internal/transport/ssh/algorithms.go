package ssh

import (
	"crypto/rsa"
	"fmt"
	"slices"

	"golang.org/x/crypto/ssh"
)

// minRSABits is the floor of RFC 9142 for host, client and authority keys.
const minRSABits = 2048

// The lists below are complete: what is not named is not offered. They hold
// nothing that ssh-audit fails or warns about. The NIST curves are left out for
// that reason, CBC and encrypt-and-MAC for their padding oracles.
func keyExchanges() []string {
	return []string{
		ssh.KeyExchangeMLKEM768X25519,
		ssh.KeyExchangeCurve25519, // offered under its libssh.org name as well
	}
}

// ciphers has AES-128-GCM first: it is the fastest where the processor knows
// AES, and 128 bits are enough. Without ChaCha20 Terrapin has no target even
// at a server that lacks strict key exchange.
func ciphers() []string {
	return []string{
		ssh.CipherAES128GCM, ssh.CipherAES256GCM,
		ssh.CipherAES128CTR, ssh.CipherAES192CTR, ssh.CipherAES256CTR,
	}
}

func macs() []string { return []string{ssh.HMACSHA256ETM, ssh.HMACSHA512ETM} }

// plainHostKeys are the algorithms for host keys, best first.
func plainHostKeys() []string {
	return []string{ssh.KeyAlgoED25519, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}
}

// certHostKeys are those for host certificates. They are offered only for
// hosts that a certificate authority is known for.
func certHostKeys() []string {
	return []string{ssh.CertAlgoED25519v01, ssh.CertAlgoRSASHA512v01, ssh.CertAlgoRSASHA256v01}
}

// hostKeyAlgorithms orders what we offer so that a server with several keys
// presents one we can check: certificates if an authority is known, then the
// types that are pinned. ECDSA is offered only where it is pinned; without
// that, a user whose known_hosts is that old could not connect at all.
func hostKeyAlgorithms(pins []Pin, authority bool) []string {
	var algos []string
	if authority {
		algos = certHostKeys()
	}
	pinned := func(typ string) bool {
		return slices.ContainsFunc(pins, func(p Pin) bool { return p.Type == typ })
	}
	for _, algo := range plainHostKeys() {
		if pinned(keyTypeOf(algo)) {
			algos = append(algos, algo)
		}
	}
	for _, algo := range []string{ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521} {
		if pinned(algo) {
			algos = append(algos, algo)
		}
	}
	for _, algo := range plainHostKeys() {
		if !slices.Contains(algos, algo) {
			algos = append(algos, algo)
		}
	}
	return algos
}

// keyTypeOf returns the type of the keys that algo works with.
func keyTypeOf(algo string) string {
	switch algo {
	case ssh.KeyAlgoRSASHA256, ssh.KeyAlgoRSASHA512:
		return ssh.KeyAlgoRSA
	}
	return algo
}

// signatureAllowed reports whether a signature of an authority on a host
// certificate may be of format. ssh-rsa is RSA with SHA-1.
func signatureAllowed(format string) bool {
	switch format {
	case ssh.KeyAlgoED25519, ssh.KeyAlgoRSASHA256, ssh.KeyAlgoRSASHA512,
		ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521,
		ssh.KeyAlgoSKED25519, ssh.KeyAlgoSKECDSA256:
		return true
	}
	return false
}

// checkStrength reports why key is too weak to be relied on, or nil. Of a
// certificate it judges the certified key.
func checkStrength(key ssh.PublicKey) error {
	if cert, ok := key.(*ssh.Certificate); ok {
		key = cert.Key
	}
	switch key.Type() {
	case ssh.KeyAlgoED25519, ssh.KeyAlgoSKED25519, ssh.KeyAlgoSKECDSA256,
		ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521:
		return nil
	case ssh.KeyAlgoRSA:
		return checkRSA(key)
	}
	return fmt.Errorf("key type %q is not accepted", key.Type())
}

func checkRSA(key ssh.PublicKey) error {
	ck, ok := key.(ssh.CryptoPublicKey)
	if !ok {
		return fmt.Errorf("RSA key of unknown size")
	}
	pub, ok := ck.CryptoPublicKey().(*rsa.PublicKey)
	if !ok {
		return fmt.Errorf("RSA key of unknown size")
	}
	if bits := pub.N.BitLen(); bits < minRSABits {
		return fmt.Errorf("RSA key has %d bits, fewer than %d", bits, minRSABits)
	}
	return nil
}
