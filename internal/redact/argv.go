package redact

import (
	"path"
	"slices"
	"strings"
)

// Argv returns a copy of argv with secrets masked. The number of arguments is
// kept, and so is argv[0] unless it holds a secret itself.
func (r *Redactor) Argv(argv []string) []string {
	if argv == nil {
		return nil
	}
	out := make([]string, len(argv))
	opts := optionsOf(argv)
	for i, arg := range argv {
		before := ""
		if i > 0 {
			before = argv[i-1]
		}
		out[i] = r.word(r.arg(before, arg, opts))
	}
	return out
}

// arg masks what its place in argv tells about an argument; what its text
// tells is left to word.
func (r *Redactor) arg(before, arg string, opts shortOptions) string {
	if arg != "" && !looksLikeOption(arg) && r.announces(before, arg, opts) {
		return Mask
	}
	if slices.Contains(opts.login, before) {
		return maskLogin(arg)
	}
	if p := opts.attached; p != "" && strings.HasPrefix(arg, p) && len(arg) > len(p) {
		return p + Mask
	}
	k, v, ok := strings.Cut(arg, "=")
	switch {
	case !ok || !isName(k) || v == "":
		return arg
	case r.secretName(strings.TrimLeft(k, "-"), v):
		return k + "=" + Mask // all of it, spaces and separators too
	case slices.Contains(opts.login, k):
		return k + "=" + maskLogin(v)
	}
	return k + "=" + r.word(v)
}

// announces reports whether before is an option that makes the argument after
// it a secret.
func (r *Redactor) announces(before, arg string, opts shortOptions) bool {
	if slices.Contains(opts.separate, before) {
		return true
	}
	return len(before) > 2 && before[0] == '-' && isName(before) && r.secretName(strings.TrimLeft(before, "-"), arg)
}

// looksLikeOption tells "--password --host db", where no value was given, from
// a password that starts with "-".
func looksLikeOption(arg string) bool {
	if len(arg) == 2 && arg[0] == '-' {
		return true
	}
	return len(arg) > 2 && strings.HasPrefix(arg, "--") && (arg[2] >= 'a' && arg[2] <= 'z')
}

func isName(s string) bool {
	for i := range len(s) {
		if !isNameByte(s[i]) {
			return false
		}
	}
	return s != ""
}

// shortOptions are the options of well-known programs that take a secret and
// do not say so in their names.
type shortOptions struct {
	attached string   // the secret follows in the same argument
	separate []string // the secret is the next argument
	login    []string // USER:SECRET is the next argument, or follows "="
}

// optionsOf finds the program that argv runs, also behind sudo, env and
// others: it is the first argument that is the name of a known program.
func optionsOf(argv []string) shortOptions {
	for _, arg := range argv {
		switch path.Base(arg) {
		case "mysql", "mysqldump", "mysqladmin", "mysqlimport", "mysqlcheck", "mysqlshow", "mariadb", "mariadb-dump", "mariadb-admin":
			return shortOptions{attached: "-p"}
		case "sshpass":
			return shortOptions{attached: "-p", separate: []string{"-p"}}
		case "redis-cli":
			return shortOptions{separate: []string{"-a"}}
		case "ldapsearch", "ldapmodify", "ldapadd", "ldapwhoami":
			return shortOptions{separate: []string{"-w"}}
		case "curl":
			return shortOptions{login: []string{"-u", "--user", "-U", "--proxy-user"}}
		}
	}
	return shortOptions{}
}

// maskLogin masks the secret of USER:SECRET.
func maskLogin(s string) string {
	if user, secret, ok := strings.Cut(s, ":"); ok && secret != "" {
		return user + ":" + Mask
	}
	return s
}
