//go:build unix

package ssh

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// proxyGrace is how long a proxy command has to end after SIGHUP.
const proxyGrace = time.Second

// dialCommand starts a proxy command and returns its standard streams as a
// connection. As ssh does, it starts the command with "exec" in a shell.
// Closing the connection ends the command's process group and reaps it.
func dialCommand(command string) (net.Conn, error) {
	// A socket pair instead of two pipes: one file for both directions, and
	// the network poller knows it.
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, fmt.Errorf("socket pair for ProxyCommand: %w", err)
	}
	defer theirs.Close()
	defer ours.Close() // FileConn duplicates it
	conn, err := net.FileConn(ours)
	if err != nil {
		return nil, fmt.Errorf("socket pair for ProxyCommand: %w", err)
	}
	p := &proxyConn{Conn: conn, ended: make(chan struct{})}
	p.stderr.limit = maxForeign
	p.cmd = exec.Command("/bin/sh", "-c", "exec "+command)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = theirs, theirs, &p.stderr
	p.cmd.WaitDelay = proxyGrace // a grandchild may hold standard error
	if err := p.cmd.Start(); err != nil {
		conn.Close()
		return nil, fmt.Errorf("start ProxyCommand: %w", err)
	}
	go p.reap()
	return p, nil
}

func socketPair() (a, b *os.File, err error) {
	syscall.ForkLock.RLock() // until both are marked, no child may be made
	defer syscall.ForkLock.RUnlock()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		return nil, nil, err
	}
	syscall.CloseOnExec(fds[0])
	syscall.CloseOnExec(fds[1])
	return os.NewFile(uintptr(fds[0]), "proxy"), os.NewFile(uintptr(fds[1]), "proxy"), nil
}

// proxyConn is the connection to a proxy command.
type proxyConn struct {
	net.Conn
	cmd    *exec.Cmd
	stderr limitedBuffer // written by cmd; read once ended is closed
	err    error         // of cmd.Wait; read once ended is closed
	ended  chan struct{}
	once   sync.Once
}

func (p *proxyConn) reap() {
	p.err = p.cmd.Wait()
	close(p.ended)
}

// Close ends the command. It is idempotent.
func (p *proxyConn) Close() error {
	p.once.Do(func() {
		p.Conn.Close()
		group := -p.cmd.Process.Pid
		_ = syscall.Kill(group, syscall.SIGHUP) // it may have ended
		timer := time.NewTimer(proxyGrace)
		defer timer.Stop()
		select {
		case <-p.ended:
		case <-timer.C:
		}
		_ = syscall.Kill(group, syscall.SIGKILL) // whoever ignored SIGHUP
		<-p.ended
	})
	return nil
}

// complaint says why the command gave up, for the error of a failed dial. It
// is called after Close.
func (p *proxyConn) complaint() error {
	<-p.ended
	text := clean(strings.TrimSpace(p.stderr.String()))
	var exit *exec.ExitError
	ours := errors.As(p.err, &exit) && exit.ExitCode() < 0 // by the signal of Close
	switch {
	case p.err == nil || ours:
		if text == "" {
			return nil
		}
		return errors.New(text)
	case text == "":
		return p.err
	}
	return fmt.Errorf("%w: %s", p.err, text)
}
