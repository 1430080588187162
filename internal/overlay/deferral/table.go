package deferral

// units is how verbs of systemctl and service take each other back.
var units = map[string]string{
	"start": "stop", "stop": "start", "enable": "disable", "disable": "enable", "mask": "unmask", "unmask": "mask",
	"restart": "restart", "reload": "reload", "try-restart": "try-restart", "reload-or-restart": "reload-or-restart",
	"try-reload-or-restart": "try-reload-or-restart", "condrestart": "condrestart", "force-reload": "force-reload",
	"daemon-reload": "daemon-reload", "daemon-reexec": "daemon-reexec",
}

var help = []string{"--help", "--version"}

// Default returns the built-in table.
func Default() []Rule {
	return append(append(services(), machine()...), append(network(), workloads()...)...)
}

func services() []Rule {
	remote := []string{"-H", "--host", "-M", "--machine", "--root", "--image", "--image-policy"}
	return []Rule{
		{
			Name: "systemctl", ReadFlags: help, DeferFlags: remote, Undo: units,
			ValueFlags: []string{
				"-t", "--type", "-p", "--property", "-P", "-s", "--signal", "-n", "--lines", "-o", "--output",
				"--state", "--job-mode", "--kill-whom", "--kill-who", "--what", "--timestamp", "--preset-mode",
				"-H", "--host", "-M", "--machine", "--root", "--image", "--legend", "--message",
			},
			Reads: [][]string{
				{}, {"status", "..."}, {"is-*", "..."}, {"show"}, {"show", "..."}, {"cat", "..."}, {"list-*", "..."},
				{"help", "..."}, {"get-default"}, {"show-environment"},
			},
		},
		{Name: "runlevel", Reads: [][]string{{"..."}}}, // a link to systemctl, which goes by this name
		{
			Name: "service", ReadFlags: append([]string{"--status-all", "-h", "-V"}, help...), Undo: units, Verb: 1,
			Reads: [][]string{{"*", "status", "..."}},
		},
		{
			Name: "loginctl", ReadFlags: append([]string{"-h"}, help...), DeferFlags: remote,
			Reads: [][]string{{}, {"list-*"}, {"*-status", "..."}, {"show-*", "..."}},
			Undo: map[string]string{
				"enable-linger": "disable-linger", "disable-linger": "enable-linger",
				"lock-session": "unlock-session", "unlock-session": "lock-session",
			},
		},
		{
			Name: "hostnamectl", ReadFlags: append([]string{"-h"}, help...), DeferFlags: remote,
			Reads: [][]string{{}, {"status"}, {"hostname"}, {"chassis"}, {"deployment"}, {"location"}, {"icon-name"}},
		},
		{
			Name: "timedatectl", ReadFlags: append([]string{"-h"}, help...), DeferFlags: remote,
			Reads: [][]string{{}, {"status"}, {"show"}, {"list-timezones"}, {"timesync-status"}, {"show-timesync"}},
		},
		{Name: "reboot"}, {Name: "shutdown"}, {Name: "poweroff"}, {Name: "halt"}, {Name: "telinit"}, {Name: "init"},
	}
}

func machine() []Rule {
	return []Rule{
		{Name: "kill", Local: true}, {Name: "pkill", Local: true}, {Name: "killall", Local: true},
		{
			Name: "mount", ReadFlags: append([]string{"-V", "-h"}, help...), ValueFlags: []string{"-t", "--types"},
			DeferFlags: []string{"-a", "--all", "-o", "--options", "-B", "-R", "-M", "--bind", "--make-private"},
			Reads:      [][]string{{}},
		},
		{Name: "umount", ReadFlags: append([]string{"-V", "-h"}, help...)},
		{
			Name: "sysctl", ReadFlags: append([]string{"-V", "-h"}, help...),
			DeferFlags: []string{"-w", "--write", "-p", "-f", "--load", "--system"},
			DeferWith:  []string{"="},
			Reads:      [][]string{{"..."}},
		},
		{Name: "modprobe", ReadFlags: append([]string{"-V", "-h"}, help...)},
		{Name: "insmod"}, {Name: "rmmod"},
		{Name: "swapon", ReadFlags: append([]string{"-s", "--show", "--summary", "-V", "-h"}, help...), Reads: [][]string{{}}},
		{Name: "swapoff", ReadFlags: append([]string{"-V", "-h"}, help...)},
		{
			Name: "crontab", Stdin: true, ReadFlags: append([]string{"-l", "-V"}, help...),
			DeferFlags: []string{"-r", "-e", "-i"}, ValueFlags: []string{"-u"},
		},
		{Name: "at", Stdin: true, ReadFlags: []string{"-l", "-V"}}, {Name: "batch", Stdin: true},
		{Name: "atrm"}, {Name: "atq", Reads: [][]string{{"..."}}},
		{
			Name: "chronyc", ReadFlags: append([]string{"-v"}, help...), DeferFlags: []string{"-h", "-f"},
			Reads: [][]string{
				{"tracking"}, {"sources"}, {"sourcestats"}, {"activity"}, {"ntpdata", "..."}, {"serverstats"},
				{"rtcdata"}, {"clients"}, {"waitsync", "..."},
			},
		},
	}
}

func network() []Rule {
	tables := func(name string) Rule {
		return Rule{
			Name: name, ReadFlags: append([]string{"-L", "--list", "-S", "--list-rules", "-C", "--check", "-V"}, help...),
			// --modprobe names a program that the host would run.
			DeferFlags: []string{
				"-A", "-D", "-I", "-R", "-F", "-N", "-X", "-P", "-E", "-Z", "-M", "--append", "--delete", "--insert",
				"--replace", "--flush", "--new-chain", "--delete-chain", "--policy", "--rename-chain", "--zero", "--modprobe",
			},
		}
	}
	var all []Rule
	for _, name := range []string{
		"iptables", "ip6tables", "iptables-nft", "ip6tables-nft", "iptables-legacy", "ip6tables-legacy",
	} {
		all = append(all, tables(name))
	}
	for _, name := range []string{"iptables-restore", "ip6tables-restore"} {
		all = append(all, Rule{Name: name, Stdin: true, ReadFlags: []string{"-V", "--version"}})
	}
	return append(all,
		Rule{
			Name: "nft", Stdin: true, ReadFlags: append([]string{"-v", "-V", "-h"}, help...),
			DeferFlags: []string{"-f", "--file", "-i", "--interactive", "-D", "-I"},
			Reads:      [][]string{{"list", "..."}, {"describe", "..."}},
		},
		Rule{
			Name: "ufw", ReadFlags: append([]string{"-h"}, help...), Reads: [][]string{{"status"}, {"status", "*"}, {"show", "..."}, {"version"}},
			Undo: map[string]string{"enable": "disable", "disable": "enable", "reload": "reload"},
		},
		Rule{
			Name: "firewall-cmd", WordFlags: true,
			ReadFlags: append([]string{
				"--state", "--get-default-zone", "--get-active-zones", "--get-zones", "--get-services", "--list-all",
				"--list-all-zones", "--list-ports", "--list-services", "--list-rich-rules", "-V", "-h",
			}, help...),
			DeferFlags: []string{"--reload", "--complete-reload", "--runtime-to-permanent", "--panic-on", "--panic-off"},
		},
		Rule{
			Name: "ip", WordFlags: true, ReadFlags: []string{"-V", "-Version", "-h", "-help"},
			DeferFlags: []string{"-batch", "-force", "-netns"},
			ValueFlags: []string{"-f", "-family", "-l", "-loops", "-rc", "-rcvbuf", "-n", "-netns", "-b", "-batch"},
			Reads: [][]string{
				{}, {"[^n]*"}, {"[^n]*", "s"}, {"[^n]*", "sh"}, {"[^n]*", "sho"}, {"[^n]*", "show", "..."}, {"[^n]*", "s", "..."},
				{"[^n]*", "l", "..."}, {"[^n]*", "ls", "..."}, {"[^n]*", "list", "..."}, {"[^n]*", "get", "..."},
				{"n"}, {"neigh"}, {"neigh", "show", "..."}, {"netns"}, {"netns", "list"}, {"help"},
			},
		},
	)
}

func workloads() []Rule {
	docker := func(name string) Rule {
		return Rule{
			Name: name, ReadFlags: append([]string{"-v"}, help...),
			// Which daemon is asked, with which credentials, is the host's to say.
			DeferFlags: []string{"-H", "--host", "-c", "--context", "--connection", "--config", "--url", "--remote", "--runtime", "--identity"},
			ValueFlags: []string{
				"-l", "--log-level", "-f", "--filter", "--format", "-n", "--last", "--tail", "--since", "--until",
			},
			Reads: [][]string{
				{"ps", "..."}, {"images", "..."}, {"inspect", "..."}, {"logs", "..."}, {"version"}, {"info"}, {"port", "..."},
				{"top", "..."}, {"diff", "..."}, {"history", "..."},
				{"container", "ls", "..."}, {"container", "list", "..."}, {"container", "inspect", "..."},
				{"image", "ls", "..."}, {"image", "list", "..."}, {"image", "inspect", "..."},
				{"network", "ls", "..."}, {"network", "inspect", "..."}, {"volume", "ls", "..."}, {"volume", "inspect", "..."},
			},
			Undo: map[string]string{
				"start": "stop", "stop": "start", "restart": "restart", "pause": "unpause", "unpause": "pause",
			},
			Stdin: true,
		}
	}
	return []Rule{
		docker("docker"), docker("podman"),
		{
			Name: "kubectl", Stdin: true, ReadFlags: []string{"--help", "-h"},
			DeferFlags: []string{"--kubeconfig", "--server", "-s", "--token", "--context", "--cluster", "--user", "-w", "--watch", "--cache-dir"},
			ValueFlags: []string{"-n", "--namespace", "-o", "--output", "-l", "--selector", "-f", "--filename", "-c", "--container"},
			Reads: [][]string{
				{"get", "..."}, {"describe", "..."}, {"logs", "..."}, {"version"}, {"top", "..."}, {"explain", "..."},
				{"cluster-info"}, {"api-resources"}, {"api-versions"}, {"config", "view"}, {"config", "current-context"},
			},
			Undo: map[string]string{"cordon": "uncordon", "uncordon": "cordon"},
		},
	}
}
