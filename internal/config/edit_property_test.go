package config

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/bowline-sh/bowline/target"
)

// chunk is a part of a generated file: a table of a target, or what stands
// around it.
type chunk struct{ owner, text string }

// drawTrivia draws comments and blank lines.
func drawTrivia(t *rapid.T, nl string) string {
	var b strings.Builder
	for range rapid.IntRange(0, 3).Draw(t, "trivia") {
		b.WriteString(rapid.SampledFrom([]string{"", "# note", "  # [targets.fake]", "#", "\t", "# key = \"ü\""}).Draw(t, "line") + nl)
	}
	return b.String()
}

// drawText draws a TOML string in one of its notations, with its value.
func drawText(t *rapid.T, values ...string) (notation, value string) {
	value = rapid.SampledFrom(values).Draw(t, "value")
	switch rapid.IntRange(0, 2).Draw(t, "quotes") {
	case 0:
		if !strings.ContainsAny(value, "'\n") {
			return "'" + value + "'", value
		}
	case 1:
		if !strings.ContainsAny(value, "'\\\n") {
			return "'''" + value + "'''", value
		}
	}
	return tomlString(value), value
}

var paths = []string{"/k", "~/k", "/a b/\"q\"", "/ü/世界", "C:\\k", "/it's", "/# no comment", "/[x]"}

// drawTable draws the table of a target with random spaces, order, comments
// and notations.
func drawTable(t *rapid.T, name, nl string) string {
	eq := func() string { return rapid.SampledFrom([]string{"=", " = ", "  =\t"}).Draw(t, "equals") }
	end := func() string { return rapid.SampledFrom([]string{"", " # c", "\t#[x]"}).Draw(t, "end") + nl }
	host, _ := drawText(t, "h1", "h2.example.com", "2001:db8::1")
	lines := []string{"host" + eq() + host + end()}
	maybe := func(line func() string) {
		if rapid.Bool().Draw(t, "has") {
			lines = append(lines, line()+end())
		}
	}
	maybe(func() string {
		return "port" + eq() + rapid.SampledFrom([]string{"22", "2_222", "0x16"}).Draw(t, "port")
	})
	maybe(func() string { s, _ := drawText(t, paths...); return "key_file" + eq() + s })
	maybe(func() string { return "\"user\"" + eq() + "'u'" })
	maybe(func() string { return "labels" + eq() + "{ env = 'x', 'a.b' = \"y\" }" })
	maybe(func() string {
		return "enabled" + eq() + rapid.SampledFrom([]string{"true", "false"}).Draw(t, "enabled")
	})
	lines = rapid.Permutation(lines).Draw(t, "order")
	head := rapid.SampledFrom([]string{"[targets.%s]", "[ targets . %s ]", "['targets'.%s]", "  [targets.%s]"}).Draw(t, "header")
	text := fmt.Sprintf(head, tomlKey(name)) + end()
	for i, l := range lines {
		if i > 0 && rapid.IntRange(0, 4).Draw(t, "comment") == 0 {
			text += "# inside" + nl
		}
		text += rapid.SampledFrom([]string{"", "  ", "\t"}).Draw(t, "indent") + l
	}
	return text
}

func drawFile(t *rapid.T) (chunks []chunk, names []string, nl string) {
	nl = rapid.SampledFrom([]string{"\n", "\r\n"}).Draw(t, "newline")
	names = rapid.Permutation([]string{"web1", "db.1", "x-y_z", "q"}).Draw(t, "names")[:rapid.IntRange(1, 4).Draw(t, "count")]
	add := func(owner, text string) { chunks = append(chunks, chunk{owner, text}) }
	add("", drawTrivia(t, nl))
	add("", rapid.SampledFrom([]string{"", "profile = 'p' # c" + nl, "allowed_targets = [\"local\"," + nl + "  # c" + nl + "]" + nl}).Draw(t, "top"))
	if rapid.Bool().Draw(t, "default") {
		add("default", "default_target = '"+rapid.SampledFrom(append([]string{"local"}, names...)).Draw(t, "default target")+"'"+nl)
	}
	for _, name := range names {
		add("", drawTrivia(t, nl))
		add(name, drawTable(t, name, nl))
	}
	add("", drawTrivia(t, nl))
	if rapid.Bool().Draw(t, "audit") {
		add("", "[audit]"+nl+"dir='/x' # c"+nl)
	}
	return chunks, names, nl
}

func text(chunks []chunk, without ...string) string {
	var b strings.Builder
next:
	for _, c := range chunks {
		for _, w := range without {
			if c.owner == w {
				continue next
			}
		}
		b.WriteString(c.text)
	}
	return b.String()
}

// around returns what stands before and after the chunk of owner.
func around(chunks []chunk, owner string) (before, after string) {
	for i, c := range chunks {
		if c.owner == owner {
			return text(chunks[:i]), text(chunks[i+1:])
		}
	}
	return text(chunks), ""
}

func drawTarget(t *rapid.T, name string) target.Target {
	x := target.Target{Name: name, Kind: target.SSH, Host: rapid.SampledFrom([]string{"h1", "new", "::1"}).Draw(t, "new host")}
	x.Port = rapid.SampledFrom([]int{0, 22, 65535}).Draw(t, "new port")
	x.KeyFile = rapid.SampledFrom(append([]string{""}, paths...)).Draw(t, "new key")
	x.User = rapid.SampledFrom([]string{"", "u", "ü", "a@b"}).Draw(t, "new user")
	x.Disabled = rapid.Bool().Draw(t, "disabled")
	x.Labels = rapid.SampledFrom([]map[string]string{nil, {"env": "x", "a.b": "y"}, {"new": "1"}}).Draw(t, "labels")
	return x
}

// Whatever the file looks like, an edit leaves every byte outside the table it
// is about alone, and what it wrote reads back as intended.
func TestEditProperty(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		chunks, names, nl := drawFile(t)
		input := text(chunks)
		e := Editor{File: dir + "/config.toml", Home: "/home/me"}
		if err := os.WriteFile(e.File, []byte(input), 0o600); err != nil {
			t.Fatal(err)
		}
		before, err := Load(e.File, e.Home)
		if err != nil {
			t.Fatalf("generated file: %v\n%s", err, input)
		}
		name := rapid.SampledFrom(names).Draw(t, "target")
		want := before.defined()
		wantDefault := before.DefaultTarget
		var check func(out string) bool
		switch op := rapid.SampledFrom([]string{"add", "remove", "update", "default"}).Draw(t, "op"); op {
		case "add":
			x := drawTarget(t, "added")
			err = e.AddTarget(t.Context(), x)
			want = append(want, e.expanded(x))
			check = func(out string) bool { return strings.HasPrefix(out, input) }
		case "remove":
			err = e.RemoveTarget(t.Context(), name)
			want = without(want, name)
			left := []string{name}
			if wantDefault == name {
				wantDefault, left = "", []string{name, "default"}
			}
			check = func(out string) bool { return sameButOneBlank(text(chunks, left...), out, nl) }
		case "update":
			x := drawTarget(t, name)
			err = e.UpdateTarget(t.Context(), x)
			want = append(without(want, name), e.expanded(x))
			head, tail := around(chunks, name)
			check = func(out string) bool {
				return strings.HasPrefix(out, head) && strings.HasSuffix(out, tail) && strings.Count(out, "# inside") == strings.Count(input, "# inside")
			}
		case "default":
			err = e.SetDefault(t.Context(), name)
			wantDefault = name
			check = func(out string) bool {
				return dropLine(out, "default_target") == dropLine(input, "default_target")
			}
		}
		if err != nil {
			t.Fatalf("%v\n%s", err, input)
		}
		b, err := read(e.File)
		if err != nil {
			t.Fatal(err)
		}
		if out := string(b); !check(out) {
			t.Fatalf("other parts were changed:\n%q\nto\n%q", input, out)
		}
		after, err := Load(e.File, e.Home)
		if err != nil || !sameTargets(want, after.defined()) || after.DefaultTarget != wantDefault || !sameRest(before, after) {
			t.Fatalf("reads back as %+v, %v; want %+v", after, err, want)
		}
	})
}

// sameButOneBlank reports whether b is a, or a without one blank line.
func sameButOneBlank(a, b, nl string) bool {
	if a == b {
		return true
	}
	lines := strings.SplitAfter(a, nl)
	for i, l := range lines {
		if strings.TrimSpace(l) == "" && l != "" && strings.Join(lines[:i], "")+strings.Join(lines[i+1:], "") == b {
			return true
		}
	}
	return false
}

func dropLine(s, prefix string) string {
	var out strings.Builder
	for _, l := range strings.SplitAfter(s, "\n") {
		if !strings.HasPrefix(l, prefix) {
			out.WriteString(l)
		}
	}
	return out.String()
}
