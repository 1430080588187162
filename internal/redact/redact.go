// Package redact keeps secrets and hostile characters out of what Bowline
// stores and shows. A [Redactor] masks secrets in argument vectors,
// environments and free text; [Clean] makes text from a target safe to print.
// Everything is pure.
//
// # What is a secret
//
//   - A value declared by the caller, wherever it occurs.
//   - What is assigned to a name that means a secret: --password=X, --token X,
//     API_KEY=X, "secret": "X", and the short options of well-known programs
//     (mysql -pX, sshpass -p X, curl -u user:X).
//   - What has a known shape: a login in a URL, an Authorization header, a
//     private key in PEM, a JWT, tokens of AWS, GitHub, GitLab, Slack and others.
//
// # Invariants
//
//   - Masking is idempotent.
//   - No output contains a declared value of at least [MinValue] bytes.
//   - The number and order of arguments and the names of variables are kept.
//
// Masking errs on the side of masking. It is no boundary: a secret that is
// neither declared, nor named, nor of a known shape stays.
package redact

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Mask stands for a secret. It is shorter than [MinValue], so that it cannot
// itself contain a declared value, and masking one always shortens the text.
const Mask = "***"

// MinValue is the length in bytes from which a declared value is masked inside
// text. Shorter ones are masked only where they are a whole argument or value:
// masking every "a" would destroy the text and tell the secret.
const MinValue = 4

// Config is what a Redactor knows beyond the built-in names and shapes. All
// fields are optional.
type Config struct {
	// Declared are extra names ("pin_code": matched inside longer names,
	// without regard to case, with "-", "_" and "." alike), or patterns
	// between slashes ("/CUST-[0-9]+/": RE2, what they match is masked).
	Declared []string
	// Values are secrets themselves.
	Values []string
}

// Redactor masks secrets. The nil Redactor knows the built-in names and
// shapes. Values are immutable and may be used concurrently.
type Redactor struct {
	names    []string // normalised by foldName
	patterns []*regexp.Regexp
	values   []string // longest first
}

// New returns a Redactor, or an error that names the declaration it cannot
// use: an empty one, a pattern that is no RE2 or that matches the empty text.
func New(cfg Config) (*Redactor, error) {
	r := &Redactor{values: orderValues(cfg.Values)}
	for _, d := range cfg.Declared {
		if err := r.declare(d); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func (r *Redactor) declare(d string) error {
	if len(d) > 1 && strings.HasPrefix(d, "/") && strings.HasSuffix(d, "/") {
		re, err := regexp.Compile(d[1 : len(d)-1])
		if err != nil {
			return fmt.Errorf("secret pattern %q: %w", d, err)
		}
		if re.MatchString("") {
			return fmt.Errorf("secret pattern %q matches the empty text", d)
		}
		r.patterns = append(r.patterns, re)
		return nil
	}
	name := foldName(d)
	if strings.Trim(name, "_") == "" {
		return fmt.Errorf("secret name %q is empty", d)
	}
	r.names = append(r.names, name)
	return nil
}

// WithValues returns a Redactor that also masks values.
func (r *Redactor) WithValues(values ...string) *Redactor {
	var out Redactor
	if r != nil {
		out = *r
	}
	out.values = orderValues(append(slices.Clone(out.values), values...))
	return &out
}

// orderValues drops empty values and puts longer ones first, so that a value
// inside another does not leave the rest of the longer one behind.
func orderValues(values []string) []string {
	out := slices.DeleteFunc(slices.Clone(values), func(v string) bool { return v == "" || v == Mask })
	slices.SortFunc(out, func(a, b string) int {
		if len(a) != len(b) {
			return len(b) - len(a)
		}
		return strings.Compare(a, b)
	})
	return slices.Compact(out)
}

// SecretEnv returns the values in env whose names mean secrets, to be passed
// to [Redactor.WithValues], so that they are also masked where a command
// repeats them.
func (r *Redactor) SecretEnv(env map[string]string) []string {
	var out []string
	for k, v := range env {
		if v != "" && r.secretName(k, v) {
			out = append(out, v)
		}
	}
	slices.Sort(out)
	return out
}

// Env returns a copy of env with secrets masked: whole values under names that
// mean secrets, and secrets inside the other values. Names are not changed.
func (r *Redactor) Env(env map[string]string) map[string]string {
	out := maps.Clone(env)
	for k, v := range out {
		if v != "" && r.secretName(k, v) {
			out[k] = Mask
			continue
		}
		out[k] = r.word(v)
	}
	return out
}

// word masks text that is a whole value of its own.
func (r *Redactor) word(s string) string {
	if r != nil && slices.Contains(r.values, s) {
		return Mask
	}
	return r.Text(s)
}

// maxRounds bounds the search for a text that masking leaves alone. Ordinary
// text takes two rounds, the second to find that nothing changes.
const maxRounds = 8

// Text returns s with secrets masked. If masking does not come to rest, which
// takes declared values or patterns that match the mask's surroundings, the
// whole text is masked.
func (r *Redactor) Text(s string) string {
	for range maxRounds {
		next := r.round(s)
		if next == s {
			return s
		}
		s = next
	}
	return Mask
}

func (r *Redactor) round(s string) string {
	s = r.maskValues(s)
	s = maskShapes(s)
	s = r.maskAssignments(s)
	if r == nil {
		return s
	}
	for _, re := range r.patterns {
		s = re.ReplaceAllLiteralString(s, Mask)
	}
	return r.maskValues(s)
}

// maskValues removes every declared value. It ends, because each replacement
// shortens s.
func (r *Redactor) maskValues(s string) string {
	if r == nil {
		return s
	}
	for again := true; again; {
		again = false
		for _, v := range r.values {
			if len(v) >= MinValue && strings.Contains(s, v) {
				s, again = strings.ReplaceAll(s, v, Mask), true
			}
		}
	}
	return s
}
