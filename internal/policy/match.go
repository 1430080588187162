package policy

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// Actor is who acts.
type Actor struct {
	User    string // person
	Surface string // "cli", "tui", "web", "api", "mcp"...
	// Client is the program that acts for the user, as it named itself; with a token
	// "token NAME", and of a model "token ID NAME".
	Client string
}

// surfaceMCP is where a model acts, surfaceWeb where a person does with a token that
// only signs them in.
const (
	surfaceMCP = "mcp"
	surfaceWeb = "web"
)

// TokenMark begins the client of whoever shows a token; no client may call itself so.
const TokenMark = "token "

// token is the name of the token that a program acts with; not ok where a person acts.
func (a Actor) token() (name string, ok bool) {
	name, ok = strings.CutPrefix(a.Client, TokenMark)
	if ok && a.Surface == surfaceMCP {
		_, name, _ = strings.Cut(name, " ")
	}
	return name, ok && a.Surface != surfaceWeb
}

// String is the actor for people.
func (a Actor) String() string {
	name, token := a.token()
	switch {
	case a.Surface == surfaceMCP && token:
		return "mcp:" + name
	case a.Surface == surfaceMCP && a.Client != "":
		return "mcp:" + a.Client
	case a.Surface == surfaceMCP:
		return "mcp"
	case token:
		return "token:" + name
	case a.User == "":
		return ""
	}
	return "user:" + a.User
}

// Who is a pattern of actors: "any", "person", "mcp", "mcp:CLIENT", "user:LOGIN" or
// "token:NAME". CLIENT, LOGIN and NAME may hold "*".
type Who struct{ kind, name string }

// ParseWho reads a pattern.
func ParseWho(text string) (Who, error) {
	kind, name, named := strings.Cut(text, ":")
	switch {
	case !named && slices.Contains([]string{"any", "person", "mcp", "token"}, kind):
		return Who{kind, "*"}, nil
	case named && name != "" && slices.Contains([]string{"mcp", "user", "token"}, kind):
		return Who{kind, name}, nil
	}
	return Who{}, fmt.Errorf("%q: use any, person, mcp, mcp:CLIENT, user:LOGIN or token:NAME", text)
}

// String is the pattern as it is written.
func (w Who) String() string {
	if w.name == "*" {
		return w.kind
	}
	return w.kind + ":" + w.name
}

func (w Who) matches(a Actor) bool {
	name, token := a.token()
	switch w.kind {
	case "any":
		return true
	case "mcp":
		return a.Surface == surfaceMCP && (glob(w.name, a.Client) || token && glob(w.name, name))
	case "token":
		return token && glob(w.name, name)
	case "user": // the person, not what a program does for them
		return a.Surface != surfaceMCP && !token && glob(w.name, a.User)
	case "person":
		return a.Surface != surfaceMCP && !token
	}
	return false
}

// covers reports whether every actor of o is one of w.
func (w Who) covers(o Who) bool {
	switch {
	case w.kind == "any":
		return true
	case w.kind == "person":
		return o.kind == "person" || o.kind == "user"
	}
	return w.kind == o.kind && (w.name == "*" || w.name == o.name)
}

// ParseActor reads an actor as [Actor.String] writes it.
func ParseActor(text, login string) (Actor, error) {
	w, err := ParseWho(text)
	if err != nil || w.kind == "any" || w.kind == "token" && w.name == "*" {
		return Actor{}, fmt.Errorf("%q: use person, mcp, mcp:CLIENT, user:LOGIN or token:NAME", text)
	}
	name := strings.TrimPrefix(w.name, "*")
	switch w.kind {
	case "mcp":
		return Actor{User: login, Surface: surfaceMCP, Client: name}, nil
	case "token":
		return Actor{User: login, Surface: "api", Client: TokenMark + name}, nil
	case "user":
		return Actor{User: name, Surface: "cli"}, nil
	}
	return Actor{User: login, Surface: "cli"}, nil
}

// glob matches text with a pattern in which "*" stands for any characters and "?" for
// one.
func glob(pattern, text string) bool {
	p, t, star, mark := 0, 0, -1, 0
	for t < len(text) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, t
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == text[t]):
			p++
			t++
		case star >= 0:
			mark++
			p, t = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// PathGlob is a pattern of absolute paths: "*" and "?" stay within a name, "**" does
// not, and "/dir/**" is dir with all below it.
type PathGlob string

// Valid reports why p is no such pattern.
func (p PathGlob) Valid() error {
	s := string(p)
	if !path.IsAbs(s) || path.Clean(s) != s || strings.ContainsAny(s, "\x00") {
		return fmt.Errorf("%q: use an absolute path, in which * stands for a part of a name and ** for anything", s)
	}
	return nil
}

// Match reports whether name is one of p.
func (p PathGlob) Match(name string) bool {
	if dir, ok := strings.CutSuffix(string(p), "/**"); ok && matchNames(strings.Split(dir, "/"), strings.Split(name, "/")) {
		return true
	}
	return matchNames(strings.Split(string(p), "/"), strings.Split(name, "/"))
}

func matchNames(pattern, name []string) bool {
	for i, p := range pattern {
		if p == "**" {
			for j := i; j <= len(name); j++ {
				if matchNames(pattern[i+1:], name[j:]) {
					return true
				}
			}
			return false
		}
		if i >= len(name) || !glob(p, name[i]) {
			return false
		}
	}
	return len(pattern) == len(name)
}

// Pattern is a pattern of commands: words apart by spaces, the first a program. In a
// word "*" stands for any characters but "/" and "**" for any; the last word "*" alone
// stands for any more arguments.
type Pattern struct {
	words []string
}

// ParsePattern reads a pattern.
func ParsePattern(text string) (Pattern, error) {
	words := strings.Fields(text)
	if len(words) == 0 {
		return Pattern{}, fmt.Errorf("a command is empty")
	}
	if strings.ContainsAny(text, "\"'`$;|&<>\n") {
		return Pattern{}, fmt.Errorf("%q: name one command with its words, as \"systemctl status *\"; no shell reads it", text)
	}
	return Pattern{words}, nil
}

// String is the pattern as it is written.
func (p Pattern) String() string { return strings.Join(p.words, " ") }

// Covers reports whether p certainly means c: this is what a rule that allows asks.
func (p Pattern) Covers(c Command) bool {
	if !p.program(c.Name(), true) || c.Opaque != "" && p.words[0] == "*" || c.Words[0].Unknown {
		return false
	}
	open := len(p.words) > 1 && p.words[len(p.words)-1] == "*" || len(p.words) == 1 && p.words[0] == "*"
	words := p.words
	if open && len(words) > 1 {
		words = words[:len(words)-1]
	}
	if len(c.Words) < len(words) || len(c.Words) > len(words) && !open {
		return false
	}
	for i := 1; i < len(c.Words); i++ {
		w := c.Words[i]
		if w.Unknown {
			return false
		}
		if i < len(words) && words[i] == w.Text {
			continue // named, whatever it does
		}
		if slices.Contains(c.Edges, i) || i < len(words) && !wordGlob(words[i], w.Text) {
			return false
		}
	}
	return true
}

// MayMean reports whether p may mean c: this is what a rule that denies asks. The words
// of p may have others between them.
func (p Pattern) MayMean(c Command) bool {
	if c.Words[0].Unknown || c.Opaque != "" {
		return true
	}
	if !p.program(c.Name(), false) {
		return false
	}
	at := 1
	for _, want := range p.words[1:] {
		if want == "*" {
			continue
		}
		for ; at < len(c.Words) && !c.Words[at].Unknown && !glob(strings.ReplaceAll(want, "**", "*"), c.Words[at].Text); at++ {
		}
		if at == len(c.Words) {
			return false
		}
		if !c.Words[at].Unknown { // an unknown word may be several
			at++
		}
	}
	return true
}

// program matches the first word. Surely: a program in a directory that is not the
// system's is only what its whole path says.
func (p Pattern) program(name string, surely bool) bool {
	want := p.words[0]
	if strings.Contains(want, "/") {
		return wordGlob(want, name)
	}
	if surely {
		return glob(want, programName(name)) && !strings.Contains(programName(name), "/")
	}
	return glob(want, path.Base(name))
}

// wordGlob is glob where "*" does not cross "/", and where nothing leads out of the
// directory that a pattern names.
func wordGlob(pattern, text string) bool {
	if pattern == "*" || pattern == "**" {
		return true
	}
	if strings.Contains(pattern, "/") && slices.Contains(strings.Split(text, "/"), "..") {
		return false
	}
	if strings.Contains(pattern, "**") {
		return glob(strings.ReplaceAll(pattern, "**", "*"), text)
	}
	return matchNames(strings.Split(pattern, "/"), strings.Split(text, "/"))
}
