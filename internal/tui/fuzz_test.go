package tui

import (
	"testing"

	"github.com/bowline-sh/bowline/change"
	"github.com/bowline-sh/bowline/plan"
)

// FuzzScreen: whatever paths, contents, arguments and notes hold, every picture fits
// the terminal and nothing in it acts on one; player.screen checks both.
func FuzzScreen(f *testing.F) {
	f.Add("/a\x1b[2J", "old\n\tx", "new\u202e\r\n日本語日本語", "arg\x9b31m", uint8(0))
	f.Add("/e\u0301\u0301\u0301\u0301\u0301\u0301", "\xff\xfe", "\x1b]0;t\x07", "\x00", uint8(60))
	f.Add("/日本語日本語日本語日本語日本語日本語日本語日本語", "", "👩‍👩‍👧 flag 🇩🇪\n", "'", uint8(5))
	f.Fuzz(func(t *testing.T, name, before, after, arg string, width uint8) {
		kept := map[string][]byte{}
		op := file(kept, "/x", before, after)
		op.Change.Path = change.Path(name)
		if before == after {
			op = command(arg, name)
		}
		x := sessionOf(t, kept, op, command("sh", "-c", arg), plan.Operation{Change: &change.Change{Path: "/l", After: change.State{Type: change.Symlink, Target: change.Path(name)}}})
		x.Note, x.User, x.Host, x.Message, x.Target = arg, name, after, before, name
		x.Plan.Warnings, x.Plan.Argv, x.Plan.Exit, x.Plan.Stdout = []string{before, after}, []string{name, arg}, 1, []byte(after)
		x.Commands = []plan.Ran{{Op: 2, Argv: []string{arg}, Stdout: []byte(after), Note: name}}
		x.Digest, _ = x.Plan.Digest()
		p := play(t, 80+int(width), 24, x)
		p.screen()
		p.press("enter")
		for _, k := range []string{"end", "a", "n", "r", "esc", "g", "/", "type:e", "enter", "n", "esc"} {
			p.press(k)
			p.screen()
		}
		for n := 1; n <= 3; n++ {
			p.on(n)
			p.press("enter")
			for _, k := range []string{"pgdown", "x", "s", "]", "z"} {
				p.press(k)
				p.screen()
			}
			p.press("q")
		}
	})
}
