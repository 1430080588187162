package tui

import (
	"path"
	"strings"
)

// colouring knows just enough of a file's language to set comments, strings and
// keywords apart, a line at a time. It only helps reading: nothing relies on it.
type colouring struct {
	comment  []string // what begins a comment, up to the end of the line
	keywords map[string]bool
	quotes   string
}

func words(list string) map[string]bool {
	m := map[string]bool{}
	for w := range strings.FieldsSeq(list) {
		m[w] = true
	}
	return m
}

// colouringOf chooses by the name of the file.
func colouringOf(name string) colouring {
	shell := colouring{[]string{"#"}, words("if then else elif fi for while until do done case esac in function return exit export local set unset trap source exec eval cd echo"), `"'`}
	conf := colouring{[]string{"#", ";"}, words("true false yes no on off none"), `"'`}
	switch ext := path.Ext(name); ext {
	case ".sh", ".bash", ".zsh", ".profile", ".bashrc":
		return shell
	case ".py":
		return colouring{[]string{"#"}, words("def class return if elif else for while in import from as with try except finally raise not and or is None True False lambda yield pass"), `"'`}
	case ".go", ".js", ".ts", ".c", ".h", ".rs", ".java", ".json":
		return colouring{[]string{"//"}, words("func function return if else for while switch case break continue struct type var let const import package int char void static fn pub use mut nil null true false"), "\"'`"}
	case ".sql", ".lua":
		return colouring{[]string{"--"}, words("select insert update delete from where create drop alter table SELECT INSERT UPDATE DELETE FROM WHERE CREATE DROP ALTER TABLE local function end then"), `"'`}
	case ".txt", ".md", ".log", ".csv":
		return colouring{}
	case "":
		switch dir := path.Dir(name); {
		case strings.HasSuffix(dir, "/bin") || strings.HasSuffix(dir, "/sbin") || strings.Contains(dir, "/init.d") || strings.Contains(dir, "/cron."):
			return shell
		case strings.HasPrefix(dir, "/etc"):
			return conf
		}
		return colouring{}
	default:
		return conf
	}
}

type token struct {
	text  string
	style style
}

// longToken bounds the work on one line, in bytes; the rest has no colours.
const longToken = 4 << 10

func (c colouring) tokens(s string) []token {
	if c.quotes == "" || len(s) > longToken {
		return []token{{s, normal}}
	}
	var out []token
	start := 0
	put := func(end int, st style, stop int) {
		if start < end {
			out = append(out, token{s[start:end], normal})
		}
		out = append(out, token{s[end:stop], st})
		start = stop
	}
	for i := 0; i < len(s); {
		switch {
		case c.commentAt(s, i):
			put(i, faint, len(s))
			return out
		case strings.IndexByte(c.quotes, s[i]) >= 0:
			end := strings.IndexByte(s[i+1:], s[i])
			if end < 0 { // an apostrophe, or goes on in the next line
				i++
				continue
			}
			end += i + 2
			put(i, yellow, end)
			i = end
		case isWord(s[i]):
			end := i
			for end < len(s) && isWord(s[end]) {
				end++
			}
			if c.keywords[s[i:end]] {
				put(i, cyan, end)
			}
			i = end
		default:
			i++
		}
	}
	if start < len(s) {
		out = append(out, token{s[start:], normal})
	}
	return out
}

// commentAt reports a comment that begins at i: at the start or after a space.
func (c colouring) commentAt(s string, i int) bool {
	if i > 0 && s[i-1] != ' ' && s[i-1] != '\t' {
		return false
	}
	for _, p := range c.comment {
		if strings.HasPrefix(s[i:], p) {
			return true
		}
	}
	return false
}

func isWord(b byte) bool {
	return b == '_' || b == '-' || b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z'
}
