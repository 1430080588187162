// Package sshentry keeps what the system's ssh must know of boxes: one block per box in
// an ssh_config of our own, one line in a known_hosts of our own, and one Include line in
// the user's ~/.ssh/config, which is otherwise never edited.
//
// # Blocks
//
// A block has one alias and no wildcard, so it matches one box. It stands between two
// comment lines with the alias, so that it is taken out as it was put in; what stands
// outside of blocks is left alone.
//
// # Sources
//
// How values are read is ssh_config(5) of OpenSSH 9: ProxyCommand is the rest of the line,
// run by the user's shell after percent tokens are replaced; other values may stand in
// double quotes; the first value of a parameter counts.
package sshentry

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
)

// Entry is how ssh reaches one box.
type Entry struct {
	Alias       string   // what is typed after ssh
	Host        string   // of the server; shown, and %h
	User        string   // account in the box
	Identity    string   // private key; "" leaves the choice to ssh
	KnownHosts  string   // file that pins the box
	Proxy       []string // program and arguments that carry the connection; not with Port
	Port        int      // of Host, to which ssh connects by itself; 0 for none
	ControlPath string   // "" for no shared connection
}

// HostKeyAlias is the name under which the key of an alias is pinned. OpenSSH compares
// such names without regard to case, so aliases that differ in case alone need two.
func HostKeyAlias(alias string) string {
	lower := strings.ToLower(alias)
	if lower == alias {
		return alias
	}
	sum := sha256.Sum256([]byte(alias))
	return lower + "+" + hex.EncodeToString(sum[:6])
}

// block is the text of an entry.
func (e Entry) block() (string, error) {
	if !plain(e.Alias) {
		return "", fmt.Errorf("the alias %q has letters that mean something to ssh", e.Alias)
	}
	proxy, err := commandLine(e.Proxy)
	if err != nil {
		return "", err
	}
	fields := [][2]string{{"HostName", percent(e.Host)}}
	if e.Port != 0 {
		proxy = "none" // whatever stands for all hosts elsewhere
		fields = append(fields, [2]string{"Port", strconv.Itoa(e.Port)})
	}
	fields = append(fields, [2]string{"HostKeyAlias", HostKeyAlias(e.Alias)}, [2]string{"User", e.User})
	if e.Identity != "" {
		fields = append(fields, [2]string{"IdentityFile", percent(e.Identity)})
	}
	fields = append(fields, [][2]string{{"UserKnownHostsFile", percent(e.KnownHosts)}, {"GlobalKnownHostsFile", "/dev/null"}, {"StrictHostKeyChecking", "yes"}}...)
	if e.ControlPath != "" {
		fields = append(fields, [][2]string{{"ControlMaster", "auto"}, {"ControlPath", percent(e.ControlPath)}, {"ControlPersist", "10m"}}...)
	}
	fields = append(fields, [][2]string{{"ServerAliveInterval", "30"}, {"ServerAliveCountMax", "6"}}...)
	var b strings.Builder
	fmt.Fprintf(&b, "%s\nHost %s\n", begin(e.Alias), e.Alias)
	for _, f := range fields {
		v, err := value(f[1])
		if err != nil {
			return "", fmt.Errorf("%s: %w", f[0], err)
		}
		fmt.Fprintf(&b, "  %s %s\n", f[0], v)
	}
	fmt.Fprintf(&b, "  ProxyCommand %s\n%s\n", proxy, end(e.Alias))
	return b.String(), nil
}

func begin(alias string) string { return "# box " + alias + " begins" }
func end(alias string) string   { return "# box " + alias + " ends" }

// plain text means nothing but itself in ssh_config and in every shell.
func plain(s string) bool {
	return s != "" && s[0] != '-' && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-+:@,") == ""
}

// percent keeps ssh from replacing tokens.
func percent(s string) string { return strings.ReplaceAll(s, "%", "%%") }

// value writes a word for ssh_config. Environment variables in some values (${NAME}) and
// a leading tilde are replaced by ssh, so they are refused, as are quotes.
func value(s string) (string, error) {
	if s == "" || s[0] == '~' || strings.ContainsAny(s, "\"'\\\x00\r\n") || strings.Contains(s, "${") {
		return "", fmt.Errorf("%q cannot be written in ssh_config", s)
	}
	if plain(strings.ReplaceAll(s, "%", "")) {
		return s, nil
	}
	return `"` + s + `"`, nil
}

// commandLine quotes an argument vector for the user's shell, whichever that is: in single
// quotes sh, zsh, fish and csh read everything alike but quotes, backslashes, exclamation
// marks and line ends, which are refused.
func commandLine(argv []string) (string, error) {
	words := make([]string, len(argv))
	for i, a := range argv {
		switch {
		case plain(a) || i > 0 && a != "" && plain("x"+a):
			words[i] = a
		case strings.ContainsAny(a, "'\\!\x00\r\n"):
			return "", fmt.Errorf("%q cannot be quoted alike for every shell; install the program under a plainer path", a)
		default:
			words[i] = "'" + percent(a) + "'"
		}
	}
	return strings.Join(words, " "), nil
}

// put writes an entry into our ssh_config, in the place of one with its alias.
func put(config []byte, e Entry) ([]byte, error) {
	block, err := e.block()
	if err != nil {
		return nil, err
	}
	out := cut(config, e.Alias)
	if len(out) == 0 {
		out = []byte(header)
	}
	if out[len(out)-1] != '\n' {
		out = append(out, '\n')
	}
	return append(out, block...), nil
}

// readdress gives blocks that connect by themselves, of aliases that end in suffix, another
// host. Without one the bytes are returned as they are.
func readdress(config []byte, suffix, host string) ([]byte, error) {
	word, err := value(percent(host))
	if err != nil {
		return nil, err
	}
	var out []byte
	var named int // where the HostName of a block of ours stands in out; 0 for none
	var line []byte
	inside := false
	for line = range bytes.Lines(config) {
		text := strings.TrimRight(string(line), "\r\n")
		alias, begins := strings.CutPrefix(text, "# box ")
		switch {
		case begins && strings.HasSuffix(alias, suffix+" begins"):
			inside, named = true, 0
		case begins:
			inside = false
		case inside && strings.HasPrefix(text, "  HostName "):
			named = len(out)
		case inside && named > 0 && strings.HasPrefix(text, "  Port "):
			out = append(out[:named], "  HostName "+word+"\n"...)
		}
		out = append(out, line...)
	}
	return out, nil
}

// header is the first line of our ssh_config.
const header = "# Boxes of Bowline. Their blocks come and go with them.\n"

// cut takes the block of an alias out. Without it the bytes are returned as they are. A
// block whose end is missing ends before the next one.
func cut(config []byte, alias string) []byte {
	var out []byte
	inside := false
	for line := range bytes.Lines(config) {
		text := string(bytes.TrimRight(line, "\r\n"))
		switch {
		case text == begin(alias):
			inside = true
		case inside && text == end(alias):
			inside = false
			continue
		case inside && strings.HasPrefix(text, "# box ") && strings.HasSuffix(text, " begins"):
			inside = false
		}
		if !inside {
			out = append(out, line...)
		}
	}
	return out
}

// pin writes the key of an alias into our known_hosts, in the place of an older one.
func pin(known []byte, alias, key string) []byte {
	out := unpin(known, alias)
	if len(out) > 0 && out[len(out)-1] != '\n' {
		out = append(out, '\n')
	}
	return append(out, HostKeyAlias(alias)+" "+key+"\n"...)
}

func unpin(known []byte, alias string) []byte {
	var out []byte
	for line := range bytes.Lines(known) {
		if name, _, _ := strings.Cut(string(line), " "); name != HostKeyAlias(alias) {
			out = append(out, line...)
		}
	}
	return out
}

// include puts an Include of file at the top of a user's ssh_config, unless one stands
// there before the first Host or Match, where it holds for every host. All other bytes
// stay. home and file are absolute.
func include(config []byte, file, home string) ([]byte, error) {
	if strings.ContainsAny(file, "*?[]") {
		return nil, fmt.Errorf("%q has letters that ssh takes for a pattern", file)
	}
	word, err := value(file)
	if err != nil {
		return nil, err
	}
	for line := range bytes.Lines(config) {
		key, rest := keyword(string(line))
		if key == "host" || key == "match" {
			break
		}
		if key == "include" && includes(rest, file, home) {
			return config, nil
		}
	}
	first, _, more := bytes.Cut(config, []byte("\n"))
	newline := "\n"
	if more && bytes.HasSuffix(first, []byte("\r")) {
		newline = "\r\n"
	}
	return append([]byte("Include "+word+newline), config...), nil
}

// keyword splits a line as OpenSSH does: "Key value", "Key=value", with spaces around.
func keyword(line string) (key, rest string) {
	line = strings.Trim(line, " \t\r\n\f")
	i := strings.IndexAny(line, " \t=\"")
	if i < 0 || strings.HasPrefix(line, "#") {
		return "", ""
	}
	rest = strings.TrimLeft(line[i:], " \t")
	rest = strings.TrimLeft(strings.TrimPrefix(rest, "="), " \t")
	return strings.ToLower(line[:i]), rest
}

// includes reports whether one of the patterns of an Include matches file.
func includes(patterns, file, home string) bool {
	for _, p := range words(patterns) {
		if rest, ok := strings.CutPrefix(p, "~/"); ok {
			p = filepath.Join(home, rest)
		}
		if !filepath.IsAbs(p) {
			p = filepath.Join(home, ".ssh", p)
		}
		if ok, err := filepath.Match(p, file); err == nil && ok {
			return true
		}
	}
	return false
}

// words splits values, some in double quotes, up to a comment.
func words(s string) []string {
	var out []string
	for s = strings.TrimLeft(s, " \t"); s != "" && s[0] != '#'; s = strings.TrimLeft(s, " \t") {
		stop := " \t"
		if s[0] == '"' {
			s, stop = s[1:], `"`
		}
		i := strings.IndexAny(s, stop)
		if i < 0 {
			return append(out, s)
		}
		out = append(out, s[:i])
		s = s[i+1:]
	}
	return out
}
