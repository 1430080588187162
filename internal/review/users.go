package review

import (
	"slices"
	"strconv"
	"strings"
)

func userRules() []rule {
	return []rule{
		{class: Users, match: exactly("/etc/passwd"), judge: (*subject).passwd, blind: High},
		{class: Users, match: exactly("/etc/shadow"), judge: (*subject).shadow, blind: High},
		{class: Users, match: exactly("/etc/subuid", "/etc/subgid"), judge: (*subject).subordinate, blind: Medium},
		{class: Groups, match: exactly("/etc/group"), judge: (*subject).group, blind: High},
		{class: Groups, match: exactly("/etc/gshadow"), judge: (*subject).gshadow, blind: Medium},
	}
}

// account is a line of passwd(5).
type account struct {
	name, password string
	uid, gid       uint32
	gecos, home    string
	shell          string
	line           line
}

type passwd struct {
	users []account
	bad   []line
}

func parsePasswd(text string) passwd {
	var p passwd
	for l := range eachLine(text) {
		if l.text == "" || l.text[0] == '#' {
			continue
		}
		f := strings.Split(l.text, ":")
		uid, okU := parseID(field(f, 2))
		gid, okG := parseID(field(f, 3))
		if len(f) != 7 || f[0] == "" || !okU || !okG || strings.HasPrefix(f[0], "+") {
			p.bad = append(p.bad, l)
			continue
		}
		p.users = append(p.users, account{f[0], f[1], uid, gid, f[4], f[5], f[6], l})
	}
	return p
}

func parseID(text string) (uint32, bool) {
	n, err := strconv.ParseUint(text, 10, 32)
	return uint32(n), err == nil
}

func (p passwd) entries() []entry {
	out := make([]entry, len(p.users))
	for i, u := range p.users {
		out[i] = entry{key: u.name, value: u.line.text, line: line{u.line.n, u.line.text}}
	}
	return out
}

// loginShell reports whether a shell lets somebody in.
func loginShell(shell string) bool {
	name := shell[strings.LastIndexByte(shell, '/')+1:]
	return name != "nologin" && name != "false" && name != "sync"
}

func one(e entry) account { return parsePasswd(e.text).users[0] }

func (s *subject) passwd(before, after string) {
	b, a := parsePasswd(before), parsePasswd(after)
	s.newlyGarbled(b.bad, a.bad)
	added, removed, changed := compare(b.entries(), a.entries())
	owners := a.owners()
	for _, e := range added {
		s.userAdded(one(e), e.line, owners)
	}
	for _, e := range removed {
		s.add(Medium, s.note("user %s is removed", one(e).name).at(s, false, e.line))
	}
	for _, c := range changed {
		s.userChanged(c)
	}
}

// newlyGarbled reports lines that cannot be read and were not there before.
func (s *subject) newlyGarbled(before, after []line) {
	known := make(map[string]bool, len(before))
	for _, l := range before {
		known[l.text] = true
	}
	bad := slices.DeleteFunc(after, func(l line) bool { return known[l.text] })
	s.garbled(High, true, bad)
}

func (s *subject) userAdded(u account, l line, owners map[uint32]string) {
	f := s.note("user %s is added with uid %d and shell %s", u.name, int(u.uid), u.shell).at(s, true, mask(l, 1))
	switch {
	case u.uid == 0 && u.name != "root":
		s.add(High, f)
	case u.password == "":
		s.add(High, s.note("user %s is added without a password", u.name).at(s, true, l))
	case u.gid == 0 && u.name != "root":
		s.add(High, s.note("user %s is added with the group root", u.name).at(s, true, mask(l, 1)))
	case loginShell(u.shell):
		s.add(Medium, f)
	default:
		s.add(Low, f)
	}
	if o := owners[u.uid]; o != u.name && u.uid != 0 {
		s.add(High, s.note("user %s is added with the uid %d of %s", u.name, int(u.uid), o).at(s, true, mask(l, 1)))
	}
}

// owners returns the first account of each uid.
func (p passwd) owners() map[uint32]string {
	out := make(map[uint32]string, len(p.users))
	for _, u := range slices.Backward(p.users) {
		out[u.uid] = u.name
	}
	return out
}

func (s *subject) userChanged(c pair) {
	b, a := one(c.before), one(c.after)
	say := func(sev Severity, format string, args ...any) {
		s.add(sev, s.note(format, args...).change(s, mask(c.before.line, 1), mask(c.after.line, 1)))
	}
	if b.uid != a.uid {
		sev := Medium
		if a.uid == 0 {
			sev = High
		}
		say(sev, "the uid of %s changes from %d to %d", a.name, int(b.uid), int(a.uid))
	}
	if b.gid != a.gid {
		sev := Medium
		if a.gid == 0 {
			sev = High
		}
		say(sev, "the group of %s changes from %d to %d", a.name, int(b.gid), int(a.gid))
	}
	if b.shell != a.shell {
		sev := Medium
		if !loginShell(b.shell) && loginShell(a.shell) && a.uid < 1000 {
			sev = High // an account of a service becomes one that people can use
		}
		say(sev, "the shell of %s changes from %s to %s", a.name, b.shell, a.shell)
	}
	if b.home != a.home {
		say(Medium, "the home directory of %s changes from %s to %s", a.name, b.home, a.home)
	}
	if b.password != a.password {
		sev := Medium
		if a.password == "" {
			sev = High
		}
		say(sev, "the password field of %s changes", a.name)
	}
	if b.gecos != a.gecos {
		say(Low, "the full name or comment of %s changes", a.name)
	}
}

// mask replaces a field of a line that may be a password hash.
func mask(l line, i int) line {
	f := strings.Split(l.text, ":")
	if len(field(f, i)) > 1 {
		f[i] = "(hidden)"
	}
	return line{l.n, strings.Join(f, ":")}
}

func colonEntries(text string, fields int) (out []entry, bad []line) {
	for l := range eachLine(text) {
		if l.text == "" || l.text[0] == '#' {
			continue
		}
		name, _, _ := strings.Cut(l.text, ":")
		if strings.Count(l.text, ":") != fields-1 || name == "" || name[0] == '+' {
			bad = append(bad, l)
			continue
		}
		out = append(out, entry{key: name, value: l.text, line: l})
	}
	return out, bad
}

// locked reports whether no password fits a hash; see crypt(5) and shadow(5).
func locked(hash string) bool { return strings.HasPrefix(hash, "!") || strings.HasPrefix(hash, "*") }

func (s *subject) shadow(before, after string) {
	b, badB := colonEntries(before, 9)
	a, badA := colonEntries(after, 9)
	s.newlyGarbled(badB, badA)
	added, removed, changed := compare(b, a)
	hash := func(e entry) string { return field(strings.Split(e.text, ":"), 1) }
	for _, e := range added {
		s.passwordAdded(e, hash(e))
	}
	for _, e := range removed {
		s.add(Low, s.note("the password entry of %s is removed", e.key).at(s, false, mask(e.line, 1)))
	}
	for _, c := range changed {
		s.passwordChanged(c, hash(c.before), hash(c.after))
	}
}

func (s *subject) passwordAdded(e entry, hash string) {
	switch {
	case hash == "":
		s.add(High, s.note("%s gets an empty password", e.key).at(s, true, e.line))
	case !locked(hash):
		s.add(Medium, s.note("%s gets a password", e.key).at(s, true, mask(e.line, 1)))
	}
}

func (s *subject) passwordChanged(c pair, b, a string) {
	say := func(sev Severity, format string) {
		s.add(sev, s.note(format, c.after.key).change(s, mask(c.before.line, 1), mask(c.after.line, 1)))
	}
	switch {
	case b == a:
		say(Low, "the ageing or expiry of the password of %s changes")
	case a == "":
		say(High, "the password of %s becomes empty")
	case locked(b) && !locked(a):
		say(Medium, "%s can log in with a password from now on")
	case locked(a):
		say(Low, "the password of %s is locked")
	case c.after.key == "root":
		say(High, "the password of %s changes")
	default:
		say(Medium, "the password of %s changes")
	}
}

func (s *subject) subordinate(before, after string) {
	b, badB := colonEntries(before, 3)
	a, badA := colonEntries(after, 3)
	s.newlyGarbled(badB, badA)
	added, _, changed := compare(b, a)
	for _, c := range changed {
		added = append(added, c.after)
	}
	for _, e := range added {
		f := strings.Split(e.text, ":")
		first, ok := parseID(f[1])
		sev := Low
		if !ok || first < 65536 {
			sev = High // ids of real accounts
		}
		s.add(sev, s.note("%s may use the ids %s (first) and %s (how many) in containers", f[0], f[1], f[2]).at(s, true, e.line))
	}
}

// powerful are groups whose members are, or can become, root.
func powerful(group string) Severity {
	switch group {
	case "root", "sudo", "wheel", "admin", "docker", "lxd", "incus-admin", "libvirt", "disk", "shadow", "kmem", "podman":
		return High
	case "adm", "systemd-journal", "staff", "kvm", "ssl-cert", "input", "render", "utmp", "backup", "netdev", "_ssh", "crontab":
		return Medium
	}
	return Low
}

func members(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' })
}

func (s *subject) group(before, after string) {
	b, badB := colonEntries(before, 4)
	a, badA := colonEntries(after, 4)
	s.newlyGarbled(badB, badA)
	added, removed, changed := compare(b, a)
	for _, e := range added {
		f := strings.Split(e.text, ":")
		sev := Low
		if f[2] == "0" && f[0] != "root" {
			sev = High
		}
		s.add(sev, s.note("group %s is added with gid %s", f[0], f[2]).at(s, true, e.line))
		s.joined(e.key, nil, members(f[3]), e.line)
	}
	for _, e := range removed {
		s.add(Low, s.note("group %s is removed", e.key).at(s, false, e.line))
	}
	for _, c := range changed {
		fb, fa := strings.Split(c.before.text, ":"), strings.Split(c.after.text, ":")
		if fb[2] != fa[2] {
			s.add(Medium, s.note("the gid of group %s changes from %s to %s", fa[0], fb[2], fa[2]).change(s, c.before.line, c.after.line))
		}
		s.joined(fa[0], members(fb[3]), members(fa[3]), c.after.line)
		s.left(fa[0], members(fb[3]), members(fa[3]), c.before.line)
	}
}

func (s *subject) joined(group string, before, after []string, l line) {
	for _, m := range without(after, before) {
		s.add(powerful(group), s.note("%s is added to the group %s", m, group).at(s, true, l))
	}
}

func (s *subject) left(group string, before, after []string, l line) {
	for _, m := range without(before, after) {
		s.add(min(powerful(group), Medium), s.note("%s is removed from the group %s", m, group).at(s, false, l))
	}
}

// without returns what is in a and not in b.
func without(a, b []string) []string {
	have := make(map[string]bool, len(b))
	for _, x := range b {
		have[x] = true
	}
	return slices.DeleteFunc(slices.Clone(a), func(x string) bool { return have[x] })
}

// gshadow repeats the members that group has; passwords and administrators are
// only here.
func (s *subject) gshadow(before, after string) {
	b, badB := colonEntries(before, 4)
	a, badA := colonEntries(after, 4)
	s.newlyGarbled(badB, badA)
	added, _, changed := compare(b, a)
	for _, e := range added {
		changed = append(changed, pair{entry{key: e.key, line: line{text: e.key + ":!::"}}, e})
	}
	for _, c := range changed {
		fb, fa := strings.Split(c.before.text, ":"), strings.Split(c.after.text, ":")
		if fb[1] != fa[1] && !locked(fa[1]) {
			s.add(Medium, s.note("the password of group %s changes", fa[0]).at(s, true, mask(c.after.line, 1)))
		}
		for _, m := range without(members(fa[2]), members(fb[2])) {
			s.add(max(powerful(fa[0]), Medium), s.note("%s may administer the group %s", m, fa[0]).at(s, true, mask(c.after.line, 1)))
		}
	}
}
