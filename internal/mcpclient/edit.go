package mcpclient

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Entry is a server that a client starts.
type Entry struct {
	Command string
	Args    []string
	Env     map[string]string
}

// MaxFile bounds a file, in bytes: ~/.claude.json holds more than servers.
const MaxFile = 64 << 20

// maxDepth bounds nesting; nobody's settings come near.
const maxDepth = 200

// Edit returns data, the content of the client's file, with e as the server called name,
// or without that server if e is nil. changed is false if it is so already; out is then
// data. Keys of the entry that are not ours stay. With an error nothing is to be written.
func (c Client) Edit(data []byte, name string, e *Entry) (out []byte, changed bool, err error) {
	if len(data) > MaxFile {
		return data, false, fmt.Errorf("it has %d bytes; at most %d are read", len(data), MaxFile)
	}
	bom, text := []byte(nil), data
	if rest, ok := bytes.CutPrefix(data, []byte("\xef\xbb\xbf")); ok {
		bom, text = data[:3], rest
	}
	if !utf8.Valid(text) {
		return data, false, fmt.Errorf("it is not UTF-8")
	}
	if e != nil && !e.valid() || !validText(name) {
		return data, false, fmt.Errorf("the entry is not text that a file can hold")
	}
	edit := c.editJSON
	if c.Format == TOML {
		edit = c.editTOML
	}
	out, err = edit(text, name, e)
	if err != nil || bytes.Equal(out, text) {
		return data, false, err
	}
	return slices.Concat(bom, out), true, nil
}

func (e Entry) valid() bool {
	for k, v := range e.Env {
		if !validText(k) || !validText(v) {
			return false
		}
	}
	return validText(e.Command) && !slices.ContainsFunc(e.Args, func(a string) bool { return !validText(a) })
}

func validText(s string) bool { return utf8.ValidString(s) && !strings.ContainsRune(s, 0) }

// splice replaces bytes of a file from one offset to another.
type splice struct {
	from, to int
	text     string
}

// apply makes splices, which do not overlap.
func apply(data []byte, list ...splice) []byte {
	slices.SortStableFunc(list, func(a, b splice) int { return a.from - b.from })
	var out []byte
	at := 0
	for _, s := range list {
		out = append(append(out, data[at:s.from]...), s.text...)
		at = s.to
	}
	return append(out, data[at:]...)
}

// newline is the line end that a file uses.
func newline(data []byte) string {
	if i := bytes.IndexByte(data, '\n'); i > 0 && data[i-1] == '\r' {
		return "\r\n"
	}
	return "\n"
}

// blank is what counts as nothing in JSON.
const blank = " \t\r\n"
