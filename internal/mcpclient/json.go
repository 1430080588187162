package mcpclient

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/tailscale/hujson"
)

// field is one key of an entry; a nil value takes it away.
type field struct {
	key   string
	value any
}

// fields are those that are ours.
func (c Client) fields(e Entry) []field {
	var out []field
	if c.Stdio {
		out = append(out, field{"type", "stdio"})
	}
	args := e.Args
	if args == nil {
		args = []string{}
	}
	out = append(out, field{"command", e.Command}, field{"args", args})
	if len(e.Env) == 0 {
		return append(out, field{"env", nil})
	}
	return append(out, field{"env", e.Env})
}

func (c Client) editJSON(data []byte, name string, e *Entry) ([]byte, error) {
	before, err := standard(data)
	if err != nil {
		return nil, err
	}
	var out []byte
	if e == nil {
		out, err = c.removeJSON(data, name)
	} else {
		out, err = c.putJSON(data, name, *e)
	}
	if err != nil {
		return nil, err
	}
	after, err := standard(out)
	if err != nil {
		return nil, fmt.Errorf("the edited file could not be read: %w", err)
	}
	if !c.asWanted(before, after, name, e) {
		return nil, errors.New("the file would not read back as intended; change it by hand")
	}
	return out, nil
}

// standard decodes a document; an empty one is an empty object.
func standard(data []byte) (map[string]any, error) {
	if len(bytes.Trim(data, blank)) == 0 {
		return map[string]any{}, nil
	}
	d, err := parse(data)
	if err != nil {
		return nil, err
	}
	v := d.root.Clone()
	v.Standardize()
	dec := json.NewDecoder(bytes.NewReader(v.Pack()))
	dec.UseNumber()
	var m map[string]any
	if err := dec.Decode(&m); err != nil {
		return nil, err
	}
	return m, nil
}

// asWanted compares documents: nothing else may differ.
func (c Client) asWanted(before, after map[string]any, name string, e *Entry) bool {
	servers := func(m map[string]any) map[string]any {
		s, _ := m[c.Section].(map[string]any)
		if s == nil {
			s = map[string]any{}
		}
		return s
	}
	sb, sa := servers(before), servers(after)
	got, there := sa[name].(map[string]any)
	if e == nil && there || e != nil && !c.matches(got, *e) {
		return false
	}
	rest := func(m map[string]any, drop ...string) map[string]any {
		out := map[string]any{}
		for k, v := range m {
			out[k] = v
		}
		for _, k := range drop {
			delete(out, k)
		}
		return out
	}
	ours := []string{"type", "command", "args", "env"}
	old, _ := sb[name].(map[string]any)
	return reflect.DeepEqual(rest(before, c.Section), rest(after, c.Section)) && reflect.DeepEqual(rest(sb, name), rest(sa, name)) &&
		(e == nil || reflect.DeepEqual(rest(old, ours...), rest(got, ours...)))
}

// matches reports whether our keys of an entry are as wanted.
func (c Client) matches(got map[string]any, e Entry) bool {
	for _, f := range c.fields(e) {
		have, ok := got[f.key]
		if f.value == nil && ok || f.value != nil && (!ok || !same(have, f.value)) {
			return false
		}
	}
	return got != nil
}

// same compares by what is written, whatever the Go types.
func same(a, b any) bool {
	x, errx := json.Marshal(a)
	y, erry := json.Marshal(b)
	return errx == nil && erry == nil && bytes.Equal(x, y)
}

// document is a file and what stands where in it.
type document struct {
	data []byte
	root hujson.Value
}

func parse(data []byte) (document, error) {
	if depth(data) > maxDepth {
		return document{}, fmt.Errorf("it is nested deeper than %d", maxDepth)
	}
	v, err := hujson.Parse(data)
	if err != nil {
		return document{}, fmt.Errorf("it is no JSON: %w", err)
	}
	if v.Value.Kind() != '{' {
		return document{}, errors.New("it holds no JSON object")
	}
	return document{data, v}, nil
}

// depth is how deep a text nests, counted without recursion; strings and comments do not
// count. Of a text that is no JSON it is a number that means nothing.
func depth(data []byte) int {
	deepest, now := 0, 0
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case '{', '[':
			now++
			deepest = max(deepest, now)
		case '}', ']':
			now--
		case '"':
			for i++; i < len(data) && data[i] != '"'; i++ {
				if data[i] == '\\' {
					i++
				}
			}
		case '/':
			end := ""
			switch {
			case bytes.HasPrefix(data[i:], []byte("//")):
				end = "\n"
			case bytes.HasPrefix(data[i:], []byte("/*")):
				end = "*/"
			default:
				continue
			}
			n := bytes.Index(data[i+2:], []byte(end))
			if n < 0 {
				return deepest
			}
			i += 1 + n + len(end)
		}
	}
	return deepest
}

// object is an object of a document.
type object struct {
	*hujson.Object
	start, end int // of its braces
}

func asObject(v hujson.Value) (object, bool) {
	o, ok := v.Value.(*hujson.Object)
	return object{o, v.StartOffset, v.EndOffset}, ok
}

// find returns the index of a member, -1 if there is none.
func (o object) find(key string) (int, error) {
	at := -1
	for i, m := range o.Members {
		if lit, ok := m.Name.Value.(hujson.Literal); !ok || lit.String() != key {
			continue
		}
		if at >= 0 {
			return 0, fmt.Errorf("%q comes twice in one object; take one out by hand", key)
		}
		at = i
	}
	return at, nil
}

// child returns the object under key, and whether the key is there.
func (o object) child(key string) (object, int, error) {
	i, err := o.find(key)
	if err != nil || i < 0 {
		return object{}, i, err
	}
	c, ok := asObject(o.Members[i].Value)
	if !ok {
		return object{}, i, fmt.Errorf("%q is no object; change it by hand", key)
	}
	return c, i, nil
}

// putJSON adds the entry, or changes our keys of it.
func (c Client) putJSON(data []byte, name string, e Entry) ([]byte, error) {
	if len(bytes.Trim(data, blank)) == 0 {
		data = []byte("{\n}\n")
	}
	d, err := parse(data)
	if err != nil {
		return nil, err
	}
	root, _ := asObject(d.root)
	servers, at, err := root.child(c.Section)
	if err != nil {
		return nil, err
	}
	if at < 0 {
		return d.add(root, c.Section, ordered{{name, c.entry(e)}}), nil
	}
	entry, at, err := servers.child(name)
	if err != nil {
		return nil, err
	}
	if at < 0 {
		return d.add(servers, name, c.entry(e)), nil
	}
	return c.update(d, entry, name, e)
}

// update changes our keys of an entry one by one.
func (c Client) update(d document, entry object, name string, e Entry) ([]byte, error) {
	for _, f := range c.fields(e) {
		at, err := entry.find(f.key)
		if err != nil {
			return nil, err
		}
		var out []byte
		switch {
		case at < 0 && f.value != nil:
			out = d.add(entry, f.key, f.value)
		case at >= 0 && f.value == nil:
			out = d.remove(entry, at)
		case at >= 0 && !sameLiteral(entry.Members[at].Value, f.value):
			out = d.replace(entry, at, f.value)
		default:
			continue
		}
		return c.putJSON(out, name, e) // each round sets one key
	}
	return d.data, nil
}

func sameLiteral(v hujson.Value, want any) bool {
	v = v.Clone()
	v.Standardize()
	var have any
	return json.Unmarshal(v.Pack(), &have) == nil && same(have, want)
}

// entry is a new entry's keys.
func (c Client) entry(e Entry) ordered {
	var out ordered
	for _, f := range c.fields(e) {
		if f.value != nil {
			out = append(out, f)
		}
	}
	return out
}

// ordered is an object whose keys keep their order.
type ordered []field

// render writes v on one line, or with unit as indentation below indent.
func render(v any, indent, unit, nl string) string {
	switch v := v.(type) {
	case string:
		return literal(v)
	case []string: // read best on one line
		parts := make([]string, len(v))
		for i, s := range v {
			parts[i] = literal(s)
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case map[string]string:
		var o ordered
		for _, k := range slices.Sorted(maps.Keys(v)) {
			o = append(o, field{k, v[k]})
		}
		return o.render(indent, unit, nl)
	case ordered:
		return v.render(indent, unit, nl)
	}
	panic(fmt.Sprintf("mcpclient: no JSON for %T", v)) // fields has no other
}

// literal is a JSON string, in which "<" and "&" stay.
func literal(s string) string { return string(hujson.String(s)) }

func (o ordered) render(indent, unit, nl string) string {
	var b strings.Builder
	for i, f := range o {
		switch {
		case i > 0 && unit == "":
			b.WriteString(", ")
		case i > 0:
			b.WriteString(",")
		default:
			b.WriteString("{")
		}
		if unit != "" {
			b.WriteString(nl + indent + unit)
		}
		b.WriteString(literal(f.key) + ": " + render(f.value, indent+unit, unit, nl))
	}
	if unit != "" {
		b.WriteString(nl + indent)
	}
	return b.String() + "}"
}

// add puts a member at the end of o, in the style of its other members.
func (d document) add(o object, key string, value any) []byte {
	n := len(o.Members)
	inner := o.end - 1 - len(o.AfterExtra)
	at := inner + len(strings.TrimRight(string(o.AfterExtra), blank))
	before := d.data[inner : o.end-1]
	own := bytes.ContainsRune(before, '\n') || n > 0 && bytes.ContainsRune(o.Members[n-1].Name.BeforeExtra, '\n')
	if !own {
		text := literal(key) + ": " + d.inline(o, value)
		switch {
		case n == 0 || !trailing(o):
			if n > 0 {
				text = ", " + text
			}
			return apply(d.data, splice{at, at, text})
		default:
			return apply(d.data, splice{at, at, " " + text + ","})
		}
	}
	nl, unit := newline(d.data), d.unit()
	indent := lineIndent(d.data, o.end-1) + unit
	if n > 0 {
		if extra := string(o.Members[n-1].Name.BeforeExtra); strings.Contains(extra, "\n") {
			indent = leading(extra[strings.LastIndexByte(extra, '\n')+1:])
		}
	}
	text := nl + indent + literal(key) + ": "
	if n == 0 && o.start != d.root.StartOffset { // see inline
		text += render(value, "", "", "")
	} else {
		text += render(value, indent, unit, nl)
	}
	if n > 0 && trailing(o) {
		return apply(d.data, splice{at, at, text + ","})
	}
	if n > 0 {
		end := o.Members[n-1].Value.EndOffset
		if end == at {
			return apply(d.data, splice{at, at, "," + text})
		}
		return apply(d.data, splice{end, end, ","}, splice{at, at, text})
	}
	return apply(d.data, splice{at, at, text})
}

// inline writes value for an object on one line. A new section has lines all the same: so
// it can be told from one that was there, and empty, when its server is removed.
func (d document) inline(o object, value any) string {
	if s, ok := value.(ordered); ok && len(s) == 1 {
		if _, ok := s[0].value.(ordered); ok {
			return render(value, lineIndent(d.data, o.start), d.unit(), newline(d.data))
		}
	}
	return render(value, "", "", "")
}

// trailing reports whether a comma follows the last member of o.
func trailing(o object) bool {
	n := len(o.Members)
	return n > 0 && o.Members[n-1].Value.AfterExtra != nil
}

// remove takes a member away, and no comment with it.
func (d document) remove(o object, i int) []byte {
	m := o.Members[i]
	from := m.Name.StartOffset - len(m.Name.BeforeExtra) + len(strings.TrimRight(string(m.Name.BeforeExtra), blank))
	last := i == len(o.Members)-1
	if !last || trailing(o) {
		return apply(d.data, splice{from, m.Value.EndOffset + len(m.Value.AfterExtra) + 1, ""})
	}
	cut := splice{from, m.Value.EndOffset, ""}
	if i == 0 {
		return apply(d.data, cut)
	}
	comma := o.Members[i-1].Value.EndOffset + len(o.Members[i-1].Value.AfterExtra)
	if comma+1 > from {
		return apply(d.data, splice{comma, cut.to, ""})
	}
	return apply(d.data, splice{comma, comma + 1, ""}, cut)
}

func (d document) replace(o object, i int, value any) []byte {
	v := o.Members[i].Value
	unit, nl := "", newline(d.data)
	if bytes.ContainsRune(d.data[o.start:o.end], '\n') {
		unit = d.unit()
	}
	return apply(d.data, splice{v.StartOffset, v.EndOffset, render(value, lineIndent(d.data, v.StartOffset), unit, nl)})
}

// unit is one step of indentation: that of the first member that has its own line.
func (d document) unit() string {
	root, _ := asObject(d.root)
	for _, m := range root.Members {
		if extra := string(m.Name.BeforeExtra); strings.Contains(extra, "\n") {
			if unit := leading(extra[strings.LastIndexByte(extra, '\n')+1:]); unit != "" {
				return unit
			}
		}
	}
	return "  "
}

// lineIndent is the white space that the line of an offset begins with.
func lineIndent(data []byte, at int) string {
	return leading(string(data[bytes.LastIndexByte(data[:at], '\n')+1 : at]))
}

func leading(s string) string { return s[:len(s)-len(strings.TrimLeft(s, " \t"))] }

// removeJSON takes the entry away. What else adding it had made goes too: it is known by
// adding it again, which must give the file as it is.
func (c Client) removeJSON(data []byte, name string) ([]byte, error) {
	if len(bytes.Trim(data, blank)) == 0 {
		return data, nil
	}
	d, err := parse(data)
	if err != nil {
		return nil, err
	}
	root, _ := asObject(d.root)
	servers, section, err := root.child(c.Section)
	if err != nil || section < 0 {
		return data, err
	}
	entry, at, err := servers.child(name)
	if err != nil || at < 0 {
		return data, err
	}
	if len(servers.Members) == 1 {
		e, ok := c.read(entry)
		whole := d.remove(root, section)
		if again, err := c.putJSON(whole, name, e); ok && err == nil && bytes.Equal(again, data) {
			return whole, nil
		}
		if again, err := c.putJSON(nil, name, e); ok && err == nil && bytes.Equal(again, data) {
			return []byte("{}\n"), nil
		}
	}
	return d.remove(servers, at), nil
}

// read returns an entry as it stands, if it can.
func (c Client) read(o object) (Entry, bool) {
	var doc struct {
		Command string
		Args    []string
		Env     map[string]string
	}
	v := hujson.Value{Value: o.Object}.Clone()
	v.Standardize()
	err := json.Unmarshal(v.Pack(), &doc)
	return Entry{doc.Command, doc.Args, doc.Env}, err == nil
}
