package policy

import (
	"slices"
	"strings"
	"unicode/utf8"

	"mvdan.cc/sh/v3/syntax"
)

// shell is what is known where a command stands in a text for a shell.
type shell struct {
	name  string
	funcs map[string]bool // defined before, whatever happens; their bodies were looked at
}

// dialects are the languages that a shell of this name may speak. "sh" is dash here and
// bash there: the text must be harmless in both.
func dialects(name string) []syntax.LangVariant {
	switch name {
	case "bash", "rbash":
		return []syntax.LangVariant{syntax.LangBash}
	case "ksh", "mksh", "lksh":
		return []syntax.LangVariant{syntax.LangMirBSDKorn, syntax.LangBash}
	}
	return []syntax.LangVariant{syntax.LangPOSIX, syntax.LangBash}
}

// text looks at a text that a shell runs.
func (s *seer) text(name, text string) {
	if why := unreadable(text); why != "" {
		s.unseen(why)
		return
	}
	s.deeper(func() {
		for i, d := range dialects(name) {
			if *s.room -= len(text) + 512; *s.room < 0 { // a parser costs as much as 512 bytes
				s.unseen("there is too much to judge")
				return
			}
			// What a command before it left of the input is not known, so a shell
			// within a text is never told what it reads.
			one := &seer{fed: s.fed, depth: s.depth, room: s.room}
			one.parse(name, text, d)
			s.merge(one.out, i > 0)
		}
	})
}

// unreadable says why shells may read a text in different ways, "" if they do not.
func unreadable(text string) string {
	switch {
	case len(text) > maxText:
		return "the script is too long to judge"
	case strings.ContainsAny(text, "\x00\r"):
		return "the script holds a NUL or carriage return, which shells read differently"
	case !utf8.ValidString(text):
		return "the script is not UTF-8"
	case piled(text):
		return "brackets are nested too deeply to judge"
	}
	return ""
}

// piled reports whether dozens of brackets are opened in a row: the parser tries each in
// several ways, which takes it the square of their number.
func piled(text string) bool {
	const most = 40
	n := 0
	for i := 0; i < len(text) && n <= most; i++ {
		switch text[i] {
		case '(', '{':
			n++
		case ' ', '\t', '\n', '$', '!', '-', '+', '~', '"':
		default:
			n = 0
		}
	}
	return n > most
}

func (s *seer) parse(name, text string, d syntax.LangVariant) {
	f, err := syntax.NewParser(syntax.Variant(d)).Parse(strings.NewReader(text), "")
	if err != nil {
		s.unseen("it cannot be parsed: " + clip(err.Error()))
		return
	}
	sh := &shell{name: name, funcs: map[string]bool{}}
	for _, st := range f.Stmts {
		s.stmt(st, sh)
		if fn, ok := st.Cmd.(*syntax.FuncDecl); ok && fn.Name != nil && !st.Background && !st.Coprocess && len(st.Redirs) == 0 {
			sh.funcs[fn.Name.Value] = true
		}
	}
}

// merge adds what another look at the same text saw.
func (s *seer) merge(r Report, again bool) {
	known := map[string]bool{}
	if again {
		for _, c := range s.out.Commands {
			known[key(c)] = true
		}
	}
	for _, c := range r.Commands {
		if !known[key(c)] {
			s.add(c)
		}
	}
	for _, why := range r.Unseen {
		s.unseen(why)
	}
	for _, f := range r.Writes {
		if !slices.Contains(s.out.Writes, f) {
			s.out.Writes = append(s.out.Writes, f)
		}
	}
	for _, f := range r.Reads {
		if !slices.Contains(s.out.Reads, f) {
			s.out.Reads = append(s.out.Reads, f)
		}
	}
}

func key(c Command) string {
	var b strings.Builder
	for _, w := range c.Words {
		b.WriteString(w.Text)
		b.WriteByte(0)
		if w.Unknown {
			b.WriteByte(1)
		}
	}
	return b.String()
}

func (s *seer) stmts(list []*syntax.Stmt, sh *shell) {
	for _, st := range list {
		s.stmt(st, sh)
	}
}

func (s *seer) stmt(st *syntax.Stmt, sh *shell) {
	outer, fed := s.stdin, s.fed
	for _, r := range st.Redirs {
		s.redirect(r, sh)
		s.fed = s.fed && !slices.Contains([]syntax.RedirOperator{syntax.RdrIn, syntax.RdrInOut, syntax.DplIn, syntax.Hdoc, syntax.DashHdoc, syntax.WordHdoc}, r.Op)
	}
	if _, simple := st.Cmd.(*syntax.CallExpr); !simple {
		s.stdin = nil // the first command in there may leave only a part of it
	}
	s.command(st.Cmd, sh)
	if len(st.Redirs) > 0 {
		s.stdin = outer
	}
	s.fed = fed
}

// redirect notes what is written and read, and what a shell would get as its input.
func (s *seer) redirect(r *syntax.Redirect, sh *shell) {
	if r.N != nil && strings.HasPrefix(r.N.Value, "{") {
		s.assigned("a redirection ", strings.Trim(r.N.Value, "{}")+"=", false)
	}
	w := Word{}
	if r.Op != syntax.Hdoc && r.Op != syntax.DashHdoc {
		w = s.word(r.Word, sh)
	}
	file := w.Text
	if w.Unknown || strings.ContainsAny(file, "*?[") {
		file = "?"
	}
	if r.Op != syntax.DplIn && r.Op != syntax.DplOut && number(r.Word.Lit()) {
		s.unseen("a file of a redirection is called by digits, which shells read differently")
	}
	switch r.Op {
	case syntax.Hdoc, syntax.DashHdoc:
		s.stdin = nil
		if r.Hdoc != nil {
			s.heredoc(r, sh)
		}
	case syntax.WordHdoc:
		s.stdin = nil
		if !w.Unknown {
			s.stdin = []byte(w.Text + "\n")
		}
	case syntax.RdrIn:
		s.stdin = nil
		s.out.Reads = append(s.out.Reads, file)
		if strings.HasPrefix(file, "/dev/tcp/") || strings.HasPrefix(file, "/dev/udp/") {
			s.out.Writes = append(s.out.Writes, file)
		}
	case syntax.DplIn, syntax.DplOut:
		if r.Op == syntax.DplIn {
			s.stdin = nil
		}
		if w.Unknown || strings.Trim(w.Text, "0123456789-") != "" {
			s.out.Writes = append(s.out.Writes, file)
		}
	default:
		s.out.Writes = append(s.out.Writes, file)
	}
}

// heredoc looks into a here-document, which is the program where a shell reads it.
func (s *seer) heredoc(r *syntax.Redirect, sh *shell) {
	quoted := false
	for _, p := range r.Word.Parts {
		if lit, ok := p.(*syntax.Lit); !ok || strings.Contains(lit.Value, `\`) {
			quoted = true
		}
	}
	var text strings.Builder
	known := true
	for _, p := range r.Hdoc.Parts {
		switch p := p.(type) {
		case *syntax.Lit:
			if quoted {
				text.WriteString(p.Value)
			} else {
				text.WriteString(unescape(p.Value, "$`\\\n"))
			}
		default:
			s.quotes(p)
			s.part(p, sh)
			known = false
			text.WriteByte(0) // stands for what is not known
		}
	}
	// Shells differ on whether a line that is continued can be the end.
	if end := s.word(r.Word, sh).Text; !quoted && slices.ContainsFunc(strings.Split(text.String(), "\n"), func(l string) bool {
		return strings.TrimLeft(l, "\t") == end
	}) {
		s.unseen("a continued line ends a here-document, which shells read differently")
	}
	if known && r.Op == syntax.Hdoc {
		s.stdin = []byte(text.String())
	}
}

func (s *seer) command(cmd syntax.Command, sh *shell) {
	switch c := cmd.(type) {
	case nil:
	case *syntax.CallExpr:
		s.call(c, sh)
	case *syntax.Block:
		s.stmts(c.Stmts, sh)
	case *syntax.Subshell:
		s.stmts(c.Stmts, sh)
	case *syntax.BinaryCmd:
		s.stmt(c.X, sh)
		outer, fed := s.stdin, s.fed
		if c.Op == syntax.Pipe || c.Op == syntax.PipeAll {
			s.stdin, s.fed = nil, false
		}
		s.stmt(c.Y, sh)
		s.stdin, s.fed = outer, fed
	case *syntax.IfClause:
		for ; c != nil; c = c.Else {
			s.stmts(c.Cond, sh)
			s.stmts(c.Then, sh)
		}
	case *syntax.WhileClause:
		s.stmts(c.Cond, sh)
		s.stmts(c.Do, sh)
	case *syntax.ForClause:
		s.loop(c, sh)
	case *syntax.CaseClause:
		s.word(c.Word, sh)
		for _, item := range c.Items {
			for _, p := range item.Patterns {
				s.word(p, sh)
			}
			s.stmts(item.Stmts, sh)
		}
	case *syntax.FuncDecl:
		if c.Name == nil {
			s.unseen("a function has no name")
		}
		if _, simple := c.Body.Cmd.(*syntax.CallExpr); simple || c.Body.Cmd == nil || c.Body.Negated {
			s.unseen("a function's body is no group, and shells read that differently")
		}
		s.stmt(c.Body, sh)
	case *syntax.ArithmCmd:
		s.unseen("(( begins arithmetic in bash, and two subshells elsewhere")
		s.arithmetic(c.X, sh)
	case *syntax.LetClause:
		for _, x := range c.Exprs {
			s.arithmetic(x, sh)
		}
	case *syntax.TestClause:
		s.test(c.X, sh)
	case *syntax.DeclClause:
		s.declare(c, sh)
	case *syntax.TimeClause:
		if c.Stmt != nil {
			s.stmt(c.Stmt, sh)
		}
	case *syntax.CoprocClause:
		s.stmt(c.Stmt, sh)
	default:
		s.unseen("it has a construct that is not known here")
	}
}

func (s *seer) loop(c *syntax.ForClause, sh *shell) {
	switch l := c.Loop.(type) {
	case *syntax.WordIter:
		s.assigned("a loop ", l.Name.Value+"=", false)
		for _, w := range l.Items {
			s.word(w, sh)
		}
	case *syntax.CStyleLoop:
		for _, x := range []syntax.ArithmExpr{l.Init, l.Cond, l.Post} {
			s.arithmetic(x, sh)
		}
	}
	s.stmts(c.Do, sh)
}

// call is a simple command.
func (s *seer) call(c *syntax.CallExpr, sh *shell) {
	for _, a := range c.Assigns {
		s.assign(a, sh, len(c.Args) > 0)
		s.stdin = nil // what a substitution in there reads is gone
	}
	words := make([]Word, len(c.Args))
	for i, w := range c.Args {
		words[i] = s.word(w, sh)
	}
	if len(words) == 0 {
		return
	}
	if slices.Contains(reserved(), c.Args[0].Lit()) {
		s.unseen("the word " + c.Args[0].Lit() + " stands where a command does, and shells read that differently")
	}
	if strings.ContainsAny(words[0].Text, "*?[~") && words[0].Text != "[" && words[0].Text != "[[" {
		words[0].Unknown = true
	}
	s.run(words, sh)
}

// reserved are words that one shell or another does not take for a command.
func reserved() []string {
	return []string{"!", "{", "}", "[[", "]]", "case", "coproc", "do", "done", "elif", "else", "end", "esac", "fi", "for", "foreach", "function", "if", "in", "namespace", "repeat", "select", "then", "until", "while"}
}

func (s *seer) assign(a *syntax.Assign, sh *shell, exported bool) {
	if a.Name == nil {
		s.word(a.Value, sh)
		return
	}
	name := a.Name.Value
	if a.Index != nil {
		s.unseen("an element of " + clip(name) + " is set, whose index a shell evaluates")
		s.arithmetic(a.Index, sh)
	}
	value := s.word(a.Value, sh)
	if value.Unknown {
		value.Text = "$" // no plain value
	}
	s.assigned("it ", name+"="+value.Text, exported)
	if a.Array != nil {
		for _, e := range a.Array.Elems {
			s.arithmetic(e.Index, sh)
			if e.Value != nil {
				s.word(e.Value, sh)
			}
		}
	}
}

// declare is bash's own form of export, local and the like.
func (s *seer) declare(c *syntax.DeclClause, sh *shell) {
	exported := c.Variant.Value == "export"
	if c.Variant.Value == "nameref" {
		s.unseen("a name stands for another variable")
	}
	for _, a := range c.Args {
		if !a.Naked {
			s.assign(a, sh, exported)
			continue
		}
		w := Word{}
		if a.Name != nil {
			w.Text = a.Name.Value
		} else if a.Value != nil {
			w = s.word(a.Value, sh)
		}
		exported = s.declared(c.Variant.Value, w, exported)
	}
}

// declared looks at one argument of export and its sisters.
func (s *seer) declared(builtin string, w Word, exported bool) bool {
	switch {
	case w.Unknown:
		s.unseen(builtin + " sets what is only known when it runs")
	case strings.HasPrefix(w.Text, "-"):
		if strings.Trim(w.Text[1:], "rgxp-") != "" {
			s.unseen(builtin + " has an option that changes how names are read")
		}
		return exported || strings.Contains(w.Text, "x")
	default:
		s.assigned(builtin+" ", w.Text, exported)
	}
	return exported
}

// test is [[ ... ]].
func (s *seer) test(x syntax.TestExpr, sh *shell) {
	switch x := x.(type) {
	case *syntax.Word:
		s.word(x, sh)
	case *syntax.ParenTest:
		s.test(x.X, sh)
	case *syntax.UnaryTest:
		if x.Op == syntax.TsVarSet || x.Op == syntax.TsRefVar {
			s.unseen("[[ -v evaluates the index of what it looks for")
		}
		s.test(x.X, sh)
	case *syntax.BinaryTest:
		switch x.Op {
		case syntax.TsEql, syntax.TsNeq, syntax.TsLeq, syntax.TsGeq, syntax.TsLss, syntax.TsGtr:
			for _, side := range []syntax.TestExpr{x.X, x.Y} {
				if w, ok := side.(*syntax.Word); !ok || !number(w.Lit()) {
					s.unseen("[[ evaluates what it compares as numbers, and bash runs commands in there")
				}
			}
		}
		s.test(x.X, sh)
		s.test(x.Y, sh)
	}
}

func number(text string) bool { return text != "" && strings.Trim(text, "0123456789") == "" }

// arithmetic is evaluated by bash over and over: the value of a variable may be an
// index that runs a command.
func (s *seer) arithmetic(x syntax.ArithmExpr, sh *shell) {
	if x == nil {
		return
	}
	syntax.Walk(x, func(n syntax.Node) bool {
		w, ok := n.(*syntax.Word)
		if !ok {
			return true
		}
		if !number(w.Lit()) {
			s.unseen("arithmetic reads variables, and bash runs commands in their values")
		}
		s.word(w, sh)
		return false
	})
}
