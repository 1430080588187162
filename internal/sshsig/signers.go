// Package sshsig signs messages with SSH keys and checks such signatures against an
// allowed_signers file, as ssh-keygen -Y does. It serves the client; a target checks
// with its own ssh-keygen.
//
// Sources: PROTOCOL.sshsig of OpenSSH for the format, ssh-keygen(1), ALLOWED SIGNERS, for
// the file. Options that are not known there make a line invalid, never lax.
package sshsig

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"
)

// Signers says which keys may sign as whom.
type Signers struct{ lines []signer }

// signer is one line of an allowed_signers file.
type signer struct {
	principals    []string // patterns; "!" excludes
	key           ssh.PublicKey
	authority     bool
	namespaces    []string // patterns; none: all
	after, before time.Time
}

// ParseSigners reads the text of an allowed_signers file. The error names the line.
func ParseSigners(text string) (Signers, error) {
	var out Signers
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		s, err := parseSigner(line)
		if err != nil {
			return Signers{}, fmt.Errorf("allowed signers, line %d: %w", n, err)
		}
		out.lines = append(out.lines, s)
	}
	return out, nil
}

func parseSigner(line string) (signer, error) {
	principals, rest, ok := cutWord(line)
	if !ok {
		return signer{}, errors.New("the key is missing")
	}
	s := signer{principals: strings.Split(strings.Trim(principals, `"`), ",")}
	key, _, options, more, err := ssh.ParseAuthorizedKey([]byte(rest))
	if err != nil || len(bytes.TrimSpace(more)) > 0 {
		return signer{}, errors.New("it has no key that can be read")
	}
	s.key = key
	for _, o := range options {
		if err := s.option(o); err != nil {
			return signer{}, err
		}
	}
	return s, nil
}

// cutWord cuts the first word off, which may be quoted.
func cutWord(line string) (word, rest string, ok bool) {
	if strings.HasPrefix(line, `"`) {
		i := strings.IndexByte(line[1:], '"')
		if i < 0 {
			return "", "", false
		}
		return line[:i+2], strings.TrimSpace(line[i+2:]), true
	}
	i := strings.IndexAny(line, " \t")
	if i < 0 {
		return "", "", false
	}
	return line[:i], strings.TrimSpace(line[i:]), true
}

func (s *signer) option(o string) (err error) {
	name, value, _ := strings.Cut(o, "=")
	value = strings.Trim(value, `"`)
	switch strings.ToLower(name) {
	case "cert-authority":
		s.authority = true
	case "namespaces":
		s.namespaces = strings.Split(value, ",")
	case "valid-after":
		s.after, err = parseTime(value)
	case "valid-before":
		s.before, err = parseTime(value)
	default:
		err = fmt.Errorf("unknown option %q", name)
	}
	return err
}

// parseTime reads YYYYMMDD[HHMM[SS]] in local time, or in UTC with a Z at its end.
func parseTime(s string) (time.Time, error) {
	zone := time.Local
	digits, utc := strings.CutSuffix(s, "Z")
	if utc {
		zone = time.UTC
	}
	for _, layout := range []string{"20060102", "200601021504", "20060102150405"} {
		if len(digits) == len(layout) {
			return time.ParseInLocation(layout, digits, zone)
		}
	}
	return time.Time{}, fmt.Errorf("%q is not a time as in 20261121 or 202611211300Z", s)
}

// Sign signs a message in a namespace, and returns the signature in its armored form and
// the fingerprint of the key.
func Sign(key ssh.Signer, namespace string, message []byte) (armored, fingerprint string, err error) {
	sig, err := sshsig.Sign(bytes.NewReader(message), key, sshsig.HashSHA512, namespace)
	if err != nil {
		return "", "", fmt.Errorf("sign: %w", err)
	}
	return string(sshsig.Armor(sig)), ssh.FingerprintSHA256(key.PublicKey()), nil
}

// Verify returns the first principal that the key of a signature may sign as, in that
// namespace and at that time, after it has checked the signature.
func (s Signers) Verify(namespace string, message []byte, armored string, at time.Time) (principal string, err error) {
	sig, err := sshsig.Unarmor([]byte(armored))
	if err != nil {
		return "", fmt.Errorf("read signature: %w", err)
	}
	if err := sshsig.Verify(bytes.NewReader(message), sig, sig.PublicKey, sig.HashAlgorithm, namespace); err != nil {
		return "", fmt.Errorf("signature: %w", err)
	}
	for _, l := range s.lines {
		if who, ok := l.allows(sig.PublicKey, namespace, at); ok {
			return who, nil
		}
	}
	return "", fmt.Errorf("key %s may not sign in the namespace %s at %s", ssh.FingerprintSHA256(sig.PublicKey), namespace, at.UTC().Format(time.RFC3339))
}

func (s signer) allows(key ssh.PublicKey, namespace string, at time.Time) (principal string, ok bool) {
	switch {
	case !s.after.IsZero() && at.Before(s.after), !s.before.IsZero() && !at.Before(s.before):
		return "", false
	case len(s.namespaces) > 0 && !match(s.namespaces, namespace):
		return "", false
	}
	if cert, isCert := key.(*ssh.Certificate); isCert {
		return s.certificate(cert, at)
	}
	if s.authority || !bytes.Equal(s.key.Marshal(), key.Marshal()) {
		return "", false
	}
	return s.principals[0], true
}

// certificate accepts a user certificate of the authority for a principal that both the
// line and the certificate name.
func (s signer) certificate(cert *ssh.Certificate, at time.Time) (principal string, ok bool) {
	if !s.authority || cert.CertType != ssh.UserCert || !bytes.Equal(s.key.Marshal(), cert.SignatureKey.Marshal()) {
		return "", false
	}
	checker := ssh.CertChecker{Clock: func() time.Time { return at }}
	for _, p := range cert.ValidPrincipals {
		if match(s.principals, p) && checker.CheckCert(p, cert) == nil {
			return p, true
		}
	}
	return "", false
}

// match applies a pattern list of ssh_config(5): any that matches, unless one with "!"
// does.
func match(patterns []string, s string) bool {
	found := false
	for _, p := range patterns {
		p, not := strings.CutPrefix(p, "!")
		if ok, err := path.Match(strings.NewReplacer(`\`, `\\`, "[", `\[`).Replace(p), s); err == nil && ok {
			if not {
				return false
			}
			found = true
		}
	}
	return found
}

// Principals lists who may sign, for people.
func (s Signers) Principals() []string {
	var out []string
	for _, l := range s.lines {
		out = append(out, l.principals...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
