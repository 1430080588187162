package policy

import (
	"path"
	"regexp"
	"slices"
	"strings"
)

// interpreters run a language, edit, page or launch: what they do is not in their
// arguments, or in a language that is not read here.
func interpreters() []string {
	return []string{"python", "perl", "ruby", "node", "nodejs", "php", "lua", "luajit", "tclsh", "wish", "expect", "guile", "deno", "bun", "Rscript", "R", "pwsh", "osascript", "julia", "ghc", "runghc",
		"zsh", "fish", "csh", "tcsh", "ksh93", "rc", "es", "elvish", "nu", "xonsh", "osh", "ysh",
		"vi", "vim", "nvim", "view", "ex", "rvim", "rview", "emacs", "ed", "red", "nano", "pico", "joe", "mcedit", "less", "more", "most", "pg", "man", "info",
		"make", "gmake", "ninja", "cmake", "rake", "ant", "mvn", "gradle", "npm", "npx", "yarn", "pip", "cargo", "go", "gcc", "cc", "m4",
		"gdb", "lldb", "strace-log-merge", "perf", "bpftrace", "stap", "valgrind", "ldd",
		"mysql", "mariadb", "psql", "sqlite3", "redis-cli", "mongo", "mongosh", "bc", "dc", "ftp", "sftp", "lftp", "telnet", "nc", "ncat", "netcat", "socat",
		"parallel", "at", "batch", "crontab", "screen", "tmux", "start-stop-daemon", "daemonize", "dbus-run-session", "xvfb-run", "rlwrap", "entr", "inotifywait-run", "run-parts", "run-one", "systemd-inhibit",
		"choom", "runcon", "newgrp", "sg", "systemd-cat", "systemd-socket-activate", "uclampset", "coresched", "cgexec", "cpulimit", "logsave", "faketime", "fakechroot", "proot", "sshpass", "autossh", "torify", "torsocks",
		"proxychains", "dtach", "abduco", "byobu", "logrotate", "coreutils", "gdbserver", "vimdiff", "vim.basic", "vim.tiny", "vim.nox", "vimtutor", "irb", "erb", "java", "jshell", "groovy", "scala", "erl", "iex", "elixir", "ocaml", "octave",
		"gnuplot", "pypy", "yash", "posh", "sash", "wget", "mail", "mailx", "mutt", "pager", "sensible-editor", "sensible-pager", "editor", "uname26", "aarch64", "hyperfine", "setlock", "envdir", "envuidgid",
		"unshare", "nsenter", "setpriv", "capsh", "bwrap", "firejail", "systemd-nspawn", "machinectl", "lxc-attach", "docker", "podman", "nerdctl", "crictl", "kubectl", "oc", "ansible", "salt", "pkexec", "gosu", "su-exec", "setuidgid", "chpst", "softlimit", "prlimit", "numactl", "linux32", "linux64", "setarch", "i386", "x86_64", "ld.so", "rsync", "scp", "git", "svn", "hg", "zip", "7z", "cpio", "pax", "rpm", "dpkg", "apt", "apt-get", "snap", "flatpak", "nmap", "tcpdump", "wireshark", "tshark", "openssl", "gpg", "ssh-agent", "ssh-keygen", "service"}
}

// opaque says why nobody can tell what a command does.
func opaque(words []Word) string {
	name := path.Base(words[0].Text)
	stem := strings.TrimRight(name, "0123456789.-")
	switch {
	case strings.HasPrefix(name, "ld-linux") || strings.HasPrefix(name, "ld-musl"):
		return "it loads another program"
	case slices.Contains([]string{"awk", "gawk", "mawk", "nawk", "original-awk"}, name) && !tameAwk(words):
		return "its awk program can run others and write files"
	case launches(name, words):
		return "its arguments can make it run another program"
	case isShell(name) || isShell(stem) || strings.HasSuffix(name, "-static"):
		return "it is a shell that is not looked into"
	case slices.Contains(interpreters(), name) || stem != "" && slices.Contains(interpreters(), stem):
		return "what it does is not in words that are read here"
	}
	return ""
}

// launches reports whether a program that is looked at by its arguments may be made to
// run another one by them.
func launches(name string, words []Word) bool {
	e, ok := map[string]edge{
		"find": {}, // its commands are looked at apart, if they can be seen
		"tar":  {letters: "IF", long: []string{"--checkpoint-action", "--to-command", "--use-compress-program", "--info-script", "--new-volume-script", "--rmt-command", "--rsh-command"}},
		"sort": {long: []string{"--compress-program"}}, "split": {long: []string{"--filter"}}, "rg": {long: []string{"--pre", "--hostname-bin"}},
		"fd": {letters: "xX", long: []string{"--exec"}}, "fdfind": {letters: "xX", long: []string{"--exec"}},
		"ip": {words: []string{"exec", "exe", "ex", "e"}, letters: "b"}, "tc": {letters: "b"}, "bridge": {letters: "b"}, "sed": {},
	}[name]
	if !ok {
		return false
	}
	for i := 1; i < len(words); i++ {
		w := words[i]
		option := len(w.Text) > 1 && w.Text[0] == '-'
		switch {
		case w.Unknown && (name != "sed" || i == 1) || e.has(w.Text, option):
			return true
		case name == "tar" && i == 1 && !option && strings.ContainsAny(w.Text, "IF"):
			return true
		case name == "sed" && (!option || len(w.Text) > 2 && w.Text[1] == 'e' || strings.HasPrefix(w.Text, "-f") || strings.HasPrefix(w.Text, "--f") || strings.HasPrefix(w.Text, "--e")) && !tameSed(words, i):
			return true
		}
	}
	return false
}

// tameAwk reports whether the program text has nothing that runs, reads or writes
// other files.
func tameAwk(words []Word) bool {
	for i := 1; i < len(words); i++ {
		w := words[i]
		if w.Unknown {
			return false
		}
		if w.Text == "-F" || w.Text == "-v" {
			i++
			continue
		}
		if strings.HasPrefix(w.Text, "-F") {
			continue
		}
		return !strings.HasPrefix(w.Text, "-") && !awkReach.MatchString(w.Text)
	}
	return true
}

var awkReach = regexp.MustCompile(`[|>@]|system|getline|close|printf?\s*\(?.*>`)

// edge says which arguments make a reader do more: letters of short options, prefixes
// of long ones, whole words.
type edge struct {
	letters string
	long    []string
	words   []string
}

func edgesOf() map[string]edge {
	findWords := []string{"-delete", "-fprint", "-fprint0", "-fprintf", "-fls", "-exec", "-execdir", "-ok", "-okdir"}
	ipWords := []string{"add", "a", "del", "delete", "d", "set", "s", "change", "chg", "replace", "append", "prepend", "flush", "f", "exec", "e", "attach", "restore", "up", "down", "-b", "-batch", "-force", "-netns", "-n"}
	return map[string]edge{
		"find":       {words: findWords},
		"sort":       {letters: "oST", long: []string{"--output", "--compress-program", "--temporary-directory"}},
		"shuf":       {letters: "o", long: []string{"--output"}},
		"sdiff":      {letters: "o", long: []string{"--output"}},
		"date":       {letters: "s", long: []string{"--set"}},
		"ip":         {words: ipWords},
		"bridge":     {words: ipWords},
		"tc":         {words: ipWords},
		"journalctl": {long: []string{"--vacuum", "--rotate", "--flush", "--sync", "--relinquish-var", "--smart-relinquish-var", "--cursor-file", "--setup-keys", "--update-catalog"}},
		"dmesg":      {letters: "cCnDE", long: []string{"--clear", "--read-clear", "--console"}},
		"sysctl":     {letters: "wpf", long: []string{"--write", "--load", "--system"}},
		"ss":         {letters: "KD", long: []string{"--kill", "--diag"}},
		"rg":         {long: []string{"--pre", "--hostname-bin"}},
		"fd":         {letters: "xX", long: []string{"--exec"}},
		"xxd":        {letters: "r", words: []string{"-revert"}},
		"file":       {letters: "C", long: []string{"--compile"}},
		"systemctl":  {letters: "HM", long: []string{"--host", "--machine", "--root", "--image"}},
		"loginctl":   {letters: "HM", long: []string{"--host", "--machine"}},
		"hostnamectl": {words: []string{"hostname", "set-hostname", "set-icon-name", "set-chassis", "set-deployment", "set-location", "icon-name", "chassis", "deployment", "location"},
			letters: "HM", long: []string{"--host", "--machine"}},
		"timedatectl": {words: []string{"set-time", "set-timezone", "set-local-rtc", "set-ntp"}, letters: "HM", long: []string{"--host", "--machine"}},
		"tar": {letters: "IFxcruA", long: []string{"--checkpoint-action", "--to-command", "--use-compress-program", "--info-script", "--new-volume-script", "--rmt-command", "--rsh-command",
			"--extract", "--get", "--create", "--append", "--update", "--delete", "--concatenate", "--catenate", "--index-file"}},
		"arp":      {letters: "sdf", long: []string{"--set", "--delete", "--file"}},
		"route":    {words: []string{"add", "del", "flush"}},
		"ethtool":  {letters: "sKGCALQPXNUEfp", long: []string{"--set", "--change", "--flash", "--reset", "--config"}},
		"split":    {long: []string{"--filter"}},
		"tee":      {},
		"curl":     {letters: "oOKTcDF", long: []string{"--output", "--remote-name", "--config", "--upload-file", "--cookie-jar", "--dump-header", "--trace", "--stderr", "--libcurl", "--form", "--create-dirs", "--hsts", "--alt-svc", "--etag-save"}},
		"nft":      {words: []string{"add", "delete", "insert", "replace", "flush", "create", "destroy", "reset", "rename", "import"}, letters: "fi", long: []string{"--file", "--interactive"}},
		"iptables": {letters: "AIDRFZXPEN", long: []string{"--append", "--insert", "--delete", "--replace", "--flush", "--zero", "--policy", "--new", "--rename", "--modprobe"}},
		"lsof":     {letters: "D"},
		"ps":       {}, "top": {}, "mount": {letters: "aBMRotLUTFw", words: []string{"remount"}},
	}
}

// edges returns the arguments that make a program which reads do more.
func edges(words []Word) []int {
	name := path.Base(words[0].Text)
	var out []int
	e, known := edgesOf()[name]
	plain := 0
	for i := 1; i < len(words); i++ {
		w := words[i].Text
		option := len(w) > 1 && w[0] == '-'
		if !option {
			plain++
		}
		switch {
		case known && e.has(w, option):
		case name == "sed" && !tameSed(words, i):
		case name == "uniq" && plain == 2 && !option:
		case name == "xxd" && !option && files(words[:i+1]) > 1:
		case name == "date" && !option && !strings.HasPrefix(w, "+") && !slices.Contains([]string{"-d", "--date", "-r", "--reference", "-f", "--file"}, words[i-1].Text):
		case (name == "ip" || name == "tc" || name == "bridge") && plain > 1 && !option && w != "" && slices.ContainsFunc(e.words, func(verb string) bool { return strings.HasPrefix(verb, w) }): // they take abbreviations
		case (name == "hostname" || name == "domainname") && (!option || strings.ContainsAny(w, "Fb")):
		case name == "sysctl" && strings.Contains(w, "="):
		case name == "ifconfig" && plain > 1:
		case name == "tar" && i == 1 && !option && strings.ContainsAny(w, "IFxcruA"):
		case name == "mount" && !option:
		default:
			continue
		}
		out = append(out, i)
	}
	return out
}

// files counts the arguments of xxd, head and tail that are no options and no values of
// such.
func files(words []Word) int {
	n := 0
	values := slices.Contains([]string{"xxd", "head", "tail"}, path.Base(words[0].Text))
	for i := 1; i < len(words); i++ {
		switch w := words[i].Text; {
		case values && slices.Contains([]string{"-l", "-len", "-c", "-cols", "-g", "-groupsize", "-s", "-seek", "-o", "-n", "--lines", "--bytes"}, w):
			i++
		case w == "" || w[0] != '-':
			n++
		}
	}
	return n
}

// eatsInput reports whether a program reads what a shell that reads its commands from the
// same place would have read next. Only known programs do.
func eatsInput(words []Word) bool {
	needs, known := map[string]int{"dd": 1 << 20, "xargs": 1 << 20, "tee": 1 << 20, "tr": 1 << 20, "ssh": 1 << 20, "head": 1, "tail": 1, "cat": 1, "tac": 1, "nl": 1, "rev": 1, "wc": 1, "od": 1, "xxd": 1, "hexdump": 1,
		"strings": 1, "sort": 1, "uniq": 1, "cut": 1, "fold": 1, "column": 1, "paste": 1, "cksum": 1, "md5sum": 1, "sha256sum": 1, "cmp": 2, "diff": 2, "grep": 2, "egrep": 2, "fgrep": 2, "sed": 2, "awk": 2, "mawk": 2, "gawk": 2}[path.Base(words[0].Text)]
	if !known {
		return false
	}
	return files(words) < needs || slices.ContainsFunc(words[1:], func(w Word) bool {
		return w.Split || w.Text == "-" || strings.HasPrefix(w.Text, "/dev/") || strings.HasPrefix(w.Text, "/proc/")
	})
}

func (e edge) has(w string, option bool) bool {
	if slices.Contains(e.words, w) {
		return true
	}
	if !option {
		return false
	}
	if !strings.HasPrefix(w, "--") {
		return strings.ContainsAny(w[1:], e.letters) && e.letters != ""
	}
	name, _, _ := strings.Cut(w, "=")
	return slices.ContainsFunc(e.long, func(l string) bool { // programs take abbreviations
		return strings.HasPrefix(name, l) || len(name) > 2 && strings.HasPrefix(l, name)
	})
}

// sedLine is a program of sed that only prints: addresses with p, d, q or =, and s
// without the flags that write or run.
var sedLine = regexp.MustCompile(`^(?:[0-9,$~+! ]|/(?:[^/\\\n]|\\[^\n])*/)*(?:[pdq=]|s/(?:[^/\\\n]|\\[^\n])*/(?:[^/\\\n]|\\[^\n])*/[gpIi0-9]*|s\|(?:[^|\\\n]|\\[^\n])*\|(?:[^|\\\n]|\\[^\n])*\|[gpIi0-9]*)? *$`)

// tameSed reports whether argument i of sed neither writes nor runs anything.
func tameSed(words []Word, i int) bool {
	w := words[i]
	switch {
	case w.Unknown:
		return false
	case i > 1 && words[i-1].Text == "-e":
		return sedLine.MatchString(w.Text)
	case strings.HasPrefix(w.Text, "--"):
		return slices.Contains([]string{"--quiet", "--silent", "--regexp-extended", "--null-data", "--separate", "--unbuffered", "--posix", "--sandbox", "--"}, w.Text)
	case len(w.Text) > 1 && w.Text[0] == '-':
		return strings.Trim(w.Text[1:], "nErzsu") == "" || w.Text == "-e"
	}
	for j := 1; j < i; j++ { // the first word that is no option is the program, unless -e gave one
		if words[j].Text == "-e" || words[j].Text != "" && words[j].Text[0] != '-' {
			return true
		}
	}
	return sedLine.MatchString(w.Text)
}

// readers only show what is in files, whatever their arguments that are no edges.
func readers() []string {
	return []string{"cat", "head", "tail", "grep", "egrep", "fgrep", "ls", "dir", "stat", "file", "wc", "du", "df", "find", "readlink", "realpath", "md5sum", "sha1sum", "sha224sum", "sha256sum", "sha384sum",
		"sha512sum", "b2sum", "cksum", "sum", "od", "hexdump", "xxd", "strings", "cut", "sort", "uniq", "tr", "nl", "tac", "rev", "cmp", "diff", "comm", "column", "fold", "basename", "dirname", "paste", "join", "expand", "test", "["}
}

// OnlyReads reports whether all of r shows files and does nothing else.
func (r Report) OnlyReads() bool {
	if r.Dynamic() || len(r.Commands) == 0 || !tameWrites(r.Writes) {
		return false
	}
	for _, c := range r.Commands {
		if !c.Builtin && (c.Opaque != "" || len(c.Edges) > 0 || !slices.Contains(readers(), programName(c.Name())) || slices.ContainsFunc(c.Words, func(w Word) bool { return w.Unknown })) {
			return false
		}
	}
	return true
}

// programName is the base name of a program in a directory of the system, else the
// whole path: who can put a program elsewhere can call it what they like.
func programName(program string) string {
	dir, base := path.Split(program)
	if slices.Contains([]string{"", "/bin/", "/sbin/", "/usr/bin/", "/usr/sbin/", "/usr/local/bin/", "/usr/local/sbin/"}, dir) {
		return base
	}
	return program
}

// tameWrites reports whether redirections write only where nothing is kept.
func tameWrites(files []string) bool {
	return !slices.ContainsFunc(files, func(f string) bool {
		return !slices.Contains([]string{"/dev/null", "/dev/stdout", "/dev/stderr", "/dev/tty"}, f)
	})
}
