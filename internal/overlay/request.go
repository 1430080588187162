//go:build linux

package overlay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bowline-sh/bowline/change"
	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/internal/overlay/deferral"
	"github.com/bowline-sh/bowline/plan"
)

// Request is one dry run. Fields not marked optional are required.
type Request struct {
	Argv           []string
	Dir            string    // working directory of the script
	Env            []string  // whole environment of the script
	Stdin          io.Reader // optional
	Stdout, Stderr io.Writer // optional

	Mode     plan.Mode       // Root needs effective uid 0
	HostNet  bool            // share the network of the host
	Timeout  time.Duration   // optional; 0 is none
	Table    []deferral.Rule // optional; nil is [deferral.Default]
	Volatile []string        // optional; nil is [DefaultVolatile]
	// Withhold names changes that the script made before and shall not be able to make
	// now, nor see made. Optional. What cannot be withheld is a warning of the result.
	Withhold change.Changeset
	Scratch  string // empty directory, private to the caller; nothing is left in it
	// Layer is an empty directory that takes the contents of the plan, each in a
	// file named by its SHA-256. They are not synced. With an error of Run it may
	// hold anything.
	Layer *os.File
	// MaxBytes bounds what the script writes, and Layer. Optional; the default is 1
	// GiB, or half of the memory that is available.
	MaxBytes int64
}

// Result is what the script did and would have done.
type Result struct {
	Ops      []plan.Operation
	Exit     int      // exit code; 128 and the signal's number if it died of one
	Signal   string   // name of that signal, as in "SIGKILL"
	TimedOut bool     // the script was killed by Timeout; Ops holds what it did until then
	Warnings []string // what the plan may be wrong about
	Labels   []string // what this mode, kernel or host cannot show
	Stats    Stats
}

// Stats are counts for people.
type Stats struct {
	Mounts            int   // laid
	Upper             int   // entries of the layers that were looked at, in all stretches
	Captured          int64 // bytes in Layer
	Deferred          int
	Lay, Run, Capture time.Duration
}

// defaultMaxBytes is more than installing a desktop writes, and fits the memory
// of a small server: the layer lives in a tmpfs.
const defaultMaxBytes = 1 << 30

// minMaxBytes is what the layer may take where memory is short.
const minMaxBytes = 64 << 20

// availableMemory returns MemAvailable of proc_meminfo(5), in bytes, or enough if
// it cannot be read.
func availableMemory() int64 {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 2 * defaultMaxBytes
	}
	for line := range strings.Lines(string(b)) {
		var kib int64
		if n, _ := fmt.Sscanf(line, "MemAvailable: %d kB", &kib); n == 1 {
			return kib << 10
		}
	}
	return 2 * defaultMaxBytes
}

// Run makes a dry run and returns when nothing of it is left. A nil error means
// that the script ran to its end, or to its Timeout, and that Result is the whole
// of what it did. With an error nothing is known but that the host is unchanged:
// diag.Sandbox if the view cannot be laid here, diag.Refused if what the script
// did cannot be planned, diag.Canceled if ctx ended.
//
// A Stdin that never ends keeps one goroutine until its next Read returns.
func Run(ctx context.Context, req Request) (Result, error) {
	if err := check(&req); err != nil {
		return Result{}, err
	}
	type done struct {
		res Result
		err error
	}
	out := make(chan done)
	go func() {
		// The stage dies with the thread that started it (PR_SET_PDEATHSIG).
		runtime.LockOSThread()
		res, err := run(ctx, req)
		runtime.UnlockOSThread()
		out <- done{res, err}
	}()
	d := <-out
	return d.res, d.err
}

func check(req *Request) error {
	usage := func(format string, args ...any) error {
		return diag.New(diag.Usage, "dry run", "", format, args...)
	}
	switch {
	case len(req.Argv) == 0:
		return usage("no command")
	case req.Scratch == "" || req.Scratch[0] != '/':
		return usage("scratch directory %q is not absolute", req.Scratch)
	case req.Layer == nil:
		return usage("no directory for contents")
	case req.Mode == plan.Root && os.Geteuid() != 0:
		return diag.New(diag.Refused, "dry run", "log in as root, or use --as-root", "mode root needs uid 0")
	case req.Mode != plan.Root && req.Mode != plan.User:
		return usage("unknown mode %q", req.Mode)
	}
	if req.Dir == "" {
		req.Dir = "/"
	}
	if req.Table == nil {
		req.Table = deferral.Default()
	}
	if req.Volatile == nil {
		req.Volatile = DefaultVolatile()
	}
	if req.MaxBytes <= 0 {
		req.MaxBytes = min(defaultMaxBytes, max(availableMemory()/2, minMaxBytes))
	}
	return nil
}

func run(ctx context.Context, req Request) (Result, error) {
	cgroup, err := limitProcesses(req.Mode)
	if err != nil {
		return Result{}, err
	}
	res, err := runIn(ctx, req, cgroup)
	return res, errors.Join(err, removeCgroup(cgroup))
}

// limitProcesses returns the cgroup that a dry run needs, "" if none.
func limitProcesses(mode plan.Mode) (cgroup string, err error) {
	if mode != plan.Root || ownPidMax() {
		return "", nil
	}
	return newCgroup(cgroupParents, pidMax)
}

func runIn(ctx context.Context, req Request, cgroup string) (Result, error) {
	cmd, err := stageCommand(req)
	if err != nil {
		return Result{}, err
	}
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return Result{}, fmt.Errorf("socket pair: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "stage"), os.NewFile(uintptr(pair[1]), "stage")
	cmd.ExtraFiles = []*os.File{theirs, req.Layer} // callerFD, layerFD
	pumps, err := attach(cmd, req)
	if err != nil {
		return Result{}, errors.Join(err, ours.Close(), theirs.Close())
	}
	err = cmd.Start()
	theirs.Close()
	pumps.started()
	if err != nil {
		ours.Close()
		pumps.finish()
		return Result{}, startError(req, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	res, err := (&caller{req: req, cgroup: cgroup, peer: newPeer(ours)}).serve(ctx)
	if err != nil {
		_ = cmd.Process.Kill() // it may have ended
	}
	ended := cmd.Wait()
	stop()
	ours.Close()
	pumps.finish()
	switch {
	case ctx.Err() != nil:
		return Result{}, diag.New(diag.Canceled, "dry run", "", "stopped: %w", context.Cause(ctx))
	case err == io.EOF:
		return Result{}, diag.New(diag.Failure, "dry run", "", "the stage ended early: %v", ended)
	}
	return res, err
}

func stageCommand(req Request) (*exec.Cmd, error) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Args, cmd.Env, cmd.Dir = []string{stageName}, ownEnv(), "/"
	attr := &syscall.SysProcAttr{
		Pdeathsig: syscall.SIGKILL, Setsid: true,
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS | syscall.CLONE_NEWCGROUP,
	}
	if !req.HostNet {
		attr.Cloneflags |= syscall.CLONE_NEWNET
	}
	if req.Mode == plan.User {
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: os.Geteuid(), HostID: os.Geteuid(), Size: 1}}
		attr.AmbientCaps = stageCaps // an exec with a uid other than 0 loses the others
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getegid(), HostID: os.Getegid(), Size: 1}}
	}
	cmd.SysProcAttr = attr
	return cmd, nil
}

// stageCaps are what the stage needs in a user namespace of its own.
var stageCaps = []uintptr{
	unix.CAP_SYS_ADMIN, unix.CAP_SYS_CHROOT, unix.CAP_NET_ADMIN, unix.CAP_SETPCAP, unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE,
	unix.CAP_DAC_READ_SEARCH, unix.CAP_FOWNER, unix.CAP_FSETID, unix.CAP_MKNOD, unix.CAP_KILL, unix.CAP_SYS_PTRACE,
}

func startError(req Request, err error) error {
	hint := "the kernel must allow namespaces here"
	if req.Mode == plan.User {
		hint = "allow unprivileged user namespaces, or plan as root with --as-root"
	}
	return diag.New(diag.Sandbox, "dry run", hint, "make namespaces: %w", err)
}

// pumps move the standard streams of the script. They are pipes whatever the
// caller has: an open file or device of the host could be opened anew through
// /proc/self/fd.
type pumps struct {
	child []*os.File
	in    *os.File
	out   sync.WaitGroup
}

func attach(cmd *exec.Cmd, req Request) (*pumps, error) {
	p := &pumps{}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("pipe: %w", err)
	}
	cmd.Stdin, p.in, p.child = r, w, []*os.File{r}
	for _, s := range []struct {
		to   io.Writer
		slot *io.Writer
	}{{req.Stdout, &cmd.Stdout}, {req.Stderr, &cmd.Stderr}} {
		r, w, err := os.Pipe()
		if err != nil {
			p.started()
			return nil, errors.Join(fmt.Errorf("pipe: %w", err), p.in.Close())
		}
		*s.slot, p.child = w, append(p.child, w)
		to := s.to
		if to == nil {
			to = io.Discard
		}
		p.out.Go(func() {
			defer r.Close()
			if _, err := io.Copy(to, r); err != nil {
				_, _ = io.Copy(io.Discard, r) // the script must not block on a reader that left
			}
		})
	}
	go func() {
		if req.Stdin != nil {
			_, _ = io.Copy(p.in, req.Stdin) // the script may not read all of it
		}
		p.in.Close()
	}()
	return p, nil
}

// started closes the ends that the stage has now.
func (p *pumps) started() {
	for _, f := range p.child {
		f.Close()
	}
}

// finish waits for all output. Nothing holds the other ends any more.
func (p *pumps) finish() {
	p.out.Wait()
	p.in.Close()
}

// caller serves the stage from the namespaces of the host.
type caller struct {
	req    Request
	cgroup string
	peer   *peer
	res    Result
}

func (c *caller) serve(ctx context.Context) (Result, error) {
	r := c.req
	err := c.peer.enc.Encode(order{
		Argv: r.Argv, Dir: change.Path(r.Dir), Env: r.Env, Mode: r.Mode, HostNet: r.HostNet, Timeout: r.Timeout, Table: r.Table,
		Volatile: r.Volatile, Withhold: r.Withhold, Scratch: change.Path(r.Scratch), MaxBytes: r.MaxBytes, Cgroup: change.Path(c.cgroup), UID: os.Geteuid(), GID: os.Getegid(),
	})
	if err != nil {
		return Result{}, fmt.Errorf("tell the stage: %w", err)
	}
	for {
		var m message
		if err := c.peer.dec.Decode(&m); err != nil {
			return Result{}, err
		}
		if m.Outcome != nil {
			return c.finish(*m.Outcome)
		}
		if err := c.handle(ctx, m); err != nil {
			return Result{}, err
		}
	}
}

func (c *caller) handle(ctx context.Context, m message) error {
	var r reply
	switch {
	case m.Ops != nil:
		c.res.Ops = append(c.res.Ops, m.Ops...)
		return nil
	case m.Read != nil:
		r.Read = readHost(ctx, *m.Read)
	case m.Owner != "":
		if fi, err := os.Lstat(string(m.Owner)); err == nil {
			st := fi.Sys().(*syscall.Stat_t)
			r.UID, r.GID = st.Uid, st.Gid
		} else {
			r.Err = err.Error()
		}
	}
	return c.peer.enc.Encode(r)
}

func (c *caller) finish(o outcome) (Result, error) {
	if err := o.err(); err != nil {
		return Result{}, err
	}
	c.res.Exit, c.res.Signal, c.res.TimedOut = o.Exit, o.Signal, o.TimedOut
	c.res.Warnings, c.res.Labels, c.res.Stats = o.Warnings, o.Labels, o.Stats
	slices.Sort(c.res.Labels)
	c.res.Labels = slices.Compact(c.res.Labels)
	return c.res, nil
}
