package ssh

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"
)

// maxKnownHosts bounds one known_hosts file, in bytes. Files of 18,000 lines
// exist and take 6 MiB.
const maxKnownHosts = 64 << 20

// The two markers of a known_hosts line, and the absence of one.
const (
	markerNone    = ""
	markerCA      = "@cert-authority"
	markerRevoked = "@revoked"
)

// hostLine is one line of a known_hosts file, split but with its key still
// encoded: most lines are about other hosts.
type hostLine struct {
	marker   string
	patterns string // comma-separated, or one hashed name
	keyType  string
	blob     string // base64
	file     string
	number   int // from 1
}

// parseHostLine splits a line. It reports false for blank lines, comments and
// lines it cannot read, which are ignored as ssh does: one bad line must not
// take away the others (podman#25325).
func parseHostLine(text string) (hostLine, bool) {
	fields := strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == '\t' || r == '\r' })
	if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
		return hostLine{}, false
	}
	var l hostLine
	if strings.HasPrefix(fields[0], "@") {
		if fields[0] != markerCA && fields[0] != markerRevoked {
			return hostLine{}, false
		}
		l.marker, fields = fields[0], fields[1:]
	}
	if len(fields) < 3 || strings.HasPrefix(fields[0], "@") {
		return hostLine{}, false
	}
	l.patterns, l.keyType, l.blob = fields[0], fields[1], fields[2]
	return l, true
}

// key decodes the key of the line. The type is written twice and must agree.
func (l hostLine) key() (ssh.PublicKey, bool) {
	blob, err := base64.StdEncoding.DecodeString(l.blob)
	if err != nil {
		return nil, false
	}
	key, err := ssh.ParsePublicKey(blob)
	if err != nil || key.Type() != l.keyType {
		return nil, false
	}
	return key, true
}

// matches reports whether the line is about name, which is lower case and has
// the form that known_hosts files use: "host" or "[host]:port".
func (l hostLine) matches(name string) bool {
	if strings.HasPrefix(l.patterns, "|") {
		return matchHashed(l.patterns, name)
	}
	found := false
	for p := range strings.SplitSeq(l.patterns, ",") {
		p, negated := strings.CutPrefix(p, "!")
		if p == "" || !glob(strings.ToLower(p), name) {
			continue
		}
		if negated {
			return false
		}
		found = true
	}
	return found
}

// matchHashed compares name with "|1|SALT|HASH", where HASH is HMAC-SHA1.
func matchHashed(hashed, name string) bool {
	parts := strings.Split(hashed, "|")
	if len(parts) != 4 || parts[0] != "" || parts[1] != "1" {
		return false
	}
	salt, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil {
		return false
	}
	want, err := base64.StdEncoding.DecodeString(parts[3])
	if err != nil || len(want) != sha1.Size {
		return false
	}
	mac := hmac.New(sha1.New, salt)
	mac.Write([]byte(name))
	return hmac.Equal(mac.Sum(nil), want)
}

// glob matches s against a pattern of "*" and "?". It takes time in
// O(len(pattern)*len(s)), whatever the pattern.
func glob(pattern, s string) bool {
	p, i := 0, 0
	star, mark := -1, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == s[i]):
			p++
			i++
		case star >= 0:
			mark++
			p, i = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// hostFile is the parsed content of one known_hosts file. Methods may be called
// concurrently.
type hostFile struct {
	lines   []hostLine          // without the revoked
	revoked map[string]hostLine // by key blob

	mu    sync.Mutex            // guards named; held while it is looked for
	named map[string][]hostLine // what lines say of names that were asked for
}

// about returns the lines about name. A dial asks for the same name several times, and
// each hashed line costs an HMAC to look at: it is done once for each name.
func (f *hostFile) about(name string) []hostLine {
	f.mu.Lock()
	defer f.mu.Unlock()
	found, ok := f.named[name]
	if ok {
		return found
	}
	for _, l := range f.lines {
		if l.matches(name) {
			found = append(found, l)
		}
	}
	f.named[name] = found
	return found
}

func parseHostFile(data []byte, path string) *hostFile {
	f := &hostFile{revoked: map[string]hostLine{}, named: map[string][]hostLine{}}
	number := 0
	for raw := range bytes.Lines(data) {
		number++
		l, ok := parseHostLine(strings.TrimRight(string(raw), "\r\n"))
		if !ok {
			continue
		}
		l.file, l.number = path, number
		if l.marker != markerRevoked {
			f.lines = append(f.lines, l)
		} else if key, ok := l.key(); ok {
			f.revoked[string(key.Marshal())] = l
		}
	}
	return f
}

// hostFiles keeps parsed files until they change on disk. The zero value is
// ready to use; methods may be called concurrently.
type hostFiles struct {
	// mu guards files.
	mu    sync.Mutex
	files map[string]cachedHostFile
}

type cachedHostFile struct {
	info fs.FileInfo
	file *hostFile
}

// same reports whether a file is the one that was read, unchanged.
func (c cachedHostFile) same(info fs.FileInfo) bool {
	return os.SameFile(c.info, info) && c.info.ModTime().Equal(info.ModTime()) && c.info.Size() == info.Size()
}

// load returns the files at paths, in order. Missing ones are left out.
func (c *hostFiles) load(paths []string) ([]*hostFile, error) {
	var all []*hostFile
	for _, path := range paths {
		f, err := c.loadOne(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return nil, fmt.Errorf("read known hosts: %w", err)
		default:
			all = append(all, f)
		}
	}
	return all, nil
}

func (c *hostFiles) loadOne(path string) (*hostFile, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxKnownHosts {
		return nil, fmt.Errorf("%q is not a file of at most %d bytes", path, maxKnownHosts)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if got, ok := c.files[path]; ok && got.same(info) {
		return got.file, nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if c.files == nil {
		c.files = map[string]cachedHostFile{}
	}
	f := parseHostFile(data, path)
	// If the file changed between Stat and ReadFile, its new time makes the
	// next call read it again.
	c.files[path] = cachedHostFile{info: info, file: f}
	return f, nil
}
