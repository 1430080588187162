//go:build linux

package overlay

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"syscall"
	"time"
)

const (
	// readTimeout bounds one reading command; systemctl answers in milliseconds.
	readTimeout = 10 * time.Second
	// readBytes bounds what is kept of its output.
	readBytes = 1 << 20
	// readFailed is what the script sees when a reading command cannot be run,
	// as a shell reports it.
	readFailed = 126
)

// readHost runs a reading command on the host, as who called it. Its environment
// is ours alone: a script could name a pager, a library or a daemon in it.
func readHost(ctx context.Context, call readCall) readAnswer {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, string(call.Path))
	cmd.Args = call.Argv
	cmd.Env = []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + string(call.Home), "LANG=C.UTF-8",
		"SYSTEMD_PAGER=", "SYSTEMD_COLORS=0", "SYSTEMD_LOG_LEVEL=err",
	}
	cmd.Dir = string(call.Dir)
	if fi, err := os.Stat(cmd.Dir); err != nil || !fi.IsDir() {
		cmd.Dir = "/" // the script made its directory in the view
	}
	stdout, stderr := &bounded{}, &bounded{}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: call.UID, Gid: call.GID, Groups: call.Groups}
	}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	err := cmd.Run()
	answer := readAnswer{Stdout: stdout.Bytes(), Stderr: stderr.Bytes(), Exit: readFailed}
	if cmd.ProcessState != nil && cmd.ProcessState.Exited() {
		answer.Exit = cmd.ProcessState.ExitCode()
	} else if err != nil {
		answer.Stderr = append(answer.Stderr, ("bowline: " + err.Error() + "\n")...)
	}
	return answer
}

// bounded keeps the first readBytes that are written to it.
type bounded struct{ bytes.Buffer }

func (b *bounded) Write(p []byte) (int, error) {
	b.Buffer.Write(p[:min(len(p), readBytes-b.Len())])
	return len(p), nil
}
