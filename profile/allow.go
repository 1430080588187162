package profile

import (
	"fmt"
	"path"
	"strings"
)

// Verdict is the answer of [Profile.Allows], for people.
type Verdict struct {
	Allowed bool
	Rule    string // the pattern that matched, or "" where there is no list
	Reason  string // one sentence
}

// Allows decides whether argv[0] may run. The rule follows how the sandbox
// finds the program, and never looks at the target:
//
//   - A name without "/" is looked up in the PATH of the profile. It is allowed
//     by a pattern without "/", or if every place PATH could find it in is
//     allowed by a pattern with "/".
//   - An absolute path is allowed by a pattern with "/", where "*" stops at "/",
//     or by a pattern without "/" if its directory is in PATH.
//   - Any other form ("./x", "/usr/bin/../bin/sh", "//bin/sh") is refused:
//     what it names depends on links that only the target knows.
func (p Profile) Allows(arg0 string) Verdict {
	if arg0 == "" || strings.ContainsAny(arg0, "\x00") {
		return Verdict{Reason: "the command is empty or contains NUL"}
	}
	if strings.Contains(arg0, "/") && (!path.IsAbs(arg0) || path.Clean(arg0) != arg0) {
		return Verdict{Reason: fmt.Sprintf("%q is not a plain absolute path", arg0)}
	}
	if len(p.AllowedCommands) == 0 {
		return Verdict{Allowed: true, Reason: "the profile has no allow-list; its mounts are the boundary"}
	}
	if rule, ok := p.match(arg0); ok {
		return Verdict{Allowed: true, Rule: rule, Reason: fmt.Sprintf("%q matches %q", arg0, rule)}
	}
	return Verdict{Reason: fmt.Sprintf("%q is not permitted by profile %s", arg0, p.Name)}
}

func (p Profile) match(arg0 string) (rule string, ok bool) {
	dirs := p.searchPath()
	if strings.Contains(arg0, "/") {
		return p.matchPath(arg0, dirs)
	}
	for _, pattern := range p.AllowedCommands {
		if !strings.Contains(pattern, "/") && globbed(pattern, arg0) {
			return pattern, true
		}
	}
	for _, d := range dirs {
		if rule, ok = p.matchPath(path.Join(d, arg0), nil); !ok {
			return "", false
		}
	}
	return rule, ok
}

// matchPath matches an absolute path. With dirs, patterns for bare names count
// for the files in these directories.
func (p Profile) matchPath(file string, dirs []string) (rule string, ok bool) {
	dir, base := path.Split(file)
	for _, pattern := range p.AllowedCommands {
		if strings.Contains(pattern, "/") {
			if globbed(pattern, file) {
				return pattern, true
			}
			continue
		}
		for _, d := range dirs {
			if path.Clean(dir) == d && globbed(pattern, base) {
				return pattern, true
			}
		}
	}
	return "", false
}

func globbed(pattern, name string) bool {
	ok, err := path.Match(pattern, name)
	return ok && err == nil
}

// DefaultPath is the PATH inside where a profile sets none.
const DefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

func (p Profile) searchPath() []string {
	v, ok := p.Environment["PATH"]
	if !ok {
		v = DefaultPath
	}
	var dirs []string
	for d := range strings.SplitSeq(v, ":") {
		if path.IsAbs(d) {
			dirs = append(dirs, path.Clean(d))
		}
	}
	return dirs
}
