package helper

import (
	"bufio"
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
	"syscall"
	"time"

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
}

// actLine is one line that it writes to standard output; the last one has a result
// or an error.
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

// sessionVerb starts the process and hands on what it says.
func sessionVerb(ctx context.Context, r *frame.Request) (any, error) {
	req := actRequest{Verb: r.Verb}
	if err := r.Decode(&req.SessionRequest); err != nil {
		return nil, err
	}
	if err := plan.ValidID(req.Session); err != nil {
		return nil, diag.New(diag.Usage, r.Verb, "", "%w", err)
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
	return followAct(ctx, r, lines)
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

func followAct(ctx context.Context, r *frame.Request, lines io.Reader) (any, error) {
	d := json.NewDecoder(bufio.NewReader(lines))
	for {
		var l actLine
		if err := d.Decode(&l); err != nil {
			if ctx.Err() != nil {
				return nil, diag.New(diag.Lost, r.Verb, "it goes on on the target; find out how it ended with 'bowline session resume'", "nobody follows it any more: %w", context.Cause(ctx))
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
	out := json.NewEncoder(os.Stdout)
	say := func(l actLine) { _ = out.Encode(l) } // a listener that left misses it
	var req actRequest
	if err := json.NewDecoder(os.Stdin).Decode(&req); err != nil {
		say(actLine{Error: &actError{Kind: diag.Usage, Op: "read request", Message: err.Error()}})
		return 1
	}
	res, err := act(context.Background(), req, func(p Progress) { say(actLine{Progress: &p}) })
	if err != nil {
		e := &actError{Kind: diag.KindOf(err), Message: err.Error(), Hint: diag.HintOf(err)}
		if d, ok := errors.AsType[*diag.Error](err); ok && d == err {
			e.Op, e.Message = d.Op, d.Err.Error()
		}
		say(actLine{Error: e})
		return 1
	}
	say(actLine{Result: &res})
	return 0
}

// act opens the session and does one verb.
func act(ctx context.Context, req actRequest, progress func(Progress)) (SessionResult, error) {
	parent, err := sessionsDir()
	if err != nil {
		return SessionResult{}, err
	}
	s, err := apply.Open(filepath.Join(parent, req.Session), "/")
	if err != nil {
		return SessionResult{}, err
	}
	defer s.Close()
	if req.Verb == VerbApply {
		if req.Approval == nil {
			return SessionResult{}, diag.New(diag.Denied, "apply", "approve it first", "the call brings no approval")
		}
		if err := s.Decide(*req.Approval, time.Now()); err != nil {
			return SessionResult{}, err
		}
	}
	return carryOut(ctx, s, req, progress)
}

// carryOut does the verb and puts its outcome into words.
func carryOut(ctx context.Context, s *apply.Session, req actRequest, progress func(Progress)) (SessionResult, error) {
	opts := apply.Options{
		Force: req.Force, DryRun: req.DryRun, RerunInterrupted: req.Rerun, SkipInterrupted: req.Skip,
		Progress: func(ev apply.Event) { progress(Progress{Op: ev.Op, What: describe(ev)}) },
	}
	var out apply.Outcome
	var err error
	switch req.Verb {
	case VerbApply:
		out, err = s.Apply(ctx, opts)
	case VerbResume:
		if s.Status() == plan.Executed { // it went on while nobody followed
			return SessionResult{Status: plan.Executed, Done: len(s.Plan().Ops), Total: len(s.Plan().Ops)}, nil
		}
		out, err = s.Resume(ctx, opts)
	case VerbRollback:
		out, err = s.Rollback(ctx, opts)
	default:
		err = diag.New(diag.Usage, "call helper", "", "unknown verb %q", req.Verb)
	}
	return SessionResult{Status: out.Status, Done: max(out.Done, 0), Total: out.Total, Notes: notes(out)}, err
}

func describe(ev apply.Event) string {
	switch {
	case len(ev.Argv) > 0:
		return ev.Did + " " + strings.Join(ev.Argv, " ")
	default:
		return ev.Did + " " + string(ev.Path)
	}
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
