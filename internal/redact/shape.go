package redact

import (
	"regexp"
	"strings"
	"sync"
)

// shape is a kind of secret that is known by its look. Groups of the pattern
// are kept when the replacement names them.
type shape struct {
	hint    string // lower-case text without which the pattern cannot match
	pattern *regexp.Regexp
	replace string
}

// shapes are compiled at first use: most runs of the program mask nothing.
var shapes = sync.OnceValue(func() []shape {
	list := []struct{ hint, pattern, replace string }{
		// RFC 7468, also cut off before its end.
		{"private key", `(?s)-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|\z)`, Mask},
		// RFC 3986 userinfo with a password; it may hold "@", but no "/".
		{"://", `([A-Za-z][A-Za-z0-9+.-]*://[^\s/@:"'<>]*:)[^\s/"'<>]+@`, "${1}" + Mask + "@"},
		// A token as login: nothing else is this long.
		{"://", `(https?://)[^\s/@:"'<>]{20,}@`, "${1}" + Mask + "@"},
		// The data source names of Go's MySQL driver.
		{"@", `([^\s:/@"']+:)[^\s/@"']+(@(?:tcp|unix)\()`, "${1}" + Mask + "${2}"},
		{"authorization", `(?i)(authorization["']?\s*[:=]\s*["']?(?:basic|bearer|token|apikey|negotiate)\s+)[^\s"',;]+`, "${1}" + Mask},
		{"authorization", `(?i)(authorization["']?\s*:\s*["']?(?:digest|aws4-hmac-sha256|signature)\s+)[^\r\n]+`, "${1}" + Mask},
		{"bearer", `(?i)(\bbearer\s+)(?:[A-Za-z._~+/-]*[0-9][A-Za-z0-9._~+/=-]*|[A-Za-z._~+/-]{20,}=*)`, "${1}" + Mask},
		{"cookie", `(?i)(\b(?:set-)?cookie:\s*)[^\r\n"']+`, "${1}" + Mask},
		{"identified by", `(?i)(\bidentified\s+by\s+)(?:'[^']*'|"[^"]*")`, "${1}" + Mask},
		{"password", `(?i)(\bpassword\s+)(?:'[^']+'|"[^"]+")`, "${1}" + Mask},
		{"-p", `(\b(?:mysql|mysqldump|mysqladmin|mysqlimport|mariadb|mariadb-dump|sshpass)\b[^\n|;&]*?\s-p)[^\s'"]+`, "${1}" + Mask},
		{"", `\b(?:AKIA|ASIA)[A-Z0-9]{16}\b`, Mask},
		{"gh", `\bgh[pousr]_[A-Za-z0-9]{16,}`, Mask},
		{"github_pat_", `\bgithub_pat_[A-Za-z0-9_]{16,}`, Mask},
		{"gl", `\bgl(?:pat|dt|rt|ptt|soat|cbt)-[A-Za-z0-9_.-]{16,}`, Mask},
		{"xox", `\bxox[a-z]-[A-Za-z0-9-]{8,}`, Mask},
		{"sk-", `\bsk-[A-Za-z0-9_-]{16,}`, Mask},
		{"sk_", `\b[sr]k_(?:live|test)_[A-Za-z0-9]{16,}`, Mask},
		{"aiza", `\bAIza[A-Za-z0-9_-]{30,}`, Mask},
		{"npm_", `\bnpm_[A-Za-z0-9]{30,}`, Mask},
		{"hf_", `\bhf_[A-Za-z0-9]{20,}`, Mask},
		{"age-secret-key-", `(?i)\bAGE-SECRET-KEY-1[A-Z0-9]{20,}`, Mask},
		// RFC 7519: two base64url objects and a signature; "eyJ" is `{"`.
		{"eyj", `\beyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]*`, Mask},
	}
	out := make([]shape, len(list))
	for i, s := range list {
		out[i] = shape{s.hint, regexp.MustCompile(s.pattern), s.replace}
	}
	return out
})

func maskShapes(s string) string {
	lower := strings.ToLower(s)
	for _, sh := range shapes() {
		if sh.hint == "" || strings.Contains(lower, sh.hint) {
			s = sh.pattern.ReplaceAllString(s, sh.replace)
		}
	}
	return s
}
