package sandbox

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bowline-sh/bowline/diag"
	"github.com/bowline-sh/bowline/profile"
)

// Native runs commands on this machine as [Exec] does over a transport, with the
// same options, limits, results and errors, but with one fork of bubblewrap for
// each and no shell. It is made for a program that lives as long as a link, the
// helper, and whose end must be the end of all it runs.
//
// What it cannot do exactly as the shell would, it leaves to the shell: see
// errNotNative.
//
// # What it keeps between commands
//
// A seat is a thread of this process and, for root, its mount namespace, in which
// /dev is read-only, and its cgroups. It is taken by one command at a time. A
// guard is a process that does nothing but wait for our end: it kills what
// bubblewrap can leave behind while it starts, and removes our cgroups, also
// when we are killed. Both are made when the first command needs them.
//
// Methods may be called concurrently.
type Native struct {
	shell func(context.Context, Command) (Result, error) // for what is not for us
	mark  string                                         // begins the marks of all our runs
	count atomic.Int64                                   // runs

	mu    sync.Mutex // guards guard
	guard *guard

	seats seats
}

// errNotNative says that the shell must run the command; nothing ran.
var errNotNative = errors.New("not without a shell")

// minMemory is the least memory limit that we take: until bubblewrap is executed,
// the forked process shares our memory, and the kernel would kill us with it
// if the cgroup ran out (__oom_kill_process, mm/oom_kill.c).
const minMemory = 16 << 20

// NewNative returns a Native that gives what it leaves alone to shell. The
// program's main must call [Watch] first.
func NewNative(shell func(context.Context, Command) (Result, error)) *Native {
	n := &Native{shell: shell, mark: rand.Text()}
	n.seats.pid = os.Getpid()
	return n
}

// Exec runs cmd; its contract is that of [Exec].
func (n *Native) Exec(ctx context.Context, cmd Command) (Result, error) {
	start := time.Now()
	res, err := n.exec(ctx, cmd)
	if errors.Is(err, errNotNative) {
		return n.shell(ctx, cmd)
	}
	res.Duration = time.Since(start)
	return res, err
}

func (n *Native) exec(ctx context.Context, cmd Command) (Result, error) {
	steps := Build(cmd.Spec)
	if err := checkNUL(cmd.Spec, steps); err != nil {
		return Result{}, err
	}
	if ctx.Err() != nil {
		return Result{}, startError(context.Cause(ctx))
	}
	if m := cmd.Profile.Limits.Memory; m > 0 && m < minMemory || n.watch() != nil {
		return Result{}, errNotNative
	}
	p := &program{cmd: cmd, mark: fmt.Sprintf("%s_%d", n.mark, n.count.Add(1))}
	opts, env, err := options(steps, p.mark)
	if err != nil {
		return Result{}, Diagnose(err.Error(), 125, cmd.Spec)
	}
	p.argv = append(append(append([]string{"bwrap"}, opts...), "--"), cmd.Argv...)
	s, err := n.seats.take(cmd.Profile.Limits)
	if err != nil {
		return Result{}, Diagnose(err.Error(), 1, cmd.Spec)
	}
	defer n.seats.release(s)
	if err := p.start(s, env); err != nil {
		return Result{}, err
	}
	return p.finish(ctx)
}

// Close ends what is kept between commands. No command may run.
func (n *Native) Close() error {
	n.seats.close()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.guard == nil {
		return nil
	}
	return n.guard.close()
}

// program is one bubblewrap.
type program struct {
	cmd  Command
	mark string
	argv []string

	stdin, stdout, stderr, status, block *os.File // our ends
	out                                  *capped
	err                                  *stream // pass and flush only
	unlimited                            atomic.Bool

	mu     sync.Mutex // guards the fields below
	pid    int
	reaped bool
}

// files are the ends that bubblewrap gets, by descriptor; -1 for none.
type files [filterFD + 1]int

func (f *files) close() {
	for _, fd := range f {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}

// start forks bubblewrap from the thread of s: it dies with that thread.
func (p *program) start(s *seat, env []byte) error {
	bwrap, err := findBwrap()
	if err != nil {
		return Diagnose("bwrap: not found", 127, p.cmd.Spec)
	}
	theirs, err := p.open(env)
	defer theirs.close()
	if err != nil {
		p.closeAll()
		return fmt.Errorf("start command: %w", err)
	}
	attr := &syscall.ProcAttr{Env: loginEnv(), Sys: &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}}
	s.into(attr.Sys)
	for _, fd := range theirs {
		attr.Files = append(attr.Files, uintptr(fd))
	}
	// What we inherited without close-on-exec goes no further (close_range(2), 5.11).
	_ = unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	s.do(func() { p.pid, err = syscall.ForkExec(bwrap, p.argv, attr) })
	if err == nil {
		return nil
	}
	p.closeAll()
	if errors.Is(err, syscall.E2BIG) {
		return Diagnose("bwrap: Argument list too long", 126, p.cmd.Spec)
	}
	s.broken = true
	return Diagnose("bwrap: "+err.Error(), 126, p.cmd.Spec)
}

// open makes the pipes. The command reads end of file from a drained pipe rather
// than from a /dev/null of the host's, whose mode root could change.
func (p *program) open(env []byte) (theirs files, err error) {
	theirs = files{-1, -1, -1, -1, -1, -1, -1, -1}
	for _, e := range []struct {
		fd     int
		ours   **os.File
		writes bool // we do
	}{{0, &p.stdin, true}, {1, &p.stdout, false}, {2, &p.stderr, false}, {statusFD, &p.status, false}, {blockFD, &p.block, true}} {
		if *e.ours, theirs[e.fd], err = pipe(e.writes); err != nil {
			return theirs, err
		}
	}
	if p.cmd.Stdin == nil {
		_ = p.stdin.Close()
	}
	if theirs[envFD], err = memory(env); err != nil {
		return theirs, err
	}
	if f := filterOf(p.cmd.Profile); f != nil {
		theirs[filterFD], err = memory(f)
	}
	return theirs, err
}

func pipe(weWrite bool) (ours *os.File, theirs int, err error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, -1, fmt.Errorf("open pipe: %w", err)
	}
	mine, theirs := fds[0], fds[1]
	if weWrite {
		mine, theirs = theirs, mine
	}
	if err := unix.SetNonblock(mine, true); err != nil {
		return nil, theirs, errors.Join(err, unix.Close(mine))
	}
	return os.NewFile(uintptr(mine), "pipe"), theirs, nil
}

// memory is a file without a name that holds data.
func memory(data []byte) (fd int, err error) {
	if fd, err = unix.MemfdCreate("bowline", unix.MFD_CLOEXEC); err != nil {
		return -1, fmt.Errorf("make a file in memory: %w", err)
	}
	for at := 0; at < len(data); {
		n, err := unix.Pwrite(fd, data[at:], int64(at))
		if err != nil {
			return -1, errors.Join(fmt.Errorf("fill a file in memory: %w", err), unix.Close(fd))
		}
		at += n
	}
	return fd, nil
}

func (p *program) closeAll() {
	for _, f := range []*os.File{p.stdin, p.stdout, p.stderr, p.status, p.block} {
		if f != nil {
			_ = f.Close() // pipes: nothing to lose
		}
	}
}

// loginEnv is what bubblewrap is started with, as by transport/local: nothing of
// ours is visible to a profile that does not clear the environment.
func loginEnv() []string {
	return []string{"PATH=" + searchPath(), "HOME=" + os.Getenv("HOME"), "SHELL=/bin/sh", "PWD=/"}
}

func searchPath() string {
	const login = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
	if p := os.Getenv("PATH"); p != "" {
		return p + ":" + login
	}
	return login
}

func findBwrap() (string, error) {
	for _, dir := range filepath.SplitList(searchPath()) {
		file := filepath.Join(dir, "bwrap")
		if info, err := os.Stat(file); filepath.IsAbs(dir) && err == nil && info.Mode().IsRegular() && unix.Access(file, unix.X_OK) == nil {
			return file, nil
		}
	}
	return "", os.ErrNotExist
}

// finish feeds and drains the program until it ends, the deadline passes or ctx
// is done.
func (p *program) finish(ctx context.Context) (Result, error) {
	limits := p.cmd.Profile.Limits
	most := cmp.Or(limits.Output, profile.DefaultOutput)
	p.out = newCapped(p.cmd.Stdout, most)
	p.err = newStream("", newCapped(p.cmd.Stderr, most), true)
	defer func() {
		p.closeAll()
		p.out.detach()
		p.err.to.detach()
	}()
	timer := time.NewTimer(cmp.Or(p.cmd.Timeout, limits.Wall, profile.DefaultWall))
	defer timer.Stop()
	ended := p.pump()
	select {
	case e := <-ended:
		return p.classify(e)
	case <-timer.C:
		err := p.kill(ended)
		return p.result(Result{ExitCode: TimeoutCode, TimedOut: true}), err
	case <-ctx.Done():
		err := p.kill(ended)
		if err == nil {
			err = diag.New(diag.Canceled, "run command", "", "stopped by the caller; the command was killed: %w", context.Cause(ctx))
		}
		return p.result(Result{}), err
	}
}

// exited is how bubblewrap ended, and what it said of the command.
type exited struct {
	ws       syscall.WaitStatus
	code     int
	executed bool
}

// pump moves the streams. The channel it returns gets one value when bubblewrap
// was reaped and its outputs are drained.
func (p *program) pump() <-chan exited {
	ended := make(chan exited, 1)
	if p.cmd.Stdin != nil {
		go func() {
			// Either side may stop first: a command need not read all it is given.
			_, _ = io.Copy(p.stdin, p.cmd.Stdin)
			_ = p.stdin.Close()
		}()
	}
	var e exited
	var drained sync.WaitGroup
	drained.Go(func() { readAll(p.stdout, func(b []byte) { _, _ = p.out.Write(b) }) })
	drained.Go(func() { readAll(p.stderr, p.err.pass) })
	drained.Go(func() { e.code, e.executed = p.report() })
	go func() {
		ws := p.reap()
		drained.Wait()
		e.ws = ws
		ended <- e
	}()
	return ended
}

func readAll(from io.Reader, to func([]byte)) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		to(buf[:n])
		if err != nil {
			return
		}
	}
}

// reap waits for bubblewrap. Killed from outside, it can leave its inner process
// behind; see sweep.
func (p *program) reap() syscall.WaitStatus {
	for unix.Waitid(unix.P_PID, p.pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
	}
	p.mu.Lock()
	p.reaped = true // its number is free from here on
	var ws syscall.WaitStatus
	_, err := syscall.Wait4(p.pid, &ws, 0, nil)
	for err == syscall.EINTR {
		_, err = syscall.Wait4(p.pid, &ws, 0, nil)
	}
	p.mu.Unlock()
	if ws.Signaled() {
		sweep(p.mark + "\x00")
	}
	return ws
}

// kill ends the program, waits for that and returns an error wrapping ErrUnclean
// if it did not come.
func (p *program) kill(ended <-chan exited) error {
	p.mu.Lock()
	if !p.reaped {
		_ = syscall.Kill(-p.pid, syscall.SIGKILL) // it may have ended meanwhile
	}
	p.mu.Unlock()
	sweep(p.mark + "\x00")
	timer := time.NewTimer(killGrace)
	defer timer.Stop()
	select {
	case <-ended:
		p.err.flush()
		return nil
	case <-timer.C:
		return diag.New(diag.Lost, "kill command", "look on the target for what is left of it", "it did not end within %s: %w", killGrace, ErrUnclean)
	}
}

func (p *program) classify(e exited) (Result, error) {
	if p.unlimited.Load() {
		return Result{}, errNotNative
	}
	code := e.ws.ExitStatus()
	if e.ws.Signaled() {
		code = 128 + int(e.ws.Signal())
	}
	if e.executed {
		code = e.code
	}
	if !e.executed && SignalName(code) == "" {
		return Result{}, Diagnose(string(p.err.held), code, p.cmd.Spec)
	}
	p.err.flush()
	if !e.executed {
		return p.result(Result{}), bwrapKilled(code)
	}
	return p.result(Result{ExitCode: code, Signal: SignalName(code)}), nil
}

func (p *program) result(res Result) Result {
	res.StdoutBytes, res.StderrBytes = p.out.total(), p.err.to.total()
	res.Truncated = p.out.truncated() || p.err.to.truncated()
	return res
}

// sweep does what f in boot.sh does: it kills what bubblewrap left behind, found
// by an argument that begins with a mark, or is one if a NUL follows. bubblewrap asks to die with its parent only when it has
// set all up (do_init in bubblewrap.c); if it was killed before, its inner process
// goes on.
func sweep(mark string) {
	for range 50 {
		left := marked(mark)
		if len(left) == 0 {
			return
		}
		for _, pid := range left {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended meanwhile
		}
		time.Sleep(time.Millisecond) // for the kernel to take them away
	}
}

// marked are the processes of this machine that have an argument with mark.
func marked(mark string) []int {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1) // processes come and go
	var found []int
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if args, err := os.ReadFile("/proc/" + name + "/cmdline"); err == nil && strings.Contains(string(args), markPrefix+mark) {
			found = append(found, pid)
		}
	}
	return found
}
