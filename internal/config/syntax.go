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
	value unstable.Range
}

// syntax is where things stand in a TOML file.
type syntax struct {
	data  []byte
	exprs []expression
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
		e := expression{table: n.Kind == unstable.Table, array: n.Kind == unstable.ArrayTable}
		if n.Kind == unstable.KeyValue {
			e.key, e.under = slices.Clone(header), len(header)
			e.value = n.Value().Raw
		}
		for it, i := n.Key(), 0; it.Next(); i++ {
			if i == 0 {
				e.first = int(it.Node().Raw.Offset)
			}
			e.key = append(e.key, string(it.Node().Data))
		}
		if e.table || e.array {
			header = e.key
		}
		e.start = 1 + bytes.LastIndexByte(data[:e.first], '\n')
		s.exprs = append(s.exprs, e)
	}
	return s, p.Error()
}

// line is the line number of the first expression about key or something below
// it, or 1.
func (s syntax) line(key []string) int {
	for _, e := range s.exprs {
		if hasPrefix(e.key, key) {
			return s.lineAt(e.first)
		}
	}
	return 1
}

func (s syntax) lineAt(offset int) int { return 1 + bytes.Count(s.data[:offset], []byte("\n")) }

func hasPrefix(key, prefix []string) bool {
	return len(key) >= len(prefix) && slices.Equal(key[:len(prefix)], prefix)
}
