package config

import (
	"bytes"
	"slices"

	"github.com/pelletier/go-toml/v2/unstable"
)

// expression is one top-level construct of a TOML file: a table header or a
// key with its value. Comments and blank lines belong to none.
type expression struct {
	table bool     // a header, [a.b]
	array bool     // a header, [[a.b]]
	key   []string // in full: for a key-value, with the table it stands in
	under int      // how many parts of key come from the header above
	start int      // offset of the first byte of its line
	first int      // offset of its first key
	value int      // offset of its value
	end   int      // offset after its value or header
}

func (x expression) isValue() bool { return !x.table && !x.array }

// place is where a key stands, also one inside an inline table.
type place struct {
	key    []string
	offset int
}

// syntax is where things stand in a TOML file.
type syntax struct {
	data   []byte
	exprs  []expression
	places []place
}

// parseSyntax finds all expressions. The text has been decoded before, so an
// error here means that the two readers disagree.
func parseSyntax(data []byte) (syntax, error) {
	s := syntax{data: data}
	var p unstable.Parser
	p.Reset(data)
	var header []string
	for p.NextExpression() {
		n := p.Expression()
		x := expression{table: n.Kind == unstable.Table, array: n.Kind == unstable.ArrayTable}
		if x.isValue() {
			x.key, x.under = slices.Clone(header), len(header)
		}
		x.key, x.first, x.end = s.name(n, x.key)
		if x.isValue() {
			x.value = s.skip(x.end, " \t=")
			x.end = int(n.Raw.Offset + n.Raw.Length)
			s.inside(n.Value(), x.key)
		} else {
			header = x.key
			x.end = s.skip(x.end, " \t]")
		}
		x.start = 1 + bytes.LastIndexByte(data[:x.first], '\n')
		s.exprs = append(s.exprs, x)
	}
	return s, p.Error()
}

// name reads the key of n below header and notes where each of its parts
// stands. It returns the offsets of its beginning and after its end.
func (s *syntax) name(n *unstable.Node, header []string) (key []string, first, end int) {
	key = slices.Clone(header)
	for it, i := n.Key(), 0; it.Next(); i++ {
		part := it.Node()
		if i == 0 {
			first = int(part.Raw.Offset)
		}
		end = int(part.Raw.Offset + part.Raw.Length)
		key = append(key, string(part.Data))
		s.places = append(s.places, place{slices.Clone(key), int(part.Raw.Offset)})
	}
	return key, first, end
}

// inside notes the keys of an inline table.
func (s *syntax) inside(value *unstable.Node, header []string) {
	if value.Kind != unstable.InlineTable {
		return
	}
	for it := value.Children(); it.Next(); {
		if n := it.Node(); n.Kind == unstable.KeyValue {
			key, _, _ := s.name(n, header)
			s.inside(n.Value(), key)
		}
	}
}

func (s *syntax) skip(i int, set string) int {
	for i < len(s.data) && bytes.IndexByte([]byte(set), s.data[i]) >= 0 {
		i++
	}
	return i
}

// position is the line and column of a key, else of the nearest one around it
// that stands in the file, else 1, 1.
func (s *syntax) position(key []string) (line, column int) {
	for ; len(key) > 0; key = key[:len(key)-1] {
		for _, p := range s.places {
			if slices.Equal(p.key, key) {
				return s.lineAt(p.offset), p.offset - bytes.LastIndexByte(s.data[:p.offset], '\n')
			}
		}
	}
	return 1, 1
}

// element is the line and column of a field of the nth table, from 0, of a list of
// tables [[key]]; of its header if the field is not there.
func (s *syntax) element(key []string, nth int, field string) (line, column int) {
	at, n := -1, -1
	for _, x := range s.exprs {
		if x.array && slices.Equal(x.key, key) {
			if n++; n == nth {
				at = x.first
			}
			continue
		}
		if n == nth && x.isValue() && slices.Equal(x.key, append(slices.Clone(key), field)) {
			at = x.first
		}
	}
	if at < 0 {
		return s.position(key)
	}
	return s.lineAt(at), at - bytes.LastIndexByte(s.data[:at], '\n')
}

// line is the line of a key; see position.
func (s *syntax) line(key []string) int {
	line, _ := s.position(key)
	return line
}

func (s *syntax) lineAt(offset int) int { return 1 + bytes.Count(s.data[:offset], []byte("\n")) }

// lineEnd is the offset after the newline of the line that offset stands in.
func (s *syntax) lineEnd(offset int) int {
	if i := bytes.IndexByte(s.data[offset:], '\n'); i >= 0 {
		return offset + i + 1
	}
	return len(s.data)
}

func hasPrefix(key, prefix []string) bool {
	return len(key) >= len(prefix) && slices.Equal(key[:len(prefix)], prefix)
}
