//go:build linux

package overlay

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// Names under which the executable starts itself.
const (
	stageName  = "bowline-overlay-stage"
	initName   = "bowline-overlay-init"
	launchName = "bowline-overlay-launch"
)

// Where the view meets the stage: a directory that is bound into it read-only.
const (
	meet     = "/run/.bowline"
	stubPath = meet + "/stub"  // this executable; interpreter of the stubs
	sockPath = meet + "/defer" // the stage listens here
	realPath = meet + "/real"  // programs of local rules, as they are on the host
)

// Main is the first call in main of every program that uses [Run], and in
// TestMain. It reports whether the process was started by Run; then its work is
// done and the caller exits with code.
func Main(args []string) (handled bool, code int) {
	if len(args) == 0 {
		return false, 0
	}
	switch args[0] {
	case stageName:
		return true, stageMain()
	case initName:
		return true, initMain()
	case launchName:
		return true, launchMain()
	case stubPath:
		return true, stubMain(args)
	}
	return false, 0
}

// start runs this executable under another name in namespaces of its own, with
// the standard streams, config on descriptor 3, and returns where it reports. It
// does nothing before it has the configuration, which comes when it is in cgroup.
func start(name, exe string, flags uintptr, cgroup string, config any) (pid int, report *os.File, err error) {
	cfgR, cfgW, err := os.Pipe()
	if err != nil {
		return 0, nil, fmt.Errorf("pipe: %w", err)
	}
	defer cfgR.Close()
	report, repW, err := os.Pipe()
	if err != nil {
		cfgW.Close()
		return 0, nil, fmt.Errorf("pipe: %w", err)
	}
	defer repW.Close()
	pid, err = syscall.ForkExec(exe, []string{name}, &syscall.ProcAttr{
		Dir: "/", Env: ownEnv(), Files: []uintptr{0, 1, 2, cfgR.Fd(), repW.Fd()},
		Sys: &syscall.SysProcAttr{Cloneflags: flags, Pdeathsig: syscall.SIGKILL},
	})
	if err != nil {
		cfgW.Close()
		report.Close()
		return 0, nil, fmt.Errorf("start %s: %w", name, err)
	}
	if cgroup != "" {
		err = setCgroup(cgroup, "cgroup.procs", pid)
	}
	if err == nil {
		// The other end reads all of it before anything else, or dies.
		err = json.NewEncoder(cfgW).Encode(config)
	}
	cfgW.Close()
	if err != nil {
		report.Close()
		return 0, nil, fmt.Errorf("configure %s: %w", name, err)
	}
	return pid, report, nil
}

// ownEnv is the environment of our own processes: empty, but for the race
// detector, which else waits a second whenever one of them ends.
func ownEnv() []string {
	if v, ok := os.LookupEnv("GORACE"); ok {
		return []string{"GORACE=" + v}
	}
	return []string{}
}

// started reads the configuration of a process made by start.
func started(config any) (report *os.File, err error) {
	// Rights, filters and the parent-death signal belong to threads.
	runtime.LockOSThread()
	syscall.CloseOnExec(3)
	syscall.CloseOnExec(4)
	// Nobody else may look into this process, whatever their uid.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return nil, err
	}
	in := os.NewFile(3, "config")
	defer in.Close()
	if err := json.NewDecoder(in).Decode(config); err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return os.NewFile(4, "report"), nil
}
