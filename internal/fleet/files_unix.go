//go:build unix

package fleet

import "golang.org/x/sys/unix"

// openFiles is the limit of open files of this process, which Go has raised to what it
// may be (package os), and gives back to its children.
func openFiles() (limit uint64, ok bool) {
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
		return 0, false
	}
	return uint64(r.Cur), true // signed on some BSDs
}
