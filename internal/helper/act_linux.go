package helper

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/bowline-sh/bowline/change"
	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/apply"
	"github.com/bowline-sh/bowline/internal/frame"
	"github.com/bowline-sh/bowline/plan"
)

// actName is the name under which the helper starts itself to change the host. That
// process leads a session of its own, so it goes on when the link drops.
const actName = "bowline-act"

// actRequest is what the process is told, on standard input.
type actRequest struct {
	Verb string `json:"verb"`
	SessionRequest
	Peer string `json:"peer,omitempty"` // connection that asked
	// Guarded says that another process watches this one, and goes on if it is killed.
	Guarded bool `json:"guarded,omitempty"`
}

// verbWatch goes on with a window of a session; no client can ask for it.
const verbWatch = "watch"

// actLine is one line that it writes, to standard output and to the session's
// progress file; the last one has a result or an error.
type actLine struct {
	Progress *Progress      `json:"progress,omitempty"`
	Result   *SessionResult `json:"result,omitempty"`
	Error    *actError      `json:"error,omitempty"`
}

type actError struct {
	Kind    diag.Kind `json:"kind"`
	Op      string    `json:"op"`
	Message string    `json:"message"`
	Hint    string    `json:"hint"`
}

// sessionVerb starts the process and hands on what it says. A resume of a session
// that a process is at work on follows that one instead.
func sessionVerb(ctx context.Context, r *frame.Request) (any, error) {
	req := actRequest{Verb: r.Verb, Peer: peer()}
	dir, err := readSession(r, &req.SessionRequest)
	if err != nil {
		return nil, err
	}
	leave(req.Head)
	req.Head = nil
	if r.Verb == VerbResume || r.Verb == VerbRollback && expire(ctx, dir) {
		if res, running, err := attach(ctx, r, dir); running {
			return res, err
		}
	}
	input, err := json.Marshal(req)
	if err != nil {
		return nil, err
	}
	lines, err := startAct(input)
	if err != nil {
		return nil, diag.New(diag.Failure, r.Verb, "", "%w", err)
	}
	defer lines.Close()
	stop := context.AfterFunc(ctx, func() { _ = lines.Close() }) // the process goes on
	defer stop()
	return follow(ctx, r, lines)
}

// readSession decodes a request about a session and returns the session's directory.
func readSession(r *frame.Request, req *SessionRequest) (dir string, err error) {
	if err := r.Decode(req); err != nil {
		return "", err
	}
	if err := plan.ValidID(req.Session); err != nil {
		return "", diag.New(diag.Usage, r.Verb, "", "%w", err)
	}
	return sessionDir(req.Session)
}

// sessionDir returns the directory of a session, which must be there.
func sessionDir(id string) (string, error) {
	parent, err := sessionsDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(parent, id)
	if _, err := os.Lstat(dir); err != nil {
		return "", diag.New(diag.Failure, "find session "+id, "plan it again with 'bowline plan'", "the target has no such session of this login: %w", err)
	}
	return dir, nil
}

// startAct starts the process and returns what it writes. Nobody waits for it: when
// this helper ends first, init takes it over.
func startAct(input []byte) (*os.File, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	out, outW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	in, inW, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, out.Close(), outW.Close())
	}
	cmd := &exec.Cmd{Path: self, Args: []string{actName}, Dir: "/", Env: os.Environ(), Stdin: in, Stdout: outW, SysProcAttr: &syscall.SysProcAttr{Setsid: true}}
	err = cmd.Start()
	err = errors.Join(err, in.Close(), outW.Close())
	if err != nil {
		return nil, errors.Join(err, inW.Close(), out.Close())
	}
	go func() { _ = cmd.Wait() }() // its last line tells how it ended
	_, err = inW.Write(input)
	return out, errors.Join(err, inW.Close())
}

// follow hands on lines until the last one.
func follow(ctx context.Context, r *frame.Request, lines io.Reader) (any, error) {
	d := json.NewDecoder(bufio.NewReader(lines))
	for {
		var l actLine
		if err := d.Decode(&l); err != nil {
			if ctx.Err() != nil {
				return nil, diag.New(diag.Lost, r.Verb, "it goes on on the target; follow it with 'bowline session resume'", "nobody follows it any more: %w", context.Cause(ctx))
			}
			return nil, diag.New(diag.Partial, r.Verb, "finish it with 'bowline session resume', or take it back with 'bowline rollback'", "the process that carried it out ended without a word: %w", err)
		}
		switch {
		case l.Error != nil:
			return nil, &diag.Error{Kind: l.Error.Kind, Op: l.Error.Op, Hint: l.Error.Hint, Err: errors.New(l.Error.Message)}
		case l.Result != nil:
			return *l.Result, nil
		case l.Progress != nil:
			if err := r.Event(*l.Progress); err != nil {
				return nil, err
			}
		}
	}
}

// actMain is the process. It ignores that nobody may be listening any more.
func actMain() int {
	signal.Ignore(syscall.SIGPIPE, syscall.SIGHUP, syscall.SIGINT)
	say := (&speaker{to: []io.Writer{os.Stdout}}).say
	var req actRequest
	if err := json.NewDecoder(os.Stdin).Decode(&req); err != nil {
		say(actLine{Error: &actError{Kind: diag.Usage, Op: "read request", Message: err.Error()}})
		return 1
	}
	if req.Confirm > 0 && !req.Guarded {
		return guard(req)
	}
	dir, err := sessionDir(req.Session)
	var file *os.File
	if err == nil {
		file, err = claimProgress(dir)
	}
	if err != nil {
		say(actLine{Error: newActError(err)})
		return 1
	}
	defer file.Close()
	say = (&speaker{to: []io.Writer{os.Stdout, file}}).say
	report(say, func(progress func(Progress)) (SessionResult, error) {
		return act(context.Background(), dir, req, progress)
	})
	return 0
}

// guard runs the process in another one, and goes on with its window if it is killed.
func guard(req actRequest) int {
	for req.Guarded = true; ; req.Verb = verbWatch {
		input, err := json.Marshal(req)
		if err != nil {
			panic("helper: a request cannot be encoded: " + err.Error()) // it is plain data
		}
		cmd := &exec.Cmd{Path: "/proc/self/exe", Args: []string{actName}, Dir: "/", Env: os.Environ(), Stdin: bytes.NewReader(input), Stdout: os.Stdout, SysProcAttr: &syscall.SysProcAttr{Setsid: true}}
		err = cmd.Run()
		if cmd.ProcessState == nil || cmd.ProcessState.Exited() {
			if err != nil {
				return 1
			}
			return 0
		}
	}
}

// report does something and says how it went.
func report(say func(actLine), do func(progress func(Progress)) (SessionResult, error)) {
	res, err := do(func(p Progress) { say(actLine{Progress: &p}) })
	if err != nil {
		say(actLine{Progress: &Progress{Result: &res}})
		say(actLine{Error: newActError(err)})
		return
	}
	say(actLine{Result: &res})
}

// expire ends a window that waits, and reports whether there is one: a rollback need
// not wait for its end.
func expire(ctx context.Context, dir string) (open bool) {
	err := update(ctx, dir, func(w *window) error {
		if open = w.State == waiting; open {
			w.State = expired
		}
		return nil
	})
	return err == nil && open
}

// speaker writes lines, whole, to all who may listen.
type speaker struct {
	mu sync.Mutex
	to []io.Writer
}

func (s *speaker) say(l actLine) {
	b, err := json.Marshal(l)
	if err != nil {
		panic("helper: a line cannot be encoded: " + err.Error()) // it is plain data
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.to {
		_, _ = w.Write(append(b, '\n')) // a listener that left, or a full disk, stops nothing
	}
}

func newActError(err error) *actError {
	e := &actError{Kind: diag.KindOf(err), Message: err.Error(), Hint: diag.HintOf(err)}
	if d, ok := err.(*diag.Error); ok {
		e.Op, e.Message = d.Op, d.Err.Error()
	}
	return e
}

// act opens the session and does one verb.
func act(ctx context.Context, dir string, req actRequest, progress func(Progress)) (SessionResult, error) {
	s, err := apply.Open(dir, "/")
	if err != nil {
		return SessionResult{}, err
	}
	defer s.Close()
	if req.Verb == VerbApply {
		if err := frozen(); err != nil {
			return SessionResult{Status: s.Status()}, err
		}
		if req.Approval == nil {
			return SessionResult{Status: s.Status()}, diag.New(diag.Denied, "apply", "approve it with 'bowline approve "+req.Session+"'", "the call brings no approval")
		}
		if err := s.Decide(*req.Approval, time.Now()); err != nil {
			return SessionResult{Status: s.Status()}, err
		}
	}
	if req.Confirm > 0 && req.Verb == VerbApply {
		return applyInWindow(ctx, s, dir, req, progress)
	}
	if w, err := readWindow(dir); req.Verb == verbWatch || err == nil && w.open() && exists(marker(dir)) {
		return watch(ctx, s, dir, progress)
	}
	return carryOut(ctx, s, dir, req, progress)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// carryOut does the verb and puts its outcome into words.
func carryOut(ctx context.Context, s *apply.Session, dir string, req actRequest, progress func(Progress)) (SessionResult, error) {
	opts := apply.Options{
		Force: req.Force, DryRun: req.DryRun, RerunInterrupted: req.Rerun, SkipInterrupted: req.Skip,
		Progress: func(ev apply.Event) { progress(Progress{Op: ev.Op, What: describe(ev)}) },
		Verify:   policy{etcDir}.verify,
		Output:   func(op int, p []byte) { progress(Progress{Op: op, Text: string(p)}) },
	}
	var out apply.Outcome
	var err error
	switch req.Verb {
	case VerbApply:
		out, err = s.Apply(ctx, opts)
	case VerbResume:
		if st := s.Status(); st == plan.Executed || st == plan.RolledBack { // it went on while nobody followed
			return SessionResult{Status: st, Done: len(s.Plan().Ops), Total: len(s.Plan().Ops)}, nil
		}
		if err := mayResume(req); err != nil {
			return SessionResult{Status: s.Status(), Total: len(s.Plan().Ops)}, err
		}
		out, err = s.Resume(ctx, opts)
	case VerbRollback:
		if s.Status() == plan.RolledBack {
			return SessionResult{Status: plan.RolledBack, Total: len(s.Plan().Ops)}, nil
		}
		out, err = s.Rollback(ctx, opts)
	default:
		err = diag.New(diag.Usage, "call helper", "", "unknown verb %q", req.Verb)
	}
	return SessionResult{Status: out.Status, Done: max(out.Done, 0), Total: out.Total, Notes: notes(out), Commands: ran(dir, out.Commands)}, err
}

// mayResume refuses to go on with what was broken off while this host or the client is
// frozen. What a process is at work on goes on, and a rollback takes the rest back.
func mayResume(req actRequest) error {
	if err := frozen(); err != nil || !req.Follow {
		return err
	}
	return diag.New(diag.Refused, "resume session "+req.Session, "take it back with 'bowline rollback "+req.Session+"'", "nothing is at work on it, and the client is frozen")
}

func describe(ev apply.Event) string {
	switch {
	case len(ev.Argv) > 0:
		return ev.Did + " " + strings.Join(ev.Argv, " ")
	default:
		return ev.Did + " " + string(ev.Path)
	}
}

// maxRan is what a result carries of each stream of a command, in bytes.
const maxRan = 8 << 10

// ran adds to commands the ends of what they wrote.
func ran(dir string, commands []apply.Ran) []plan.Ran {
	var out []plan.Ran
	for _, c := range commands {
		file := filepath.Join(dir, apply.OutputsDir, c.Output)
		out = append(out, plan.Ran{Op: c.Op, Argv: c.Argv, Undo: c.Undo, Exit: c.Exit, Note: c.Note, Stdout: tail(file + ".out"), Stderr: tail(file + ".err")})
	}
	return out
}

// tail returns the end of a file; what cannot be read is not shown.
func tail(file string) []byte {
	f, err := os.Open(file)
	if err != nil {
		return nil
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > maxRan {
		_, _ = f.Seek(-maxRan, io.SeekEnd) // else the beginning is shown
	}
	b, _ := io.ReadAll(io.LimitReader(f, maxRan))
	return b
}

// notes says what a person must know beside the status.
func notes(out apply.Outcome) []string {
	list := slices.Clone(out.Notes)
	for _, r := range out.NoUndo {
		list = append(list, fmt.Sprintf("not taken back, because no undo is known: operation %d, %s", r.Op, strings.Join(r.Argv, " ")))
	}
	if out.Interrupted != nil {
		list = append(list, fmt.Sprintf("operation %d was interrupted, and nobody knows how it ended: %s", out.Interrupted.Op, strings.Join(out.Interrupted.Argv, " ")))
	}
	return list
}

// remove deletes sessions.
func remove(r *frame.Request) (any, error) {
	var req RemoveRequest
	if err := r.Decode(&req); err != nil {
		return nil, err
	}
	parent, err := sessionsDir()
	if err != nil {
		return nil, err
	}
	res := RemoveResult{Kept: map[string]string{}}
	for _, id := range req.Sessions {
		if err := apply.Remove(parent, id); err != nil {
			res.Kept[id] = err.Error()
			continue
		}
		res.Removed = append(res.Removed, id)
	}
	return res, nil
}

// drift compares the host with what the session left. The session is not locked: one
// that is being applied meanwhile shows what it has done so far.
func drift(ctx context.Context, r *frame.Request) (any, error) {
	var req SessionRequest
	dir, err := readSession(r, &req)
	if err != nil {
		return nil, err
	}
	s, err := apply.Open(dir, "/")
	if err != nil {
		return nil, err
	}
	defer s.Close()
	conflicts, err := s.Drift(ctx)
	if err != nil {
		return nil, err
	}
	res := DriftResult{Status: s.Status()}
	kept := newContents()
	for _, c := range conflicts {
		kept.add(c.Want, filepath.Join(dir, apply.LayerDir, c.Want.SHA256))
		kept.add(c.Want, filepath.Join(dir, apply.CheckpointDir, c.Want.SHA256))
		kept.add(c.Now, string(c.Path))
		res.Changes = append(res.Changes, Drifted{change.Change{Path: c.Path, Before: c.Want, After: c.Now}, c.Why})
	}
	res.Contents = kept.byDigest
	return res, nil
}

// selectOps makes a session of some operations of another. What the dry run showed
// of their contents the client has already.
func selectOps(ctx context.Context, r *frame.Request) (any, error) {
	var req SelectRequest
	if err := r.Decode(&req); err != nil {
		return nil, err
	}
	parent, err := sessionsDir()
	if err != nil {
		return nil, err
	}
	keep := map[int]bool{}
	for _, n := range req.Keep {
		keep[n] = true
	}
	sel := apply.Selection{From: req.Session, ID: req.New, Now: req.Created, Keep: func(n int) bool { return keep[n] }}
	if req.Again != nil {
		sel.Note = again{ctx: ctx, parent: parent, req: *req.Again, keep: sel.Keep}.notes
	}
	p, err := apply.Derive(parent, sel)
	if err != nil {
		return nil, err
	}
	return PlanResult{Plan: p}, nil
}
