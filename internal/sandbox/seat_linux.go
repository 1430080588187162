package sandbox

import (
	"fmt"
	"os"
	"runtime"
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

	mu     sync.Mutex // guards the fields below
	idle   []*seat    // last used last
	serial int
	mounts *os.File // tells when the mounts of this machine changed
	epoch  int      // of the mounts

	leaving sync.WaitGroup // seats on their way out
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
	wants := [2]bool{l.Memory > 0, l.Processes > 0}
	s.mu.Lock()
	s.look()
	var old []*seat
	var found *seat
	for i := len(s.idle) - 1; i >= 0 && found == nil; i-- {
		switch c := s.idle[i]; {
		case c.epoch != s.epoch:
			old = append(old, c)
			s.idle = append(s.idle[:i], s.idle[i+1:]...)
		case c.wants == wants && c.group.vacant():
			found = c
			s.idle = append(s.idle[:i], s.idle[i+1:]...)
		}
	}
	s.serial++
	serial, epoch := s.serial, s.epoch
	s.mu.Unlock()
	for _, c := range old {
		s.dismiss(c)
	}
	if found != nil {
		if found.group.set(l) == nil {
			return found, nil
		}
		s.dismiss(found)
	}
	c := &seat{jobs: make(chan func()), gone: make(chan struct{}), wants: wants, epoch: epoch}
	c.group = newGroup(fmt.Sprintf("%s%d-%d", groupPrefix, s.pid, serial), l)
	if err := startThread(c); err != nil {
		s.dismiss(c)
		return nil, err
	}
	return c, nil
}

// look notes whether mounts changed since the last look: namespaces that were made
// before do not show it. s.mu is held. A change wakes pollers of mountinfo
// (proc(5), /proc/pid/mounts).
func (s *seats) look() {
	if s.mounts == nil {
		// Of this process, before any thread has left its namespace.
		s.mounts, _ = os.Open("/proc/self/mountinfo")
		removeStale()
	}
	if s.mounts == nil {
		s.epoch++ // nothing is known, so nothing is kept
		return
	}
	fds := []unix.PollFd{{Fd: int32(s.mounts.Fd()), Events: unix.POLLPRI}}
	if n, err := unix.Poll(fds, 0); err != nil || n > 0 && fds[0].Revents&(unix.POLLPRI|unix.POLLERR) != 0 {
		s.epoch++
	}
}

// release takes a seat back whose command has ended.
func (s *seats) release(c *seat) {
	s.mu.Lock()
	keep := !c.broken && len(s.idle) < maxIdle
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
	for _, c := range s.idle {
		s.dismiss(c)
	}
	s.idle = nil
	if s.mounts != nil {
		_ = s.mounts.Close()
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

// ownsDevices reports whether the devices that bwrap --dev binds could be changed
// from inside, as "-O /dev/null" in boot.sh does.
func ownsDevices() bool {
	var st unix.Stat_t
	return unix.Stat("/dev/null", &st) == nil && int(st.Uid) == os.Geteuid()
}

// readOnlyDevices makes /dev read-only in the mount namespace of this thread. What
// the host unmounts must go here too, or we would keep it busy.
func readOnlyDevices() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
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
