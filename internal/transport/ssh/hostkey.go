package ssh

import (
	"bytes"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/bowline-sh/bowline/diag"
)

// Trust is what known_hosts files say of a key that a server offered. Only
// Known and Certified let a dial go on.
type Trust string

const (
	Known     Trust = "known"     // pinned for this host
	Certified Trust = "certified" // vouched for by a certificate authority of this host
	Unknown   Trust = "unknown"   // nothing is pinned for this host
	Changed   Trust = "changed"   // another key is pinned for this host
	Revoked   Trust = "revoked"   // the key, or the authority that signed it, is marked @revoked
	Rejected  Trust = "rejected"  // too weak, or a certificate that is not valid here; see HostKey.Problem
)

// Pin is a host key in a known_hosts file.
type Pin struct {
	Type        string // as in "ssh-ed25519"
	Fingerprint string // "SHA256:..."
	File        string
	Line        int // from 1
}

// HostKey is the key that a server proved to hold, and what we know of it.
type HostKey struct {
	Type        string        // of the key, as in "ssh-ed25519"
	Fingerprint string        // "SHA256:..."
	PublicKey   ssh.PublicKey // never a certificate
	Authority   string        // fingerprint of the authority that certified it; "" without certificate
	Line        string        // known_hosts line that pins the key for this host, without newline
	Trust       Trust
	Problem     string // why it is Revoked or Rejected
	Pins        []Pin  // what known_hosts has for this host
}

// hostIdentity is the names under which a host's keys are kept.
type hostIdentity struct {
	name      string // as known_hosts has it: "host", "[host]:port" or the alias
	fallback  string // name to accept, but never to contradict; "" if none
	principal string // that a host certificate must list
}

// identify returns the identity of host and port. With an alias neither
// matters, as in OpenSSH. For other ports a key of the plain name is good
// enough if it is the same key ("checking without port identifier").
func identify(host string, port int, alias string) hostIdentity {
	if alias != "" {
		alias = strings.ToLower(alias)
		return hostIdentity{name: alias, principal: alias}
	}
	host = strings.ToLower(host)
	id := hostIdentity{name: host, principal: host}
	if port != 22 {
		id.name = knownhosts.Normalize(net.JoinHostPort(host, strconv.Itoa(port)))
		id.fallback = host
	}
	return id
}

// hostPolicy decides about the host keys of one host.
type hostPolicy struct {
	id    hostIdentity
	files []*hostFile
	now   func() time.Time
}

// pins returns the plain keys that are pinned for name.
func (p hostPolicy) pins(name string) []Pin {
	var pins []Pin
	p.each(name, markerNone, func(l hostLine, key ssh.PublicKey) {
		pins = append(pins, Pin{key.Type(), ssh.FingerprintSHA256(key), l.file, l.number})
	})
	return pins
}

// each calls f with the lines about name that have the marker.
func (p hostPolicy) each(name, marker string, f func(hostLine, ssh.PublicKey)) {
	if name == "" {
		return
	}
	for _, file := range p.files {
		for _, l := range file.about(name) {
			if l.marker != marker {
				continue
			}
			if key, ok := l.key(); ok {
				f(l, key)
			}
		}
	}
}

// has reports whether a line with the marker names the host and key.
func (p hostPolicy) has(marker string, key ssh.PublicKey) bool {
	found := false
	for _, name := range []string{p.id.name, p.id.fallback} {
		p.each(name, marker, func(_ hostLine, k ssh.PublicKey) {
			found = found || bytes.Equal(k.Marshal(), key.Marshal())
		})
	}
	return found
}

// algorithms returns what to offer to the server, best first.
func (p hostPolicy) algorithms() []string {
	authority := false
	var pins []Pin
	for _, name := range []string{p.id.name, p.id.fallback} {
		p.each(name, markerCA, func(hostLine, ssh.PublicKey) { authority = true })
		pins = append(pins, p.pins(name)...)
	}
	return hostKeyAlgorithms(pins, authority)
}

// judge says what is known of offered, a key or certificate whose private half
// the server has proved to hold.
func (p hostPolicy) judge(offered ssh.PublicKey) HostKey {
	plain := offered
	cert, certified := offered.(*ssh.Certificate)
	if certified {
		plain = cert.Key
	}
	h := HostKey{
		Type:        plain.Type(),
		Fingerprint: ssh.FingerprintSHA256(plain),
		PublicKey:   plain,
		Line:        p.id.name + " " + strings.TrimSpace(string(ssh.MarshalAuthorizedKey(plain))),
		Pins:        p.pins(p.id.name),
	}
	if certified {
		h.Authority = ssh.FingerprintSHA256(cert.SignatureKey)
	}
	h.Trust, h.Problem = p.trust(plain, cert, h.Pins)
	return h
}

func (p hostPolicy) trust(plain ssh.PublicKey, cert *ssh.Certificate, pins []Pin) (trust Trust, problem string) {
	if l, ok := p.revoked(plain); ok {
		return Revoked, fmt.Sprintf("host key is revoked by %s:%d", l.file, l.number)
	}
	if err := checkStrength(plain); err != nil {
		return Rejected, err.Error()
	}
	if cert != nil {
		if l, ok := p.revoked(cert.SignatureKey); ok {
			return Revoked, fmt.Sprintf("the authority that certified the host key is revoked by %s:%d", l.file, l.number)
		}
		if p.has(markerCA, cert.SignatureKey) {
			if err := p.checkCertificate(cert); err != nil {
				return Rejected, "host certificate: " + clean(err.Error())
			}
			return Certified, ""
		}
		// As OpenSSH does, judge a certificate of a stranger by its key.
	}
	switch {
	case p.has(markerNone, plain):
		return Known, ""
	case len(pins) > 0:
		// Also when only keys of other types are pinned: who stands in the
		// middle chooses the type.
		return Changed, ""
	}
	return Unknown, ""
}

// revoked finds the line that revokes key. Which hosts the line names does
// not matter: a key that leaked somewhere proves nothing anywhere.
func (p hostPolicy) revoked(key ssh.PublicKey) (hostLine, bool) {
	for _, f := range p.files {
		if l, ok := f.revoked[string(key.Marshal())]; ok {
			return l, true
		}
	}
	return hostLine{}, false
}

// checkCertificate reports why cert, signed by an authority of this host, is
// not valid for it now.
func (p hostPolicy) checkCertificate(cert *ssh.Certificate) error {
	switch {
	case cert.CertType != ssh.HostCert:
		return fmt.Errorf("it is not for hosts")
	case len(cert.ValidPrincipals) == 0:
		// x/crypto and OpenSSH before 10 read that as "every host".
		return fmt.Errorf("it names no host")
	case !signatureAllowed(cert.Signature.Format):
		return fmt.Errorf("its signature algorithm %q is not accepted", cert.Signature.Format)
	}
	if err := checkStrength(cert.SignatureKey); err != nil {
		return fmt.Errorf("its authority: %w", err)
	}
	checker := ssh.CertChecker{Clock: p.now}
	return checker.CheckCert(p.id.principal, cert)
}

// refusal is the error for a key that is not trusted, or nil. command is what
// to type, up to the fingerprint, to pin a key for this host.
func (h HostKey) refusal(command string) error {
	trust := command + " --fingerprint " + h.Fingerprint
	switch h.Trust {
	case Known, Certified:
		return nil
	case Unknown:
		by := ""
		if h.Authority != "" {
			by = fmt.Sprintf(", certified by an authority we do not know, %s", h.Authority)
		}
		return diag.New(diag.Untrusted, "",
			"compare the fingerprint with what the target's administrator says, then type:\n"+trust,
			"host key is unknown: the server offers %s %s%s", h.Type, h.Fingerprint, by)
	case Changed:
		return diag.New(diag.Untrusted, "",
			"someone may be listening in, or the target was installed anew: ask its administrator, and only if the new fingerprint is right type:\n"+trust,
			"HOST KEY CHANGED: the server offers %s %s, but pinned is %s", h.Type, h.Fingerprint, pinList(h.Pins))
	case Revoked:
		return diag.New(diag.Untrusted, "",
			"do not connect; ask the target's administrator for a new host key",
			"host key %s %s is revoked: %s", h.Type, h.Fingerprint, h.Problem)
	}
	return diag.New(diag.Untrusted, "",
		"ask the target's administrator to give sshd a valid key or certificate; on the target:\nssh-keygen -A",
		"host key %s %s is not acceptable: %s", h.Type, h.Fingerprint, h.Problem)
}

func pinList(pins []Pin) string {
	var all []string
	for _, p := range pins {
		all = append(all, fmt.Sprintf("%s %s (%s:%d)", p.Type, p.Fingerprint, p.File, p.Line))
	}
	slices.Sort(all)
	return strings.Join(slices.Compact(all), ", ")
}
