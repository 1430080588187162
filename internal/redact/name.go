package redact

import (
	"regexp"
	"strings"
	"sync"
)

// secretRE matches folded names that mean a secret. "token" and "secret" must
// end a word: "tokenizer" and "secretary" are harmless.
var secretRE = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`password|passwd|passphrase|passcode|credential` +
		`|(?:secret|token)s?(?:[^a-z]|$)|(?:secret|token)(?:key|value|access)` +
		`|api_?key|private_?key|access_?key|auth_?key|account_?key|shared_?key|(?:signing|encryption|master)_?key` +
		`|(?:^|_)(?:pass|pwd)$|(?:ssh|db|pg|user)pass$|(?:pg|mysql|db)pwd$` +
		`|(?:^|_)(?:authorization|cookie)$|connection_?string`)
})

// harmlessRE matches folded names that speak of a secret without being one:
// where it is kept, how it is called, whether it is allowed.
var harmlessRE = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?:_|^no_.*)(?:file|files|path|dir|directory|stdin|prompt|store|name|names|id_?file|type|length|len|policy|ttl|expiry|expires|expires_in|count|limit|authentication|required|enabled|disabled|prompts)$` +
		`|authentication$|^(?:no|skip|ask|use|without|has|is|require)_|public_?key`)
})

// secretName reports whether a value under this name is a secret. The value
// helps with names that have a harmless use too.
func (r *Redactor) secretName(name, value string) bool {
	name = foldName(name)
	if r != nil {
		for _, n := range r.names {
			if strings.Contains(name, n) {
				return true
			}
		}
	}
	if !secretRE().MatchString(name) || harmlessRE().MatchString(name) {
		return false
	}
	switch {
	case strings.HasSuffix(name, "pwd") && strings.HasPrefix(value, "/"):
		return false // the shell's working directory
	case strings.HasSuffix(name, "tokens") && isNumber(value):
		return false // max_tokens=4096
	}
	return true
}

// foldName makes "apiKey", "API-KEY" and "api.key" the same: lower case words
// joined by "_".
func foldName(name string) string {
	var b strings.Builder
	prev := byte('_')
	for i := range len(name) {
		c := name[i]
		switch {
		case 'A' <= c && c <= 'Z':
			if ('a' <= prev && prev <= 'z') || ('0' <= prev && prev <= '9') {
				b.WriteByte('_')
			}
			b.WriteByte(c + 'a' - 'A')
		case c == '-' || c == '.' || c == ' ':
			b.WriteByte('_')
		default:
			b.WriteByte(c)
		}
		prev = c
	}
	return b.String()
}

func isNumber(s string) bool {
	return s != "" && len(s) <= 9 && strings.Trim(s, "0123456789") == ""
}
