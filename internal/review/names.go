package review

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/bowline-sh/bowline/change"
	"github.com/bowline-sh/bowline/plan"
)

// names are the accounts of the target, as far as the plan shows them: only where
// it touches passwd or group, for nothing else is kept of the host.
type names struct {
	users, groups map[uint32]string
	homes         map[string]string // home directory to account
}

func namesOf(p plan.Plan, contents map[string][]byte) names {
	n := names{users: map[uint32]string{0: "root"}, groups: map[uint32]string{0: "root"}, homes: map[string]string{}}
	for _, op := range p.Ops {
		if op.Change == nil || op.Change.Path != "/etc/passwd" && op.Change.Path != "/etc/group" {
			continue
		}
		for _, s := range []change.State{op.Change.After, op.Change.Before} { // what is known stays
			text := string(contents[s.SHA256])
			if len(text) > maxJudged {
				continue
			}
			if op.Change.Path == "/etc/passwd" {
				n.readUsers(text)
			} else {
				n.readGroups(text)
			}
		}
	}
	return n
}

func (n names) readUsers(text string) {
	for _, u := range parsePasswd(text).users {
		keep(n.users, u.uid, u.name) // of two with one uid the first is shown, as getpwuid does
		if len(u.home) > 1 {
			keep(n.homes, u.home, u.name)
		}
	}
}

func (n names) readGroups(text string) {
	for l := range eachLine(text) {
		f := strings.Split(l.text, ":")
		if id, ok := parseID(field(f, 2)); ok && len(f) == 4 {
			keep(n.groups, id, f[0])
		}
	}
}

func keep[K comparable](m map[K]string, k K, name string) {
	if _, ok := m[k]; !ok {
		m[k] = name
	}
}

func (n names) user(id uint32) string  { return named(n.users, id) }
func (n names) group(id uint32) string { return named(n.groups, id) }

func named(m map[uint32]string, id uint32) string {
	if name, ok := m[id]; ok {
		return fmt.Sprintf("%d (%s)", id, name)
	}
	return fmt.Sprint(id)
}

func (n names) owner(s change.State) string {
	name := func(m map[uint32]string, id uint32) string {
		if x, ok := m[id]; ok {
			return x
		}
		return strconv.FormatUint(uint64(id), 10)
	}
	return name(n.users, s.UID) + ":" + name(n.groups, s.GID)
}

// userOfHome returns whose home directory a path is in, or "".
func (n names) userOfHome(p string) string {
	if strings.HasPrefix(p, "/root/") {
		return "root"
	}
	for dir := p; ; {
		i := strings.LastIndexByte(dir, '/')
		if i <= 0 {
			break
		}
		dir = dir[:i]
		if u, ok := n.homes[dir]; ok {
			return u
		}
	}
	if rest, ok := strings.CutPrefix(p, "/home/"); ok {
		name, _, _ := strings.Cut(rest, "/")
		return name
	}
	return ""
}
