package policy

import (
	"maps"
	"path"
	"slices"
	"strings"
)

// Word is one word of a command as far as it can be known without running anything.
type Word struct {
	Text    string
	Unknown bool // it is only known when it runs; Text is then what could be read of it
	Split   bool // it stands unquoted, so that it may become several words
}

// Command is one simple command that would be run.
type Command struct {
	Words []Word // the first is the program
	// Edges are the words, by index, that make a program which reads write, delete
	// or run something. No "*" of a rule covers them.
	Edges []int
	// Opaque says why nobody can tell what the program does: it is an interpreter,
	// an editor, a launcher. "" if it is what its name says.
	Opaque string
	// Builtin says that a shell does it itself, and that it can do no harm.
	Builtin bool
}

// Name is the program as it was called.
func (c Command) Name() string { return c.Words[0].Text }

// String is the command for people: unknown words are shown as "?".
func (c Command) String() string {
	out := make([]string, len(c.Words))
	for i, w := range c.Words {
		out[i] = w.Text
		if w.Unknown {
			out[i] = "?" + w.Text
		}
	}
	return strings.Join(out, " ")
}

// Report is what [Commands] saw.
type Report struct {
	Commands []Command
	Writes   []string // files that redirections write; "?" for one that is not known
	Reads    []string // files that redirections read
	Unseen   []string // what could not be seen through, one sentence each
}

// Dynamic reports whether something could not be seen.
func (r Report) Dynamic() bool { return len(r.Unseen) > 0 }

// Bounds on what is looked at: beyond them nothing is known.
const (
	maxText     = 64 << 10 // bytes of one text; the parser takes a stack of a few KiB for each level
	maxParsed   = 1 << 20  // bytes of all texts, each as often as it is read
	maxDepth    = 12       // shells within shells
	maxCommands = 20000
)

// Commands returns every simple command that argv would run. script is what argv[0], a
// shell, reads from its standard input, nil if nothing is known of that; without argv
// it is run by its own first line.
func Commands(argv []string, script []byte) Report {
	room := maxParsed
	s := &seer{stdin: script, room: &room}
	s.apart = len(argv) == 0
	if s.apart {
		argv = interpreter(script)
	}
	words := make([]Word, len(argv))
	for i, a := range argv {
		words[i] = Word{Text: a}
	}
	s.run(words, nil)
	return s.out
}

// environment adds what variables may change.
func (r *Report) environment(env map[string]string) {
	s := &seer{out: *r}
	for _, name := range slices.Sorted(maps.Keys(env)) {
		s.assigned("the caller ", name+"="+env[name], true)
	}
	*r = s.out
}

// Script returns every simple command of a text that shell would run.
func Script(shell, text string) Report {
	room := maxParsed
	s := &seer{room: &room}
	s.text(shell, text)
	return s.out
}

// interpreter is what the kernel starts for a script, reading it as standard input.
func interpreter(script []byte) []string {
	line, _, _ := strings.Cut(string(script[:min(len(script), 4096)]), "\n")
	rest, ok := strings.CutPrefix(line, "#!")
	if !ok {
		return []string{"sh"}
	}
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return []string{"?"}
	}
	return fields
}

// seer collects what it sees.
type seer struct {
	out   Report
	stdin []byte // what the outermost shell reads; used once
	apart bool   // the outermost text is a file, and no input of what it runs
	fed   bool   // what is run reads on in the text that is looked at
	depth int
	room  *int // bytes that may still be parsed; every shell within a shell is read twice
}

func (s *seer) unseen(why string) {
	if len(s.out.Unseen) < 20 && !slices.Contains(s.out.Unseen, why) {
		s.out.Unseen = append(s.out.Unseen, why)
	}
}

func (s *seer) add(c Command) {
	if len(s.out.Commands) >= maxCommands {
		s.unseen("there are too many commands to judge")
		return
	}
	s.out.Commands = append(s.out.Commands, c)
}

// deeper runs f one level down.
func (s *seer) deeper(f func()) {
	if s.depth >= maxDepth {
		s.unseen("shells are nested too deeply to judge")
		return
	}
	s.depth++
	f()
	s.depth--
}

// run looks at a command and at what it runs. sh is the shell that it stands in, nil
// if no shell reads it.
func (s *seer) run(words []Word, sh *shell) {
	if len(words) == 0 {
		return
	}
	if words[0].Unknown || words[0].Text == "" {
		s.unseen("the name of a command is only known when it runs: " + clip(Command{Words: words}.String()))
		s.add(Command{Words: words})
		return
	}
	name := path.Base(words[0].Text)
	if sh != nil && words[0].Text == name && s.builtin(words, sh) {
		return
	}
	w, wraps := wrappers()[name]
	if (wraps || isShell(name)) && programName(words[0].Text) != name {
		s.add(Command{Words: words[:1], Opaque: "it is called " + name + ", and is not the one of the system"})
	}
	if wraps {
		s.deeper(func() { s.wrapped(words, w) })
		return
	}
	if isShell(name) {
		s.deeper(func() { s.shell(words) })
		return
	}
	if s.fed && eatsInput(words) {
		s.unseen(name + " may read a part of the script that runs it; give it '< /dev/null'")
	}
	c := Command{Words: words, Opaque: opaque(words), Edges: edges(words)}
	s.add(c)
	if name == "find" {
		s.deeper(func() { s.find(words) })
	}
}

func clip(text string) string {
	const most = 80
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "..."
}

// join is the words as one text, as ssh and watch make it.
func join(words []Word) (string, bool) {
	var out []string
	for _, w := range words {
		if w.Unknown {
			return "", false
		}
		out = append(out, w.Text)
	}
	return strings.Join(out, " "), true
}

func isShell(name string) bool {
	return slices.Contains([]string{"sh", "bash", "rbash", "dash", "ash", "ksh", "mksh", "lksh"}, name)
}

// shell looks into "sh -c TEXT", and at what reads its program from elsewhere.
func (s *seer) shell(words []Word) {
	name := path.Base(words[0].Text)
	text, args, why := shellArgs(words)
	switch {
	case why != "":
		s.unseen(name + ": " + why)
		s.add(Command{Words: words, Opaque: why})
	case text != nil && text.Unknown:
		s.unseen("what " + name + " -c runs is only known when it runs")
	case text != nil:
		s.text(name, text.Text)
	case len(args) > 0:
		s.add(Command{Words: words, Opaque: "it runs a file that is not shown"})
	case s.stdin != nil:
		text := string(s.stdin)
		s.stdin = nil
		outer := s.fed
		s.fed = !s.apart
		s.text(name, text)
		s.fed = outer
	default:
		s.unseen(name + " reads its program from standard input")
		s.add(Command{Words: words, Opaque: "it reads its program from standard input"})
	}
}

// shellArgs finds the text of -c, else what follows the options: the file, or nothing
// if the shell reads standard input.
func shellArgs(words []Word) (text *Word, args []Word, why string) {
	command, stdin := false, false
	i := 1
	for ; i < len(words); i++ {
		w := words[i]
		if w.Unknown && command {
			break
		}
		if w.Unknown {
			return nil, nil, "its arguments are only known when it runs"
		}
		if w.Text == "--" || w.Text == "-" {
			i++
			break
		}
		if len(w.Text) < 2 || w.Text[0] != '-' && w.Text[0] != '+' {
			break
		}
		if strings.HasPrefix(w.Text, "--") {
			if !slices.Contains([]string{"--norc", "--noprofile", "--login", "--posix"}, w.Text) {
				return nil, nil, "it has an option that is not known here"
			}
			continue
		}
		for _, f := range w.Text[1:] {
			switch {
			case f == 'c':
				command = true
			case f == 's':
				stdin = true
			case f == 'o' || f == 'O':
				i++
			case !strings.ContainsRune("aefhlmnuvxBCEHPTbi", f):
				return nil, nil, "it has an option that is not known here"
			}
		}
	}
	args = words[min(i, len(words)):]
	switch {
	case command && len(args) == 0:
		return nil, nil, "it has no command after -c"
	case command:
		return &args[0], nil, ""
	case stdin:
		return nil, nil, ""
	}
	return nil, args, ""
}

// find looks at the commands of -exec and its sisters.
func (s *seer) find(words []Word) {
	s.stdin = nil // each command that is run reads on in it
	for i := 1; i < len(words); i++ {
		if !slices.Contains([]string{"-exec", "-execdir", "-ok", "-okdir"}, words[i].Text) {
			continue
		}
		var inner []Word
		end := i + 1
		for ; end < len(words); end++ {
			w := words[end]
			if w.Text == ";" || w.Text == "+" && len(inner) > 0 && inner[len(inner)-1].Text == "{}" {
				break
			}
			inner = append(inner, Word{Text: w.Text, Unknown: w.Unknown || strings.Contains(w.Text, "{}")})
		}
		if len(inner) == 0 {
			s.unseen("find -exec names no command")
		}
		for j := range inner {
			if inner[j].Text == "{}" {
				inner[j].Text = ""
			}
		}
		s.run(inner, nil)
		i = end
	}
}
