package sandbox

import (
	"cmp"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bowline-sh/bowline/profile"
)

// groupPrefix begins the names of cgroups: then our process, "-", and a number.
const groupPrefix = "bowline-"

const cgroupRoot = "/sys/fs/cgroup"

// group limits one run at a time as a whole, with the cgroups that g in boot.sh
// makes for it, where the login may (root). A nil group is none.
//
// In version 1 the thread of a seat lives in them, so that what it forks does:
// moving a process costs the kernel milliseconds. In version 2 threads cannot be
// apart from their process, and clone3 puts the fork there (CLONE_INTO_CGROUP,
// clone(2)).
type group struct {
	memory, pids knob
	dir          *os.File // version 2; else nil
}

// knob is one limit; zero where there is none.
type knob struct {
	dir   string // cgroup
	file  string // in dir, holds the limit
	value int64
}

// newGroup returns a group for runs under l. As for the shell, what the login may
// not have is left out: RLIMIT_DATA and RLIMIT_NPROC remain.
func newGroup(name string, l profile.Limits) *group {
	g := &group{}
	_, err := os.Stat(cgroupRoot + "/cgroup.controllers")
	if v2 := err == nil; v2 {
		g.memory, g.pids = newKnob(cgroupRoot, name, "memory.max", l.Memory), newKnob(cgroupRoot, name, "pids.max", int64(l.Processes))
		g.dir, _ = os.Open(filepath.Join(cgroupRoot, name)) // none without either
	} else {
		g.memory = newKnob(cgroupRoot+"/memory", name, "memory.limit_in_bytes", l.Memory)
		g.pids = newKnob(cgroupRoot+"/pids", name, "pids.max", withThread(l.Processes))
	}
	if g.memory.dir == "" && g.pids.dir == "" {
		g.remove()
		return nil
	}
	return g
}

// withThread allows for the thread of the seat, which counts in version 1.
func withThread(processes int) int64 {
	if processes == 0 {
		return 0
	}
	return int64(processes) + 1
}

func newKnob(base, name, file string, value int64) knob {
	dir := filepath.Join(base, name)
	if value == 0 || unix.Access(base+"/cgroup.procs", unix.W_OK) != nil {
		return knob{}
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !os.IsExist(err) {
		return knob{}
	}
	k := knob{dir: dir, file: file}
	if k.set(value) != nil {
		return knob{}
	}
	return k
}

func (k *knob) set(value int64) error {
	if k.dir == "" || k.value == value {
		return nil
	}
	if err := os.WriteFile(filepath.Join(k.dir, k.file), []byte(strconv.FormatInt(value, 10)), 0); err != nil {
		return err
	}
	k.value = value
	return nil
}

// set changes the limits of a group that has the same kinds. What counts before the
// command starts, our thread and a zombie, comes on top.
func (g *group) set(l profile.Limits) error {
	if g == nil {
		return nil
	}
	if err := g.memory.set(l.Memory); err != nil || g.pids.dir == "" {
		return err
	}
	n, err := readNumber(filepath.Join(g.pids.dir, "pids.current"))
	if err != nil {
		return err
	}
	return g.pids.set(int64(l.Processes) + n)
}

// join moves the calling thread in; version 1 only.
func (g *group) join() {
	if g == nil || g.dir != nil {
		return
	}
	for _, k := range []*knob{&g.memory, &g.pids} {
		if k.dir != "" {
			_ = os.WriteFile(filepath.Join(k.dir, "tasks"), []byte("0"), 0) // as for the shell, what may not be is left out
		}
	}
}

// maxZombies is how many processes of the last run may still wait for their parent:
// the first process of a container can take its time.
const maxZombies = 4

// vacant reports whether the last run has left nothing that would count against
// the next: no living process, few dead ones, and little memory.
func (g *group) vacant() bool {
	if g == nil {
		return true
	}
	dir, threads := cmp.Or(g.memory.dir, g.pids.dir), 1
	file := filepath.Join(dir, "tasks")
	if g.dir != nil {
		file, threads = filepath.Join(dir, "cgroup.procs"), 0
	}
	data, err := os.ReadFile(file)
	if err != nil || strings.Count(string(data), "\n") > threads || g.memory.used() > g.memory.value/8 {
		return false
	}
	if g.pids.dir == "" {
		return true
	}
	n, err := readNumber(filepath.Join(g.pids.dir, "pids.current"))
	return err == nil && n <= int64(threads+maxZombies)
}

// used is the memory in use, in bytes.
func (k knob) used() int64 {
	if k.dir == "" {
		return 0
	}
	file := "memory.usage_in_bytes"
	if k.file == "memory.max" {
		file = "memory.current"
	}
	n, err := readNumber(filepath.Join(k.dir, file))
	if err != nil {
		return k.value
	}
	return n
}

func readNumber(file string) (int64, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
}

// remove takes the cgroups away when the last process has left them.
func (g *group) remove() {
	if g == nil {
		return
	}
	if g.dir != nil {
		_ = g.dir.Close()
	}
	for _, k := range []knob{g.memory, g.pids} {
		for range 200 {
			if k.dir == "" || syscall.Rmdir(k.dir) != syscall.EBUSY {
				break
			}
			time.Sleep(5 * time.Millisecond) // the kernel has no event for it in version 1
		}
	}
}

// removeStale removes the cgroups of programs that have ended without.
func removeStale() {
	for _, g := range allGroups() {
		if n, err := strconv.Atoi(g.pid); err == nil && syscall.Kill(n, 0) == syscall.ESRCH {
			_ = syscall.Rmdir(g.dir) // one that is busy is not stale
		}
	}
}

// owned is a cgroup of a seat of some process.
type owned struct{ dir, pid string }

func allGroups() []owned {
	var all []owned
	for _, base := range []string{cgroupRoot, cgroupRoot + "/memory", cgroupRoot + "/pids"} {
		names, _ := os.ReadDir(base) // not there, none in it
		for _, e := range names {
			rest, ours := strings.CutPrefix(e.Name(), groupPrefix)
			if pid, _, ok := strings.Cut(rest, "-"); ours && ok {
				all = append(all, owned{filepath.Join(base, e.Name()), pid})
			}
		}
	}
	return all
}
