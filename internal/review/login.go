package review

import (
	"path"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
)

func loginRules() []rule {
	pamDirs := below("/etc/pam.d/", "/usr/lib/pam.d/", "/etc/security/", "/usr/share/pam-configs/")
	hostKey := func(p string) bool {
		return strings.HasPrefix(p, "/etc/ssh/ssh_host_") && strings.HasSuffix(p, "_key")
	}
	return []rule{
		{class: Sudoers, match: anyOf(exactly("/etc/sudoers"), below("/etc/sudoers.d/"), exactly("/etc/doas.conf")), judge: (*subject).sudoers, blind: High},
		{class: AuthorizedKeys, match: isAuthorizedKeys, judge: (*subject).authorizedKeys, blind: High},
		{class: SSHDConfig, match: anyOf(exactly("/etc/ssh/sshd_config"), below("/etc/ssh/sshd_config.d/")), judge: (*subject).sshdConfig, blind: High},
		{class: HostKeys, match: hostKey, judge: (*subject).hostKey, blind: High},
		{class: PAM, match: anyOf(exactly("/etc/pam.conf"), pamDirs), judge: (*subject).pam, blind: High},
		{class: PAM, match: isPAMModule, judge: (*subject).replacedCode, blind: High, links: true},
	}
}

// sudoers. The grammar is that of sudoers(5): aliases, Defaults, includes, and
// rules "who where = (as whom) TAG: commands", joined by backslashes. Alias names
// in a rule's commands are resolved within the file.
func (s *subject) sudoers(before, after string) {
	if strings.HasPrefix(s.path, "/etc/sudoers.d/") && ignoredBySudo(path.Base(s.path)) {
		s.add(Low, s.note("%s is not read by sudo, because of its name", s.path))
		return
	}
	b, a := parseSudoers(before), parseSudoers(after)
	added, removed, _ := compare(b.rules, a.rules)
	for _, e := range added {
		sev, what := a.weigh(e.key)
		s.add(sev, s.note("%s: %s", what, e.key).at(s, true, e.line))
	}
	for _, e := range removed {
		s.add(Medium, s.note("sudo no longer has: %s", e.key).at(s, false, e.line))
	}
	if len(added)+len(removed) == 0 && !sameOrder(b.rules, a.rules) {
		s.add(Medium, s.note("the order of rules in %s changes, and the last that fits counts", s.path))
	}
	s.garbled(High, true, a.bad)
}

// ignoredBySudo follows sudoers(5), "Including other files".
func ignoredBySudo(name string) bool {
	return strings.Contains(name, ".") || strings.HasSuffix(name, "~")
}

func sameOrder(a, b []entry) bool {
	return slices.EqualFunc(a, b, func(x, y entry) bool { return x.key == y.key })
}

// maxAliases bounds what rules are held against; an alias beyond them is still
// weighed as such.
const maxAliases = 200

type sudoersFile struct {
	rules   []entry
	aliases map[string]string // of commands
	bad     []line
}

func parseSudoers(text string) sudoersFile {
	f := sudoersFile{aliases: map[string]string{}}
	for _, e := range continued(text, "") {
		if strings.HasPrefix(e.key, "#") && !strings.HasPrefix(e.key, "#include") && !sudoUID(e.key) {
			continue
		}
		e.key = withoutRemark(e.key)
		word, rest, _ := strings.Cut(e.key, " ")
		switch {
		case strings.HasPrefix(word, "@include"), strings.HasPrefix(word, "#include"), strings.HasPrefix(word, "Defaults"),
			word == "permit", word == "deny": // doas.conf
		case strings.HasSuffix(word, "_Alias"):
			for _, def := range strings.Split(rest, ":") {
				if name, value, ok := strings.Cut(def, "="); ok && word == "Cmnd_Alias" && len(f.aliases) < maxAliases {
					f.aliases[strings.TrimSpace(name)] = value
				}
			}
		case !strings.Contains(e.key, "="):
			f.bad = append(f.bad, e.line)
			continue
		}
		f.rules = append(f.rules, e)
	}
	return f
}

// withoutRemark cuts a trailing comment; "#" and digits is a uid.
func withoutRemark(key string) string {
	for at := 0; ; {
		i := strings.Index(key[at:], " #")
		if i < 0 {
			return key
		}
		at += i + 2
		if at >= len(key) || !isDigit(key[at]) {
			return strings.TrimSpace(key[:at-2])
		}
	}
}

// sudoUID reports whether a line that begins with "#" is a rule for a uid.
func sudoUID(key string) bool {
	word, _, _ := strings.Cut(key[1:], " ")
	_, ok := parseID(word)
	return ok && strings.Contains(key, "=")
}

func (f sudoersFile) weigh(rule string) (Severity, string) {
	word, rest, _ := strings.Cut(rule, " ")
	switch {
	case strings.HasPrefix(word, "@include"), strings.HasPrefix(word, "#include"):
		if strings.HasPrefix(rest, "/etc/") {
			return Medium, "sudo reads more rules"
		}
		return High, "sudo reads rules from elsewhere"
	case strings.HasPrefix(word, "Defaults"):
		return sudoDefaults(rest)
	case strings.HasSuffix(word, "_Alias"):
		if hasAll(rest) {
			return High, "a sudo alias for everything"
		}
		return Medium, "a sudo alias"
	case word == "permit" || word == "deny":
		if word == "permit" && !strings.Contains(rest, " cmd ") {
			return High, "doas allows any command"
		}
		return Medium, "doas has a new rule"
	}
	_, commands, _ := strings.Cut(rule, "=")
	for name, value := range f.aliases {
		if strings.Contains(commands, name) {
			commands += "," + value
		}
	}
	free := strings.Contains(rule, "NOPASSWD")
	switch {
	case hasAll(commands) && free:
		return High, "sudo allows any command without a password"
	case hasAll(commands):
		return High, "sudo allows any command"
	case free:
		return Medium, "sudo allows commands without a password"
	}
	return Medium, "sudo allows commands"
}

// hasAll reports whether ALL stands among commands, after tags and (runas).
func hasAll(commands string) bool {
	if i := strings.LastIndexByte(commands, ')'); i >= 0 {
		commands = commands[i+1:]
	}
	for _, c := range strings.FieldsFunc(commands, func(r rune) bool { return r == ',' || r == ' ' || r == ':' || r == '=' }) {
		if c == "ALL" {
			return true
		}
	}
	return false
}

func sudoDefaults(setting string) (Severity, string) {
	for _, weak := range []string{"!authenticate", "!env_reset", "LD_", "PYTHONPATH", "PERL5LIB", "BASH_ENV", "runaspw", "targetpw", "!use_pty", "!log"} {
		if strings.Contains(setting, weak) {
			return High, "a defence of sudo is weakened"
		}
	}
	for _, some := range []string{"secure_path", "env_keep", "timestamp_timeout", "setenv", "exempt_group", "editor", "visiblepw"} {
		if strings.Contains(setting, some) {
			return Medium, "a setting of sudo changes"
		}
	}
	return Low, "a setting of sudo changes"
}

func isAuthorizedKeys(p string) bool {
	base := path.Base(p)
	return strings.Contains(p, "/.ssh/") && (base == "authorized_keys" || base == "authorized_keys2" || base == "authorized_principals") ||
		strings.HasPrefix(p, "/etc/ssh/authorized_keys") || p == "/etc/ssh/authorized_principals"
}

// maxKeyLine is longer than any key; sshd gives up at 8 KiB (auth2-pubkeyfile.c).
const maxKeyLine = 16 << 10

func parseKeys(text string) (keys []entry, bad []line) {
	for l := range eachLine(text) {
		t := strings.TrimSpace(l.text)
		if t == "" || t[0] == '#' {
			continue
		}
		if len(t) > maxKeyLine {
			bad = append(bad, l)
			continue
		}
		key, comment, options, _, err := ssh.ParseAuthorizedKey([]byte(t))
		if err != nil {
			bad = append(bad, l)
			continue
		}
		name := key.Type() + " " + ssh.FingerprintSHA256(key)
		if comment != "" {
			name += " (" + comment + ")"
		}
		// The comment is no part of who may log in.
		keys = append(keys, entry{key: ssh.FingerprintSHA256(key), value: strings.Join(options, ","), line: line{l.n, name}})
	}
	return keys, bad
}

func (s *subject) authorizedKeys(before, after string) {
	user := s.j.host.userOfHome(s.path)
	if user == "" { // sshd may read it there for anybody; the path says more than a guess
		user = "whoever " + s.path + " is for"
	}
	b, _ := parseKeys(before)
	a, bad := parseKeys(after)
	added, removed, changed := compare(b, a)
	for _, e := range added {
		s.keyAdded(user, e)
	}
	for _, e := range removed {
		s.add(Medium, s.note("a key can no longer log in as %s: %s", user, e.text).at(s, false, e.line))
	}
	for _, c := range changed {
		s.add(Medium, s.note("the options of a key of %s change from %s to %s", user, quoted(c.before.value), quoted(c.after.value)).change(s, c.before.line, c.after.line))
	}
	if len(b) > 0 && len(a) == 0 {
		s.add(High, s.note("no key is left that can log in as %s", user))
	}
	s.garbled(Medium, true, bad)
}

func quoted(options string) string {
	if options == "" {
		return "none"
	}
	return "'" + options + "'"
}

func (s *subject) keyAdded(user string, e entry) {
	sev, more := High, ""
	for _, o := range strings.Split(e.value, ",") {
		if o == "cert-authority" {
			s.add(High, s.note("every key signed by an authority can log in as %s: %s", user, e.text).at(s, true, e.line))
			return
		}
		if strings.HasPrefix(o, "command=") {
			sev = Medium
		}
	}
	if e.value != "" {
		more = ", with " + quoted(e.value)
	}
	s.add(sev, s.note("a key can log in as %s: %s%s", user, e.text, more).at(s, true, e.line))
}

// hostKey is a private key; its text is never quoted.
func (s *subject) hostKey(before, after string) {
	switch {
	case before == "":
		s.add(Medium, s.note("the SSH server gets a new identity: %s", s.path))
	case after == "":
		s.add(High, s.note("an identity of the SSH server is removed: %s", s.path))
	default:
		s.add(High, s.note("the identity of the SSH server is replaced, and clients will refuse it: %s", s.path))
	}
}

// sshd_config. The first value of a keyword counts, per Match block; some keywords
// collect. See sshd_config(5).

func collects(keyword string) bool {
	switch keyword {
	case "port", "listenaddress", "hostkey", "acceptenv", "allowusers", "allowgroups", "denyusers", "denygroups", "subsystem", "setenv", "include":
		return true
	}
	return false
}

// sshdDefault returns what a keyword means that is not set; "" if we do not say.
func sshdDefault(keyword string) string {
	switch keyword {
	case "permitrootlogin":
		return "prohibit-password"
	case "passwordauthentication", "pubkeyauthentication", "strictmodes", "kbdinteractiveauthentication", "allowtcpforwarding", "allowagentforwarding":
		return "yes"
	case "permitemptypasswords", "permituserenvironment", "x11forwarding", "gatewayports", "permittunnel", "usepam", "hostbasedauthentication":
		return "no"
	case "authorizedkeysfile":
		return ".ssh/authorized_keys .ssh/authorized_keys2"
	case "port":
		return "22"
	case "loglevel":
		return "info"
	}
	return ""
}

func (s *subject) sshdSettings(text string) []entry {
	var out []entry
	seen := map[string]bool{}
	block := ""
	for _, e := range statements(text, "#") {
		word, value := sshdWord(e.key)
		if word == "match" {
			block = "match " + strings.ToLower(value) + ": "
			continue
		}
		key := block + word
		if !collects(word) && seen[key] {
			continue
		}
		seen[key] = true
		if collects(word) && word != "port" {
			key += " " + value // each is a setting of its own
		}
		// The main file says what it means even if it says nothing.
		if block == "" && s.path == "/etc/ssh/sshd_config" && strings.EqualFold(value, sshdDefault(word)) {
			continue
		}
		out = append(out, entry{key: key, value: value, line: e.line})
	}
	return out
}

func sshdWord(statement string) (word, value string) {
	i := strings.IndexAny(statement, " =")
	if i < 0 {
		return strings.ToLower(statement), ""
	}
	value = strings.TrimLeft(statement[i:], " =")
	return strings.ToLower(statement[:i]), strings.ReplaceAll(withoutTail(value), `"`, "")
}

func (s *subject) sshdConfig(before, after string) {
	if s.path != "/etc/ssh/sshd_config" && !strings.HasSuffix(s.path, ".conf") {
		s.add(Low, s.note("%s is not read by the SSH server, because of its name", s.path))
		return
	}
	added, removed, changed := compare(s.sshdSettings(before), s.sshdSettings(after))
	for _, e := range added {
		s.sshdChange(entry{key: e.key, value: sshdDefault(e.key)}, e)
	}
	for _, e := range removed {
		s.sshdChange(e, entry{key: e.key, value: sshdDefault(e.key)})
	}
	for _, c := range changed {
		s.sshdChange(c.before, c.after)
	}
}

func (s *subject) sshdChange(b, a entry) {
	block, word, ok := strings.Cut(a.key, ": ")
	if !ok {
		block, word = "", a.key
	}
	word, _, _ = strings.Cut(word, " ")
	f := s.note("the SSH server's %s changes from %s to %s", word, orDefault(b.value), orDefault(a.value))
	if block != "" {
		f = s.note("the SSH server's %s changes from %s to %s, for %s", word, orDefault(b.value), orDefault(a.value), block)
	}
	s.add(sshdWeight(word, strings.ToLower(a.value)), f.change(s, b.line, a.line))
}

func orDefault(value string) string {
	if value == "" {
		return "unset"
	}
	return "'" + value + "'"
}

func sshdWeight(word, value string) Severity {
	switch word {
	case "permitrootlogin":
		if value == "yes" {
			return High
		}
		return Medium
	case "passwordauthentication", "kbdinteractiveauthentication", "challengeresponseauthentication", "permitemptypasswords", "permituserenvironment",
		"hostbasedauthentication", "gatewayports", "permittunnel":
		if value == "no" {
			return Low
		}
		return High
	case "strictmodes", "pubkeyauthentication", "usepam":
		if value == "yes" {
			return Low
		}
		return High
	case "authorizedkeysfile", "authorizedkeyscommand", "authorizedkeyscommanduser", "authorizedprincipalsfile", "authorizedprincipalscommand",
		"trustedusercakeys", "authenticationmethods", "include":
		return High
	case "banner", "printmotd", "printlastlog", "tcpkeepalive", "usedns", "versionaddendum", "pidfile":
		return Low
	}
	return Medium
}

// PAM. A rule is "type control module arguments"; a comment is no rule.

func isPAMModule(p string) bool {
	return strings.Contains(p, "/security/pam_") && strings.HasSuffix(p, ".so") && (strings.HasPrefix(p, "/lib/") || strings.HasPrefix(p, "/usr/lib"))
}

func (s *subject) replacedCode(_, _ string) {
	if s.j.packagesChange() {
		return
	}
	s.add(High, s.note("%s, which decides who may log in, %s, and no package is", s.path, s.verb()))
}

func (s *subject) pam(before, after string) {
	s.judgeStatements(continued(before, "#"), continued(after, "#"), func(e entry, added bool) (Severity, string) {
		return pamWeight(s.path, strings.ToLower(e.key), added)
	})
	if b, a := continued(before, "#"), continued(after, "#"); !sameOrder(b, a) {
		added, removed, _ := compare(b, a)
		if len(added)+len(removed) == 0 {
			s.add(Medium, s.note("the order of rules in %s changes", s.path))
		}
	}
}

func pamWeight(file, rule string, added bool) (Severity, string) {
	what := "a rule is removed"
	if added {
		what = "a rule is added"
	}
	if strings.HasPrefix(file, "/etc/security/") {
		return Medium, strings.Replace(what, "rule", "setting", 1)
	}
	if file == "/etc/pam.conf" {
		_, rule, _ = strings.Cut(rule, " ")
	}
	kind, _, _ := strings.Cut(strings.TrimPrefix(rule, "-"), " ")
	for _, bad := range []string{"pam_permit", "pam_exec", "pam_script", "pam_python", "nullok", "pam_rootok"} {
		if added && strings.Contains(rule, bad) && (kind == "auth" || kind == "account" || bad == "pam_exec") {
			return High, what
		}
	}
	if kind == "auth" || kind == "account" || strings.HasPrefix(kind, "@include") {
		return High, what
	}
	return Medium, what
}
