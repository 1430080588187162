package review

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/bowline-sh/bowline/change"
	"github.com/bowline-sh/bowline/plan"
)

// Compare shows how the plan of another host differs from that of a class: the texts of
// their effects, the class on the left. Plans of one effect have no hunks, and plans of
// two have some, unless the note of the Diff says otherwise. Contents that hold secrets
// are named by their digests.
func Compare(class, other *Document) Diff {
	a, b := class.effect(), other.effect()
	if a == b {
		return Diff{Reason: Unchanged}
	}
	d := diffTexts(a, b)
	if d.Reason == TooLarge {
		d.Note = "too large to compare"
	}
	return d
}

// effectText is all that [plan.Plan.Effect] covers, as text. Operations have no numbers,
// so that one more does not change the lines of all that follow.
func (d *Document) effectText() string {
	t := &text{}
	p := d.in.Plan
	t.line("as %s, mode %s, profile %s, version %d", p.Login, p.Mode, p.Profile, p.Version)
	t.line("script %s %s", p.Script, words(p.Argv))
	for _, w := range p.Warnings {
		t.line("warning: %s", strconv.Quote(w))
	}
	if p.Truncated {
		t.line("warning: the output of the dry run was cut")
	}
	if p.Exit != 0 {
		t.line("the script ended with exit code %d in the dry run, and said:", p.Exit)
		t.quote(string(p.Stdout))
		t.line("and as errors:")
		t.quote(string(p.Stderr))
	}
	times := p.Times()
	for i, op := range p.Ops {
		if op.Apart {
			t.line("(a command was left out here)")
		}
		if op.Command != nil {
			d.commandText(t, *op.Command)
			continue
		}
		d.changeText(t, i+1, *op.Change, times[i])
	}
	return t.String()
}

func (d *Document) commandText(t *text, c plan.Command) {
	t.line("! %s", words(c.Argv))
	t.line("    program %s in %s, user %s, group %s, answer %d", strconv.Quote(c.Path), strconv.Quote(c.Cwd), d.host.user(c.UID), d.host.group(c.GID), c.Answer)
	for _, g := range c.Groups {
		t.line("    further group %s", d.host.group(g))
	}
	for _, e := range c.Env {
		t.line("    environment %s", strconv.Quote(e))
	}
	if c.Stdin != "" {
		t.line("    input sha256 %s", c.Stdin)
	}
	if len(c.Undo) > 0 {
		t.line("    undone by %s", words(c.Undo))
	}
}

func (d *Document) changeText(t *text, n int, c change.Change, time string) {
	row := d.Rows[n-1]
	t.line("%s %s", row.Symbol, strconv.Quote(string(c.Path)))
	t.line("    before: %s", d.stateText(c.Before))
	t.line("    after: %s", d.stateText(c.After))
	if time != "" {
		t.line("    modified %s", time)
	}
	if c.InPlace {
		t.line("    other names of the file change with it")
	}
	if c.Link != "" {
		t.line("    hard link to %s", strconv.Quote(string(c.Link)))
	}
	if row.Sensitive {
		return
	}
	for _, h := range d.Diff(n).Hunks {
		t.line("    %s", h.Header())
		for _, l := range h.Lines {
			t.line("    %c%s", l.Kind, l.Text)
			if l.NoEOL {
				t.line("    \\ no newline at the end of the file")
			}
		}
	}
}

// stateText is all of a state but its time.
func (d *Document) stateText(s change.State) string {
	if s.Absent() {
		return "nothing"
	}
	out := []string{string(s.Type), fmt.Sprintf("mode %04o", s.Mode), "owner " + d.host.user(s.UID), "group " + d.host.group(s.GID)}
	if s.Type == change.File {
		out = append(out, fmt.Sprintf("%d bytes", s.Size), "sha256 "+s.SHA256)
	}
	if s.Target != "" {
		out = append(out, "to "+strconv.Quote(string(s.Target)))
	}
	if s.Major != 0 || s.Minor != 0 {
		out = append(out, fmt.Sprintf("device %d:%d", s.Major, s.Minor))
	}
	if s.NLink > 1 {
		out = append(out, fmt.Sprintf("%d hard links", s.NLink))
	}
	for _, k := range slices.Sorted(maps.Keys(s.Xattrs)) {
		shown := xattrText(k, s.Xattrs[k])
		if raw := hex.EncodeToString(s.Xattrs[k]); shown != "0x"+raw {
			shown += " (0x" + raw + ")"
		}
		out = append(out, fmt.Sprintf("attribute %s: %s", strconv.Quote(k), strconv.Quote(shown)))
	}
	return strings.Join(out, ", ")
}

// text gathers lines.
type text struct{ strings.Builder }

func (t *text) line(format string, args ...any) {
	fmt.Fprintf(t, format, args...)
	t.WriteByte('\n')
}

// quote adds what somebody else wrote, line by line.
func (t *text) quote(s string) {
	for l := range strings.Lines(s) {
		t.line("    | %s", strconv.Quote(l))
	}
}

func words(argv []string) string {
	out := make([]string, len(argv))
	for i, a := range argv {
		out[i] = strconv.Quote(a)
	}
	return cmp.Or(strings.Join(out, " "), "no arguments")
}
