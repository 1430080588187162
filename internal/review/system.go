package review

import (
	"path"
	"slices"
	"strings"
)

func systemRules() []rule {
	return []rule{
		{class: ShellProfile, match: isProfile, judge: (*subject).profile, blind: Medium},
		{class: LibraryPath, match: exactly("/etc/ld.so.preload"), judge: (*subject).preload, blind: High},
		{class: LibraryPath, match: anyOf(exactly("/etc/ld.so.conf"), below("/etc/ld.so.conf.d/")), judge: (*subject).libraryPath, blind: High},
		{class: Firewall, match: isFirewall, judge: (*subject).firewall, blind: High},
		{class: Resolver, match: exactly("/etc/resolv.conf", "/etc/systemd/resolved.conf"), judge: (*subject).resolver, blind: Medium, links: true},
		{class: Resolver, match: exactly("/etc/hosts"), judge: (*subject).hosts, blind: Medium},
		{class: Resolver, match: exactly("/etc/nsswitch.conf"), judge: (*subject).nsswitch, blind: High},
		{class: Boot, match: exactly("/etc/fstab", "/etc/crypttab"), judge: (*subject).fstab, blind: Medium},
		{class: Boot, match: isBootConfig, judge: (*subject).bootConfig, blind: Medium},
		{class: Boot, match: isBootImage, judge: (*subject).bootImage, blind: Medium, links: true},
		{class: KernelModules, match: anyOf(exactly("/etc/modules"), below("/etc/modules-load.d/", "/etc/modprobe.d/", "/etc/initramfs-tools/")), judge: (*subject).modules, blind: Medium},
		{class: KernelSettings, match: anyOf(exactly("/etc/sysctl.conf"), below("/etc/sysctl.d/", "/usr/lib/sysctl.d/")), judge: (*subject).sysctl, blind: Medium},
		{class: Devices, match: below("/etc/udev/rules.d/", "/usr/lib/udev/rules.d/", "/lib/udev/rules.d/"), judge: (*subject).udev, blind: Medium},
		{class: AccessControl, match: anyOf(exactly("/etc/selinux/config", "/etc/sysconfig/selinux"), below("/etc/apparmor.d/", "/etc/selinux/")), judge: (*subject).accessControl, blind: Medium, links: true},
		{class: LogTampering, match: anyOf(exactly("/etc/rsyslog.conf", "/etc/audit/auditd.conf", "/etc/systemd/journald.conf"), below("/etc/rsyslog.d/", "/etc/audit/", "/etc/systemd/journald.conf.d/")), judge: (*subject).logConfig, blind: Medium},
	}
}

// Shells.

func isProfile(p string) bool {
	if exactly("/etc/profile", "/etc/bash.bashrc", "/etc/bashrc", "/etc/environment", "/etc/zsh/zshenv", "/etc/zsh/zshrc", "/etc/zsh/zprofile", "/etc/csh.cshrc", "/etc/csh.login", "/etc/ssh/sshrc", "/etc/pam_env.conf")(p) ||
		below("/etc/profile.d/", "/etc/environment.d/", "/etc/fish/conf.d/")(p) {
		return true
	}
	if strings.HasSuffix(p, "/.ssh/rc") || strings.HasSuffix(p, "/.ssh/environment") || strings.HasSuffix(p, "/.config/fish/config.fish") {
		return true
	}
	i := strings.LastIndex(p, "/.")
	return i >= 0 && !strings.HasPrefix(p, "/etc/skel/") &&
		base(".bashrc", ".profile", ".bash_profile", ".bash_login", ".bash_logout", ".bash_aliases", ".zshrc", ".zshenv", ".zprofile", ".zlogin", ".cshrc", ".tcshrc", ".login", ".pam_environment", ".xprofile", ".xsessionrc", ".inputrc")(p)
}

func (s *subject) profile(before, after string) {
	if s.c.Before.Absent() && s.newHome() {
		s.newProfile(after)
		return
	}
	s.judgeStatements(continued(before, "#"), continued(after, "#"), func(e entry, added bool) (Severity, string) {
		if !added {
			return Low, "a line is removed"
		}
		return s.profileLine(e.key)
	})
}

// newHome reports whether the directory of the file is made by the same plan, as
// useradd does.
func (s *subject) newHome() bool {
	op := s.j.paths[s.c.Path[:strings.LastIndexByte(s.path, '/')]]
	return op > 0 && s.j.plan.Ops[op-1].Change.Before.Absent()
}

// newProfile looks only for what no skeleton has.
func (s *subject) newProfile(after string) {
	for _, e := range continued(after, "#") {
		if sev, what := s.profileLine(e.key); sev == High {
			s.add(High, s.note("%s: %s: %s", s.path, what, e.key).at(s, true, e.line))
		}
	}
	s.add(Low, s.note("%s comes with a new home directory", s.path))
}

func (s *subject) profileLine(text string) (Severity, string) {
	for _, v := range []string{"LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT"} {
		if strings.Contains(text, v+"=") || strings.Contains(text, v+" ") {
			return High, "a library is loaded into programs"
		}
	}
	for _, v := range []string{"PROMPT_COMMAND", "BASH_ENV", "alias sudo", "alias su=", "alias ssh", "trap "} {
		if strings.Contains(text, v) && !strings.HasPrefix(text, "#") && !strings.Contains(text, "case ") {
			return High, "a shell runs more than is typed"
		}
	}
	if odd := suspicious(text); odd != "" {
		return High, "a shell runs something when it starts: " + odd
	}
	if value, ok := pathValue(text); ok {
		for _, dir := range strings.Split(value, ":") {
			if dir == "" || dir == "." || strings.HasPrefix(dir, "/tmp") || strings.HasPrefix(dir, "/var/tmp") || strings.HasPrefix(dir, "/dev/shm") {
				return High, "programs are looked for where others can put them"
			}
		}
		return Medium, "programs are looked for elsewhere"
	}
	name, _, ok := strings.Cut(strings.TrimPrefix(text, "export "), "=")
	if ok && (name == "LANG" || strings.HasPrefix(name, "LC_") || name == "EDITOR" || name == "PAGER" || name == "TZ" || strings.HasPrefix(name, "HIST")) {
		return Low, "a variable is set"
	}
	return Medium, "a line is added to what a shell runs when it starts"
}

func pathValue(text string) (string, bool) {
	text = strings.TrimPrefix(strings.TrimPrefix(text, "export "), "setenv ")
	value, ok := strings.CutPrefix(text, "PATH=")
	if !ok {
		value, ok = strings.CutPrefix(text, "PATH ")
	}
	value, _, _ = strings.Cut(value, ";")
	return strings.Trim(strings.TrimSpace(value), `"'`), ok
}

// The dynamic linker, see ld.so(8).

func (s *subject) preload(before, after string) {
	s.judgeStatements(statements(before, "#"), statements(after, "#"), func(e entry, added bool) (Severity, string) {
		if added {
			return High, "a library is loaded into every program"
		}
		return Low, "a library is no longer loaded into every program"
	})
}

func (s *subject) libraryPath(before, after string) {
	s.judgeStatements(statements(before, "#"), statements(after, "#"), func(e entry, added bool) (Severity, string) {
		switch {
		case !added:
			return Low, "libraries are no longer looked for in"
		case !systemPath(e.key+"/") && !strings.HasPrefix(e.key, "include /etc/"):
			return High, "libraries are looked for where others may write"
		}
		return Medium, "libraries are looked for in"
	})
}

// Firewalls.

func isFirewall(p string) bool {
	return exactly("/etc/nftables.conf", "/etc/default/ufw", "/etc/sysconfig/iptables", "/etc/sysconfig/ip6tables", "/etc/sysconfig/nftables.conf", "/etc/hosts.allow", "/etc/hosts.deny")(p) ||
		below("/etc/nftables/", "/etc/nftables.d/", "/etc/iptables/", "/etc/ufw/", "/etc/firewalld/", "/var/lib/ufw/", "/lib/ufw/")(p)
}

// firewallEntries joins each statement with the blocks of nft(8) or the table of
// iptables-save it stands in, and leaves counters out.
func firewallEntries(text string) []entry {
	var out []entry
	var blocks []string
	table := ""
	for _, e := range continued(text, "#") {
		t := withoutTail(e.key)
		for _, part := range strings.SplitAfter(strings.ReplaceAll(t, "}", ";};"), ";") {
			part = strings.TrimSpace(strings.TrimRight(strings.TrimSpace(part), ";"))
			switch {
			case part == "" || part == "COMMIT":
			case strings.HasPrefix(part, "*"):
				table = clipKey(part[1:])
			case part == "}":
				blocks = blocks[:max(0, len(blocks)-1)]
			case strings.HasSuffix(part, "{") && len(blocks) < 16:
				blocks = append(blocks, clipKey(strings.TrimSpace(strings.TrimSuffix(part, "{"))))
			default:
				where := strings.TrimSpace(table + " " + strings.Join(blocks, " "))
				out = append(out, entry{key: clipKey(where) + " | " + withoutCounters(part), line: e.line})
			}
		}
	}
	return out
}

func clipKey(s string) string { return s[:min(len(s), 200)] }

// withoutCounters cuts "[12:3456]" of iptables-save.
func withoutCounters(rule string) string {
	i := strings.IndexByte(rule, '[')
	k := strings.IndexByte(rule, ']')
	if i >= 0 && k > i && strings.Trim(rule[i+1:k], "0123456789:") == "" {
		return strings.TrimSpace(rule[:i] + strings.TrimSpace(rule[k+1:]))
	}
	return rule
}

func (s *subject) firewall(before, after string) {
	b, a := firewallEntries(before), firewallEntries(after)
	added, removed, _ := compare(b, a)
	if len(a) == 0 && len(b) > 0 {
		s.add(High, s.note("%s has no rule left", s.path))
		return
	}
	for _, e := range added {
		sev, what := firewallAdded(e.key)
		s.add(sev, s.note("%s: %s: %s", s.path, what, strings.TrimPrefix(e.key, " | ")).at(s, true, e.line))
	}
	for _, e := range removed {
		sev, what := firewallRemoved(e.key)
		s.add(sev, s.note("%s: %s: %s", s.path, what, strings.TrimPrefix(e.key, " | ")).at(s, false, e.line))
	}
	if len(added)+len(removed) == 0 && !sameOrder(b, a) {
		s.add(Medium, s.note("the order of rules in %s changes, and the first that fits counts", s.path))
	}
}

func firewallAdded(key string) (Severity, string) {
	where, rule, _ := strings.Cut(strings.ToLower(key), " | ")
	incoming := strings.Contains(where+rule, "input") || strings.Contains(where+rule, "forward") || strings.Contains(rule, "-in") || strings.Contains(rule, "application")
	accepts := strings.Contains(rule, "accept") || strings.Contains(rule, "allow")
	isPolicy := strings.HasPrefix(rule, ":") || strings.HasPrefix(rule, "policy ") || strings.Contains(rule, "_policy=") || strings.HasPrefix(rule, "-p ")
	port := strings.Contains(rule, "dport") || strings.Contains(rule, "<port") || strings.Contains(rule, "<service")
	switch {
	case isPolicy && accepts && incoming:
		return High, "what no rule names is let in"
	case isPolicy && strings.Contains(rule, "output"):
		return Low, "a policy for what goes out"
	case isPolicy:
		return Medium, "a default policy changes"
	case rule == "enabled=no":
		return High, "the firewall is switched off"
	case strings.Contains(rule, `target="accept"`):
		return High, "what no rule names is let in"
	case port && (accepts || strings.HasPrefix(rule, "<")):
		return Medium, "a port is opened"
	case accepts && incoming && !strings.Contains(rule, "established") && !strings.Contains(rule, `"lo"`) && !strings.Contains(rule, "-i lo") && !strings.Contains(rule, "saddr") && !strings.Contains(rule, "-s "):
		return High, "everything is let in"
	case strings.Contains(rule, "drop") || strings.Contains(rule, "reject") || strings.Contains(rule, "deny"):
		return Medium, "something is shut out"
	case strings.Contains(rule, "flush ruleset"):
		return Low, "old rules are replaced"
	}
	return Medium, "a rule is added"
}

func firewallRemoved(key string) (Severity, string) {
	rule := strings.ToLower(key)
	if strings.Contains(rule, "drop") || strings.Contains(rule, "reject") || strings.Contains(rule, "deny") {
		return High, "a rule that shuts something out is removed"
	}
	return Medium, "a rule is removed"
}

// Names.

func (s *subject) resolver(before, after string) {
	if s.c.After.Target != s.c.Before.Target {
		s.add(Medium, s.note("names are resolved as another file says: %s leads to %s", s.path, string(s.c.After.Target)))
	}
	s.judgeStatements(statements(before, "#;"), statements(after, "#;"), func(e entry, added bool) (Severity, string) {
		text := strings.ToLower(e.key)
		server := strings.HasPrefix(text, "nameserver") || strings.HasPrefix(text, "dns=") || strings.HasPrefix(text, "fallbackdns")
		switch {
		case server && added:
			return Medium, "names are resolved by"
		case server:
			return Medium, "names are no longer resolved by"
		}
		return Low, "a setting of the resolver changes"
	})
}

func (s *subject) hosts(before, after string) {
	entries := func(text string) []entry {
		var out []entry
		for _, e := range statements(text, "#") {
			e.key = withoutTail(e.key)
			f := strings.Fields(e.key)
			for _, name := range f[min(1, len(f)):] {
				out = append(out, entry{key: name, value: f[0], line: e.line})
			}
		}
		return out
	}
	added, removed, changed := compare(entries(before), entries(after))
	for _, e := range added {
		s.add(Medium, s.note("the name %s leads to %s", e.key, e.value).at(s, true, e.line))
	}
	for _, e := range removed {
		s.add(Low, s.note("the name %s no longer leads to %s", e.key, e.value).at(s, false, e.line))
	}
	for _, c := range changed {
		s.add(Medium, s.note("the name %s leads to %s instead of %s", c.after.key, c.after.value, c.before.value).change(s, c.before.line, c.after.line))
	}
}

func (s *subject) nsswitch(before, after string) {
	entries := func(text string) []entry {
		out := statements(text, "#")
		for i, e := range out {
			name, value, _ := strings.Cut(withoutTail(e.key), ":")
			out[i].key, out[i].value = strings.TrimSpace(name), strings.TrimSpace(value)
		}
		return out
	}
	added, removed, changed := compare(entries(before), entries(after))
	for _, e := range added {
		changed = append(changed, pair{entry{key: e.key}, e})
	}
	for _, e := range removed {
		changed = append(changed, pair{e, entry{key: e.key}})
	}
	for _, c := range changed {
		sev := Medium
		if slices.Contains([]string{"passwd", "group", "shadow", "sudoers", "initgroups"}, c.after.key) {
			sev = High
		}
		s.add(sev, s.note("%s are looked up in %s instead of %s", c.after.key, orDefault(c.after.value), orDefault(c.before.value)).change(s, c.before.line, c.after.line))
	}
}

// Boot.

func (s *subject) fstab(before, after string) {
	entries := func(text string) []entry {
		out := statements(text, "#")
		for i, e := range out {
			out[i].key, out[i].value = field(strings.Fields(e.key), 1), e.key
		}
		return out
	}
	added, removed, changed := compare(entries(before), entries(after))
	for _, e := range added {
		s.add(Medium, s.note("%s is mounted when the system starts: %s", e.key, e.value).at(s, true, e.line))
	}
	for _, e := range removed {
		s.add(Medium, s.note("%s is no longer mounted when the system starts", e.key).at(s, false, e.line))
	}
	for _, c := range changed {
		sev := Medium
		options := func(e entry) []string { return strings.Split(field(strings.Fields(e.value), 3), ",") }
		for _, lost := range without(options(c.before), options(c.after)) {
			if lost == "nosuid" || lost == "noexec" || lost == "nodev" || lost == "ro" {
				sev = High
			}
		}
		s.add(sev, s.note("how %s is mounted changes from %s to %s", c.after.key, c.before.value, c.after.value).change(s, c.before.line, c.after.line))
	}
}

func isBootConfig(p string) bool {
	return exactly("/etc/default/grub", "/etc/kernel/cmdline", "/boot/grub/grub.cfg", "/boot/grub2/grub.cfg", "/boot/cmdline.txt", "/boot/config.txt", "/boot/firmware/cmdline.txt")(p) ||
		below("/etc/default/grub.d/", "/etc/grub.d/", "/boot/loader/")(p)
}

func (s *subject) bootConfig(before, after string) {
	s.judgeStatements(statements(before, "#"), statements(after, "#"), func(e entry, added bool) (Severity, string) {
		if !added {
			return Low, "a line of the boot configuration is removed"
		}
		for _, bad := range []string{"init=", "selinux=0", "apparmor=0", "mitigations=off", "enforcing=0", "audit=0", " single", "rd.break", "module.sig_enforce=0", "lockdown=none", "nokaslr", "iommu=off"} {
			if strings.Contains(e.key, bad) && !strings.Contains(e.key, "rdinit=") {
				return High, "the system starts with a defence less"
			}
		}
		if strings.Contains(e.key, "CMDLINE") || strings.HasPrefix(e.key, "linux") || strings.HasPrefix(e.key, "options") || strings.HasSuffix(s.path, "cmdline") || strings.HasSuffix(s.path, "cmdline.txt") {
			return Medium, "the kernel is started with"
		}
		return Low, "a line of the boot configuration"
	})
}

func isBootImage(p string) bool {
	return strings.HasPrefix(p, "/boot/") && !isBootConfig(p)
}

func (s *subject) bootImage(_, _ string) {
	name := path.Base(s.path)
	for _, kind := range []string{"vmlinu", "initr", "bzImage", "kernel"} {
		if strings.HasPrefix(name, kind) {
			s.add(Medium, s.note("what the system starts from %s: %s", s.verb(), s.path))
			return
		}
	}
	if strings.HasSuffix(strings.ToLower(name), ".efi") || strings.HasSuffix(name, ".img") || strings.HasSuffix(name, ".mod") {
		s.add(Medium, s.note("what the system starts from %s: %s", s.verb(), s.path))
		return
	}
	s.add(Low, s.note("a file of /boot %s: %s", s.verb(), s.path))
}

// Kernel.

func (s *subject) modules(before, after string) {
	s.judgeStatements(statements(before, "#"), statements(after, "#"), func(e entry, added bool) (Severity, string) {
		word, _, _ := strings.Cut(e.key, " ")
		switch {
		case word == "install" && strings.HasSuffix(e.key, "/false") || strings.HasSuffix(e.key, "/true"), word == "blacklist":
			if added {
				return Low, "a kernel module is barred"
			}
			return Medium, "a kernel module is no longer barred"
		case !added:
			return Low, "a setting of kernel modules is removed"
		case word == "install" || word == "remove":
			return High, "a command runs when a kernel module is loaded"
		}
		return Medium, "a kernel module is loaded or set up"
	})
}

func (s *subject) sysctl(before, after string) {
	entries := func(text string) []entry {
		out := statements(text, "#;")
		for i, e := range out {
			name, value, _ := strings.Cut(e.key, "=")
			out[i].key, out[i].value = strings.ReplaceAll(strings.Trim(name, " -"), "/", "."), strings.TrimSpace(value)
		}
		return out
	}
	added, removed, changed := compare(entries(before), entries(after))
	for _, e := range added {
		changed = append(changed, pair{entry{key: e.key}, e})
	}
	for _, e := range removed {
		s.add(Low, s.note("the kernel setting %s is no longer made", e.key).at(s, false, e.line))
	}
	for _, c := range changed {
		s.add(sysctlWeight(c.after.key, c.after.value), s.note("the kernel setting %s becomes %s", c.after.key, orDefault(c.after.value)).change(s, c.before.line, c.after.line))
	}
}

// sysctlWeight knows the settings whose weak values are documented as such in
// Documentation/admin-guide/sysctl of the kernel.
func sysctlWeight(name, value string) Severity {
	switch name {
	case "kernel.yama.ptrace_scope", "kernel.randomize_va_space", "kernel.kptr_restrict", "kernel.dmesg_restrict", "kernel.unprivileged_bpf_disabled",
		"fs.protected_symlinks", "fs.protected_hardlinks", "fs.protected_fifos", "fs.protected_regular", "net.ipv4.tcp_syncookies":
		if value == "0" {
			return High
		}
		return Low
	case "kernel.core_pattern", "kernel.modprobe":
		if strings.HasPrefix(value, "|") || strings.HasPrefix(value, "/") {
			return High
		}
	case "fs.suid_dumpable":
		if value != "0" {
			return High
		}
	case "vm.swappiness", "vm.max_map_count", "fs.file-max", "fs.inotify.max_user_watches", "net.core.somaxconn":
		return Low
	}
	return Medium
}

func (s *subject) udev(before, after string) {
	s.judgeStatements(continued(before, "#"), continued(after, "#"), func(e entry, added bool) (Severity, string) {
		switch {
		case added && (strings.Contains(e.key, "RUN") || strings.Contains(e.key, "PROGRAM") || strings.Contains(e.key, "IMPORT{program}")):
			return High, "a program runs when a device appears"
		case added && strings.Contains(e.key, "MODE"):
			return Medium, "who may use a device changes"
		}
		return Low, "a rule for devices changes"
	})
}

func (s *subject) accessControl(before, after string) {
	if strings.Contains(s.path, "/disable/") || strings.Contains(s.path, "/force-complain/") {
		s.add(High, s.note("a profile of AppArmor is switched off: %s %s", s.path, s.verb()))
		return
	}
	if s.c.After.Absent() {
		s.add(High, s.note("a rule of access control is removed: %s", s.path))
		return
	}
	s.judgeStatements(statements(before, "#"), statements(after, "#"), func(e entry, added bool) (Severity, string) {
		text := strings.ToLower(strings.ReplaceAll(e.key, " ", ""))
		switch {
		case added && (text == "selinux=disabled" || text == "selinux=permissive"):
			return High, "SELinux no longer protects the system"
		case added && strings.Contains(text, "complain"):
			return High, "a profile of AppArmor only complains"
		}
		return Medium, "a rule of access control changes"
	})
}

func (s *subject) logConfig(before, after string) {
	s.judgeStatements(statements(before, "#;"), statements(after, "#;"), func(e entry, added bool) (Severity, string) {
		text := strings.ToLower(strings.ReplaceAll(e.key, " ", ""))
		switch {
		case added && (text == "storage=none" || strings.HasPrefix(text, "-d") || strings.HasPrefix(text, "-e0") || strings.Contains(text, "local_events=no") || strings.HasSuffix(text, "stop")):
			return High, "less is logged"
		case !added && (strings.HasPrefix(text, "-w") || strings.HasPrefix(text, "-a") || strings.Contains(text, "@")):
			return High, "something is no longer logged"
		}
		return Low, "a setting of logging changes"
	})
}
