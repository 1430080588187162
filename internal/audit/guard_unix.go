//go:build unix

package audit

import (
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// O_NONBLOCK: opening a FIFO somebody put here must not hang.
const openFlags = unix.O_NOFOLLOW | unix.O_NONBLOCK

// guard refuses what belongs to another user, root included, or can be written
// by one.
func guard(path string, info fs.FileInfo) error {
	if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Geteuid() {
		return &fs.PathError{Op: "open", Path: path, Err: errOwner}
	}
	if info.Mode().Perm()&0o022 != 0 {
		return &fs.PathError{Op: "open", Path: path, Err: errWritable}
	}
	return nil
}
