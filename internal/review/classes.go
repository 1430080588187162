package review

import (
	"fmt"
	"slices"
	"strings"
)

// Class is what a risk is about. Policies name classes, so that a class is never
// renamed or given another meaning; new ones may come.
type Class string

const (
	AccessControl  Class = "access-control"
	ACL            Class = "acl"
	AuthorizedKeys Class = "authorized-keys"
	Boot           Class = "boot"
	Capabilities   Class = "capabilities"
	Certificates   Class = "certificates"
	Commands       Class = "commands"
	Cron           Class = "cron"
	Deletions      Class = "deletions"
	Devices        Class = "devices"
	Firewall       Class = "firewall"
	Groups         Class = "groups"
	HostKeys       Class = "host-keys"
	KernelModules  Class = "kernel-modules"
	KernelSettings Class = "kernel-settings"
	LibraryPath    Class = "library-path"
	LogTampering   Class = "log-tampering"
	NotSeen        Class = "not-seen"
	Overlap        Class = "overlap"
	Ownership      Class = "ownership"
	PackageSources Class = "package-sources"
	Packages       Class = "packages"
	PAM            Class = "pam"
	Programs       Class = "programs"
	Resolver       Class = "resolver"
	ScriptFailed   Class = "script-failed"
	Secrets        Class = "secrets"
	Setuid         Class = "setuid"
	ShellProfile   Class = "shell-profile"
	SSHDConfig     Class = "sshd-config"
	Sudoers        Class = "sudoers"
	Timers         Class = "timers"
	Units          Class = "units"
	Users          Class = "users"
	WorldWritable  Class = "world-writable"
)

// ClassInfo describes a class.
type ClassInfo struct {
	Class     Class
	Looks     string // at what
	Weighs    string // which severity for what
	NotParsed string // how a change is weighed whose content is not kept or cannot be parsed; "" if no content is read
}

// Classes returns all classes, sorted. docs/risks.md is made of it.
func Classes() []ClassInfo {
	all := []ClassInfo{
		{AccessControl, "SELinux's configuration, AppArmor's profiles", "high: switched off, permissive, complain mode, a profile removed; medium: any other rule", "medium"},
		{ACL, "POSIX access lists (attributes system.posix_acl_access and _default), decoded", "high: a named user or group may write to a path of the system; medium: any other grant", "medium"},
		{AuthorizedKeys, "authorized_keys and authorized_principals of every home and of /etc/ssh: keys by fingerprint, with options", "high: a key added, a certificate authority, no key left; medium: a key limited by command=, a key removed, options changed. Comments and order: none", "high"},
		{Boot, "fstab and crypttab by mount point, GRUB and kernel command line, what is in /boot; reboot commands", "high: nosuid, noexec, nodev or ro lost, a defence switched off on the command line, reboot; medium: mounts, command line, kernel and initrd; low: the rest", "medium"},
		{Capabilities, "file capabilities (attribute security.capability), decoded into names", "high: any that leads to root; medium: binding low ports, raw sockets and the like; low: lost", "high"},
		{Certificates, "X.509 certificates, PEM or DER: the first of each file, and the set of trusted authorities", "high: an authority trusted, names lost, expired, no certificate any more; medium: expires within 30 days, another issuer or key, shorter validity, removed; low: placed, more names. A renewal: none", "medium; high for trusted authorities"},
		{Commands, "deferred commands that belong to no other class", "medium: always, since the dry run could not see what they do; high: they download and run", ""},
		{Cron, "crontabs, cron.d, cron.daily and its sisters, at jobs; crontab commands", "high: a job that runs what it downloads, opens a shell, or uses /tmp; medium: any other job added or changed; low: removed, MAILTO and the like", "medium"},
		{Deletions, "how many files and bytes go, directories that go as a whole, files of data", "high: 1,000 files, 1 GiB, or a main directory; medium: 50 files, a directory of data, a data file", ""},
		{Devices, "device nodes; udev rules", "high: a device node, a program that a rule runs; medium: MODE of a rule; low: any other rule", "medium"},
		{Firewall, "nftables, iptables-save, ufw and firewalld files by rule; firewall commands", "high: let in by default, everything let in, switched off, a rule that shuts out removed; medium: a port opened, any other rule; low: policy for what goes out", "high"},
		{Groups, "group and gshadow", "high: joined a group that is as good as root (sudo, wheel, docker, disk...), gid 0; medium: adm and the like, gid changed, administrators; low: ordinary groups", "high; medium for gshadow"},
		{HostKeys, "private host keys of the SSH server", "high: replaced or removed; medium: made", "high"},
		{KernelModules, "modules, modules-load.d, modprobe.d, files below /lib/modules; module commands", "high: a command run at load, module files without a package; medium: loaded, options, with a package; low: barred", "medium"},
		{KernelSettings, "sysctl.conf and sysctl.d by key; sysctl commands", "high: a value that is known to be weak; medium: any other; low: tuning, hardening, removed", "medium"},
		{LibraryPath, "ld.so.preload, ld.so.conf and ld.so.conf.d", "high: a preloaded library, a directory outside the system; medium: a directory of the system; low: removed", "high"},
		{LogTampering, "logs, login records and shell histories that are deleted, cut, rewritten or led away; configuration of rsyslog, auditd, journald", "high: cut, rewritten, led away, main logs deleted, logging switched off; medium: other logs deleted; low: settings. Added to, or rotated: none", "low for logs; medium for settings"},
		{NotSeen, "warnings of the dry run, and its mode", "medium: always", ""},
		{Overlap, "paths that another session changed which may still be rolled back", "medium: always", ""},
		{Ownership, "owners and groups", "high: root gives away a path of the system; medium: a group may write there, a program of another owner; low: any other", ""},
		{PackageSources, "sources and keys of apt, apk, yum, dnf and zypper, hooks of apt", "high: a source or key added, signatures not checked, a hook; medium: other settings, a key removed; low: a source removed", "high; medium for apt.conf"},
		{Packages, "dpkg's status and apk's database by package and version; rpm's database only as a whole", "high: downgraded, no package left; medium: removed, rpm's database; low: installed, upgraded", "low for dpkg, whose file lists then name the packages; medium for apk and rpm"},
		{PAM, "pam.conf, pam.d, security/ by rule; PAM modules", "high: auth and account rules, pam_exec, nullok, a module replaced without a package; medium: any other rule or order", "high"},
		{Programs, "programs and libraries of the system that change while no package does", "high: replaced; medium: added, deleted, replaced in /usr/local; low: added in /usr/local", ""},
		{Resolver, "resolv.conf, resolved.conf, hosts by name, nsswitch.conf by database", "high: where accounts are looked up; medium: name servers, names; low: options, names removed", "medium; high for nsswitch.conf"},
		{ScriptFailed, "the exit code of the dry run", "high: not 0", ""},
		{Secrets, "private keys, tokens and passwords in the first 64 KiB of a file, or files with such names", "high: open to everybody; medium: open to a group. Open to root's or the owner's own group only: none", "by name"},
		{Setuid, "setuid and setgid bits of files", "high: setuid, or setgid root; medium: setgid, or such a program replaced; low: lost", ""},
		{ShellProfile, "what shells and logins read at start: profile, bashrc, environment..., of the system and of each home", "high: LD_PRELOAD, PATH with . or /tmp, PROMPT_COMMAND, alias sudo, downloads that run; medium: PATH, any other line; low: locale, removed, the skeleton of a new home", "medium"},
		{SSHDConfig, "sshd_config and sshd_config.d by effective keyword, per Match block", "high: passwords, root, key files and commands, StrictModes, tunnels; medium: port, users, ciphers and any other; low: banners, tightened. Defaults spelled out in the main file: none", "high"},
		{Sudoers, "sudoers, sudoers.d and doas.conf by rule, with aliases of commands", "high: any command, weakened Defaults, includes from elsewhere; medium: any other rule, removed, order; low: other Defaults, files that sudo does not read", "high"},
		{Timers, "systemd timers", "high: a unit it may start is changed to another; medium: added, its times changed; low: other keys", "medium"},
		{Units, "systemd units, drop-ins, enabling and masking symlinks, init scripts, rc.local; systemctl and service commands", "high: Exec lines, User, capabilities changed, a unit that defends the system disabled or masked; medium: added, enabled, disabled, masked, sandbox changed; low: new units of packages, other keys, restarts with a known undo", "medium"},
		{Users, "passwd, shadow, subuid and subgid by account", "high: uid 0, a uid twice, an empty password, root's password, a service that gets a shell; medium: a login account, uid, gid, home, shell, password; low: service accounts, full names, ageing, locks", "high"},
		{WorldWritable, "mode bits that let everybody write", "high: files of the system, directories without sticky bit; medium: other files; low: sticky directories", ""},
	}
	slices.SortFunc(all, func(a, b ClassInfo) int { return strings.Compare(string(a.Class), string(b.Class)) })
	return all
}

// Blind returns what none of the classes can see, one sentence each.
func Blind() []string {
	return []string{
		"What a program does that is placed or replaced: only that it is, and where.",
		"What a deferred command will do: it has not run. It is weighed by its name and words, and its input is not read.",
		"Files of a kind that no class names: configuration of web servers, databases, languages, containers and applications, which may run code too.",
		"The same files below another root: a chroot, a container image, a mounted disk, /etc of another machine.",
		"What a file means together with files that do not change: includes, drop-ins, aliases of another file, nsswitch, groups that are not in the plan.",
		"Content that is not kept: what is not UTF-8, is larger than 256 KiB, or came after 16 MiB of others. It is flagged by its path, or not at all where no class knows the path.",
		"The share of a directory that is deleted, unless the directory goes too: a plan does not list what stays.",
		"Scripts and shell start-up files beyond a handful of patterns: who wants to hide a command in a shell can.",
		"Binary databases: rpm's, wtmp, NSS caches, keyrings.",
		"What the dry run did not see, see not-seen; and whether the target told the truth.",
	}
}

// RiskTable is docs/risks.md between its introduction and its end: one table of
// Classes, one list of Blind.
func RiskTable() string {
	var b strings.Builder
	b.WriteString("| class | looks at | severity | if the content is not available |\n|---|---|---|---|\n")
	for _, c := range Classes() {
		unread := c.NotParsed
		if unread == "" {
			unread = "reads none"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", c.Class, c.Looks, c.Weighs, unread)
	}
	b.WriteString("\n## What none of them can see\n\n")
	for _, s := range Blind() {
		fmt.Fprintf(&b, "- %s\n", s)
	}
	return b.String()
}

// rules returns the parsers of all classes.
func rules() []rule {
	return slices.Concat(userRules(), loginRules(), jobRules(), packageRules(), certificateRules(), systemRules())
}
