package bench

import (
	"os/exec"
	"syscall"
)

// peakMemory is what a program that has ended took at most, in KiB.
func peakMemory(cmd *exec.Cmd) int64 {
	return cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss
}
