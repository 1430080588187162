package mcpclient

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// expression is a table header, or a key with its value.
type expression struct {
	key        []string // in full
	header     bool
	array      bool // [[a.b]]
	under      int  // parts of key that come from the header above
	start, end int  // of its lines, the last line end included
	value      int  // offset of its value
	after      int  // offset after it
}

func (x expression) below(prefix ...string) bool {
	return len(x.key) >= len(prefix) && slices.Equal(x.key[:len(prefix)], prefix)
}

func expressions(data []byte) ([]expression, error) {
	var out []expression
	var p unstable.Parser
	p.Reset(data)
	var header []string
	for p.NextExpression() {
		n := p.Expression()
		x := expression{header: n.Kind == unstable.Table || n.Kind == unstable.ArrayTable, array: n.Kind == unstable.ArrayTable}
		if !x.header {
			x.key, x.under = slices.Clone(header), len(header)
		}
		first := -1
		for it := n.Key(); it.Next(); {
			part := it.Node()
			if first < 0 {
				first = int(part.Raw.Offset)
			}
			x.after = int(part.Raw.Offset + part.Raw.Length)
			x.key = append(x.key, string(part.Data))
		}
		x.start = 1 + bytes.LastIndexByte(data[:first], '\n')
		if x.header {
			header = x.key
		} else {
			for x.value = x.after; strings.IndexByte(" \t=", data[x.value]) >= 0; x.value++ {
			}
			x.after = int(n.Raw.Offset + n.Raw.Length)
		}
		x.end = lineEnd(data, x.after)
		out = append(out, x)
	}
	return out, p.Error()
}

func lineEnd(data []byte, at int) int {
	if i := bytes.IndexByte(data[at:], '\n'); i >= 0 {
		return at + i + 1
	}
	return len(data)
}

func (c Client) editTOML(data []byte, name string, e *Entry) ([]byte, error) {
	before, err := decodeTOML(data)
	if err != nil {
		return nil, err
	}
	out, err := c.changeTOML(data, name, e)
	if err != nil {
		return nil, err
	}
	after, err := decodeTOML(out)
	if err != nil {
		return nil, fmt.Errorf("the edited file could not be read: %w", err)
	}
	if !c.asWanted(before, after, name, e) {
		return nil, errors.New("the file would not read back as intended; change it by hand")
	}
	return out, nil
}

// maxTOML bounds a file: its parser recurses into brackets, for which there is stack.
const maxTOML = 512 << 10

func decodeTOML(data []byte) (map[string]any, error) {
	if len(data) > maxTOML {
		return nil, fmt.Errorf("it has %d bytes; at most %d are read", len(data), maxTOML)
	}
	m := map[string]any{}
	if err := toml.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("it is no TOML: %w", err)
	}
	return m, nil
}

func (c Client) changeTOML(data []byte, name string, e *Entry) ([]byte, error) {
	list, err := expressions(data)
	if err != nil {
		return nil, err
	}
	mine, err := c.own(data, list, name)
	if err != nil {
		return nil, err
	}
	switch {
	case e == nil && len(mine) == 0:
		return data, nil
	case e == nil:
		return c.cutTOML(data, mine, name), nil
	case len(mine) == 0:
		return c.appendTOML(data, name, *e), nil
	}
	return c.updateTOML(data, mine, *e)
}

// own returns the expressions of the server, which must be tables of its own.
func (c Client) own(data []byte, list []expression, name string) ([]expression, error) {
	line := func(x expression) int { return 1 + bytes.Count(data[:x.start], []byte("\n")) }
	var mine []expression
	for _, x := range list {
		switch {
		case !x.header && len(x.key) == 1 && x.key[0] == c.Section:
			return nil, fmt.Errorf("line %d: %s is written as an inline table; change it by hand", line(x), c.Section)
		case x.below(c.Section, name):
			if x.array || !x.header && x.under < 2 {
				return nil, fmt.Errorf("line %d: the server is not written as a table of its own, [%s.%s]; change it by hand", line(x), c.Section, tomlKey(name))
			}
			mine = append(mine, x)
		}
	}
	if len(mine) > 0 && len(mine[0].key) != 2 {
		return nil, fmt.Errorf("line %d: the server begins with a table inside it; change it by hand", line(mine[0]))
	}
	return mine, nil
}

// appendTOML adds a table at the end, after a blank line. The last line ends as it did:
// so removing the table gives the file back.
func (c Client) appendTOML(data []byte, name string, e Entry) []byte {
	nl := newline(data)
	out := slices.Clone(data)
	open := len(out) > 0 && out[len(out)-1] != '\n'
	if open {
		out = append(out, nl...)
	}
	if len(out) > 0 {
		out = append(out, nl...)
	}
	out = append(out, "["+c.Section+"."+tomlKey(name)+"]"+nl...)
	for _, f := range c.fields(e) {
		if f.value != nil {
			out = append(out, f.key+" = "+tomlValue(f.value)+nl...)
		}
	}
	if open {
		out = bytes.TrimSuffix(out, []byte(nl))
	}
	return out
}

// cutTOML removes the lines of the server's tables, with the comments inside them, and
// the line that adding it began with, if that gives back the file.
func (c Client) cutTOML(data []byte, mine []expression, name string) []byte {
	var cuts []splice
	for i, x := range mine {
		if i > 0 && !x.header || i > 0 && len(bytes.TrimSpace(data[mine[i-1].end:x.start])) == 0 {
			cuts[len(cuts)-1].to = x.end
			continue
		}
		cuts = append(cuts, splice{x.start, x.end, ""})
	}
	out := apply(data, cuts...)
	e, ok := entryTOML(data, c.Section, name)
	if ok && len(cuts) == 1 && cuts[0].to == len(data) {
		for _, shorter := range [][]byte{bytes.TrimSuffix(out, []byte(newline(data))), bytes.TrimSuffix(bytes.TrimSuffix(out, []byte(newline(data))), []byte(newline(data)))} {
			if bytes.Equal(c.appendTOML(shorter, name, e), data) {
				return shorter
			}
		}
	}
	return out
}

func entryTOML(data []byte, section, name string) (Entry, bool) {
	var doc map[string]any
	if toml.Unmarshal(data, &doc) != nil {
		return Entry{}, false
	}
	servers, _ := doc[section].(map[string]any)
	s, ok := servers[name].(map[string]any)
	e := Entry{}
	e.Command, _ = s["command"].(string)
	args, _ := s["args"].([]any)
	for _, a := range args {
		text, is := a.(string)
		ok = ok && is
		e.Args = append(e.Args, text)
	}
	env, _ := s["env"].(map[string]any)
	for k, v := range env {
		text, is := v.(string)
		ok = ok && is
		if e.Env == nil {
			e.Env = map[string]string{}
		}
		e.Env[k] = text
	}
	return e, ok
}

// updateTOML changes our keys; a table [... .env] becomes an inline one.
func (c Client) updateTOML(data []byte, mine []expression, e Entry) ([]byte, error) {
	nl := newline(data)
	var cuts []splice
	added := ""
	for _, f := range c.fields(e) {
		at := slices.IndexFunc(mine, func(x expression) bool { return !x.header && len(x.key) == 3 && x.key[2] == f.key })
		switch {
		case at < 0 && f.value != nil && !c.hasTable(mine, f.key):
			added += f.key + " = " + tomlValue(f.value) + nl
		case at >= 0 && f.value == nil:
			cuts = append(cuts, splice{mine[at].start, mine[at].end, ""})
		case at >= 0:
			var have map[string]any
			if toml.Unmarshal(append([]byte("v = "), data[mine[at].value:mine[at].after]...), &have) != nil || !same(have["v"], f.value) {
				cuts = append(cuts, splice{mine[at].value, mine[at].after, tomlValue(f.value)})
			}
		case c.hasTable(mine, f.key):
			if same(c.table(data, f.key, mine), f.value) {
				continue
			}
			for _, x := range mine {
				if len(x.key) >= 3 && x.key[2] == f.key {
					cuts = append(cuts, splice{x.start, x.end, ""})
				}
			}
			if f.value != nil {
				added += f.key + " = " + tomlValue(f.value) + nl
			}
		}
	}
	if added != "" {
		at := mine[0].end
		if at == len(data) && (at == 0 || data[at-1] != '\n') {
			added = nl + added
		}
		cuts = append(cuts, splice{at, at, added})
	}
	return apply(data, cuts...), nil
}

func (c Client) hasTable(mine []expression, key string) bool {
	return slices.ContainsFunc(mine, func(x expression) bool {
		return len(x.key) > 3 && x.key[2] == key || x.header && len(x.key) == 3 && x.key[2] == key
	})
}

// table is what the table of a key holds.
func (c Client) table(data []byte, key string, mine []expression) any {
	var doc map[string]any
	if toml.Unmarshal(data, &doc) != nil {
		return nil
	}
	servers, _ := doc[c.Section].(map[string]any)
	s, _ := servers[mine[0].key[1]].(map[string]any)
	return s[key]
}

func tomlKey(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == "" {
		return s
	}
	return tomlString(s)
}

// tomlString is a basic string (TOML 1.0, section String).
func tomlString(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String() + `"`
}

func tomlValue(v any) string {
	switch v := v.(type) {
	case string:
		return tomlString(v)
	case []string:
		parts := make([]string, len(v))
		for i, s := range v {
			parts[i] = tomlString(s)
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case map[string]string:
		var parts []string
		for _, k := range slices.Sorted(maps.Keys(v)) {
			parts = append(parts, tomlKey(k)+" = "+tomlString(v[k]))
		}
		return "{ " + strings.Join(parts, ", ") + " }"
	}
	panic("mcpclient: no TOML for " + reflect.TypeOf(v).String()) // fields has no other
}
