package tui

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/bowline-sh/bowline"
	"github.com/bowline-sh/bowline/change"
	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/neutral"
	"github.com/bowline-sh/bowline/plan"
)

// fake is an API in memory; calls are what was asked of it.
type fake struct {
	sessions []bowline.Session
	calls    []string
	refuse   error // of what acts
	drift    bowline.Drift
	act      func(ctx context.Context, o bowline.ApplyOptions) (bowline.SessionResult, error)
}

func (f *fake) log(format string, args ...any) {
	f.calls = append(f.calls, fmt.Sprintf(format, args...))
}

func (f *fake) find(id string) *bowline.Session {
	for i := range f.sessions {
		if f.sessions[i].ID == id {
			return &f.sessions[i]
		}
	}
	return nil
}

func (f *fake) move(id string, to plan.Status) error {
	if f.refuse != nil {
		return f.refuse
	}
	f.find(id).Status = to
	return nil
}

func (f *fake) Sessions(context.Context, bowline.SessionQuery) ([]bowline.Session, error) {
	var out []bowline.Session
	for _, s := range f.sessions {
		s.Plan, s.Contents = plan.Plan{}, nil
		out = append(out, s)
	}
	return out, nil
}

func (f *fake) Session(_ context.Context, id string) (bowline.Session, error) {
	return *f.find(id), nil
}

func (f *fake) Approve(_ context.Context, id, digest string) (plan.Approval, error) {
	f.log("approve %s %s", id, digest)
	return plan.Approval{Expires: time.Unix(0, 0)}, f.move(id, plan.Approved)
}

func (f *fake) Reject(_ context.Context, id, reason string) error {
	f.log("reject %s %s", id, reason)
	return f.move(id, plan.Rejected)
}

func (f *fake) Select(_ context.Context, id string, sel bowline.Selection) (bowline.Session, error) {
	f.log("select %s %v", id, sel.Keep)
	if f.refuse != nil {
		return bowline.Session{}, f.refuse
	}
	s := *f.find(id)
	s.ID = "20261121-part-beef"
	s.Plan, _ = s.Plan.Select(s.ID, func(n int) bool {
		for _, k := range sel.Keep {
			if k == n {
				return true
			}
		}
		return false
	})
	s.Digest, _ = s.Plan.Digest()
	f.sessions = append(f.sessions, s)
	return s, nil
}

func (f *fake) Cancel(_ context.Context, id, why string) error {
	f.log("cancel %s %s", id, why)
	return f.move(id, plan.Cancelled)
}

func (f *fake) run(ctx context.Context, what, id string, o bowline.ApplyOptions) (bowline.SessionResult, error) {
	f.log("%s %s window %s rerun %v skip %v force %v", what, id, o.Confirm, o.Rerun, o.Skip, o.Force)
	return f.act(ctx, o)
}

func (f *fake) Apply(ctx context.Context, id string, o bowline.ApplyOptions) (bowline.SessionResult, error) {
	return f.run(ctx, "apply", id, o)
}

func (f *fake) Resume(ctx context.Context, id string, o bowline.ApplyOptions) (bowline.SessionResult, error) {
	return f.run(ctx, "resume", id, o)
}

func (f *fake) Rollback(ctx context.Context, id string, o bowline.ApplyOptions) (bowline.SessionResult, error) {
	return f.run(ctx, "rollback", id, o)
}

func (f *fake) Confirm(_ context.Context, id string) (bowline.SessionResult, error) {
	f.log("confirm %s", id)
	return bowline.SessionResult{Status: plan.Executed}, f.refuse
}

func (f *fake) Drift(context.Context, string) (bowline.Drift, error) { return f.drift, f.refuse }

// player presses keys on an app without a terminal.
type player struct {
	t    *testing.T
	a    *app
	f    *fake
	quit bool
	held []tea.Cmd // with hold set, what would run beside the loop
	hold bool
}

func play(t *testing.T, width, height int, sessions ...bowline.Session) *player {
	p := &player{t: t, f: &fake{sessions: sessions}}
	p.a = newApp(t.Context(), true)
	p.a.api, p.a.now, p.a.tick = p.f, func() time.Time { return noon }, func() tea.Cmd { return nil }
	p.a.send = func(m tea.Msg) { p.send(m) }
	p.send(tea.WindowSizeMsg{Width: width, Height: height})
	p.do(p.a.Init())
	return p
}

func (p *player) send(m tea.Msg) {
	_, cmd := p.a.Update(m)
	p.do(cmd)
}

func (p *player) do(cmd tea.Cmd) {
	if cmd == nil {
		return
	}
	if p.hold {
		p.held = append(p.held, cmd)
		return
	}
	switch m := cmd().(type) {
	case nil:
	case tea.BatchMsg:
		for _, c := range m {
			p.do(c)
		}
	case tea.QuitMsg:
		p.quit = true
	default:
		p.send(m)
	}
}

// press types keys by name, or letter by letter with "type:".
func (p *player) press(keys ...string) {
	special := map[string]rune{"enter": tea.KeyEnter, "esc": tea.KeyEscape, "tab": tea.KeyTab, "space": ' ', "backspace": tea.KeyBackspace, "pgdown": tea.KeyPgDown, "end": tea.KeyEnd, "down": tea.KeyDown}
	for _, k := range keys {
		if text, ok := strings.CutPrefix(k, "type:"); ok {
			for _, r := range text {
				p.send(tea.KeyPressMsg{Code: r, Text: string(r)})
			}
			continue
		}
		code, ok := special[k]
		switch {
		case k == "ctrl+c":
			p.send(tea.KeyPressMsg{Code: 'c', Mod: tea.ModCtrl})
		case k == "space":
			p.send(tea.KeyPressMsg{Code: ' ', Text: " "})
		case ok:
			p.send(tea.KeyPressMsg{Code: code})
		default:
			p.press("type:" + k)
		}
	}
}

var sgrs = regexp.MustCompile("\x1b\\[[0-9;]*m")

// on puts the cursor on an operation.
func (p *player) on(n int) {
	p.t.Helper()
	v, ok := p.a.screen().(*sessionScreen)
	if !ok {
		p.t.Fatalf("no session is shown:\n%s", p.screen())
	}
	v.onto(n)
}

// screen is the picture without its styles. It must fit the terminal, and hold
// nothing that acts on one.
func (p *player) screen() string {
	p.t.Helper()
	s := sgrs.ReplaceAllString(p.a.picture(), "")
	ls := strings.Split(s, "\n")
	if len(ls) > max(1, p.a.height) {
		p.t.Errorf("%d lines on a screen of %d:\n%s", len(ls), p.a.height, s)
	}
	for _, l := range ls {
		if columns(l) > p.a.width {
			p.t.Errorf("a line of %d columns on a screen of %d: %q", columns(l), p.a.width, l)
		}
		if neutral.Text(l) != l {
			p.t.Errorf("a line that acts on a terminal: %q", l)
		}
	}
	return s
}

func (p *player) sees(want ...string) {
	p.t.Helper()
	s := p.screen()
	for _, w := range want {
		if !strings.Contains(s, w) {
			p.t.Errorf("the screen lacks %q:\n%s", w, s)
		}
	}
}

func (p *player) lacks(what ...string) {
	p.t.Helper()
	for _, w := range what {
		if s := p.screen(); strings.Contains(s, w) {
			p.t.Errorf("the screen shows %q:\n%s", w, s)
		}
	}
}

func (p *player) called(want ...string) {
	p.t.Helper()
	if got := strings.Join(p.f.calls, "\n"); got != strings.Join(want, "\n") {
		p.t.Errorf("called:\n%s\nwant:\n%s", got, strings.Join(want, "\n"))
	}
	p.f.calls = nil
}

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// sessionOf makes a pending session of operations.
func sessionOf(t testing.TB, contents map[string][]byte, ops ...plan.Operation) bowline.Session {
	s := bowline.Session{ID: "20261121-test-a3f2", Target: "web1", Status: plan.Pending, User: "ann", Host: "desk", Surface: "cli", Created: noon.Add(-time.Minute), Updated: noon,
		Expires: noon.Add(59*time.Minute + 5*time.Second), Contents: contents}
	s.Plan = plan.Plan{Version: plan.Version, Session: s.ID, Target: "web1", HostKey: "SHA256:x", Login: "root", Mode: plan.Root, Ops: ops}
	var err error
	if s.Digest, err = s.Plan.Digest(); err != nil {
		t.Fatal(err)
	}
	return s
}

// file is an operation that turns before into after; contents are added to kept.
func file(kept map[string][]byte, name, before, after string) plan.Operation {
	state := func(text string) change.State {
		sum := sha256.Sum256([]byte(text))
		d := hex.EncodeToString(sum[:])
		kept[d] = []byte(text)
		return change.State{Type: change.File, Mode: 0o644, Size: int64(len(text)), SHA256: d}
	}
	c := change.Change{Path: change.Path(name), After: state(after)}
	if before != "" {
		c.Before = state(before)
	}
	return plan.Operation{Change: &c}
}

func command(argv ...string) plan.Operation {
	return plan.Operation{Command: &plan.Command{Argv: argv, Path: "/usr/bin/" + argv[0], Cwd: "/", Env: []string{"A=1"}}}
}

func three(t testing.TB) bowline.Session {
	kept := map[string][]byte{}
	return sessionOf(t, kept, file(kept, "/etc/app.conf", "a=1\nb=2\n", "a=1\nb=3\n"), file(kept, "/etc/sudoers.d/x", "", "ann ALL=(ALL) NOPASSWD: ALL\n"), command("systemctl", "restart", "nginx"))
}

func TestListOrders(t *testing.T) {
	var list []bowline.Session
	for i, st := range []plan.Status{plan.Executed, plan.Rejected, plan.Pending, plan.Approved, plan.Pending} {
		s := three(t)
		s.ID, s.Status, s.Created = fmt.Sprintf("20261121-s%d-a3f2", i), st, noon.Add(-time.Duration(10-i)*time.Minute)
		list = append(list, s)
	}
	p := play(t, 100, 30, list...)
	s := p.screen()
	at := -1
	for _, id := range []string{"s4", "s2", "s3", "s0", "s1"} {
		i := strings.Index(s, "-"+id+"-")
		if i <= at {
			t.Errorf("%s is not in its place:\n%s", id, s)
		}
		at = i
	}
	// What changes elsewhere is seen without asking.
	p.f.sessions[4].Status = plan.Rejected
	p.send(tickMsg{})
	p.send(tickMsg{})
	p.sees("1 wait for approval")
}

func TestApproveNamesWhatIsShown(t *testing.T) {
	x := three(t)
	p := play(t, 80, 24, x)
	p.press("enter")
	p.sees(x.ID, "pending on web1", "expires in 59:05", x.Digest, "1 high", "line 1: ann ALL")
	p.press("a")
	p.sees("Approve this, once, on web1?", x.Digest, "high:", "y approve  N no")
	p.called()
	for _, refusal := range []string{"n", "esc", "N", "q"} {
		p.press(refusal)
		p.lacks("Approve this")
		p.press("a")
	}
	p.press("x", "enter", "space")
	p.called()
	p.press("y")
	p.called("approve " + x.ID + " " + x.Digest)
	p.sees("approved until", "approved on web1", "A apply")
	p.press("a")
	p.sees("a session that is approved cannot be approved")
	p.called()
}

// TestOtherDigest: a session whose plan is not the one that its digest names is not
// shown, and so cannot be approved.
func TestOtherDigest(t *testing.T) {
	x := three(t)
	x.Plan.Ops = x.Plan.Ops[:2]
	p := play(t, 80, 24, x)
	p.press("enter")
	p.sees("cannot be read", "but", "the session says")
	p.press("enter", "a")
	p.lacks("Approve this")
}

func TestApprovalThatIsRefused(t *testing.T) {
	p := play(t, 80, 24, three(t))
	p.press("enter")
	p.f.refuse = diag.New(diag.Denied, "approve", "ask 'somebody else'", "the requester's own does not count")
	p.press("a", "y")
	p.sees("That did not work.", "does not count", "hint: ask 'somebody else'")
	p.lacks("approved until")
	p.press("enter")
	p.sees("pending on web1")
}

func TestSelection(t *testing.T) {
	x := three(t)
	p := play(t, 80, 24, x)
	p.press("enter")
	p.on(2)
	p.press("space")
	p.sees("[ ]    2 + HIGH", "[x]    1 ~", "2 of 3 operations selected")
	p.press("a")
	part := p.f.find("20261121-part-beef")
	p.called("select " + x.ID + " [1 3]")
	p.sees("Approve this, once", part.Digest, "A selection of "+x.ID)
	p.press("n")
	p.called("cancel 20261121-part-beef not approved")
	p.sees(x.ID, "pending", "[ ]    2")
	p.press("a", "y")
	p.called("select "+x.ID+" [1 3]", "approve 20261121-part-beef "+part.Digest, "cancel "+x.ID+" approved in part as 20261121-part-beef")
	p.sees("20261121-part-beef", "approved on web1")
}

func TestSelectionRefused(t *testing.T) {
	x := three(t)
	p := play(t, 80, 24, x)
	p.press("enter")
	p.on(1)
	p.press("space")
	p.f.refuse = errors.Join(diag.New(diag.Conflict, "select", "keep it too", "operation 2 needs operation 1: it lies in the directory"), errors.New("operation 3 needs operation 1"))
	p.press("a")
	p.sees("The selection was not made", "operation 2 needs operation 1", "hint: keep it too", "operation 3 needs")
	p.press("enter", "*", "*")
	p.sees("0 of 3 operations selected")
	p.press("a")
	p.sees("no operation is selected")
}

func TestRejectNeedsAReason(t *testing.T) {
	x := three(t)
	p := play(t, 80, 24, x)
	p.press("enter", "r", "type:  ", "enter")
	p.sees("A rejection needs a reason")
	p.called()
	p.press("type:too wiide", "backspace", "backspace", "backspace", "type:de", "enter")
	p.called("reject " + x.ID + " too wide")
	p.sees("rejected on web1")
}

func TestApplyWithAWindow(t *testing.T) {
	x := three(t)
	x.Status = plan.Approved
	p := play(t, 80, 24, x)
	confirmed := false
	p.f.act = func(_ context.Context, o bowline.ApplyOptions) (bowline.SessionResult, error) {
		o.Progress(bowline.Progress{Op: 1, What: "new /etc/app.conf"})
		o.Progress(bowline.Progress{Op: 3, Text: "out\x1b[2J\nput"})
		o.Progress(bowline.Progress{Op: 3, What: "all is applied; waiting 1m30s for 'bowline confirm X'"})
		p.sees("[#", "2 of 3 operations", "90s to confirm: press c", "| out^[[2J", "| put")
		p.press("c")
		confirmed = true
		p.f.find(x.ID).Status = plan.Executed
		return bowline.SessionResult{Status: plan.Executed, Done: 3, Total: 3, Notes: []string{"a note"}}, nil
	}
	p.press("enter", "A", "w")
	p.sees("How long", "> 60s")
	p.press("backspace", "type:x", "enter")
	p.sees("A length of time is needed")
	p.send(tea.PasteMsg{Content: "\n"})
	p.press("backspace", "backspace", "backspace", "type:90s", "enter")
	p.called("apply "+x.ID+" window 1m30s rerun false skip false force false", "confirm "+x.ID)
	if !confirmed {
		t.Error("never confirmed")
	}
	p.sees("the session is now executed: 3 of 3 operations", "note: a note")
	p.press("enter")
	p.sees("executed on web1", "u roll back")
}

func TestRollbackFails(t *testing.T) {
	x := three(t)
	x.Status = plan.Executed
	p := play(t, 80, 24, x)
	p.f.act = func(context.Context, bowline.ApplyOptions) (bowline.SessionResult, error) {
		return bowline.SessionResult{}, diag.New(diag.Conflict, "rollback", "use 'bowline rollback --force'", "/etc/app.conf was changed since")
	}
	p.press("enter", "u", "n")
	p.called()
	p.press("u", "y")
	p.called("rollback " + x.ID + " window 0s rerun false skip false force false")
	p.sees("FAILED", "was changed since", "hint: use 'bowline rollback --force'")
	p.lacks("the session is now")
}

func TestResume(t *testing.T) {
	for key, want := range map[string]string{"y": "rerun false skip false", "g": "rerun true skip false", "s": "rerun false skip true"} {
		x := three(t)
		x.Status = plan.Partial
		p := play(t, 80, 24, x)
		p.f.act = func(context.Context, bowline.ApplyOptions) (bowline.SessionResult, error) {
			return bowline.SessionResult{Status: plan.Executed, Done: 3, Total: 3}, nil
		}
		p.press("enter", "R", key)
		p.called("resume " + x.ID + " window 0s " + want + " force false")
	}
}

// TestLeaving: what is under way is not left without asking, and is told to end.
func TestLeaving(t *testing.T) {
	x := three(t)
	x.Status = plan.Approved
	p := play(t, 80, 24, x)
	ended := false
	p.f.act = func(ctx context.Context, _ bowline.ApplyOptions) (bowline.SessionResult, error) {
		for _, key := range []string{"ctrl+c", "q", "esc"} {
			p.press(key)
			p.sees("goes on there", "bowline session resume "+x.ID)
			if ctx.Err() != nil || p.quit {
				t.Error("left without asking")
			}
			p.press("n")
		}
		p.press("q", "y")
		ended = errors.Is(context.Cause(ctx), errLeft)
		return bowline.SessionResult{}, context.Cause(ctx)
	}
	p.press("enter", "A", "y")
	if !ended || !p.quit {
		t.Errorf("ended %v, quit %v", ended, p.quit)
	}
}

func TestDrift(t *testing.T) {
	x := three(t)
	x.Status = plan.Executed
	p := play(t, 80, 24, x)
	p.press("enter", "d")
	p.sees("nothing differs on web1")
	kept := map[string][]byte{}
	p.f.drift = bowline.Drift{Changes: []bowline.Drifted{{Change: *file(kept, "/etc/app.conf", "a=1\n", "a=9\n").Change}}, Contents: kept}
	p.press("d")
	p.sees("how the target differs", "1 paths differ", "/etc/app.conf")
	p.press("a", "A", "u", "r", "space")
	p.lacks("Approve", "Roll back 2")
	p.press("/", "type:app", "enter", "enter")
	p.sees("- a=1", "+ a=9")
}

func TestSecretsAreHidden(t *testing.T) {
	kept := map[string][]byte{}
	x := sessionOf(t, kept, file(kept, "/etc/shadow", "root:*:1::::::\n", "root:$6$hash:1::::::\n"))
	p := play(t, 120, 40, x)
	p.press("enter", "/", "type:0000", "enter", "enter", "esc")
	if _, ok := p.a.screen().(*operationScreen); !ok {
		p.press("end", "enter")
	}
	p.sees("The content is secret. Press x")
	p.lacks("$6$hash")
	p.press("x")
	p.sees("$6$hash")
	p.press("x")
	p.lacks("$6$hash")
}

// TestLongCommand: all of a command can be read.
func TestLongCommand(t *testing.T) {
	long := strings.Repeat("0123456789", 60) + " THE-END"
	p := play(t, 80, 24, sessionOf(t, nil, command("sh", "-c", long)))
	p.press("enter", "end", "enter")
	var all strings.Builder
	for range 4 {
		all.WriteString(p.screen())
		p.press("pgdown")
	}
	joined := strings.ReplaceAll(all.String(), "\n", "")
	for _, want := range []string{strings.Repeat("0123456789", 60) + " THE-END", "argument 2", "environment", "A=1"} {
		if !strings.Contains(joined, want) {
			t.Errorf("%q cannot be read:\n%s", want, all.String())
		}
	}
}

func TestDiffKeys(t *testing.T) {
	kept := map[string][]byte{}
	var before, after strings.Builder
	for i := range 100 {
		fmt.Fprintf(&before, "line %d\n", i)
		if i%30 == 10 {
			fmt.Fprintf(&after, "line %d was \"changed\"\n", i)
		} else {
			fmt.Fprintf(&after, "line %d\n", i)
		}
	}
	x := sessionOf(t, kept, file(kept, "/etc/a.conf", before.String(), after.String()), file(kept, "/etc/b.sh", "", "#!/bin/sh\n\tif true; then echo 'hi'; fi # why"))
	p := play(t, 140, 24, x)
	p.press("enter")
	p.on(1)
	p.press("enter", "]")
	p.sees("@@ -8,7 +8,7 @@", " │ ", `line 10 was "changed"`)
	p.press("s")
	p.lacks(" │ ")
	p.sees("- line 10", "+ line 10 was")
	p.press("]")
	p.sees("@@ -38,7 +38,7 @@")
	p.press("z")
	p.sees("8 lines are folded")
	p.press("z", "[")
	p.sees("@@ -8,7 +8,7 @@")
	p.press("/", "type:LINE 70", "enter")
	p.sees("not found")
	p.press("/", "type:line 70", "enter")
	p.sees("line 70 was")
	p.press("esc", "}")
	p.sees("Operation 2 of 2", "→   if true; then echo 'hi'; fi # why (no newline at the end of the file)")
	p.press("}")
	p.sees("there is no other operation")
	p.press("f")
	p.lacks("sha256")
	p.press("space")
	p.sees("operation 2 is left out; 1 of 2 selected")
	p.press("q")
	p.sees("[ ]    2 +")
}

func TestGroupsUnfold(t *testing.T) {
	kept := map[string][]byte{}
	var ops []plan.Operation
	for i := range 30 {
		ops = append(ops, file(kept, fmt.Sprintf("/srv/data/d/%02d", i), "", "x"))
	}
	p := play(t, 80, 40, sessionOf(t, kept, ops...))
	p.press("enter", "end")
	p.sees("▸ 30 operations below /srv/data/d")
	p.press("enter")
	p.sees("▾ 30 operations", "/srv/data/d/11")
	p.press("down", "space", "h")
	p.sees("▸ 30 operations", "[-]")
	p.press("space", "k")
	p.sees("[x]    ▸ 30")
}

func TestResizeAndSmall(t *testing.T) {
	p := play(t, 80, 24, three(t))
	p.press("enter", "a")
	for _, size := range [][2]int{{200, 60}, {80, 24}, {139, 25}, {79, 24}, {80, 23}, {10, 3}, {1, 1}, {0, 0}, {140, 40}} {
		p.send(tea.WindowSizeMsg{Width: size[0], Height: size[1]})
		s := p.screen()
		if size[0] == 79 && (!strings.Contains(s, "79 columns") || strings.Contains(s, "Approve")) {
			t.Errorf("too small:\n%s", s)
		}
		if size[0] == 79 { // what cannot be seen cannot be approved
			p.press("y")
			p.called()
		}
	}
	p.sees("Approve this")
}

func TestNoColour(t *testing.T) {
	p := play(t, 80, 24, three(t))
	p.press("enter")
	if !regexp.MustCompile("\x1b\\[[0-9;]*3[0-7]m").MatchString(p.a.picture()) {
		t.Error("no colour where it is wanted")
	}
	p.a.colour = false
	for range 3 {
		if pic := p.a.picture(); regexp.MustCompile("\x1b\\[([0-9]+;)*[34][0-7]m").MatchString(pic) {
			t.Errorf("colour: %q", pic)
		}
		p.press("enter")
	}
}

func TestPrompts(t *testing.T) {
	p := play(t, 80, 24, three(t))
	got := make(chan answer, 1)
	asked := make(chan tea.Msg, 1)
	ask := prompt(func(m tea.Msg) { asked <- m })
	type result struct {
		text string
		err  error
	}
	results := make(chan result, 1)
	go func() {
		text, err := ask(t.Context(), "Passphrase for \x1b[2Jkey:", false)
		results <- result{text, err}
	}()
	p.send(<-asked)
	p.sees("Passphrase for ^[[2Jkey:")
	p.press("type:sesame")
	p.lacks("sesame")
	p.press("enter")
	if r := <-results; r.text != "sesame" || r.err != nil {
		t.Errorf("%+v", r)
	}
	p.send(askMsg{"again?", true, got})
	p.press("type:shown")
	p.sees("> shown")
	p.press("esc")
	if r := <-got; !errors.Is(r.err, context.Canceled) {
		t.Errorf("%+v", r)
	}
}
