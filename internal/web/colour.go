package web

import (
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/bowline-sh/bowline/internal/neutral"
)

// language is what is coloured in lines of a kind of file: comments, strings, numbers
// and a few words. It is an aid for eyes: a line stands alone, so what begins in one and
// ends in another is not seen. A library for it costs every start of the program 7 ms
// and 4 MiB, see docs/adr/0021-colours.md.
type language struct {
	comments []string
	quotes   string
	words    []string
}

var (
	scripts  = []string{"if", "then", "else", "elif", "fi", "for", "while", "until", "do", "done", "case", "esac", "in", "function", "return", "exit", "set", "export", "local", "readonly", "trap"}
	programs = []string{"if", "else", "elif", "for", "while", "return", "import", "from", "def", "class", "func", "function", "var", "let", "const", "type", "struct", "package", "try", "except", "catch", "finally", "with", "as", "in", "not", "and", "or", "raise", "pass", "break", "continue", "lambda", "yield", "True", "False", "None", "true", "false", "null", "nil"}
	values   = []string{"true", "false", "null", "yes", "no", "on", "off"}
)

// languageOf finds the language of a file by its name; configuration by default.
func languageOf(subject string) language {
	base := path.Base(subject)
	switch path.Ext(base) {
	case ".sh", ".bash", ".zsh", ".profile":
		return language{[]string{"#"}, `"'`, scripts}
	case ".py", ".rb", ".pl":
		return language{[]string{"#"}, `"'`, programs}
	case ".go", ".js", ".ts", ".c", ".h", ".java", ".rs", ".php":
		return language{[]string{"//"}, "\"'`", programs}
	case ".json":
		return language{nil, `"`, values}
	case ".sql", ".lua":
		return language{[]string{"--"}, `"'`, programs}
	case ".ini", ".service", ".socket", ".timer", ".network", ".desktop":
		return language{[]string{"#", ";"}, `"`, values}
	case ".md", ".txt", ".html", ".xml", ".svg", ".css", ".log":
		return language{}
	}
	if strings.HasPrefix(base, ".bash") || base == ".profile" || base == "profile" {
		return language{[]string{"#"}, `"'`, scripts}
	}
	return language{[]string{"#"}, `"'`, values}
}

var token = regexp.MustCompile(`[A-Za-z_][A-Za-z0-9_]*|[0-9]+(?:\.[0-9]+)*`)

// maxColoured bounds the lines that are coloured, in bytes.
const maxColoured = 400

// coloured cuts a line into pieces by their kind.
func (l language) coloured(line string) []part {
	if len(line) > maxColoured {
		return []part{{neutral.Text(line), ""}}
	}
	var out []part
	plain := func(text string) { out = append(out, l.wordsOf(text)...) }
	start := 0
	for i := 0; i < len(line); {
		switch {
		case l.comment(line, i):
			plain(line[start:i])
			return append(out, part{neutral.Text(line[i:]), "t-comment"})
		case strings.IndexByte(l.quotes, line[i]) >= 0:
			end := closing(line, i)
			if end < 0 {
				i++
				continue
			}
			plain(line[start:i])
			out = append(out, part{neutral.Text(line[i:end]), "t-string"})
			start, i = end, end
		default:
			i++
		}
	}
	plain(line[start:])
	return out
}

// comment reports whether a comment begins at i: at the start of the line or after a
// space, so that "#" in an address is none.
func (l language) comment(line string, i int) bool {
	if i > 0 && line[i-1] != ' ' && line[i-1] != '\t' {
		return false
	}
	return slices.ContainsFunc(l.comments, func(c string) bool { return strings.HasPrefix(line[i:], c) })
}

// closing is the end of the string that begins at i, -1 if it does not end in this line.
func closing(line string, i int) int {
	for j := i + 1; j < len(line); j++ {
		switch line[j] {
		case '\\':
			j++
		case line[i]:
			return j + 1
		}
	}
	return -1
}

// wordsOf colours numbers and words in what is neither string nor comment.
func (l language) wordsOf(text string) []part {
	var out []part
	at := 0
	add := func(s, class string) {
		if s != "" {
			out = append(out, part{neutral.Text(s), class})
		}
	}
	for _, m := range token.FindAllStringIndex(text, -1) {
		word := text[m[0]:m[1]]
		class := ""
		if word[0] >= '0' && word[0] <= '9' {
			class = "t-number"
		} else if slices.Contains(l.words, word) {
			class = "t-word"
		}
		if class == "" || l.words == nil {
			continue
		}
		add(text[at:m[0]], "")
		add(word, class)
		at = m[1]
	}
	add(text[at:], "")
	return out
}
