package sandbox

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

// guardName is the name under which this program is the guard of another process.
const guardName = "bowline-guard"

// guard is a process that outlives ours by a moment.
type guard struct {
	proc *os.Process
	life *os.File      // closed when we end, by whatever hand
	gone chan struct{} // closed when the guard is
}

// watch sees to it that there is a guard.
func (n *Native) watch() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.guard != nil {
		select {
		case <-n.guard.gone:
			_ = n.guard.life.Close()
		default:
			return nil
		}
	}
	var err error
	n.guard, err = newGuard(n.mark)
	return err
}

func newGuard(mark string) (*guard, error) {
	theirs, ours, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	proc, err := os.StartProcess("/proc/self/exe", []string{guardName, mark, strconv.Itoa(os.Getpid())},
		&os.ProcAttr{Dir: "/", Env: []string{}, Files: []*os.File{theirs, null, null}, Sys: &syscall.SysProcAttr{Setsid: true}})
	if err != nil {
		_ = ours.Close()
		return nil, fmt.Errorf("start guard: %w", err)
	}
	g := &guard{proc: proc, life: ours, gone: make(chan struct{})}
	go func() {
		defer close(g.gone)
		_, _ = proc.Wait() // that it ended is all there is to know
	}()
	return g, nil
}

func (g *guard) close() error {
	err := g.life.Close()
	<-g.gone
	return err
}

// Watch is the first call of the main of a program that makes a [Native]. It
// reports whether this process is a guard, whose work is then done.
func Watch(args []string) bool {
	if len(args) != 3 || args[0] != guardName {
		return false
	}
	signal.Ignore(syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM)
	_, _ = io.Copy(io.Discard, os.Stdin) // its end, or an error, is the end of our charge
	sweep(args[1] + "_")
	removeGroups(args[2], 5*time.Second)
	return true
}

// removeGroups takes away the cgroups of the process pid, which are busy until the
// last of its runs has ended.
func removeGroups(pid string, patience time.Duration) {
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		left := 0
		for _, g := range allGroups() {
			if g.pid == pid && syscall.Rmdir(g.dir) != nil {
				left++
			}
		}
		if left == 0 || time.Now().After(deadline) {
			return
		}
	}
}
