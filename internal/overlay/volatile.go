//go:build linux

package overlay

import (
	"path"
	"strings"
)

// filesOnly marks a rule that keeps directories in the plan.
const filesOnly = "files:"

// DefaultVolatile returns the rules for paths whose changes are not planned: what
// every run of every program writes, what is rebuilt on demand and what ends with
// the boot.
//
// A rule is a glob as in [path.Match] that covers the path it matches and all
// below it. With the prefix "files:" directories stay in the plan, because
// services do not start without the directory of their log; so do deletions in a
// directory that is deleted itself.
//
// /var/cache/debconf is state in spite of its name and is not here.
func DefaultVolatile() []string {
	return []string{
		"/tmp", "/var/tmp", "/run", "/dev", "/proc", "/sys",
		filesOnly + "/var/log",
		filesOnly + "/var/cache/apt", filesOnly + "/var/cache/man", "/var/cache/ldconfig", "/var/cache/fontconfig",
		filesOnly + "/var/cache/dnf", filesOnly + "/var/cache/yum",
		"/var/lib/systemd/random-seed", "/var/lib/dpkg/lock", "/var/lib/dpkg/lock-frontend",
		"/var/lib/apt/lists/lock", "/etc/.pwd.lock",
	}
}

// volatility of a path.
type volatility int

const (
	state         volatility = iota // planned
	volatileFiles                   // only directories are planned
	volatileAll                     // not planned
)

// rules answers which paths are volatile.
type rules []string

// of returns the strongest rule for p.
func (rs rules) of(p string) volatility {
	v := state
	if within(p, meet) {
		return volatileAll
	}
	for _, r := range rs {
		glob, files := strings.CutPrefix(r, filesOnly)
		if !covers(glob, p) {
			continue
		}
		if !files {
			return volatileAll
		}
		v = volatileFiles
	}
	return v
}

// covers reports whether glob matches p or an ancestor of it.
func covers(glob, p string) bool {
	n := strings.Count(glob, "/")
	head, count := p, 0
	for i := range len(p) {
		if p[i] == '/' {
			if count == n {
				head = p[:i]
				break
			}
			count++
		}
	}
	if !strings.ContainsAny(glob, `*?[\`) {
		return head == glob
	}
	ok, err := path.Match(glob, head)
	return ok && err == nil
}
