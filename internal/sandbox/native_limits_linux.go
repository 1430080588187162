package sandbox

import (
	"encoding/json"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bowline-sh/bowline/profile"
)

// report reads bubblewrap's status report to its end: documents that say which
// process will become the command, and how it ended if it was executed. In between
// that process gets its limits; it waits for them on blockFD.
func (p *program) report() (code int, executed bool) {
	defer p.block.Close()
	for d := json.NewDecoder(io.LimitReader(p.status, maxTrailer)); ; {
		var doc struct {
			Child *int `json:"child-pid"`
			Exit  *int `json:"exit-code"`
		}
		if d.Decode(&doc) != nil {
			_, _ = io.Copy(io.Discard, p.status) // to its end, whatever it says
			return code, executed
		}
		if doc.Child != nil {
			p.release(*doc.Child)
		}
		if doc.Exit != nil {
			code, executed = *doc.Exit, true
		}
	}
}

// release limits the process that waits, and lets it go on. If it cannot be limited
// as a shell would have limited itself, it is killed before it executes anything.
func (p *program) release(pid int) {
	if parentOf(pid) != p.pid {
		return // it has ended, and bubblewrap with it
	}
	if err := limit(pid, p.cmd.Profile.Limits); err != nil && err != unix.ESRCH {
		p.unlimited.Store(true)
		p.mu.Lock()
		defer p.mu.Unlock()
		if !p.reaped {
			_ = unix.Kill(-p.pid, unix.SIGKILL) // it may have ended meanwhile
		}
		return // reap sweeps
	}
	_, _ = p.block.Write([]byte{1}) // nobody waits any more, or one does
	_ = p.block.Close()
}

// parentOf reads the parent of a process; 0 if there is no such process.
func parentOf(pid int) int {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0
	}
	f := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(f) < 2 {
		return 0
	}
	parent, _ := strconv.Atoi(f[1]) // 0 for what is no number
	return parent
}

// limit sets what ulimit sets in limitText, and like it leaves alone what would
// raise a hard limit without the right to.
func limit(pid int, l profile.Limits) error {
	set := func(resource int, value uint64) error {
		var now unix.Rlimit
		if err := unix.Prlimit(pid, resource, nil, &now); err != nil {
			return err
		}
		err := unix.Prlimit(pid, resource, &unix.Rlimit{Cur: value, Max: value}, nil)
		if err == unix.EPERM && value > now.Max {
			return nil
		}
		return err
	}
	err := set(unix.RLIMIT_CORE, 0)
	if err == nil && l.Memory > 0 {
		err = set(unix.RLIMIT_DATA, uint64(l.Memory>>10<<10))
	}
	if err == nil && l.CPUSeconds > 0 {
		err = set(unix.RLIMIT_CPU, uint64(l.CPUSeconds))
	}
	if err == nil && l.OpenFiles > 0 {
		err = set(unix.RLIMIT_NOFILE, uint64(l.OpenFiles))
	}
	if n := threads(); err == nil && l.Processes > 0 && n > 0 {
		err = set(unix.RLIMIT_NPROC, uint64(n+l.Processes))
	}
	return err
}

// threads is how many there are on this machine (proc(5), /proc/loadavg, field 4);
// 0 if that cannot be known. RLIMIT_NPROC counts all of the account.
func threads() int {
	data, err := os.ReadFile("/proc/loadavg")
	f := strings.Fields(string(data))
	if err != nil || len(f) < 4 {
		return 0
	}
	_, all, _ := strings.Cut(f[3], "/")
	n, _ := strconv.Atoi(all)
	return n
}
