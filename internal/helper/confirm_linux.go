package helper

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/apply"
	"github.com/bowline-sh/bowline/internal/durable"
	"github.com/bowline-sh/bowline/internal/frame"
	"github.com/bowline-sh/bowline/plan"
)

// A session that is applied with a window takes itself back unless somebody confirms it
// in time over a new connection: then whoever lost the host by the change gets it back.
//
// The window is a file in the session directory. It moves from armed (before the first
// effect) to waiting (all is applied; the deadline is set) to confirmed or expired. A
// marker beside the session directories names the session for as long as it is neither,
// so that a new process finds what a killed one left.

// windowState is where a window stands.
type windowState string

const (
	armed     windowState = "armed"
	waiting   windowState = "waiting"
	confirmed windowState = "confirmed"
	expired   windowState = "expired"
)

// window is the content of the file.
type window struct {
	State    windowState   `json:"state"`
	Length   time.Duration `json:"length"`
	Deadline time.Time     `json:"deadline"`
	// Peer is the connection that began the apply, which cannot confirm it.
	Peer string `json:"peer"`
}

const (
	windowFile   = "confirm"
	windowLock   = "confirm.lock"
	markerPrefix = ".confirm-"

	// minWindow and maxWindow bound a window: long enough to connect anew, and short
	// enough that a host is not left unconfirmed for a day.
	minWindow = time.Second
	maxWindow = 24 * time.Hour
)

func marker(dir string) string {
	return filepath.Join(filepath.Dir(dir), markerPrefix+filepath.Base(dir))
}

// update changes the window of the session in dir, one process at a time. A missing
// file gives the zero window; an error of f changes nothing.
func update(ctx context.Context, dir string, f func(w *window) error) error {
	lock, err := durable.Lock(ctx, filepath.Join(dir, windowLock))
	if err != nil {
		return err
	}
	defer lock.Unlock()
	w, err := readWindow(dir)
	if err != nil {
		return err
	}
	old := w
	if err := f(&w); err != nil || w == old {
		return err
	}
	b, err := json.Marshal(w)
	if err != nil {
		return err
	}
	return durable.WriteFile(filepath.Join(dir, windowFile), b, 0o600)
}

func readWindow(dir string) (window, error) {
	var w window
	b, err := os.ReadFile(filepath.Join(dir, windowFile))
	if errors.Is(err, fs.ErrNotExist) {
		return w, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &w)
	}
	return w, err
}

// open reports whether the session in dir has a window that nobody has settled.
func (w window) open() bool { return w.State == armed || w.State == waiting || w.State == expired }

// arm opens a window before anything is applied.
func arm(ctx context.Context, dir string, req actRequest) error {
	if req.Confirm < minWindow || req.Confirm > maxWindow {
		return diag.New(diag.Usage, "apply", "as in --confirm 60s", "a window of %s: from %s to %s", req.Confirm, minWindow, maxWindow)
	}
	err := update(ctx, dir, func(w *window) error {
		*w = window{State: armed, Length: req.Confirm, Peer: req.Peer}
		return nil
	})
	if err == nil {
		err = durable.WriteFile(marker(dir), nil, 0o600)
	}
	if err != nil {
		return fmt.Errorf("open the window: %w", err)
	}
	return watchBoot(filepath.Dir(dir))
}

// settle removes what leads a new process to the session.
func settle(dir string) error {
	err := os.Remove(marker(dir))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, unwatchBoot(filepath.Dir(dir)))
}

// applyInWindow applies a session and waits for somebody to confirm it.
func applyInWindow(ctx context.Context, s *apply.Session, dir string, req actRequest, progress func(Progress)) (SessionResult, error) {
	if err := arm(ctx, dir, req); err != nil {
		return SessionResult{Status: s.Status()}, err
	}
	req.Confirm = 0
	res, err := carryOut(ctx, s, dir, req, progress)
	if err != nil && res.Status != plan.Partial {
		return res, errors.Join(err, closeWindow(ctx, dir)) // nothing was touched
	}
	if err != nil {
		back, berr := takeBack(ctx, s, dir, progress)
		return back, errors.Join(diag.New(kindOf(berr), "apply session "+req.Session, diag.HintOf(berr), "it failed in the middle and was taken back at once, as nobody could have confirmed it: %w", err), berr)
	}
	err = update(ctx, dir, func(w *window) error {
		w.State, w.Deadline = waiting, time.Now().Add(w.Length).UTC()
		return nil
	})
	if err != nil {
		back, berr := takeBack(ctx, s, dir, progress)
		return back, errors.Join(fmt.Errorf("open the window: %w", err), berr)
	}
	return await(ctx, s, dir, res, progress)
}

// kindOf is the kind of an apply that was taken back, or could not be.
func kindOf(rollback error) diag.Kind {
	if rollback != nil {
		return diag.Partial
	}
	return diag.Failure
}

func closeWindow(ctx context.Context, dir string) error {
	err := update(ctx, dir, func(w *window) error { w.State = expired; return nil })
	return errors.Join(err, settle(dir))
}

// await waits until the window is confirmed or its time is over. The clock that counts
// is the one that nobody can set, for as long as this process lives.
func await(ctx context.Context, s *apply.Session, dir string, res SessionResult, progress func(Progress)) (SessionResult, error) {
	w, err := readWindow(dir)
	if err != nil {
		return res, err
	}
	left := min(max(time.Until(w.Deadline), 0), w.Length)
	end := time.Now().Add(left)
	progress(Progress{Op: res.Total, What: fmt.Sprintf("all is applied; waiting %s for 'bowline confirm %s'", left.Round(time.Second), filepath.Base(dir))})
	for {
		over := !time.Now().Before(end)
		err := update(ctx, dir, func(w *window) error {
			if over && w.State == waiting {
				w.State = expired
			}
			return nil
		})
		if err == nil {
			w, err = readWindow(dir)
		}
		switch {
		case err == nil && w.State == confirmed:
			res.Message = "confirmed"
			return res, settle(dir)
		case over || err == nil && w.State == expired:
			back, berr := takeBack(ctx, s, dir, progress)
			back.Commands = append(res.Commands, back.Commands...)
			if berr != nil {
				return back, berr
			}
			return back, diag.New(diag.Timeout, "apply session "+filepath.Base(dir), "plan it again with 'bowline plan'", "nobody confirmed it within %s; everything was taken back", w.Length)
		}
		time.Sleep(min(pollEvery, max(time.Until(end), time.Millisecond)))
	}
}

// takeBack rolls back, and settles the window only if that worked: whoever comes next
// tries again.
func takeBack(ctx context.Context, s *apply.Session, dir string, progress func(Progress)) (SessionResult, error) {
	err := update(ctx, dir, func(w *window) error { w.State = expired; return nil })
	progress(Progress{What: "taking everything back"})
	req := actRequest{Verb: VerbRollback, SessionRequest: SessionRequest{Session: filepath.Base(dir)}}
	res, rerr := carryOut(ctx, s, dir, req, progress)
	if rerr != nil {
		if res.Status == plan.Executed { // a conflict: it is in effect, and should not be
			res.Status = plan.Partial
		}
		return res, diag.New(diag.Partial, "take back session "+req.Session, diag.HintOf(rerr), "nobody confirmed it, and it could not be taken back: %w", rerr)
	}
	return res, errors.Join(err, settle(dir))
}

// watch goes on with a window whose process was killed.
func watch(ctx context.Context, s *apply.Session, dir string, progress func(Progress)) (SessionResult, error) {
	w, err := readWindow(dir)
	total := len(s.Plan().Ops)
	res := SessionResult{Status: s.Status(), Done: total, Total: total}
	switch {
	case err == nil && (w.State == confirmed || w.State == ""):
		return res, settle(dir)
	case s.Status() == plan.Pending || s.Status() == plan.Approved || s.Status() == plan.RolledBack:
		return SessionResult{Status: s.Status(), Total: total}, closeWindow(ctx, dir)
	case err == nil && w.State == waiting && s.Status() == plan.Executed:
		return await(ctx, s, dir, res, progress)
	}
	back, err := takeBack(ctx, s, dir, progress)
	if err != nil {
		return back, err
	}
	return back, diag.New(diag.Timeout, "apply session "+filepath.Base(dir), "plan it again with 'bowline plan'", "it was broken off before anybody could confirm it; everything was taken back")
}

// confirm settles a window, if the call comes over another connection than the apply.
func confirm(ctx context.Context, r *frame.Request) (any, error) {
	var req SessionRequest
	dir, err := readSession(r, &req)
	if err != nil {
		return nil, err
	}
	op := "confirm session " + req.Session
	err = update(ctx, dir, func(w *window) error {
		switch {
		case w.State == confirmed:
			return nil
		case w.State == expired:
			return diag.New(diag.Conflict, op, "plan it again with 'bowline plan'", "it is too late: everything was taken back, or is being")
		case w.State == armed:
			return diag.New(diag.Conflict, op, "try again in a moment", "it is not applied yet")
		case w.State != waiting:
			return diag.New(diag.Usage, op, "see 'bowline session show "+req.Session+"'", "nothing waits for it: it was not applied with --confirm")
		case time.Now().After(w.Deadline):
			return diag.New(diag.Conflict, op, "plan it again with 'bowline plan'", "it is too late: its time ended at %s", w.Deadline.Format(time.TimeOnly))
		case w.Peer != "" && w.Peer == peer():
			return diag.New(diag.Denied, op, "type 'bowline confirm "+req.Session+"' anew, so that it connects anew", "this is the connection that applied it; only a new one proves that the host can still be reached")
		}
		w.State = confirmed
		return nil
	})
	if err != nil {
		return nil, err
	}
	s, err := apply.Open(dir, "/")
	if err != nil {
		return nil, err
	}
	defer s.Close()
	total := len(s.Plan().Ops)
	return SessionResult{Status: plan.Executed, Done: total, Total: total, Message: "confirmed"}, nil
}

// peer names the connection this process was started over: the process of sshd that
// serves it, with its start time. "" where there is none, as on this very machine.
// Source: proc(5), /proc/pid/stat.
func peer() string {
	for pid := os.Getppid(); pid > 1; {
		b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
		if err != nil {
			return os.Getenv("SSH_CONNECTION")
		}
		open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
		if open < 0 || end < open {
			return os.Getenv("SSH_CONNECTION")
		}
		fields := strings.Fields(string(b[end+1:]))
		const ppid, startTime = 1, 19 // fields 4 and 22, counted after the name
		if len(fields) <= startTime {
			return os.Getenv("SSH_CONNECTION")
		}
		if name := string(b[open+1 : end]); strings.HasPrefix(name, "sshd") || name == "dropbear" {
			return fmt.Sprintf("%s %d %s", name, pid, fields[startTime])
		}
		if pid, err = strconv.Atoi(fields[ppid]); err != nil {
			return os.Getenv("SSH_CONNECTION")
		}
	}
	return os.Getenv("SSH_CONNECTION")
}

// open windows of the sessions in parent.
func unsettled(parent string) []string {
	found, err := filepath.Glob(filepath.Join(parent, markerPrefix+"*"))
	if err != nil {
		return nil
	}
	var dirs []string
	for _, f := range found {
		id := strings.TrimPrefix(filepath.Base(f), markerPrefix)
		if plan.ValidID(id) == nil {
			dirs = append(dirs, filepath.Join(parent, id))
		}
	}
	return dirs
}

// takeOver starts a process for every window whose process is gone. Whoever connects to
// a host does this first.
func takeOver() {
	parent, err := sessionsDir()
	if err != nil {
		return
	}
	for _, dir := range unsettled(parent) {
		if f, err := openProgress(dir, os.O_RDONLY); err == nil {
			gone := ended(f)
			_ = f.Close()
			if !gone {
				continue
			}
		}
		if input, err := json.Marshal(actRequest{Verb: verbWatch, SessionRequest: SessionRequest{Session: filepath.Base(dir)}}); err == nil {
			if lines, err := startAct(input); err == nil {
				_ = lines.Close() // it goes on by itself
			}
		}
	}
}

// Supervise goes on with every window below parent, and returns when all are settled.
// A host calls it after a restart, see watchBoot.
func Supervise(parent string) {
	var all sync.WaitGroup
	for _, dir := range unsettled(parent) {
		all.Go(func() {
			file, err := claimProgress(dir)
			if err != nil {
				return // another process has it
			}
			defer file.Close()
			say := (&speaker{to: []io.Writer{file}}).say
			s, err := apply.Open(dir, "/")
			if err != nil {
				return
			}
			defer s.Close()
			report(say, func(progress func(Progress)) (SessionResult, error) {
				return watch(context.Background(), s, dir, progress)
			})
		})
	}
	all.Wait()
}
