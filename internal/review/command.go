package review

import (
	"path"
	"strings"

	"github.com/bowline-sh/bowline/plan"
)

// command judges a deferred command by its program and words. The dry run could
// not see what it does, so that no command is without risk.
func (j *judge) command(op int, c plan.Command) {
	name := path.Base(c.Argv[0])
	words := c.Argv[1:]
	text := strings.Join(c.Argv, " ")
	class, sev, what := commandWeight(name, words)
	if odd := suspicious(text); odd != "" {
		sev, what = High, what+", and "+odd
	}
	if len(c.Undo) == 0 && sev < Medium {
		sev = Medium
	}
	out := what + ": " + clip(text)
	if len(c.Undo) == 0 {
		out += "; no undo is known"
	}
	j.add(class, sev, op, out, Evidence{Op: op, After: true, Text: clip(text)})
}

func commandWeight(name string, words []string) (Class, Severity, string) {
	switch name {
	case "systemctl", "service", "rc-service", "rc-update":
		return serviceWeight(name, words)
	case "reboot", "shutdown", "poweroff", "halt", "telinit", "init", "kexec":
		return Boot, High, "the system restarts or stops"
	case "iptables", "ip6tables", "iptables-nft", "ip6tables-nft", "iptables-legacy", "ip6tables-legacy", "iptables-restore", "ip6tables-restore", "nft", "ufw", "firewall-cmd":
		return firewallCommand(words)
	case "modprobe", "insmod", "rmmod":
		return KernelModules, Medium, "kernel modules are loaded or removed"
	case "sysctl":
		return sysctlCommand(words)
	case "crontab":
		return Cron, Medium, "the scheduled jobs of an account change, and its new text is the input of the command"
	case "at", "batch", "atrm":
		return Cron, Medium, "a job is scheduled"
	case "mount", "umount", "swapon", "swapoff":
		return Commands, Medium, "what is mounted changes"
	case "kill", "pkill", "killall":
		return Commands, Medium, "processes get a signal"
	case "docker", "podman", "kubectl":
		return Commands, Medium, "containers change"
	case "loginctl", "hostnamectl", "timedatectl", "chronyc", "ip":
		return Commands, Medium, "a setting of the running system changes"
	}
	return Commands, Medium, "a command reaches outside the file system"
}

func firstWord(words []string) (verb string, rest []string) {
	for i, w := range words {
		if !strings.HasPrefix(w, "-") {
			return w, words[i+1:]
		}
	}
	return "", nil
}

func serviceWeight(name string, words []string) (Class, Severity, string) {
	verb, units := firstWord(words)
	if name == "service" && len(units) > 0 {
		verb, units = units[0], []string{verb}
	}
	sev := Low
	for _, u := range units {
		base, _, _ := strings.Cut(u, ".")
		switch {
		case base == "ssh" || base == "sshd" || strings.HasPrefix(base, "networking") || base == "NetworkManager" || base == "systemd-networkd":
			sev = Medium // it may cut the way in
		case defence(u):
			sev = High
		}
	}
	switch verb {
	case "stop", "disable", "mask", "kill":
		return Units, max(sev, Medium), "services are stopped or disabled"
	case "enable", "unmask", "preset", "add-wants", "link", "edit", "set-default", "add":
		return Units, max(min(sev, Medium), Medium), "services are enabled"
	case "reboot", "poweroff", "halt", "kexec", "rescue", "emergency", "isolate", "suspend", "hibernate":
		return Boot, High, "the system restarts or stops"
	case "set-property", "set-environment", "import-environment":
		return Units, Medium, "the surroundings of services change"
	case "start", "restart", "reload", "try-restart", "reload-or-restart", "try-reload-or-restart", "condrestart", "force-reload", "daemon-reload", "daemon-reexec":
		return Units, min(sev, Medium), "services are started or restarted"
	}
	return Units, Medium, "services change"
}

func firewallCommand(words []string) (Class, Severity, string) {
	text := " " + strings.Join(words, " ") + " "
	for _, open := range []string{" -F", " --flush", " flush ", " disable ", " reset ", "-P INPUT ACCEPT", "-P FORWARD ACCEPT", "--policy INPUT ACCEPT", "--panic-off", "default allow"} {
		if strings.Contains(text, open) {
			return Firewall, High, "the firewall is opened"
		}
	}
	return Firewall, Medium, "the firewall changes"
}

func sysctlCommand(words []string) (Class, Severity, string) {
	sev := Medium
	for _, w := range words {
		if name, value, ok := strings.Cut(w, "="); ok {
			sev = max(sev, sysctlWeight(strings.ReplaceAll(name, "/", "."), value))
		}
	}
	return KernelSettings, sev, "settings of the kernel change"
}
