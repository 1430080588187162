// Package authkeys edits the text of an authorized_keys file: it gives a new key
// what an old one may do, and takes keys out. It does no I/O.
//
// # Invariants
//
//   - Every byte of a line that is not about the key in question stays as it is:
//     comments, blank lines, lines that nobody understands, line ends.
//   - A new key gets the options of the old one, letter by letter: from=, command=,
//     restrict and whatever comes after them still hold.
//   - A certificate authority (cert-authority) is never taken for a key.
//
// # Sources
//
// sshd(8), "AUTHORIZED_KEYS FILE FORMAT"; sshkey_advance_past_options in OpenSSH's
// sshkey.c for where options end.
package authkeys

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"strings"
	"unicode"

	"golang.org/x/crypto/ssh"
)

// MaxSize bounds the file, in bytes. One of 10,000 keys has 1 MiB.
const MaxSize = 4 << 20

// line is one line of the file, with its end.
type line struct {
	raw       []byte
	options   string // as written, without the space after them; "" for none
	blob      []byte // the key in wire format; nil for a line that holds no key
	authority bool   // the key signs certificates
}

// split cuts a file into lines and reads each.
func split(data []byte) []line {
	var out []line
	for raw := range bytes.Lines(data) {
		out = append(out, read(raw))
	}
	return out
}

func read(raw []byte) line {
	l := line{raw: raw}
	text := strings.TrimLeft(strings.TrimRight(string(raw), "\r\n"), " \t")
	if text == "" || text[0] == '#' {
		return l
	}
	if blob, ok := key(text); ok {
		l.blob = blob
		return l
	}
	n := optionsEnd(text)
	rest := strings.TrimLeft(text[n:], " \t")
	if blob, ok := key(rest); ok {
		l.options, l.blob = text[:n], blob
		l.authority = hasOption(l.options, "cert-authority")
	}
	return l
}

// key reads "TYPE BASE64 [COMMENT]".
func key(text string) ([]byte, bool) {
	typ, rest, ok := cutSpace(text)
	if !ok {
		return nil, false
	}
	encoded, _, _ := cutSpace(rest)
	blob, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return nil, false
	}
	// The type stands once more, with its length, at the head of the blob.
	if len(blob) < 4+len(typ) || string(blob[4:4+len(typ)]) != typ || blob[0]|blob[1]|blob[2] != 0 || int(blob[3]) != len(typ) {
		return nil, false
	}
	return blob, true
}

func cutSpace(s string) (before, after string, found bool) {
	i := strings.IndexAny(s, " \t")
	if i < 0 {
		return s, "", false
	}
	return s[:i], strings.TrimLeft(s[i:], " \t"), true
}

// optionsEnd is the first space outside of quotes.
func optionsEnd(text string) int {
	quoted := false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\' && i+1 < len(text) && text[i+1] == '"':
			i++
		case c == '"':
			quoted = !quoted
		case (c == ' ' || c == '\t') && !quoted:
			return i
		}
	}
	return len(text)
}

// hasOption reports whether one of the comma-separated options is name.
func hasOption(options, name string) bool {
	quoted, start := false, 0
	for i := 0; i <= len(options); i++ {
		switch {
		case i == len(options) || options[i] == ',' && !quoted:
			if strings.EqualFold(options[start:i], name) {
				return true
			}
			start = i + 1
		case options[i] == '\\' && i+1 < len(options) && options[i+1] == '"':
			i++
		case options[i] == '"':
			quoted = !quoted
		}
	}
	return false
}

func (l line) is(k ssh.PublicKey) bool {
	return l.blob != nil && !l.authority && bytes.Equal(l.blob, k.Marshal())
}

// Find returns the key of that fingerprint ("SHA256:..."), or nil.
func Find(data []byte, fingerprint string) ssh.PublicKey {
	for _, l := range split(data) {
		if l.blob == nil || l.authority {
			continue
		}
		if k, err := ssh.ParsePublicKey(l.blob); err == nil && ssh.FingerprintSHA256(k) == fingerprint {
			return k
		}
	}
	return nil
}

// Has reports whether a line holds k.
func Has(data []byte, k ssh.PublicKey) bool {
	for _, l := range split(data) {
		if l.is(k) {
			return true
		}
	}
	return false
}

// ErrNoOld means that the file has no line of the old key.
var ErrNoOld = errors.New("there is no line of the key in use")

// ErrOtherOptions means that the new key stands in the file already, with other
// options than the old one.
var ErrOtherOptions = errors.New("the new key stands there already, with other options than the key in use")

// Succeed returns the file with a line for the new key after every line of the old
// one, with the same options. Lines that are there already are not added again.
func Succeed(data []byte, old, successor ssh.PublicKey, comment string) ([]byte, error) {
	lines := split(data)
	var want []string // options of the old key
	have := map[string]bool{}
	for _, l := range lines {
		switch {
		case l.is(old):
			want = append(want, l.options)
		case l.is(successor):
			have[l.options] = true
		}
	}
	if len(want) == 0 {
		return nil, ErrNoOld
	}
	if len(have) > 0 {
		if !maps.Equal(have, set(want)) {
			return nil, ErrOtherOptions
		}
		return data, nil
	}
	var out []byte
	for _, l := range lines {
		out = append(out, l.raw...)
		if !l.is(old) {
			continue
		}
		end := "\n"
		if bytes.HasSuffix(l.raw, []byte("\r\n")) {
			end = "\r\n"
		}
		if !bytes.HasSuffix(l.raw, []byte("\n")) {
			out = append(out, end...)
		}
		out = append(out, Line(l.options, successor, comment)+end...)
	}
	return out, nil
}

func set(list []string) map[string]bool {
	m := map[string]bool{}
	for _, s := range list {
		m[s] = true
	}
	return m
}

// Line is a line of authorized_keys, without its end.
func Line(options string, k ssh.PublicKey, comment string) string {
	text := strings.TrimSuffix(string(ssh.MarshalAuthorizedKey(k)), "\n")
	if options != "" {
		text = options + " " + text
	}
	if comment = plain(comment); comment != "" {
		text += " " + comment
	}
	return text
}

// plain keeps what cannot end a line.
func plain(comment string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, comment))
}

// Without returns the file without the lines of k, and how many those were.
func Without(data []byte, k ssh.PublicKey) ([]byte, int) {
	var out []byte
	n := 0
	for _, l := range split(data) {
		if l.is(k) {
			n++
			continue
		}
		out = append(out, l.raw...)
	}
	return out, n
}

// Type names the kind of a key as people do: "ed25519", "rsa 3072".
func Type(k ssh.PublicKey) string {
	name := strings.TrimPrefix(k.Type(), "ssh-")
	if c, ok := k.(ssh.CryptoPublicKey); ok {
		if b, ok := c.CryptoPublicKey().(interface{ Size() int }); ok {
			return fmt.Sprintf("%s %d", name, 8*b.Size())
		}
	}
	return name
}
