//go:build linux

package overlay

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// listen makes the socket at path, for all accounts. These sockets block: package
// net, with its resolver, would be a tenth of the helper.
func listen(path string) (fd int, err error) {
	fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("socket: %w", err)
	}
	if err = unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err == nil {
		err = unix.Chmod(path, 0o666)
	}
	if err == nil {
		err = unix.Listen(fd, unix.SOMAXCONN)
	}
	if err != nil {
		_ = unix.Close(fd) // what matters is err
		return -1, fmt.Errorf("listen at %q: %w", path, err)
	}
	return fd, nil
}

// accept waits for the next connection.
func accept(fd int) (*os.File, error) {
	for {
		conn, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC)
		switch err {
		case nil:
			return os.NewFile(uintptr(conn), "stub"), nil
		case unix.EINTR, unix.ECONNABORTED:
		default:
			return nil, fmt.Errorf("accept: %w", err)
		}
	}
}

// dial connects to the socket at path.
func dial(path string) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	for {
		err = unix.Connect(fd, &unix.SockaddrUnix{Name: path})
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		_ = unix.Close(fd) // what matters is err
		return nil, fmt.Errorf("connect to %q: %w", path, err)
	}
	return os.NewFile(uintptr(fd), path), nil
}
