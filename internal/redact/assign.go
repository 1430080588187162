package redact

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// maskAssignments masks values in free text that are assigned to a secret
// name: NAME=VALUE, NAME: VALUE, "NAME": "VALUE" and --NAME VALUE.
func (r *Redactor) maskAssignments(s string) string {
	var b strings.Builder
	done := 0 // s[:done] is in b
	for i := 0; i < len(s); {
		if !isNameByte(s[i]) {
			i++
			continue
		}
		end := i + 1
		for end < len(s) && isNameByte(s[end]) {
			end++
		}
		from, to := r.assigned(s, i, end)
		if from < 0 {
			i = end
			continue
		}
		b.WriteString(s[done:from] + Mask)
		done, i = to, to
	}
	if done == 0 {
		return s
	}
	return b.String() + s[done:]
}

func isNameByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-' || c == '.'
}

// assigned returns the range of the value that is assigned to the name at
// s[i:end], or -1 if there is none, or none that is a secret.
func (r *Redactor) assigned(s string, i, end int) (from, to int) {
	name := s[i:end]
	from = skipAssign(s, end, strings.HasPrefix(name, "-"))
	if from < 0 || from >= len(s) || !r.secretName(strings.TrimLeft(name, "-"), "") {
		return -1, -1
	}
	if i > 0 && s[i-1] == '/' && s[end] == ':' {
		return -1, -1 // "open /etc/passwd: permission denied"
	}
	quote := byte(0)
	if s[from] == '"' || s[from] == '\'' {
		quote = s[from]
		from++
	}
	to = valueEnd(s, from, quote)
	if to == from || !r.secretName(strings.TrimLeft(name, "-"), s[from:to]) {
		return -1, -1
	}
	if quote == 0 && scheme(s[from:to]) && strings.HasSuffix(strings.ToLower(name), "authorization") {
		return -1, -1 // "Authorization: Basic X": masked as a shape
	}
	return from, to
}

// skipAssign returns where a value after the name that ends at i starts, or -1.
// After an option a space will do.
func skipAssign(s string, i int, option bool) int {
	j := i
	if j < len(s) && (s[j] == '"' || s[j] == '\'') { // "name": value
		j++
	}
	j = skipBlanks(s, j)
	if j < len(s) && (s[j] == '=' || s[j] == ':') {
		if strings.HasPrefix(s[j:], "://") {
			return -1
		}
		return skipBlanks(s, j+1)
	}
	if option && j > i && j < len(s) && !looksLikeOption(s[j:]) {
		return j
	}
	return -1
}

func skipBlanks(s string, i int) int {
	for i < len(s) && (s[i] == ' ' || s[i] == '\t') {
		i++
	}
	return i
}

// valueEnd returns the end of the value that starts at i: the closing quote,
// or white space, or a separator with another name after it.
func valueEnd(s string, i int, quote byte) int {
	for i < len(s) {
		c := s[i]
		if quote != 0 {
			if c == quote {
				return i
			}
			if c == '\\' && i+1 < len(s) {
				i++
			}
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if unicode.IsSpace(r) || separates(s, i) {
			return i
		}
		i += n
	}
	return len(s)
}

// separates reports whether the byte at i ends an unquoted value. A separator
// counts only before another name or the end of a word: passwords hold any of
// them.
func separates(s string, i int) bool {
	rest := s[i+1:]
	switch s[i] {
	case '&', ';', ',':
		return rest == "" || rest[0] == ' ' || rest[0] == '\n' || startsAssignment(rest)
	case '"', '\'', ')', ']', '}', '>':
		return rest == "" || strings.IndexByte(" \t\r\n,;)]}>\"'", rest[0]) >= 0
	}
	return false
}

func startsAssignment(s string) bool {
	i := 0
	for i < len(s) && (isNameByte(s[i]) || s[i] == '"' || s[i] == '\'') {
		i++
	}
	return i > 0 && i < len(s) && (s[i] == '=' || s[i] == ':')
}

// scheme reports whether word names an authentication scheme; the secret is
// the next word.
func scheme(word string) bool {
	switch strings.ToLower(word) {
	case "basic", "bearer", "token", "apikey", "negotiate", "digest", "aws4-hmac-sha256", "signature":
		return true
	}
	return false
}
