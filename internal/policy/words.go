package policy

import (
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// word is a word as far as it can be known.
func (s *seer) word(w *syntax.Word, sh *shell) Word {
	var out Word
	if w == nil {
		return out
	}
	var b strings.Builder
	for i, p := range w.Parts {
		lit, ok := p.(*syntax.Lit)
		if !ok {
			text, known := s.part(p, sh)
			b.WriteString(text)
			out.Unknown = out.Unknown || !known
			switch p.(type) {
			case *syntax.ParamExp, *syntax.CmdSubst:
				out.Split = true
			}
			continue
		}
		if expands(lit.Value, i == 0) {
			out.Unknown = true
		}
		b.WriteString(unescape(lit.Value, ""))
	}
	if braces(w) {
		out.Unknown = true
	}
	out.Text = b.String()
	return out
}

// part is a part of a word that is no plain text.
func (s *seer) part(p syntax.WordPart, sh *shell) (text string, known bool) {
	switch p := p.(type) {
	case *syntax.Lit:
		return unescape(p.Value, ""), true
	case *syntax.SglQuoted:
		return p.Value, !p.Dollar
	case *syntax.DblQuoted:
		known = !p.Dollar
		for _, x := range p.Parts {
			if lit, ok := x.(*syntax.Lit); ok {
				text += unescape(lit.Value, "$`\"\\\n")
				continue
			}
			s.quotes(x)
			t, k := s.part(x, sh)
			text += t
			known = known && k
		}
		return text, known
	case *syntax.ParamExp:
		s.parameter(p, sh)
	case *syntax.CmdSubst:
		s.stmts(p.Stmts, sh)
	case *syntax.ProcSubst:
		s.stmts(p.Stmts, sh)
	case *syntax.ArithmExp:
		s.arithmetic(p.X, sh)
	case *syntax.ExtGlob:
	default:
		s.unseen("a word has a construct that is not known here")
	}
	return "", false
}

// quotes looks for single quotes in ${...} that itself stands in double quotes: to one
// shell they quote there, to another they are characters.
func (s *seer) quotes(p syntax.WordPart) {
	if _, ok := p.(*syntax.ParamExp); !ok {
		return
	}
	syntax.Walk(p, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.CmdSubst, *syntax.ProcSubst:
			return false
		case *syntax.SglQuoted:
			s.unseen("single quotes stand in ${...} in double quotes, and shells read that differently")
		case *syntax.Lit:
			if strings.Contains(n.Value, "'") {
				s.unseen("single quotes stand in ${...} in double quotes, and shells read that differently")
			}
		}
		return true
	})
}

func (s *seer) parameter(p *syntax.ParamExp, sh *shell) {
	if p.Excl || p.Flags != nil || p.Names != 0 {
		s.unseen("${!...} reads a variable that is only known when it runs")
	}
	if p.NestedParam != nil {
		s.part(p.NestedParam, sh)
	}
	if w, ok := p.Index.(*syntax.Word); !ok || w.Lit() != "@" && w.Lit() != "*" {
		s.arithmetic(p.Index, sh)
	}
	if p.Slice != nil {
		s.arithmetic(p.Slice.Offset, sh)
		s.arithmetic(p.Slice.Length, sh)
	}
	if p.Repl != nil {
		s.word(p.Repl.Orig, sh)
		s.word(p.Repl.With, sh)
	}
	if p.Exp == nil {
		return
	}
	s.word(p.Exp.Word, sh)
	switch p.Exp.Op {
	case syntax.OtherParamOps:
		s.unseen("${...@...} can run what a variable holds")
	case syntax.AssignUnset, syntax.AssignUnsetOrNull:
		if p.Param != nil {
			s.assigned("${...=...} ", p.Param.Value+"=", false)
		}
	}
}

// braces reports whether bash would make several words of one.
func braces(w *syntax.Word) bool {
	open := false
	for _, p := range w.Parts {
		lit, ok := p.(*syntax.Lit)
		if !ok {
			continue
		}
		for i := 0; i < len(lit.Value); i++ {
			switch c := lit.Value[i]; {
			case c == '\\':
				i++
			case c == '{':
				open = true
			case open && (c == ',' || c == '.' && strings.HasPrefix(lit.Value[i:], "..")):
				return true
			}
		}
	}
	return false
}

// expands reports whether a plain text of a word may become something that is no path
// with this beginning: an option, or the directory above.
func expands(text string, first bool) bool {
	if first && (text == "[" || text == "[[") {
		return false
	}
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '*', '?', '[':
			before := strings.ReplaceAll(text[:i], `\`, "")
			if i == 0 || before == "" || strings.HasSuffix(before, "/.") || before == "." || text[0] == '-' || before[0] == '-' {
				return true
			}
		}
	}
	return false
}

// unescape takes away backslashes before the characters of set, before all if set is
// "". One before a newline goes with it.
func unescape(text, set string) string {
	if !strings.Contains(text, `\`) {
		return text
	}
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' || i+1 == len(text) || set != "" && strings.IndexByte(set, text[i+1]) < 0 {
			b.WriteByte(text[i])
			continue
		}
		if i++; text[i] != '\n' {
			b.WriteByte(text[i])
		}
	}
	return b.String()
}
