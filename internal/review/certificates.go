package review

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/bowline-sh/bowline/change"
)

func certificateRules() []rule {
	trust := below("/usr/local/share/ca-certificates/", "/usr/share/ca-certificates/", "/etc/pki/ca-trust/source/anchors/", "/etc/ca-certificates/trust-source/anchors/")
	return []rule{
		{class: Certificates, match: func(p string) bool { return trust(p) || isBundle(p) }, judge: (*subject).authorities, blind: High},
		{class: Certificates, match: func(p string) bool { return isCertificate(p) && !trust(p) && !isBundle(p) }, judge: (*subject).certificate, blind: Medium, links: true},
		{class: Certificates, match: exactly("/etc/ca-certificates.conf"), judge: (*subject).certificateList, blind: Medium},
	}
}

func isBundle(p string) bool {
	return exactly("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem")(p)
}

func isCertificate(p string) bool {
	switch path.Ext(p) {
	case ".pem", ".crt", ".cer", ".cert":
		return !strings.HasPrefix(p, "/usr/share/doc/") && !sensitive(p)
	}
	return false
}

// maxCertificates bounds what is parsed of one file; the largest common bundle has
// about 150.
const maxCertificates = 400

type found struct {
	*x509.Certificate
	line line
}

// parseCertificates reads the certificates of a PEM file in order, or a DER file.
// others counts other PEM blocks, bad those that are no certificate.
func parseCertificates(text string) (list []found, others, bad int) {
	rest := []byte(text)
	at := 1
	for len(list)+bad < maxCertificates {
		i := bytes.Index(rest, []byte("-----BEGIN "))
		if i < 0 {
			break
		}
		at += bytes.Count(rest[:i], []byte("\n"))
		b, after := pem.Decode(rest[i:])
		if b == nil {
			bad++
			break
		}
		n := at
		at += bytes.Count(rest[i:len(rest)-len(after)], []byte("\n"))
		rest = after
		if b.Type != "CERTIFICATE" && b.Type != "TRUSTED CERTIFICATE" && b.Type != "X509 CERTIFICATE" {
			others++
			continue
		}
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			bad++
			continue
		}
		list = append(list, found{c, line{n, "certificate of " + subjectName(c) + " until " + c.NotAfter.UTC().Format(time.DateOnly)}})
	}
	if len(list)+bad >= maxCertificates && bytes.Contains(rest, []byte("-----BEGIN ")) {
		bad++ // those after it are not looked at
	}
	if len(list) == 0 && others == 0 && bad == 0 && text != "" {
		if c, err := x509.ParseCertificate([]byte(text)); err == nil {
			return []found{{c, line{}}}, 0, 0
		}
		bad++
	}
	return list, others, bad
}

func subjectName(c *x509.Certificate) string {
	switch {
	case c.Subject.CommonName != "":
		return clip(c.Subject.CommonName)
	case len(c.DNSNames) > 0:
		return clip(c.DNSNames[0])
	}
	return clip(c.Subject.String())
}

// certificate compares the first certificate of a file, which is the one that is
// shown to others; those after it lead to the authority.
func (s *subject) certificate(before, after string) {
	if s.c.After.Type == change.Symlink || s.c.Before.Type == change.Symlink {
		s.certificateLink()
		return
	}
	b, _, _ := parseCertificates(before)
	a, others, bad := parseCertificates(after)
	switch {
	case s.c.After.Absent() && len(b) > 0:
		s.add(Medium, s.note("the certificate of %s is removed: %s", subjectName(b[0].Certificate), s.path).at(s, false, b[0].line))
		return
	case s.c.After.Absent():
		return
	case len(a) == 0 && len(b) > 0:
		s.add(High, s.note("%s no longer holds a certificate that can be parsed", s.path))
		return
	case bad > 0:
		s.add(Medium, s.note("%s could not be parsed as certificates: judge it yourself", s.path))
	case len(a) == 0 && others > 0:
		return // keys and parameters; their openness is judged as secrets
	}
	if len(a) == 0 {
		return
	}
	s.expiry(a[0])
	if len(b) > 0 {
		s.replaced(b[0], a[0])
	} else {
		s.add(Low, s.note("a certificate of %s by %s is placed, valid until %s", subjectName(a[0].Certificate), clip(a[0].Issuer.String()), a[0].NotAfter.UTC().Format(time.DateOnly)).at(s, true, a[0].line))
	}
}

const soon = 30 * 24 * time.Hour

func (s *subject) expiry(a found) {
	until := a.NotAfter.UTC().Format(time.DateOnly)
	switch {
	case s.j.now.After(a.NotAfter):
		s.add(High, s.note("the certificate of %s expired on %s", subjectName(a.Certificate), until).at(s, true, a.line))
	case s.j.now.Add(soon).After(a.NotAfter):
		s.add(Medium, s.note("the certificate of %s expires within 30 days, on %s", subjectName(a.Certificate), until).at(s, true, a.line))
	case s.j.now.Before(a.NotBefore):
		s.add(Medium, s.note("the certificate of %s is not valid before %s", subjectName(a.Certificate), a.NotBefore.UTC().Format(time.DateOnly)).at(s, true, a.line))
	}
}

func (s *subject) replaced(b, a found) {
	name := subjectName(a.Certificate)
	say := func(sev Severity, format string, args ...any) {
		s.add(sev, s.note(format, args...).change(s, b.line, a.line))
	}
	if !bytes.Equal(b.RawIssuer, a.RawIssuer) {
		say(Medium, "the certificate of %s has another issuer: %s instead of %s", name, a.Issuer.String(), b.Issuer.String())
	}
	if !bytes.Equal(b.RawSubjectPublicKeyInfo, a.RawSubjectPublicKeyInfo) {
		say(Medium, "the certificate of %s has another key", name)
	}
	if lost := without(namesIn(b.Certificate), namesIn(a.Certificate)); len(lost) > 0 {
		say(High, "the certificate of %s no longer holds for %s", name, strings.Join(lost, ", "))
	}
	if more := without(namesIn(a.Certificate), namesIn(b.Certificate)); len(more) > 0 {
		say(Low, "the certificate of %s holds for more names: %s", name, strings.Join(more, ", "))
	}
	if a.NotAfter.Before(b.NotAfter) {
		say(Medium, "the certificate of %s is valid until %s instead of %s", name, a.NotAfter.UTC().Format(time.DateOnly), b.NotAfter.UTC().Format(time.DateOnly))
	}
	if a.IsCA && !b.IsCA {
		say(High, "the certificate of %s becomes one of an authority", name)
	}
}

func namesIn(c *x509.Certificate) []string {
	out := slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		out = append(out, ip.String())
	}
	return out[:min(len(out), 1000)]
}

// certificateLink is a symlink, as those of /etc/ssl/certs and letsencrypt.
func (s *subject) certificateLink() {
	a := s.c.After
	switch {
	case a.Absent():
		s.add(Low, s.note("%s no longer leads to a certificate", s.path))
	case strings.HasPrefix(s.path, "/etc/ssl/certs/") && strings.HasPrefix(string(a.Target), "/usr/share/ca-certificates/"):
		s.add(Low, s.note("an authority of the distribution is trusted: %s", s.path))
	case strings.HasPrefix(s.path, "/etc/ssl/certs/"):
		s.add(Medium, s.note("a certificate is trusted: %s leads to %s", s.path, string(a.Target)))
	default:
		s.add(Low, s.note("%s leads to another certificate: %s", s.path, string(a.Target)))
	}
}

// authorities compares sets: everything in these files is trusted.
func (s *subject) authorities(before, after string) {
	b, _, _ := parseCertificates(before)
	a, _, bad := parseCertificates(after)
	if bad > 0 {
		s.add(High, s.note("%s could not be parsed as certificates: judge it yourself", s.path))
	}
	added, removed, _ := compare(fingerprints(b), fingerprints(a))
	if s.path != "/etc/ssl/certs/ca-certificates.crt" && strings.HasPrefix(s.path, "/usr/share/ca-certificates/") && s.j.packagesChange() {
		return // the distribution's own; what is trusted of them shows in the bundle
	}
	s.authorityList(High, "trusted from now on", added, true)
	s.authorityList(Medium, "no longer trusted", removed, false)
}

func fingerprints(list []found) []entry {
	out := make([]entry, len(list))
	for i, c := range list {
		out[i] = entry{key: fmt.Sprintf("%x", sha256.Sum256(c.Raw)), line: c.line}
	}
	return out
}

func (s *subject) authorityList(sev Severity, verb string, list []entry, after bool) {
	if len(list) == 0 {
		return
	}
	f := s.note("%d authorities are %s, by %s", len(list), verb, s.path)
	if len(list) == 1 {
		f = s.note("an authority is %s, by %s: %s", verb, s.path, list[0].text)
	}
	for _, e := range list[:min(len(list), maxEvidence)] {
		f = f.at(s, after, e.line)
	}
	s.add(sev, f)
}

func (s *subject) certificateList(before, after string) {
	s.judgeStatements(statements(before, "#"), statements(after, "#"), func(e entry, added bool) (Severity, string) {
		return Low, "the list of trusted authorities changes"
	})
}
