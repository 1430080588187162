package review

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/bowline-sh/bowline/change"
)

func packageRules() []rule {
	sources := anyOf(exactly("/etc/apt/sources.list", "/etc/apk/repositories", "/etc/yum.conf", "/etc/dnf/dnf.conf"),
		below("/etc/apt/sources.list.d/", "/etc/yum.repos.d/", "/etc/zypp/repos.d/", "/etc/apt/preferences.d/"))
	keys := below("/etc/apt/trusted.gpg.d/", "/etc/apt/keyrings/", "/usr/share/keyrings/", "/etc/apk/keys/", "/etc/pki/rpm-gpg/")
	return []rule{
		{class: Packages, match: exactly("/var/lib/dpkg/status"), judge: (*subject).dpkgStatus, blind: Low},
		{class: Packages, match: exactly("/lib/apk/db/installed", "/usr/lib/apk/db/installed"), judge: (*subject).apkInstalled, blind: Medium},
		{class: Packages, match: isRPMDatabase, judge: (*subject).rpmDatabase, blind: Medium},
		{class: PackageSources, match: sources, judge: (*subject).packageSources, blind: High},
		{class: PackageSources, match: anyOf(keys, exactly("/etc/apt/trusted.gpg")), judge: (*subject).packageKeys, blind: High},
		{class: PackageSources, match: anyOf(exactly("/etc/apt/apt.conf"), below("/etc/apt/apt.conf.d/")), judge: (*subject).aptConf, blind: Medium},
	}
}

// packagesChange reports whether the plan installs, upgrades or removes packages,
// which explains changed programs.
func (j *judge) packagesChange() bool {
	for _, db := range []change.Path{"/var/lib/dpkg/status", "/lib/apk/db/installed", "/usr/lib/apk/db/installed", "/var/lib/rpm/rpmdb.sqlite", "/var/lib/rpm/Packages", "/usr/lib/sysimage/rpm/rpmdb.sqlite"} {
		if j.paths[db] > 0 {
			return true
		}
	}
	return false
}

// dpkgEntries reads the installed packages of dpkg's status file; deb822(5) and
// dpkg(1), "Package states".
func dpkgEntries(text string) []entry {
	var out []entry
	e, installed, arch := entry{}, false, ""
	flush := func() {
		if e.key != "" && installed {
			e.key += ":" + arch
			out = append(out, e)
		}
		e, installed, arch = entry{}, false, ""
	}
	for l := range eachLine(text) {
		name, value, ok := strings.Cut(l.text, ":")
		value = strings.TrimSpace(value)
		switch {
		case l.text == "":
			flush()
		case !ok || l.text[0] == ' ':
		case name == "Package":
			e.key, e.line = value, l
		case name == "Version":
			e.value = value
		case name == "Architecture":
			arch = value
		case name == "Status":
			installed = strings.HasSuffix(value, " installed")
		}
	}
	flush()
	return out
}

// apkEntries reads apk's database: stanzas with "P:" name and "V:" version, see
// apk-package(5).
func apkEntries(text string) []entry {
	var out []entry
	e := entry{}
	for l := range eachLine(text + "\n\n") {
		switch {
		case l.text == "":
			if e.key != "" {
				out = append(out, e)
			}
			e = entry{}
		case strings.HasPrefix(l.text, "P:"):
			e.key, e.line = l.text[2:], l
		case strings.HasPrefix(l.text, "V:"):
			e.value = l.text[2:]
		}
	}
	return out
}

func (s *subject) dpkgStatus(before, after string) {
	s.packages(dpkgEntries(before), dpkgEntries(after))
	if before != after && len(dpkgEntries(after)) == 0 {
		s.add(High, s.note("%s lists no package any more, or could not be parsed", s.path))
	}
}

func (s *subject) apkInstalled(before, after string) {
	s.packages(apkEntries(before), apkEntries(after))
	if len(apkEntries(after)) == 0 {
		s.add(High, s.note("%s lists no package any more, or could not be parsed", s.path))
	}
}

func (s *subject) packages(before, after []entry) {
	added, removed, changed := compare(before, after)
	var up, down []pair
	for _, c := range changed {
		if compareVersions(c.after.value, c.before.value) < 0 {
			down = append(down, c)
		} else {
			up = append(up, c)
		}
	}
	s.packageList(Low, "installed", asPairs(added, true))
	s.packageList(Low, "upgraded", up)
	s.packageList(High, "downgraded, which may bring back old holes", down)
	s.packageList(Medium, "removed", asPairs(removed, false))
}

func asPairs(list []entry, after bool) []pair {
	out := make([]pair, len(list))
	for i, e := range list {
		if after {
			out[i].after = e
		} else {
			out[i].before = e
		}
	}
	return out
}

// packageList makes one risk of many packages.
func (s *subject) packageList(sev Severity, verb string, list []pair) {
	if len(list) == 0 {
		return
	}
	var f finding
	var words []string
	for i, c := range list {
		if i >= maxEvidence {
			words = append(words, fmt.Sprintf("and %d more", len(list)-i))
			break
		}
		words = append(words, packageWord(c))
		f = f.change(s, c.before.line, c.after.line)
	}
	f.text = fmt.Sprintf("%s %s: %s", packageCount(len(list)), verb, strings.Join(words, ", "))
	s.add(sev, f)
}

func packageCount(n int) string {
	if n == 1 {
		return "1 package is"
	}
	return fmt.Sprintf("%d packages are", n)
}

func packageWord(c pair) string {
	name := c.after.key
	if name == "" {
		name = c.before.key
	}
	name, _, _ = strings.Cut(name, ":")
	switch {
	case c.before.value == "":
		return clip(name + " " + c.after.value)
	case c.after.value == "":
		return clip(name + " " + c.before.value)
	}
	return clip(name + " " + c.before.value + " to " + c.after.value)
}

// compareVersions orders versions as dpkg does, see deb-version(7); apk's are
// close enough to tell up from down.
func compareVersions(a, b string) int {
	ea, ra := epoch(a)
	eb, rb := epoch(b)
	if ea != eb {
		return compareNumbers(ea, eb)
	}
	for ra != "" || rb != "" {
		i, k := digitStart(ra), digitStart(rb)
		if c := compareWords(ra[:i], rb[:k]); c != 0 {
			return c
		}
		ra, rb = ra[i:], rb[k:]
		i, k = digitEnd(ra), digitEnd(rb)
		if c := compareNumbers(ra[:i], rb[:k]); c != 0 {
			return c
		}
		ra, rb = ra[i:], rb[k:]
	}
	return 0
}

func epoch(v string) (string, string) {
	if e, rest, ok := strings.Cut(v, ":"); ok {
		return strings.TrimLeft(e, "0"), rest
	}
	return "", v
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func digitStart(s string) int {
	i := 0
	for i < len(s) && !isDigit(s[i]) {
		i++
	}
	return i
}

func digitEnd(s string) int {
	i := 0
	for i < len(s) && isDigit(s[i]) {
		i++
	}
	return i
}

func compareNumbers(a, b string) int {
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}

// compareWords sorts "~" before the end, letters before all else.
func compareWords(a, b string) int {
	order := func(s string, i int) int {
		switch {
		case i >= len(s):
			return 0
		case s[i] == '~':
			return -1
		case s[i] >= 'A' && s[i] <= 'Z' || s[i] >= 'a' && s[i] <= 'z':
			return int(s[i])
		}
		return int(s[i]) + 256
	}
	for i := range max(len(a), len(b)) {
		if d := order(a, i) - order(b, i); d != 0 {
			return d
		}
	}
	return 0
}

func isRPMDatabase(p string) bool {
	return below("/var/lib/rpm/", "/usr/lib/sysimage/rpm/")(p) && (base("Packages", "Packages.db", "rpmdb.sqlite")(p))
}

func (s *subject) rpmDatabase(_, _ string) {
	s.add(Medium, s.note("the database of rpm %s; which packages is not known from it", s.verb()))
}

func (s *subject) packageSources(before, after string) {
	s.judgeStatements(statements(before, "#;"), statements(after, "#;"), func(e entry, added bool) (Severity, string) {
		text := strings.ToLower(e.key)
		weak := strings.Contains(text, "trusted=yes") || strings.Contains(text, "gpgcheck=0") || strings.Contains(text, "http://") && strings.Contains(text, "gpgcheck")
		switch {
		case !added:
			return Low, "packages no longer come from"
		case weak:
			return High, "packages are taken without a valid signature"
		case strings.Contains(text, "://"), strings.HasPrefix(text, "deb"), strings.HasPrefix(text, "uris:"):
			return High, "packages come from"
		}
		return Medium, "a setting of package sources"
	})
}

func (s *subject) packageKeys(_, _ string) {
	if s.c.After.Absent() {
		s.add(Medium, s.note("a key that packages are signed with is removed: %s", s.path))
		return
	}
	s.add(High, s.note("packages signed by another key are trusted: %s %s", s.path, s.verb()))
}

func (s *subject) aptConf(before, after string) {
	s.judgeStatements(statements(before, "/#"), statements(after, "/#"), func(e entry, added bool) (Severity, string) {
		for _, word := range []string{"Pre-Invoke", "Post-Invoke", "Pre-Install-Pkgs", "AllowUnauthenticated", "AllowInsecureRepositories", "Verify-Peer"} {
			if strings.Contains(e.key, word) && added {
				return High, "apt runs something more, or checks less"
			}
		}
		return Low, "a setting of apt changes"
	})
}

// dpkgLists tells packages by the file lists that dpkg keeps, for a plan whose
// status file is too large to be kept.
func (j *judge) dpkgLists() {
	op := j.paths["/var/lib/dpkg/status"]
	if op == 0 {
		return
	}
	c := j.plan.Ops[op-1].Change
	if _, ok := contentOf(c.After, j.contents); ok {
		if _, ok = contentOf(c.Before, j.contents); ok {
			return
		}
	}
	s := &subject{j: j, op: op, path: string(c.Path), c: *c, class: Packages}
	found := map[change.Kind][]string{}
	for _, o := range j.plan.Ops {
		if o.Change != nil && strings.HasPrefix(string(o.Change.Path), "/var/lib/dpkg/info/") {
			if name, ok := strings.CutSuffix(path.Base(string(o.Change.Path)), ".list"); ok {
				found[o.Change.Kind()] = append(found[o.Change.Kind()], name)
			}
		}
	}
	for _, k := range []struct {
		kind change.Kind
		sev  Severity
		verb string
	}{{change.Create, Low, "installed"}, {change.Modify, Low, "replaced by another version"}, {change.Delete, Medium, "removed"}} {
		s.listed(k.sev, k.verb, found[k.kind])
	}
}

func (s *subject) listed(sev Severity, verb string, list []string) {
	if len(list) == 0 {
		return
	}
	slices.Sort(list)
	shown := strings.Join(list[:min(len(list), maxEvidence)], ", ")
	if len(list) > maxEvidence {
		shown += fmt.Sprintf(", and %d more", len(list)-maxEvidence)
	}
	s.add(sev, finding{text: fmt.Sprintf("%s %s: %s (to judge by dpkg's file lists; versions are not known)", packageCount(len(list)), verb, clip(shown))})
}
