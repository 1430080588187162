package sandbox

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/bowline-sh/bowline/profile"
)

// maxIdle is how many seats are kept for later commands.
const maxIdle = 8

// seats are the seats that no command has.
type seats struct {
	pid int // ours; immutable

	mu      sync.Mutex // guards the fields below
	idle    []*seat    // last used last
	serial  int
	watched bool     // the fields below are set: there was a command
	mounts  int      // descriptor that tells when the mounts of this machine changed
	stop    *os.File // closed to end observe
	epoch   int      // of the mounts
	closed  bool

	leaving sync.WaitGroup // seats on their way out, and observe
}

// seat is a thread that bubblewrap is forked from: its umask and directory, for
// root its mount namespace and its cgroups, are what the command is started with.
// It belongs to one command, or to nobody.
type seat struct {
	jobs   chan func() // for the thread; closing ends it
	gone   chan struct{}
	group  *group // nil without cgroups
	wants  [2]bool
	epoch  int
	broken bool // not to be used again
}

// take returns a seat for one command under l.
func (s *seats) take(l profile.Limits) (*seat, error) {
	fresh := &seat{jobs: make(chan func()), gone: make(chan struct{}), wants: [2]bool{l.Memory > 0, l.Processes > 0}}
	idle, name, err := s.pick(fresh)
	if err != nil {
		return nil, fmt.Errorf("bowline: cannot watch mounts: %w", err)
	}
	if idle != nil {
		if idle.group.set(l) == nil {
			return idle, nil
		}
		s.dismiss(idle)
	}
	fresh.group = newGroup(name, l)
	if err := startThread(fresh); err != nil {
		s.dismiss(fresh)
		return nil, err
	}
	return fresh, nil
}

// pick returns an idle seat that serves as well as fresh would, or nil and a name
// for the cgroups of fresh.
func (s *seats) pick(fresh *seat) (*seat, string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.look(); err != nil {
		return nil, "", err
	}
	fresh.epoch = s.epoch
	for i, c := range slices.Backward(s.idle) {
		if c.wants == fresh.wants && c.group.vacant() {
			s.idle = slices.Delete(s.idle, i, i+1)
			return c, "", nil
		}
	}
	s.serial++
	return nil, fmt.Sprintf("%s%d-%d", groupPrefix, s.pid, s.serial), nil
}

// look notes whether mounts changed since the last look: namespaces that were made
// before do not show it. s.mu is held.
func (s *seats) look() error {
	if !s.watched {
		if err := s.begin(); err != nil {
			return err
		}
	}
	if changed(s.mounts, nil, 0) {
		s.epoch++
		s.empty()
	}
	return nil
}

// begin is done once, before any thread has left the namespace of this process.
// The files are not of package os: its poller would take the news from us.
func (s *seats) begin() error {
	removeStale()
	mounts, err := openMounts()
	if err != nil {
		return err
	}
	again, err := openMounts() // each tells of a change once
	if err != nil {
		return errors.Join(err, unix.Close(mounts))
	}
	stopped, stop, err := os.Pipe()
	if err != nil {
		return errors.Join(err, unix.Close(mounts), unix.Close(again))
	}
	s.watched, s.mounts, s.stop = true, mounts, stop
	s.leaving.Go(func() { s.observe(again, stopped) })
	return nil
}

func openMounts() (fd int, err error) {
	return unix.Open("/proc/self/mountinfo", unix.O_RDONLY|unix.O_CLOEXEC, 0)
}

// changed reports whether mounts changed since it was asked last (proc(5),
// /proc/pid/mounts), waiting up to ms milliseconds, -1 for ever. The end of stop
// ends that.
func changed(mounts int, stop *os.File, ms int) bool {
	fds := []unix.PollFd{{Fd: int32(mounts), Events: unix.POLLPRI}}
	if stop != nil {
		fds = append(fds, unix.PollFd{Fd: int32(stop.Fd())})
	}
	_, err := unix.Poll(fds, ms)
	return err != nil && err != unix.EINTR || fds[0].Revents != 0
}

// observe lets idle seats go when mounts change: what the host unmounts would stay
// in use in their namespaces.
func (s *seats) observe(mounts int, stopped *os.File) {
	defer unix.Close(mounts)
	defer stopped.Close()
	for {
		news := changed(mounts, stopped, -1)
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			return
		}
		if news {
			s.epoch++
			s.empty()
		}
		s.mu.Unlock()
	}
}

// empty lets all idle seats go. s.mu is held.
func (s *seats) empty() {
	for _, c := range s.idle {
		s.dismiss(c)
	}
	s.idle = nil
}

// release takes a seat back whose command has ended.
func (s *seats) release(c *seat) {
	s.mu.Lock()
	keep := !c.broken && c.epoch == s.epoch && len(s.idle) < maxIdle
	if keep {
		s.idle = append(s.idle, c)
	}
	s.mu.Unlock()
	if !keep {
		s.dismiss(c)
	}
}

// dismiss ends a seat in the background.
func (s *seats) dismiss(c *seat) {
	s.leaving.Go(func() {
		close(c.jobs)
		<-c.gone
		c.group.remove()
	})
}

func (s *seats) close() {
	s.mu.Lock()
	s.closed = true
	s.empty()
	if s.watched {
		_ = unix.Close(s.mounts)
		_ = s.stop.Close()
	}
	s.mu.Unlock()
	s.leaving.Wait()
}

// do runs job on the thread of c.
func (c *seat) do(job func()) {
	done := make(chan struct{})
	c.jobs <- func() {
		defer close(done)
		job()
	}
	<-done
}

// into has the fork land in the cgroup of c, where threads cannot have their own.
func (c *seat) into(attr *syscall.SysProcAttr) {
	if c.group != nil && c.group.dir != nil {
		attr.UseCgroupFD, attr.CgroupFD = true, int(c.group.dir.Fd())
	}
}

// startThread starts the thread of c. It is never the first thread of the process:
// that one is what /proc/self and an OOM killer take for all of it. On an error the
// thread has ended.
func startThread(c *seat) error {
	ready := make(chan error)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			err := startThread(c)
			runtime.UnlockOSThread()
			ready <- err
			return
		}
		// Never unlocked: the thread, which is unlike the others now, ends with us.
		defer close(c.gone)
		err := settle(c.group)
		ready <- err
		if err != nil {
			return
		}
		for job := range c.jobs {
			job()
		}
	}()
	return <-ready
}

// settle gives the calling thread what commands inherit from it.
func settle(g *group) error {
	flags := unix.CLONE_FS
	private := ownsDevices()
	if private {
		flags |= unix.CLONE_NEWNS
	}
	if err := unix.Unshare(flags); err != nil {
		return fmt.Errorf("unshare: unshare failed: %w", err)
	}
	unix.Umask(0o022)
	if err := unix.Chdir("/"); err != nil {
		return fmt.Errorf("bowline: cannot enter /: %w", err)
	}
	if private {
		if err := readOnlyDevices(); err != nil {
			return fmt.Errorf("mount: /dev: %w", err)
		}
	}
	g.join()
	return nil
}

// devices are those of the host that bwrap --dev binds (its man page).
func devices() []string {
	return []string{"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"}
}

// ownsDevices reports whether a device that bwrap --dev binds could be changed from
// inside, as "-O" in boot.sh does. One alone may belong to somebody else: container
// runtimes give a container's user /dev/null where it is the standard input.
func ownsDevices() bool {
	return slices.ContainsFunc(devices(), func(path string) bool {
		var st unix.Stat_t
		return unix.Stat(path, &st) == nil && int(st.Uid) == os.Geteuid()
	})
}

// readOnlyDevices makes /dev read-only in the mount namespace of this thread. It is
// private, as with unshare(1): what the host mounts later does not get into
// sandboxes that run.
func readOnlyDevices() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if remountReadOnly("/dev") == nil {
		return nil
	}
	if err := unix.Mount("/dev", "/dev", "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return err
	}
	return remountReadOnly("/dev")
}

func remountReadOnly(dir string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return err
	}
	// The low flags of statfs(2) are those of mount(2), but for ST_RELATIME.
	flags := uintptr(st.Flags) & (unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NOATIME | unix.MS_NODIRATIME)
	if st.Flags&0x1000 != 0 {
		flags |= unix.MS_RELATIME
	}
	return unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|flags, "")
}
