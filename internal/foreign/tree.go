package foreign

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
	"go.yaml.in/yaml/v3"
)

type kind int

const (
	nothing kind = iota // null
	scalar
	list
	mapping
)

// node is a value of either language. Scalars keep the text they were written as.
type node struct {
	kind  kind
	line  int
	text  string
	plain bool // written without quotes
	items []*node
	keys  []string // of a mapping, in the order of the file
	byKey map[string]*node
}

func (n *node) get(key string) *node {
	if n == nil {
		return nil
	}
	return n.byKey[key]
}

// set adds a value to a mapping, and reports whether the key was there already.
func (n *node) set(key string, v *node) bool {
	if n.byKey == nil {
		n.byKey = map[string]*node{}
	}
	_, twice := n.byKey[key]
	if !twice {
		n.keys = append(n.keys, key)
	}
	n.byKey[key] = v
	return twice
}

func (n *node) str() (string, bool) {
	if n == nil || n.kind != scalar {
		return "", false
	}
	return n.text, true
}

func (n *node) integer() (int, bool) {
	s, ok := n.str()
	if !ok {
		return 0, false
	}
	i, err := strconv.Atoi(s)
	return i, err == nil
}

// boolean takes the words of YAML 1.1 too, which the old systems' reader took; quoted
// is set for a string that only looks like one.
func (n *node) boolean() (v, quoted, ok bool) {
	s, ok := n.str()
	if !ok {
		return false, false, false
	}
	switch strings.ToLower(s) {
	case "true", "yes", "on":
		return true, !n.plain, true
	case "false", "no", "off":
		return false, !n.plain, true
	}
	return false, false, false
}

// errBound is wrapped by errors about a file that is too much.
var errBound = errors.New("it is too much to be a configuration")

// grower counts what a file grows to.
type grower struct{ nodes int }

func (g *grower) add(depth int) error {
	if g.nodes++; g.nodes > maxNodes {
		return fmt.Errorf("%w: it grows to more than %d values", errBound, maxNodes)
	}
	if depth > maxDepth {
		return fmt.Errorf("%w: it is nested deeper than %d", errBound, maxDepth)
	}
	return nil
}

// fromYAML reads the first document of data. Aliases and merge keys are resolved, within
// the bounds.
func fromYAML(data []byte) (*node, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if len(doc.Content) == 0 {
		return nil, errors.New("it is empty")
	}
	return new(grower).yaml(doc.Content[0], 0)
}

func (g *grower) yaml(y *yaml.Node, depth int) (*node, error) {
	if err := g.add(depth); err != nil {
		return nil, err
	}
	n := &node{line: y.Line}
	switch y.Kind {
	case yaml.AliasNode:
		return g.yaml(y.Alias, depth+1)
	case yaml.ScalarNode:
		n.kind, n.text, n.plain = scalar, y.Value, y.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) == 0
		if y.Tag == "!!null" {
			n.kind = nothing
		}
	case yaml.SequenceNode:
		n.kind = list
		for _, c := range y.Content {
			item, err := g.yaml(c, depth+1)
			if err != nil {
				return nil, err
			}
			n.items = append(n.items, item)
		}
	case yaml.MappingNode:
		n.kind = mapping
		return n, g.mapping(n, y, depth)
	default:
		return nil, fmt.Errorf("line %d: a value of an unknown kind", y.Line)
	}
	return n, nil
}

func (g *grower) mapping(n *node, y *yaml.Node, depth int) error {
	var merged []*node
	own := map[string]bool{}
	for i := 0; i+1 < len(y.Content); i += 2 {
		k, v := y.Content[i], y.Content[i+1]
		value, err := g.yaml(v, depth+1)
		if err != nil {
			return err
		}
		if k.Kind != yaml.ScalarNode {
			return fmt.Errorf("line %d: a key that is no word", k.Line)
		}
		if k.Tag == "!!merge" {
			merged = append(merged, value)
			merged = append(merged, value.items...)
			continue
		}
		if own[k.Value] {
			return fmt.Errorf("line %d: the key %q comes twice", k.Line, k.Value)
		}
		own[k.Value] = true
		value.line = k.Line
		n.set(k.Value, value)
	}
	for _, m := range merged { // what the mapping says itself counts
		for _, k := range m.keys {
			if n.get(k) == nil {
				n.set(k, m.get(k))
			}
		}
	}
	return nil
}

// fromTOML reads data. The syntax says where things stand, the decoder whether they are
// right.
func fromTOML(data []byte) (*node, error) {
	t := &tables{data: data, line: 1, root: &node{kind: mapping, line: 1}}
	var p unstable.Parser
	p.Reset(data)
	at := t.root
	for p.NextExpression() {
		n := p.Expression()
		var err error
		if n.Kind == unstable.KeyValue {
			err = t.value(at, n, 1)
		} else if at, err = t.header(n); err == nil && n.Kind == unstable.ArrayTable {
			at = &node{kind: mapping} // tables in arrays hold no target
		}
		if err != nil {
			return nil, err
		}
	}
	// The decoder takes time with the square of how many keys there are: they were
	// counted before.
	if err := decodes(data); err != nil { // which tells the line
		return nil, err
	}
	return t.root, p.Error()
}

// decodes reports why data is not TOML.
func decodes(data []byte) error {
	var values map[string]any
	err := toml.Unmarshal(data, &values)
	if e, ok := errors.AsType[*toml.DecodeError](err); ok {
		row, _ := e.Position()
		return fmt.Errorf("line %d: %s", row, strings.TrimPrefix(e.Error(), "toml: "))
	}
	return err
}

// tables is a TOML file on its way to a node.
type tables struct {
	grower
	data []byte
	root *node
	seen int // offset up to which line counts
	line int
}

// lineOf is the line of an offset. Keys come in the order of the file.
func (t *tables) lineOf(offset int) int {
	if offset > t.seen {
		t.line += bytes.Count(t.data[t.seen:offset], []byte("\n"))
		t.seen = offset
	}
	return t.line
}

// walk goes down a dotted key from n and returns the last part.
func (t *tables) walk(n *node, keyed *unstable.Node, depth int) (parent *node, last string, line int, err error) {
	var parts []string
	for it := keyed.Key(); it.Next(); {
		part := it.Node()
		line = t.lineOf(int(part.Raw.Offset))
		parts = append(parts, string(part.Data))
	}
	for i, p := range parts[:len(parts)-1] {
		if err := t.add(depth + i); err != nil {
			return nil, "", 0, err
		}
		next := n.get(p)
		if next == nil || next.kind != mapping {
			next = &node{kind: mapping, line: line}
			n.set(p, next)
		}
		n = next
	}
	return n, parts[len(parts)-1], line, nil
}

func (t *tables) header(h *unstable.Node) (*node, error) {
	parent, last, line, err := t.walk(t.root, h, 1)
	if err != nil {
		return nil, err
	}
	if err := t.add(1); err != nil {
		return nil, err
	}
	n := parent.get(last)
	if n == nil || n.kind != mapping {
		n = &node{kind: mapping, line: line}
		parent.set(last, n)
	}
	n.line = line
	return n, nil
}

func (t *tables) value(at *node, kv *unstable.Node, depth int) error {
	parent, last, line, err := t.walk(at, kv, depth)
	if err != nil {
		return err
	}
	v, err := t.of(kv.Value(), depth+1)
	if err != nil {
		return err
	}
	v.line = line
	parent.set(last, v)
	return nil
}

func (t *tables) of(v *unstable.Node, depth int) (*node, error) {
	if err := t.add(depth); err != nil {
		return nil, err
	}
	n := &node{kind: scalar, text: string(v.Data), plain: v.Kind != unstable.String}
	switch v.Kind {
	case unstable.Array:
		n.kind = list
		for it := v.Children(); it.Next(); {
			item, err := t.of(it.Node(), depth+1)
			if err != nil {
				return nil, err
			}
			n.items = append(n.items, item)
		}
	case unstable.InlineTable:
		n.kind = mapping
		for it := v.Children(); it.Next(); {
			if err := t.value(n, it.Node(), depth+1); err != nil {
				return nil, err
			}
		}
	}
	return n, nil
}
