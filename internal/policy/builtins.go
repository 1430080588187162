package policy

import (
	"slices"
	"strings"
)

// builtin looks at what a shell does itself; false if the word is a program's name.
func (s *seer) builtin(words []Word, sh *shell) bool {
	name := words[0].Text
	switch name {
	case ":", "true", "false", "exit", "return", "break", "continue", "shift", "cd", "pwd", "times", "umask", "echo", "type", "ulimit", "unalias":
		s.harmless(words)
	case "wait", "jobs": // bash: jobs -x runs a command, wait -p sets a variable
		if slices.ContainsFunc(words[1:], func(w Word) bool { return w.Unknown || strings.ContainsAny(w.Text, "xp[") }) {
			s.unseen(name + " has an option that runs or sets something")
		}
		s.harmless(words)
	case "test", "[":
		s.test1(words)
		s.harmless(words)
	case "printf":
		s.printf(words)
	case "eval":
		s.eval(words, sh)
	case ".", "source":
		s.unseen(name + " runs a file of commands that is not shown")
		s.add(Command{Words: words, Opaque: "it runs a file that is not shown"})
	case "exec":
		s.exec(words)
	case "command", "builtin":
		s.bypass(words, sh)
	case "alias":
		s.alias(words)
	case "export", "readonly", "local", "declare", "typeset":
		exported := name == "export"
		for _, w := range words[1:] {
			exported = s.declared(name, w, exported)
		}
	case "set":
		s.set(words)
	case "unset", "getopts", "read":
		if name == "read" && s.fed {
			s.unseen("read may take a line of the script that runs it; give it '< FILE'")
		}
		s.variables(words)
	case "trap":
		s.trap(words, sh)
	case "let", "mapfile", "readarray", "shopt", "enable", "hash", "bind", "complete", "compgen", "compopt", "fc", "coproc", "bg", "fg", "disown", "caller", "logout", "suspend", "function":
		s.unseen(name + " can change what words mean, or run what is not shown")
		s.add(Command{Words: words, Opaque: "a shell's builtin that is not looked into"})
	default:
		return sh.funcs[name]
	}
	return true
}

// test1 looks for -v, which runs what stands in an index. An operator that is only
// known when it runs may be it, and so may a part of a word that is split.
func (s *seer) test1(words []Word) {
	for i, w := range words {
		next := i+1 < len(words) && (words[i+1].Unknown || strings.Contains(words[i+1].Text, "["))
		if !w.Unknown && (w.Text == "-v" || w.Text == "-R") || w.Split || w.Unknown && next {
			s.unseen(words[0].Text + " may get -v, which evaluates the index of what it looks for; put words in double quotes")
			return
		}
	}
}

func (s *seer) harmless(words []Word) { s.add(Command{Words: words, Builtin: true}) }

func (s *seer) printf(words []Word) {
	if len(words) > 1 && (words[1].Unknown || strings.HasPrefix(words[1].Text, "-v")) {
		name := strings.TrimPrefix(words[1].Text, "-v")
		if name == "" && len(words) > 2 && !words[2].Unknown && !words[1].Unknown {
			name = words[2].Text
		}
		if words[1].Unknown || name == "" {
			s.unseen("printf may set a variable that is only known when it runs")
		} else {
			s.assigned("printf ", name+"=", false)
		}
	}
	s.harmless(words)
}

func (s *seer) eval(words []Word, sh *shell) {
	rest := words[1:]
	if len(rest) > 0 && rest[0].Text == "--" && !rest[0].Unknown {
		rest = rest[1:]
	}
	text, ok := join(rest)
	if !ok {
		s.unseen("eval runs a text that is only known when it runs")
		return
	}
	s.text(sh.name, text)
}

// exec replaces the shell by a program; without one it only redirects.
func (s *seer) exec(words []Word) {
	a := parseArgs(words, wrapper{plain: "cl", value: "a"})
	if a.why != "" {
		s.unseen("exec: " + a.why)
		return
	}
	s.run(a.rest, nil)
}

// bypass is command and builtin: functions do not count for what follows.
func (s *seer) bypass(words []Word, sh *shell) {
	for i, w := range words[1:] {
		switch {
		case w.Unknown:
			s.unseen(words[0].Text + " runs what is only known when it runs")
			return
		case w.Text == "-v" || w.Text == "-V":
			s.harmless(words)
			return
		case w.Text == "-p" || w.Text == "--":
		case strings.HasPrefix(w.Text, "-"):
			s.unseen(words[0].Text + " has an option that is not known here")
			return
		default:
			s.deeper(func() { s.run(words[i+1:], &shell{name: sh.name}) })
			return
		}
	}
}

func (s *seer) alias(words []Word) {
	for _, w := range words[1:] {
		if w.Unknown || strings.Contains(w.Text, "=") {
			s.unseen("an alias changes what words mean")
		}
	}
	s.harmless(words)
}

func (s *seer) set(words []Word) {
	for i := 1; i < len(words); i++ {
		w := words[i]
		switch {
		case w.Unknown:
			s.unseen("set changes options that are only known when it runs")
			return
		case w.Text == "--":
			s.harmless(words)
			return
		case w.Text == "-" || w.Text == "" || w.Text[0] != '-' && w.Text[0] != '+':
			s.harmless(words)
			return
		case strings.Trim(w.Text[1:], "abefhmnuvxCETo") != "":
			s.unseen("set has an option that changes how words are read")
		case strings.HasSuffix(w.Text, "o") && i+1 < len(words):
			i++
			if !slices.Contains([]string{"errexit", "nounset", "pipefail", "noglob", "xtrace", "verbose", "noclobber", "errtrace", "functrace", "posix", "allexport"}, words[i].Text) {
				s.unseen("set -o has an option that changes how words are read")
			}
		}
	}
	s.harmless(words)
}

// variables are builtins whose arguments name variables that they set.
func (s *seer) variables(words []Word) {
	name := words[0].Text
	for i := 1; i < len(words); i++ {
		w := words[i]
		switch {
		case w.Unknown:
			s.unseen(name + " names a variable that is only known when it runs")
		case name == "getopts" && i != 2:
		case name == "read" && len(w.Text) == 2 && strings.Contains("-p-t-n-N-d-u-i", w.Text):
			i++
		case strings.HasPrefix(w.Text, "-"):
			if strings.Trim(w.Text[1:], "rsev") != "" {
				s.unseen(name + " has an option that is not known here")
			}
		default:
			s.assigned(name+" ", w.Text, false)
		}
	}
	s.harmless(words)
}

// trap runs a text when something happens.
func (s *seer) trap(words []Word, sh *shell) {
	rest := words[1:]
	if len(rest) > 0 && rest[0].Text == "--" {
		rest = rest[1:]
	}
	switch {
	case len(rest) == 0:
		s.harmless(words)
	case !rest[0].Unknown && slices.Contains([]string{"-p", "-l", "-"}, rest[0].Text):
		s.harmless(words)
	case rest[0].Unknown:
		s.unseen("trap runs a text that is only known when it runs")
	default:
		s.text(sh.name, rest[0].Text)
	}
}
