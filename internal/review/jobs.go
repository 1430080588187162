package review

import (
	"path"
	"strings"

	"github.com/bowline-sh/bowline/change"
)

func jobRules() []rule {
	return []rule{
		{class: Cron, match: anyOf(exactly("/etc/crontab", "/etc/anacrontab"), below("/etc/cron.d/", "/var/spool/cron/", "/etc/crontabs/")), judge: (*subject).crontab, blind: Medium},
		{class: Cron, match: below("/etc/cron.hourly/", "/etc/cron.daily/", "/etc/cron.weekly/", "/etc/cron.monthly/", "/etc/periodic/", "/var/spool/at/"), judge: (*subject).periodic, blind: Medium, links: true},
		{class: Units, match: isUnit, judge: (*subject).unit, blind: Medium, links: true},
		{class: Units, match: anyOf(exactly("/etc/rc.local", "/etc/inittab"), below("/etc/init.d/", "/etc/rc.d/")), judge: (*subject).initScript, blind: Medium, links: true},
		{class: Units, match: isRunlevel, judge: (*subject).initScript, blind: Low, links: true},
	}
}

// suspicious says what is odd about a shell command line, or "".
func suspicious(command string) string {
	fetches := strings.Contains(command, "curl ") || strings.Contains(command, "wget ")
	pipes := false
	for _, sh := range []string{"| sh", "|sh", "| bash", "|bash", "| sudo", "| /bin/", "|/bin/", "| python", "| perl"} {
		pipes = pipes || strings.Contains(command, sh)
	}
	switch {
	case fetches && pipes:
		return "it runs what it downloads"
	case strings.Contains(command, "/dev/tcp/"), strings.Contains(command, "nc -e"), strings.Contains(command, "ncat -e"):
		return "it opens a shell to the network"
	case strings.Contains(command, "base64 -d") && pipes:
		return "it runs encoded text"
	case strings.Contains(command, "/tmp/"), strings.Contains(command, "/dev/shm/"):
		return "it uses a directory where everybody may write"
	}
	return ""
}

// with adds a remark to a severity and text.
func with(sev Severity, text, command string) (Severity, string) {
	if odd := suspicious(command); odd != "" {
		return High, text + " (" + odd + ")"
	}
	return sev, text
}

// cronJob is a line of crontab(5) that is no comment: a setting or a job.
func cronJob(text string) (setting, command string) {
	name, _, ok := strings.Cut(text, "=")
	if ok && !strings.ContainsAny(strings.TrimSpace(name), " \t*@") {
		return strings.TrimSpace(name), ""
	}
	skip := 5
	if strings.HasPrefix(text, "@") {
		skip = 1
	}
	f := strings.Fields(text)
	if len(f) <= skip {
		return "", ""
	}
	return "", strings.Join(f[skip:], " ")
}

// cronEntries are keyed by command, so that another time is a change of the job.
func cronEntries(text string) (out []entry, bad []line) {
	for _, e := range statements(text, "#") {
		setting, command := cronJob(e.key)
		switch {
		case setting != "":
			e.key, e.value = "= "+setting, e.key
		case command != "":
			e.key, e.value = command, e.key
		default:
			bad = append(bad, e.line)
			continue
		}
		out = append(out, e)
	}
	return out, bad
}

func (s *subject) crontab(before, after string) {
	b, _ := cronEntries(before)
	a, bad := cronEntries(after)
	added, removed, changed := compare(b, a)
	for _, e := range added {
		if name, ok := strings.CutPrefix(e.key, "= "); ok {
			s.add(settingWeight(name), s.note("%s sets %s for its jobs", s.path, e.value).at(s, true, e.line))
			continue
		}
		sev, text := with(Medium, "a scheduled job is added", e.key)
		s.add(sev, s.note("%s: %s", text, e.value).at(s, true, e.line))
	}
	for _, e := range removed {
		s.add(Low, s.note("a scheduled job or setting is removed: %s", e.value).at(s, false, e.line))
	}
	for _, c := range changed {
		s.add(Medium, s.note("a scheduled job or setting changes from %s to %s", c.before.value, c.after.value).change(s, c.before.line, c.after.line))
	}
	s.garbled(Medium, true, bad)
}

func settingWeight(name string) Severity {
	switch name {
	case "MAILTO", "MAILFROM", "LANG", "CRON_TZ", "TZ", "RANDOM_DELAY", "START_HOURS_RANGE", "CONTENT_TYPE":
		return Low
	case "LD_PRELOAD", "LD_LIBRARY_PATH", "BASH_ENV", "ENV":
		return High
	}
	return Medium
}

// periodic scripts run as a whole; a comment in one is none of their effect.
func (s *subject) periodic(before, after string) {
	if s.c.After.Absent() {
		s.add(Low, s.note("the scheduled script %s is removed", s.path))
		return
	}
	if path.Base(s.path) == ".placeholder" {
		return
	}
	s.script("the scheduled script %s %s", before, after)
}

// script compares the statements of a program text.
func (s *subject) script(format, before, after string) {
	b, a := continued(before, "#"), continued(after, "#")
	added, removed, _ := compare(b, a)
	if len(added)+len(removed) == 0 && sameOrder(b, a) && s.c.Before.Type == s.c.After.Type {
		return
	}
	sev, odd := Medium, ""
	for _, e := range added {
		if x := suspicious(e.key); x != "" {
			sev, odd = High, ": "+x
		}
	}
	f := s.note(format+odd, s.path, s.verb())
	for i, e := range added {
		if i < maxEvidence {
			f = f.at(s, true, e.line)
		}
	}
	if len(added) == 0 && len(removed) > 0 {
		f = f.at(s, false, removed[0].line)
	}
	s.add(sev, f)
}

func (s *subject) initScript(before, after string) {
	if s.c.After.Absent() {
		s.add(Low, s.note("%s no longer runs when the system starts", s.path))
		return
	}
	if s.c.After.Type == change.Symlink {
		s.add(Low, s.note("%s is run when the system starts or stops: %s", s.path, string(s.c.After.Target)))
		return
	}
	s.script("%s, which runs when the system starts, %s", before, after)
}

func isRunlevel(p string) bool {
	rest, ok := strings.CutPrefix(p, "/etc/rc")
	return ok && len(rest) > 4 && strings.HasPrefix(rest[1:], ".d/")
}

// Units, see systemd.unit(5).

func isUnit(p string) bool {
	i := strings.Index(p, "/systemd/")
	if i < 0 {
		return false
	}
	rest := p[i+len("/systemd/"):]
	system := strings.HasPrefix(rest, "system/") || strings.HasPrefix(rest, "user/")
	return system && (i <= len("/usr/local/lib") || strings.HasSuffix(p[:i], "/.config") || strings.HasSuffix(p[:i], "/.local/share"))
}

func (s *subject) unit(before, after string) {
	name := path.Base(s.path)
	dir := path.Base(path.Dir(s.path))
	if strings.HasSuffix(name, ".timer") {
		s.class = Timers
	}
	b, a := s.c.Before, s.c.After
	switch {
	case strings.HasSuffix(dir, ".wants") || strings.HasSuffix(dir, ".requires"):
		s.wants(name, dir)
	case a.Type == change.Symlink && a.Target == "/dev/null" || a.Type == change.File && a.Size == 0 && !strings.HasSuffix(dir, ".d"):
		s.add(maskWeight(name), s.note("the unit %s is masked: it can no longer start", name))
	case a.Type == change.Symlink:
		s.add(Medium, s.note("the unit %s becomes another name of %s", name, string(a.Target)))
	case a.Absent() && b.Type == change.Symlink:
		s.add(Low, s.note("the unit %s is no longer masked, or loses a name", name))
	case a.Absent():
		s.add(Medium, s.note("the unit %s is removed", s.path))
	default:
		s.unitText(name, before, after)
	}
}

func (s *subject) wants(name, dir string) {
	by := strings.TrimSuffix(strings.TrimSuffix(dir, ".wants"), ".requires")
	switch {
	case s.c.After.Absent() && defence(name):
		s.add(High, s.note("%s is disabled: %s no longer starts it", name, by))
	case s.c.After.Absent():
		s.add(Medium, s.note("%s is disabled: %s no longer starts it", name, by))
	default:
		s.add(Medium, s.note("%s is enabled: %s starts it", name, by))
	}
}

// defence reports whether a unit watches over the system.
func defence(unit string) bool {
	name, _, _ := strings.Cut(unit, ".")
	switch name {
	case "auditd", "ufw", "nftables", "iptables", "firewalld", "fail2ban", "apparmor", "rsyslog", "syslog-ng", "systemd-journald", "clamav-daemon",
		"unattended-upgrades", "apt-daily", "apt-daily-upgrade", "crowdsec", "wazuh-agent", "falco", "aide", "ossec":
		return true
	}
	return false
}

func maskWeight(unit string) Severity {
	if defence(unit) {
		return High
	}
	return Medium
}

// unitEntries are keyed by section and name; names that may stand several times
// follow each other.
func unitEntries(text string) (out []entry, bad []line) {
	section := ""
	for _, e := range continued(text, "#;") {
		if strings.HasPrefix(e.key, "[") {
			section = e.key
			continue
		}
		name, value, ok := strings.Cut(e.key, "=")
		if !ok || section == "" {
			bad = append(bad, e.line)
			continue
		}
		name = strings.TrimSpace(name)
		if name == "Description" || name == "Documentation" || name == "SourcePath" || section == "[Install]" {
			continue // what [Install] does shows in symlinks
		}
		out = append(out, entry{key: name, value: strings.TrimSpace(value), line: e.line})
	}
	return out, bad
}

func (s *subject) unitText(name, before, after string) {
	b, _ := unitEntries(before)
	a, bad := unitEntries(after)
	s.garbled(Medium, true, bad)
	if s.c.Before.Absent() {
		s.unitAdded(name, a)
		return
	}
	added, removed, changed := compare(b, a)
	for _, e := range added {
		changed = append(changed, pair{entry{key: e.key}, e})
	}
	for _, e := range removed {
		changed = append(changed, pair{e, entry{key: e.key}})
	}
	for _, c := range changed {
		sev, remark := unitWeight(c.after.key, c.after.value)
		s.add(sev, s.note("%s of %s changes from %s to %s%s", c.after.key, name, orDefault(c.before.value), orDefault(c.after.value), remark).
			change(s, c.before.line, c.after.line))
	}
}

// unitAdded sums up a new unit: what it runs, and as whom.
func (s *subject) unitAdded(name string, a []entry) {
	sev, user, remark := Low, "root", ""
	f := finding{}
	for _, e := range a {
		w, odd := unitWeight(e.key, e.value)
		switch {
		case e.key == "User":
			user = e.value
		case strings.HasPrefix(e.key, "Exec"), strings.HasPrefix(e.key, "On"), strings.HasPrefix(e.key, "Listen"):
			sev = max(sev, min(w, Medium))
			f = f.at(s, true, e.line)
		}
		if odd != "" {
			sev, remark = High, odd
		}
	}
	if strings.HasPrefix(s.path, "/lib/") || strings.HasPrefix(s.path, "/usr/lib/") {
		if sev == Medium && s.j.packagesChange() {
			sev = Low // units of packages do nothing until they are enabled
		}
	}
	f.text = s.note("the unit %s is added, and runs as %s%s", name, user, remark).text
	s.add(sev, f)
}

func unitWeight(key, value string) (Severity, string) {
	switch {
	case strings.HasPrefix(key, "Exec"):
		if odd := suspicious(value); odd != "" {
			return High, " (" + odd + ")"
		}
		return High, ""
	case key == "Environment" && strings.Contains(value, "LD_PRELOAD"):
		return High, " (it loads a library into the program)"
	case key == "User", key == "Group", key == "DynamicUser", key == "SupplementaryGroups", key == "AmbientCapabilities", key == "CapabilityBoundingSet":
		return High, ""
	case key == "NoNewPrivileges", strings.HasPrefix(key, "Protect"), strings.HasPrefix(key, "Private"), strings.HasPrefix(key, "Restrict"),
		strings.HasPrefix(key, "SystemCall"), strings.HasPrefix(key, "ReadWrite"), strings.HasPrefix(key, "ReadOnly"), strings.HasPrefix(key, "Inaccessible"):
		return Medium, ""
	case strings.HasPrefix(key, "On"), strings.HasPrefix(key, "Listen"), strings.HasPrefix(key, "Environment"), key == "WorkingDirectory", key == "RootDirectory", key == "Type":
		return Medium, ""
	}
	return Low, ""
}
