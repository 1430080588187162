//go:build unix

package cli

import (
	"io/fs"
	"os"
	"syscall"
)

// mine reports whether a file belongs to whoever runs this program.
func mine(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Geteuid()
}

// keepOwner gives a file that was replaced the owner of the one before.
func keepOwner(path string, before fs.FileInfo) error {
	if before == nil {
		return nil
	}
	was, ok := before.Sys().(*syscall.Stat_t)
	info, err := os.Lstat(path)
	if err != nil || !ok {
		return err
	}
	if is, ok := info.Sys().(*syscall.Stat_t); ok && is.Uid == was.Uid && is.Gid == was.Gid {
		return nil
	}
	return os.Lchown(path, int(was.Uid), int(was.Gid))
}
