//go:build unix

package cli

import (
	"os/exec"
	"syscall"
)

// detach puts cmd into a session of its own, so that no terminal's signals reach it.
func detach(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} }
