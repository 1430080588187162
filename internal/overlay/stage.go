//go:build linux

package overlay

import (
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bowline-sh/bowline/change"
	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/plan"
)

// stage is the process that lays the view and captures.
type stage struct {
	order
	peer     *peer
	contents *contents
	view     *view
	layers   []*layer
	stubbed  map[string]bool // programs that stubs stand for
	notes

	mu       sync.Mutex // guards what follows; held while a command is recorded
	capture  *capture
	deferred int
	full     atomic.Bool // the layer was full at some time
	ended    bool        // the last stretch was captured
	failed   error       // of a capture between two commands: the plan would be wrong
}

// notes collects what is said along with the plan.
type notes struct {
	warnings, labels []string
}

func (n *notes) warn(format string, args ...any) {
	n.warnings = append(n.warnings, fmt.Sprintf(format, args...))
}
func (n *notes) label(text string) { n.labels = append(n.labels, text) }

// Descriptors that the stage starts with.
const (
	callerFD = 3 // socket to Run
	layerFD  = 4 // directory of contents
)

func stageMain() int {
	syscall.CloseOnExec(callerFD)
	syscall.CloseOnExec(layerFD)
	// When memory runs out, what is only tried goes first: the script inherits this.
	// Where /proc is read-only the host loses no more than by any other script.
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0)
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return 1
	}
	s := &stage{peer: newPeer(os.NewFile(callerFD, "caller"))}
	if err := s.peer.dec.Decode(&s.order); err != nil {
		return 1
	}
	s.contents = newContents(layerFD, s.MaxBytes)
	var out outcome
	if err := s.run(&out); err != nil {
		out.fail(err)
	}
	out.Warnings, out.Labels = s.warnings, s.labels
	if err := s.peer.tell(message{Outcome: &out}); err != nil {
		return 1
	}
	return 0
}

func (s *stage) run(out *outcome) error {
	umask := unix.Umask(0)
	began := time.Now()
	if err := s.lay(); err != nil {
		if diag.KindOf(err) == diag.Failure {
			err = diag.New(diag.Sandbox, "lay the view", "", "%w", err)
		}
		return err
	}
	out.Stats.Mounts, out.Stats.Lay = len(s.layers), time.Since(began)
	if err := s.listen(); err != nil {
		return err
	}
	ran := time.Now()
	s.capture = newCapture(s, ran)
	stop := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() { s.watch(stop) })
	end, timedOut, err := s.script(umask)
	close(stop)
	watching.Wait()
	out.Stats.Run = time.Since(ran)
	if err != nil {
		return err
	}
	if end.Kind != "" {
		return diag.New(end.Kind, "start the script", "", "%s", end.Err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	captured := time.Now()
	s.ended = true
	if s.failed == nil && (s.full.Load() || isFull(s.view.scratch)) {
		s.failed = refuse("the script filled its layer of %d bytes and %d files: what it did without space is not what it would do on the host", s.MaxBytes, inodes(s.MaxBytes))
	}
	if s.failed == nil {
		s.failed = s.stretchLocked()
	}
	out.Stats.Capture = time.Since(captured)
	out.Stats.Upper, out.Stats.Captured, out.Stats.Deferred = s.capture.seen, s.contents.bytes, s.deferred
	out.Exit, out.Signal, out.TimedOut = verdict(end.Status)
	out.TimedOut = timedOut
	return s.failed
}

func verdict(st syscall.WaitStatus) (code int, signal string, _ bool) {
	if st.Signaled() {
		return 128 + int(st.Signal()), unix.SignalName(st.Signal()), false
	}
	return st.ExitStatus(), "", false
}

// script runs the script to its end. When it returns nothing of it is left: the
// kernel reaps the first process of a pid namespace last.
func (s *stage) script(umask int) (end ending, timedOut bool, err error) {
	cfg := script{
		Root: change.Path(s.view.root), Argv: s.Argv, Dir: s.Dir, Env: s.Env, Umask: umask, User: s.Mode == plan.User,
		PidMax: s.pidLimit(),
	}
	pid, report, err := start(initName, "/proc/self/exe", unix.CLONE_NEWNS|unix.CLONE_NEWPID, string(s.Cgroup), cfg)
	if err != nil {
		return end, false, err
	}
	defer report.Close()
	var late atomic.Bool
	if s.Timeout > 0 {
		timer := time.AfterFunc(s.Timeout, func() {
			late.Store(true)
			_ = unix.Kill(pid, unix.SIGKILL) // it may have ended
		})
		defer timer.Stop()
	}
	err = json.NewDecoder(report).Decode(&end)
	for {
		_, werr := syscall.Wait4(pid, nil, 0, nil)
		if werr != syscall.EINTR {
			break
		}
	}
	switch {
	case err == nil:
		return end, false, nil
	case late.Load():
		return ending{Status: syscall.WaitStatus(unix.SIGKILL)}, true, nil
	}
	return end, false, fmt.Errorf("the script's init ended early: %w", err)
}

// pidMax bounds a fork bomb, and is above what parallel builds use.
const pidMax = 8192

// ownPidMax reports whether a pid namespace has a pid_max of its own, which it has
// from Linux 6.14 (kernel/pid_namespace.c); before, it is the host's.
func ownPidMax() bool {
	var u unix.Utsname
	var major, minor int
	if err := unix.Uname(&u); err == nil {
		_, _ = fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &major, &minor)
	}
	return major > 6 || major == 6 && minor >= 14
}

// pidLimit returns the limit for the pid namespace of the script, 0 for none.
func (s *stage) pidLimit() int {
	switch {
	case ownPidMax():
		return pidMax
	case s.Mode == plan.Root && s.Cgroup == "":
		s.label("the number of processes is not limited")
	}
	return 0
}

// watch looks whether the script fills its layer, until stop is closed. A script
// that finds no space does not do what it would do on the host.
func (s *stage) watch(stop <-chan struct{}) {
	for tick := time.NewTicker(50 * time.Millisecond); ; {
		s.full.Store(s.full.Load() || isFull(s.view.scratch))
		select {
		case <-stop:
			tick.Stop()
			return
		case <-tick.C:
		}
	}
}

// isFull reports whether the file system has no room for a page or a file.
func isFull(dir string) bool {
	var fs unix.Statfs_t
	return unix.Statfs(dir, &fs) == nil && (fs.Bavail < 4 || fs.Ffree == 0)
}

// stretchLocked captures what changed since the last stretch and tells the caller.
func (s *stage) stretchLocked() error {
	changes, err := s.capture.stretch()
	if err != nil {
		return err
	}
	if len(changes) == 0 {
		return nil
	}
	ops := make([]plan.Operation, len(changes))
	for i := range changes {
		ops[i].Change = &changes[i]
	}
	if err := s.peer.tell(message{Ops: ops}); err != nil {
		return fmt.Errorf("tell the caller: %w", err)
	}
	return nil
}

// owner asks the caller for the owner of a path that this user namespace cannot
// name.
func (s *stage) owner(path string, st *change.State) error {
	r, err := s.peer.ask(message{Owner: change.Path(path)})
	if err != nil {
		return err
	}
	st.UID, st.GID = r.UID, r.GID
	return nil
}

// listen serves stubs from now on, until this process ends.
func (s *stage) listen() error {
	fd, err := listen(s.view.meet + "/defer")
	if err != nil {
		return fmt.Errorf("listen for deferred commands: %w", err)
	}
	go s.accept(fd)
	return nil
}
