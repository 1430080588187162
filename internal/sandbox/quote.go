package sandbox

import (
	"fmt"
	"strings"
)

// Quote returns s as one word that sh, dash, bash, zsh and busybox ash all read
// as exactly s. It is the only quoting function of Bowline. fish agrees if s is
// valid UTF-8; csh and tcsh if it also holds no newline and no "!". A NUL cannot
// be passed to a program at all and is an error.
//
// The form is portable because quotes hold only characters that no shell treats
// as special there: fish alone knows escapes (\\ and \') inside single quotes,
// so backslashes and single quotes stand outside, escaped by a backslash.
func Quote(s string) (string, error) {
	if strings.Contains(s, "\x00") {
		return "", fmt.Errorf("argument %q contains NUL", s)
	}
	if s == "" {
		return "''", nil
	}
	if strings.Trim(s, bare) == "" {
		return s, nil
	}
	var b strings.Builder
	quoted := false
	for i := range len(s) {
		c := s[i]
		special := c == '\'' || c == '\\'
		if quoted == special {
			b.WriteByte('\'')
			quoted = !quoted
		}
		if special {
			b.WriteByte('\\')
		}
		b.WriteByte(c)
	}
	if quoted {
		b.WriteByte('\'')
	}
	return b.String(), nil
}

// bare characters need no quotes anywhere. "=" is not among them (zsh expands a
// leading one), nor is "~".
const bare = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-:,+@"

// words quotes every element and joins them with spaces.
func words(args []string) (string, error) {
	out := make([]string, len(args))
	for i, a := range args {
		q, err := Quote(a)
		if err != nil {
			return "", err
		}
		out[i] = q
	}
	return strings.Join(out, " "), nil
}

// oneLine makes sh text whose newlines all stand in single quotes, as Quote
// leaves them, fit on one line. Only such text pays for the subshell.
func oneLine(text string) string {
	if !strings.Contains(text, "\n") {
		return text
	}
	return `N=$(printf "\n_");N=${N%_};` + strings.ReplaceAll(text, "\n", `'"$N"'`)
}
