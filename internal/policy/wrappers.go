package policy

import (
	"path"
	"regexp"
	"slices"
	"strings"
)

// wrapper says how a program that runs another reads its arguments. Options that it
// does not list make the call one that is not seen through.
type wrapper struct {
	plain  string   // letters of options without a value
	value  string   // letters of options with one
	long   []string // long options without a value
	valued []string // long options with one
	skip   int      // arguments before the command: a time, a file
	assign bool     // NAME=value may stand before the command
	named  bool     // it must be allowed itself: it gives other rights, or goes elsewhere
	joined bool     // the rest is one text for a shell, unless exec is among the options
	exec   byte     // option that makes it no text
	text   byte     // option whose value is a text for a shell
	digits bool     // takes "-10" as an option
	more   bool     // it adds arguments that are not known
	reach  byte     // option whose value can name another program
	pipes  bool     // -o "|PROGRAM" runs it
	alone  bool     // without a command it does something harmless
}

// wrappers are the programs that are seen through. Sources: their manual pages in
// coreutils 9.1, util-linux 2.38, findutils 4.9, sudo 1.9, procps 4.0, strace 6.1.
func wrappers() map[string]wrapper {
	return map[string]wrapper{
		"env": {plain: "i0v", value: "uC", long: []string{"--ignore-environment", "--null", "--debug", "--block-signal", "--default-signal", "--ignore-signal", "--list-signal-handling"},
			valued: []string{"--unset", "--chdir"}, assign: true, alone: true},
		"sudo": {plain: "nbEHSkKAPvl", value: "ugpCrtTUhD", long: []string{"--non-interactive", "--background", "--preserve-env", "--set-home", "--stdin", "--reset-timestamp", "--askpass"},
			valued: []string{"--user", "--group", "--prompt", "--chdir", "--host", "--role", "--type", "--command-timeout"}, assign: true, named: true},
		"doas":    {plain: "nL", value: "uC", named: true},
		"nice":    {value: "n", valued: []string{"--adjustment"}, digits: true, alone: true},
		"ionice":  {plain: "t", value: "cn", long: []string{"--ignore"}, valued: []string{"--class", "--classdata"}, alone: true},
		"nohup":   {},
		"setsid":  {plain: "cfw", long: []string{"--ctty", "--fork", "--wait"}},
		"timeout": {plain: "v", value: "ks", long: []string{"--foreground", "--preserve-status", "--verbose"}, valued: []string{"--kill-after", "--signal"}, skip: 1},
		"stdbuf":  {value: "ioe", valued: []string{"--input", "--output", "--error"}},
		"time":    {plain: "pv"},
		"chrt":    {plain: "bfiorR", skip: 1},
		"taskset": {plain: "c", long: []string{"--cpu-list"}, skip: 1},
		"chroot":  {valued: []string{"--userspec", "--groups"}, long: []string{"--skip-chdir"}, skip: 1, named: true},
		"flock": {plain: "nsxuoF", value: "wE", long: []string{"--nonblock", "--shared", "--exclusive", "--close", "--no-fork"}, valued: []string{"--timeout", "--conflict-exit-code"},
			skip: 1, text: 'c'},
		"strace": {plain: "fFqvtTrcCdiyYkwhn", value: "oesuEabIOPSX", named: true, pipes: true},
		"ltrace": {plain: "fSrtTcCi", value: "oesuanl", named: true},
		"watch":  {plain: "dtbegcpxw", value: "nq", long: []string{"--no-title", "--beep", "--errexit", "--chgexit", "--color", "--exec", "--precise", "--differences"}, valued: []string{"--interval"}, joined: true, exec: 'x'},
		"xargs": {plain: "0rtxpo", value: "adEILnPs", long: []string{"--null", "--no-run-if-empty", "--verbose", "--exit", "--interactive", "--open-tty"},
			valued: []string{"--arg-file", "--delimiter", "--eof", "--max-procs", "--max-chars", "--process-slot-var"}, more: true, alone: true},
		"busybox": {}, "toybox": {},
		"catchsegv": {}, "eatmydata": {}, "fakeroot": {}, "chronic": {}, "unbuffer": {},
		"su":      {plain: "lmp", value: "sgG", long: []string{"--login", "--preserve-environment"}, valued: []string{"--shell", "--group"}, text: 'c', named: true},
		"runuser": {plain: "lmp", value: "sgGu", long: []string{"--login"}, valued: []string{"--user", "--group", "--shell"}, text: 'c', named: true},
		"script":  {plain: "aefqr", value: "oET", text: 'c', named: true},
		"ssh":     {plain: "46AaCfGgKkMNnqsTtVvXxYy", value: "BbcDEeFIiJLlmOopQRSWw", skip: 1, joined: true, named: true, reach: 'F'},
		"systemd-run": {plain: "rdtPqGS", value: "upMHE", reach: 'p', long: []string{"--scope", "--user", "--system", "--wait", "--pipe", "--quiet", "--collect", "--pty", "--no-block", "--no-ask-password"},
			valued: []string{"--unit", "--description", "--slice", "--uid", "--gid", "--nice", "--working-directory"}, named: true},
	}
}

// wrapped looks at what a wrapper runs.
func (s *seer) wrapped(words []Word, w wrapper) {
	name := path.Base(words[0].Text)
	a := parseArgs(words, w)
	if a.why != "" {
		s.unseen(name + ": " + a.why)
		s.add(Command{Words: words, Opaque: a.why})
		return
	}
	for _, assign := range a.assigned {
		s.assigned(name+" ", assign, true)
	}
	for _, t := range a.texts {
		s.textOf(name, t)
	}
	rest := a.rest
	if w.named || len(rest) == 0 && len(a.texts) == 0 {
		s.add(Command{Words: words[:len(words)-len(rest)]})
	}
	if name == "su" || name == "script" || name == "runuser" && !slices.ContainsFunc(words[:len(words)-len(rest)], asUser) {
		// They take options behind their arguments too, and hand what is left to a shell.
		if len(a.texts) == 0 || len(rest) > 1 {
			s.unseen(name + " runs a program that is not named")
		}
		return
	}
	if len(rest) == 0 {
		if !w.alone && len(a.texts) == 0 {
			s.unseen(name + " runs a program that is not named")
		}
		return
	}
	if w.joined && !a.exec {
		text, ok := join(rest)
		s.textOf(name, Word{Text: text, Unknown: !ok})
		return
	}
	if w.more {
		rest = a.replaced(rest)
		s.stdin = nil
	}
	if w.named { // sudo may read a password before what it runs reads
		s.stdin = nil
	}
	s.run(rest, nil)
}

// asUser reports whether a word is runuser's -u, with which a program follows.
func asUser(w Word) bool { return strings.HasPrefix(w.Text, "-u") }

// textOf looks into a text for sh that a wrapper hands on.
func (s *seer) textOf(name string, text Word) {
	if text.Unknown {
		s.unseen("what " + name + " runs is only known when it runs")
		return
	}
	s.text("sh", text.Text)
}

// arguments are those of a wrapper.
type arguments struct {
	rest     []Word // the command
	texts    []Word // for a shell
	assigned []string
	exec     bool
	replace  string // of xargs -I
	several  bool   // xargs -n or -L, of which the last and -I win over each other
	why      string // why they cannot be understood
}

func parseArgs(words []Word, w wrapper) arguments {
	var a arguments
	i := 1
	for ; i < len(words) && a.why == ""; i++ {
		x := words[i]
		if x.Unknown {
			a.why = "its arguments are only known when it runs"
			return a
		}
		if x.Text == "--" {
			i++
			break
		}
		if x.Text == "-" && w.assign { // env -
			continue
		}
		if len(x.Text) < 2 || x.Text[0] != '-' {
			break
		}
		i = a.option(words, i, w)
	}
	for ; w.assign && i < len(words) && strings.Contains(words[i].Text, "="); i++ { // any "=" will do, unlike for a shell
		if words[i].Unknown {
			a.why = "what it sets is only known when it runs"
			return a
		}
		a.assigned = append(a.assigned, words[i].Text)
	}
	for n := 0; n < w.skip && i < len(words); n++ {
		i++
	}
	// flock FILE -c TEXT; ssh HOST -o ProxyCommand=TEXT
	if w.skip > 0 && i < len(words) && strings.HasPrefix(words[i].Text, "-") && (w.joined || w.text != 0 && words[i].Text != "-"+string(w.text)) {
		a.why = "an option stands behind its first arguments"
	}
	if w.text != 0 && w.skip > 0 && i+1 < len(words) && words[i].Text == "-"+string(w.text) {
		a.texts = append(a.texts, words[i+1])
		i += 2
	}
	a.rest = words[min(i, len(words)):]
	return a
}

// option reads the option at i and returns the index of its last word.
func (a *arguments) option(words []Word, i int, w wrapper) int {
	text := words[i].Text
	if strings.HasPrefix(text, "--") {
		name, _, has := strings.Cut(text, "=")
		switch {
		case slices.Contains(w.long, name):
			a.exec = a.exec || w.exec != 0 && name == "--exec"
		case slices.Contains(w.valued, name) && has:
		case slices.Contains(w.valued, name):
			return a.skipValue(words, i, 0)
		default:
			a.why = "the option " + clip(name) + " is not known here"
		}
		return i
	}
	if w.digits && strings.Trim(text[1:], "0123456789") == "" {
		return i
	}
	for j := 1; j < len(text); j++ {
		f := text[j]
		switch {
		case w.text != 0 && f == w.text || strings.IndexByte(w.value, f) >= 0:
			value := Word{Text: text[j+1:]}
			if j+1 == len(text) {
				if i++; i >= len(words) {
					a.why = "an option has no value"
					return i
				}
				value = words[i]
			}
			a.value(f, value, w)
			return i
		case strings.IndexByte(w.plain, f) >= 0:
			a.exec = a.exec || f == w.exec
		default:
			a.why = "the option -" + string(rune(f)) + " is not known here"
			return i
		}
	}
	return i
}

func (a *arguments) value(flag byte, value Word, w wrapper) {
	switch {
	case w.text == flag:
		a.texts = append(a.texts, value)
	case flag == w.reach || w.pipes && flag == 'o' && strings.ContainsAny(value.Text[:min(1, len(value.Text))], "|!"):
		a.why = "the option -" + string(rune(flag)) + " can run another program"
	case w.more && flag == 'I' && value.Unknown:
		a.why = "a value is only known when it runs"
	case w.more && flag == 'I':
		a.replace = value.Text
	case w.more && (flag == 'n' || flag == 'L'):
		a.several = true
	case value.Unknown:
		a.why = "a value is only known when it runs"
	}
}

func (a *arguments) skipValue(words []Word, i, _ int) int {
	if i+1 >= len(words) {
		a.why = "an option has no value"
	}
	return i + 1
}

// replaced is the command of xargs with what it gets from its input.
func (a *arguments) replaced(rest []Word) []Word {
	if a.replace == "" || a.several {
		return append(slices.Clone(rest), Word{Unknown: true})
	}
	out := slices.Clone(rest)
	for i := range out {
		if strings.Contains(out[i].Text, a.replace) {
			out[i].Unknown = true
		}
	}
	return out
}

// plainValue is a value that names no file and holds no code: libraries look for files by
// locale and terminal, and debconf evaluates the name of its frontend.
var plainValue = regexp.MustCompile(`^[A-Za-z0-9_.@:+-]*$`)

var zone = regexp.MustCompile(`^[A-Za-z0-9_+-]+(?:/[A-Za-z0-9_+-]+)*$`)

// harmless are variables that change how a program writes, not what it does.
func harmless(name string) bool {
	return strings.HasPrefix(name, "LC_") || slices.Contains([]string{"LANG", "LANGUAGE", "TZ", "NO_COLOR", "COLUMNS", "LINES", "TERM", "SYSTEMD_COLORS", "DEBIAN_FRONTEND", "POSIXLY_CORRECT"}, name)
}

// assigned looks at NAME=value. exported says that programs see it.
func (s *seer) assigned(where, text string, exported bool) {
	name, value, _ := strings.Cut(text, "=")
	name = strings.TrimSuffix(name, "+")
	if i := strings.IndexByte(name, '['); i >= 0 {
		s.unseen(where + "sets an element of " + clip(name[:i]) + ", whose index a shell evaluates")
		return
	}
	if harmless(name) && (plainValue.MatchString(value) || name == "TZ" && zone.MatchString(value)) || !exported && ownVariable(name) {
		return
	}
	s.unseen(where + "sets " + clip(name) + ", which can change what programs do")
}

// ownVariable reports whether a shell variable is one that a script makes for itself:
// what shells and programs look at is written in capitals.
func ownVariable(name string) bool {
	return name != "" && strings.ToUpper(name) != name && name != "path" && name != "fpath" && name != "cdpath"
}
