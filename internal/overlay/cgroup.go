//go:build linux

package overlay

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A kernel before 6.14 has one pid_max for all; there a cgroup bounds the processes
// of a dry run as root. It is made by Run, in the namespaces of the host.

// cgroupPrefix begins the names of our cgroups; the process ID of Run follows.
const cgroupPrefix = "bowline-dry-"

// cgroupParents are where cgroups with a limit of processes can be made, most
// likely first: the pids hierarchy of version 1, the root of version 2. Nothing is
// switched on there that the host has off.
var cgroupParents = []string{"/sys/fs/cgroup/pids", "/sys/fs/cgroup", "/sys/fs/cgroup/unified"}

// newCgroup makes a cgroup for at most pids processes below one of parents, and
// removes those of dry runs that were killed. It is "" where there can be none.
func newCgroup(parents []string, pids int) (string, error) {
	for _, parent := range parents {
		sweepCgroups(parent)
		dir, err := os.MkdirTemp(parent, cgroupPrefix+strconv.Itoa(os.Getpid())+"-")
		if err != nil {
			continue
		}
		if err := setCgroup(dir, "pids.max", pids); err == nil {
			return dir, nil
		}
		if err := os.Remove(dir); err != nil {
			return "", fmt.Errorf("remove cgroup: %w", err)
		}
	}
	return "", nil
}

// setCgroup writes a number to a file that a cgroup has.
func setCgroup(dir, name string, n int) error {
	f, err := os.OpenFile(dir+"/"+name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(strconv.Itoa(n))
	return errors.Join(err, f.Close())
}

// sweepCgroups removes what runs left that are gone. A cgroup with a process in it
// cannot be removed.
func sweepCgroups(parent string) {
	left, err := filepath.Glob(parent + "/" + cgroupPrefix + "*")
	if err != nil {
		return
	}
	for _, dir := range left {
		pid, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), cgroupPrefix), "-")
		if n, err := strconv.Atoi(pid); err == nil && unix.Kill(n, 0) == unix.ESRCH {
			_ = os.Remove(dir) // the next one tries again
		}
	}
}

// removeCgroup waits until the kernel has let go of the last process.
func removeCgroup(dir string) error {
	if dir == "" {
		return nil
	}
	for wait := time.Millisecond; ; wait *= 2 {
		err := os.Remove(dir)
		if err == nil || !errors.Is(err, unix.EBUSY) || wait > 2*time.Second {
			return err
		}
		time.Sleep(wait)
	}
}
